"""Four programs out of libraries: a buffer, a tracer, a sort with a pool of threads, a string buffer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .common import add, run_threads

if TYPE_CHECKING:
    from ..world import Block, Variable, World
    from . import Program


async def bounded_buffer(world: World) -> None:
    """A consumer that has seen an element lets go of the lock for a moment, and another takes the element."""
    places, rounds = 3, 4
    lock = world.mutex("lock")
    not_full = world.condition("not full")
    not_empty = world.condition("not empty")
    elements = world.array("element", [0] * places)
    head = world.variable("head", 0)
    rear = world.variable("rear", 0)
    waiting_producers = world.variable("waiting producers", 0)
    waiting_consumers = world.variable("waiting consumers", 0)

    async def is_full() -> bool:
        return (await rear.read() + 1) % places == await head.read()

    async def is_empty() -> bool:
        return await head.read() == await rear.read()

    async def put(element: int) -> None:
        async with lock:
            if await is_full():
                await add(waiting_producers, 1)
                while await is_full():
                    await not_full.wait(lock)
                await add(waiting_producers, -1)
            position = await rear.read()
            await elements[position].write(element)
            await rear.write((position + 1) % places)
            if await waiting_consumers.read() > 0:
                await not_empty.signal()

    async def get() -> int:
        async with lock:
            if await is_empty():
                await add(waiting_consumers, 1)
                while await is_empty():
                    await not_empty.wait(lock)
                await add(waiting_consumers, -1)
        async with lock:
            world.check(not await is_empty(), "the element is gone")
            position = await head.read()
            element = await elements[position].read()
            await head.write((position + 1) % places)
            if await waiting_producers.read() > 0:
                await not_full.signal()
        return element

    async def produce() -> None:
        for element in range(rounds):
            await put(element)

    async def consume() -> None:
        for _ in range(rounds):
            await get()

    await run_threads(world, produce, produce, consume, consume)


class Tracer:
    """Writes down what registered threads say, as long as nobody ends it; records of threads are in a hash table."""

    def __init__(self, world: World, threads: int) -> None:
        main = world.block("record of the main thread", id=0, next=None, on=True, level=1, text="")
        self._enabled = world.variable("enabled", True)
        self._buckets: list[Variable[Block | None]] = world.array("bucket", [main] + [None] * (threads - 1))
        self._mutex = world.mutex("reader mutex")
        self._readers = world.variable("readers", 0)
        self._table = world.mutex("table semaphore")
        self._messages = world.variable("messages", 0)

    async def print(self, thread: int, level: int, text: str) -> None:
        """Write `text` down, if `thread` is registered and traces at `level`."""
        if not await self._enabled.read():
            return
        await self._enter()
        record = await self._find(thread)
        if record is not None:
            await record.set("text", text)
        await self._exit()
        await self._enter()
        record = await self._find(thread)
        if record is not None and await record.get("on") and await record.get("level") & level:
            await record.get("text")
            await add(self._messages, 1)
        await self._exit()

    async def remove(self, thread: int) -> None:
        """Forget `thread`."""
        await self._table.lock()
        record = await self._buckets[thread].read()
        if record is not None and await record.get("id") == thread:
            await self._buckets[thread].write(await record.get("next"))
            await record.free()
        await self._table.unlock()

    async def end(self) -> None:
        """Stop tracing and free everything, for nobody else may be here any more."""
        await self._enabled.write(False)
        for bucket in self._buckets:
            record = await bucket.read()
            while record is not None:
                following = await record.get("next")
                await record.free()
                record = following

    async def _find(self, thread: int) -> Block | None:
        record = await self._buckets[thread].read()
        while record is not None and await record.get("id") != thread:
            record = await record.get("next")
        return record

    async def _enter(self) -> None:
        async with self._mutex:
            if await self._readers.read() == 0:
                await self._table.lock()
            await add(self._readers, 1)

    async def _exit(self) -> None:
        async with self._mutex:
            if await add(self._readers, -1) == 0:
                await self._table.unlock()


async def ctrace_test(world: World) -> None:
    """A thread ends the tracer while the main thread still traces."""
    tracer = Tracer(world, threads=3)

    async def nothing() -> None:
        pass

    threads = [await world.create(tracer.end), await world.create(nothing)]
    await tracer.print(0, 1, "i=0")
    await tracer.print(0, 64, "mystring=stringval")
    for number, thread in enumerate(threads, 1):
        await thread.join()
        await tracer.remove(number)
    await tracer.print(0, 1, "6")


FORK_MIN = 4
INSERTION_MAX = 7
NUMBERS = [7, 6, 9, 19, 17, 31, 10, 12, 9, 13, 26, 11, 18, 27, 3, 6]
NUMBERS += [28, 2, 20, 24, 27, 8, 7, 13, 22, 26, 14, 3, 19, 31, 9, 26]


def partition(numbers: list[int], start: int, count: int) -> tuple[int, int]:
    """Bring smaller numbers than some pivot to the front and larger ones to the end; how many of each there are.

    Where they were in place already, sorts them all and says there are none.
    """
    part = numbers[start : start + count]
    pivot = sorted((part[0], part[count // 2], part[-1]))[1]
    smaller = [number for number in part if number < pivot]
    larger = [number for number in part if number > pivot]
    equal = [pivot] * (count - len(smaller) - len(larger))
    if len(equal) == 1 and [number for number in part if number != pivot] == smaller + larger:
        numbers[start : start + count] = sorted(part)
        return 0, 0
    numbers[start : start + count] = smaller + equal + larger
    return len(smaller), len(larger)


class Worker:
    """A thread of the sorting pool: what it is to do, and the part of the numbers it is to do it with."""

    def __init__(self, world: World, name: str) -> None:
        self.state = world.variable(f"{name}.state", "idle")
        self.start: Variable[int | None] = world.variable(f"{name}.start", None)
        self.count = world.variable(f"{name}.count", 0)
        self.lock = world.mutex(f"{name}.lock")
        self.changed = world.condition(f"{name}.changed")


class SortingPool:
    """Sorts by partition; who has a large left part gives it to an idle worker, if there is one.

    A worker is taken out of the idle ones under the pool's lock, but its own is taken only after that.  A worker that
    is not asleep yet finds work that was not described yet.
    """

    def __init__(self, world: World, numbers: list[int], workers: int) -> None:
        self._world = world
        self._numbers = numbers
        self._workers = [Worker(world, f"worker {number}") for number in range(workers)]
        self._idle = world.variable("idle workers", workers)
        self._lock = world.mutex("pool lock")

    async def sort(self) -> None:
        """Start the workers, hand all numbers to the first, and wait until the workers have ended."""
        threads = [await self._world.create(self._work, worker) for worker in self._workers]
        first = self._workers[0]
        async with first.lock:
            await first.start.write(0)
            await first.count.write(len(self._numbers))
            await first.state.write("work")
            await add(self._idle, -1)
            await first.changed.signal()
        for thread in threads:
            await thread.join()

    async def _work(self, me: Worker) -> None:
        while True:
            async with me.lock:
                while await me.state.read() == "idle":
                    await me.changed.wait(me.lock)
            if await me.state.read() == "end":
                return
            self._world.check(await me.state.read() == "work", "a worker is in no state")
            await self._sort_part(me)
            async with self._lock:
                await me.state.write("idle")
                if await add(self._idle, 1) == len(self._workers):
                    await self._end_others(me)
                    return

    async def _end_others(self, me: Worker) -> None:
        for worker in self._workers:
            if worker is not me:
                async with worker.lock:
                    await worker.state.write("end")
                    await worker.changed.signal()

    async def _sort_part(self, me: Worker) -> None:
        start, count = await me.start.read(), await me.count.read()
        while count > 1:
            if start is None:
                self._world.fail("null pointer dereference")
                return
            if count < INSERTION_MAX:
                self._numbers[start : start + count] = sorted(self._numbers[start : start + count])
                return
            left, right = partition(self._numbers, start, count)
            helper = await self._take_idle() if min(left, right) > FORK_MIN else None
            if helper is not None:
                await helper.start.write(start)
                await helper.count.write(left)
                await helper.changed.signal()
                await helper.lock.unlock()
            elif left > 0:
                await me.start.write(start)
                await me.count.write(left)
                await self._sort_part(me)
            start, count = start + count - right, right

    async def _take_idle(self) -> Worker | None:
        async with self._lock:
            for worker in self._workers:
                if await worker.state.read() == "idle":
                    await add(self._idle, -1)
                    await worker.state.write("work")
                    await worker.lock.lock()
                    return worker
        return None


async def qsort_mt(world: World) -> None:
    """A worker that looks at its state before it has ever slept starts on work whose range was not written yet."""
    numbers = list(NUMBERS)
    await SortingPool(world, numbers, 2).sort()
    world.check(numbers == sorted(numbers), "the numbers are not sorted")


class StringBuffer:
    """A text whose methods each take its lock, so that nothing holds from one call to the next."""

    def __init__(self, world: World, name: str, length: int) -> None:
        self._world = world
        self._lock = world.mutex(f"lock of {name}")
        self._length = world.variable(f"length of {name}", length)

    async def length(self) -> int:
        """Its length now."""
        async with self._lock:
            return await self._length.read()

    async def copy(self, end: int) -> None:
        """Hand the characters before `end` out."""
        async with self._lock:
            self._world.check(end <= await self._length.read(), "index out of bounds")

    async def append_other(self, other: StringBuffer) -> None:
        """Put another buffer's text behind its own."""
        async with self._lock:
            length = await other.length()
            total = await self._length.read() + length
            await other.copy(length)
            await self._length.write(total)

    async def append(self, length: int) -> None:
        """Put `length` characters behind its own."""
        async with self._lock:
            await add(self._length, length)

    async def erase(self, start: int, end: int) -> None:
        """Drop the characters from `start` to `end`."""
        async with self._lock:
            end = min(end, await self._length.read())
            if end > start:
                await add(self._length, start - end)


async def stringbuffer(world: World) -> None:
    """A text is appended whose length was asked for in one step and whose characters are copied in another."""
    shared = StringBuffer(world, "shared", 3)

    async def change() -> None:
        await shared.erase(0, 3)
        await shared.append(3)

    await world.create(change)
    await StringBuffer(world, "own", 0).append_other(shared)


PROGRAMS: dict[str, Program] = {
    "CB/stringbuffer-jdk1.4": stringbuffer,
    "Inspect/boundedBuffer": bounded_buffer,
    "Inspect/ctrace-test": ctrace_test,
    "Inspect/qsort_mt": qsort_mt,
}
