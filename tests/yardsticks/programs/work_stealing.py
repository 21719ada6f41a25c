"""Queues of work with one owner and many thieves.

The owner pushes and pops at the tail without a lock, as long as no thief can be at the same element; thieves take one
after the other from the head, under a lock.  A thief first claims the element by moving the head and then looks whether
it was there; so does the owner with the tail.  Who finds that both want the same element puts its end back, and the
owner tries again under the lock.  The ends are atomic variables.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from slubloom.actors import Op, OpKind

from .common import add

if TYPE_CHECKING:
    from ..world import Mutex, Thread, Variable, World
    from . import Program

ITEMS = 4
THIEVES = 2
ATTEMPTS = 2
SIZE = 2
OWNER = 0
SPINS = 4
STACKS_MAX = 8


async def load(variable: Variable[int]) -> int:
    """The value of an atomic variable, got as the originals do: by exchanging zero for zero."""
    return await variable.update(lambda value: value)


async def store(variable: Variable[int], value: int) -> None:
    """Exchange the value of an atomic variable."""
    await variable.update(lambda _: value)


class SpinLock:
    """Tries a few times before it sleeps, so that no strategy can let it spin for ever."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._mutex = world.mutex("spin lock")
        self._exchange = Op(OpKind.UPDATE, self._mutex.resource)

    async def lock(self) -> None:
        """Take it."""
        for _ in range(SPINS):
            await self._exchange
            if self._mutex.holder is None:
                me = self._world.interleaver.running
                self._mutex.contenders.append(me)
                self._mutex.take(me)
                return
            await self._world.pause()
        await self._mutex.lock()

    async def unlock(self) -> None:
        """Give it back."""
        await self._mutex.unlock()


class Silent:
    """Keeps no record of where the threads are."""

    records = False

    async def enter(self, thread: int) -> None:
        """`thread` calls a function."""

    async def leave(self, thread: int) -> None:
        """`thread` returns from it."""

    async def note(self, thread: int) -> None:
        """`thread` goes on to its next step."""


class CallStacks(Silent):
    """A vector with a call stack for each thread, which every thread makes longer when it needs to, without a lock."""

    records = True

    def __init__(self, world: World) -> None:
        self._world = world
        self._length = world.variable("number of stacks", 0)
        self._depths = world.array("depth of stack", [0] * STACKS_MAX)

    async def enter(self, thread: int) -> None:
        if await self._length.read() <= thread:
            await self._resize(thread + 1)
        await add(await self._at(thread), 1)
        await self.note(thread)

    async def leave(self, thread: int) -> None:
        depth = await (await self._at(thread)).read()
        self._world.check(depth > 0, "a stack is empty")
        await (await self._at(thread)).write(depth - 1)

    async def note(self, thread: int) -> None:
        depth = await (await self._at(thread)).read()
        self._world.check(depth > 0, "a stack is empty")
        self._world.check(await (await self._at(thread)).read() >= depth, "a stack has shrunk")

    async def _at(self, thread: int) -> Variable[int]:
        self._world.check(thread < await self._length.read(), "a stack has disappeared")
        return self._depths[thread]

    async def _resize(self, length: int) -> None:
        before = await self._length.read()
        if length > before:
            missing = length - await self._length.read()
            end = await self._length.read()
            self._world.check(missing >= 0, "the vector gets too long")
            for added in range(end, end + missing):
                await self._depths[added].write(0)
            await self._length.write(end + missing)
        elif length < before:
            for dropped in range(length, before):
                await self._depths[dropped].write(0)
            await self._length.write(length)


class Queue:
    """The queue.  With `spare` 0 the owner may fill every place, also the one that a thief is about to read."""

    def __init__(self, world: World, lock: Mutex | SpinLock, trace: Silent, spare: int) -> None:
        self._world = world
        self._lock = lock
        self._trace = trace
        self._spare = spare
        self._head = world.variable("head", 0)
        self._tail = world.variable("tail", 0)
        self._mask = world.variable("mask", SIZE - 1)
        self._elements = world.variable("elements", world.array("element", [-1] * SIZE))

    async def steal(self, thief: int) -> int | None:
        """Take the oldest element."""
        found = None
        await self._trace.enter(thief)
        await self._acquire(thief)
        await self._trace.note(thief)
        head = await load(self._head)
        await self._note_index(thief, head)
        await store(self._head, head + 1)
        await self._trace.note(thief)
        if head < await load(self._tail):
            found = await (await self._place(head)).read()
        else:
            await self._trace.note(thief)
            await store(self._head, head)
        await self._trace.note(thief)
        await self._release(thief)
        await self._trace.leave(thief)
        return found

    async def pop(self) -> int | None:
        """Take the newest element."""
        await self._trace.enter(OWNER)
        await self._trace.note(OWNER)
        tail = await load(self._tail) - 1
        await self._note_index(OWNER, tail)
        await store(self._tail, tail)
        await self._trace.note(OWNER)
        if await load(self._head) <= tail:
            found: int | None = await (await self._place(tail)).read()
        else:
            await self._trace.note(OWNER)
            await store(self._tail, tail + 1)
            found = await self._pop_locked()
        await self._trace.leave(OWNER)
        return found

    async def _pop_locked(self) -> int | None:
        found = None
        await self._trace.enter(OWNER)
        await self._acquire(OWNER)
        await self._trace.note(OWNER)
        tail = await load(self._tail) - 1
        await self._note_index(OWNER, tail)
        await store(self._tail, tail)
        await self._trace.note(OWNER)
        if await load(self._head) <= tail:
            found = await (await self._place(tail)).read()
        else:
            await self._trace.note(OWNER)
            await store(self._tail, tail + 1)
        await self._trace.note(OWNER)
        if await load(self._head) > tail:
            await self._trace.note(OWNER)
            await store(self._head, 0)
            await self._trace.note(OWNER)
            await store(self._tail, 0)
            found = None
        await self._trace.note(OWNER)
        await self._release(OWNER)
        await self._trace.leave(OWNER)
        return found

    async def push(self, element: int) -> None:
        """Put an element in."""
        await self._trace.enter(OWNER)
        await self._trace.note(OWNER)
        tail = await load(self._tail)
        await self._note_index(OWNER, tail)
        if tail < await load(self._head) + await self._mask.read() + 1 - self._spare:
            await (await self._place(tail)).write(element)
            await self._trace.note(OWNER)
            await store(self._tail, tail + 1)
        else:
            await self._trace.note(OWNER)
            await self._push_locked(element)
        await self._trace.leave(OWNER)

    async def _push_locked(self, element: int) -> None:
        await self._trace.enter(OWNER)
        await self._acquire(OWNER)
        await self._trace.note(OWNER)
        head = await load(self._head)
        await self._note_index(OWNER, head)
        count = await load(self._tail) - head
        head &= await self._mask.read()
        await self._note_index(OWNER, head)
        await store(self._head, head)
        await self._trace.note(OWNER)
        await store(self._tail, head + count)
        if count >= await self._mask.read():
            await self._grow(head, count)
        self._world.check(count < await self._mask.read(), "no place after growing")
        await self._trace.note(OWNER)
        tail = await load(self._tail)
        await (await self._place(tail)).write(element)
        await self._note_index(OWNER, tail)
        await store(self._tail, tail + 1)
        await self._trace.note(OWNER)
        await self._release(OWNER)
        await self._trace.leave(OWNER)

    async def _grow(self, head: int, count: int) -> None:
        size = 2 * (await self._mask.read() + 1)
        kept = [await (await self._place(head + offset)).read() for offset in range(count)]
        await self._elements.write(self._world.array("element", kept + [-1] * (size - count)))
        await self._mask.write(size - 1)
        await self._trace.note(OWNER)
        await store(self._head, 0)
        await self._trace.note(OWNER)
        await store(self._tail, count)

    async def _place(self, index: int) -> Variable[int]:
        return (await self._elements.read())[index & await self._mask.read()]

    async def _note_index(self, thread: int, index: int) -> None:
        """Note how far from the head `index` is: where there is a record, that needs a look at the head."""
        await self._trace.note(thread)
        if self._trace.records:
            if index < await load(self._head):
                await self._mask.read()
            await load(self._head)

    async def _acquire(self, thread: int) -> None:
        await self._trace.enter(thread)
        await self._trace.note(thread)
        await self._lock.lock()
        await self._trace.leave(thread)

    async def _release(self, thread: int) -> None:
        await self._trace.enter(thread)
        await self._trace.note(thread)
        await self._lock.unlock()
        await self._trace.leave(thread)


async def share_work(
    world: World, queue: Queue, trace: Silent, rounds: list[tuple[int, int]], *, note_thieves: bool = False
) -> None:
    """Push and pop as often as `rounds` say, among thieves; in the end each item was worked on once."""
    items = world.array("item", [0] * ITEMS)

    async def work_on(item: int | None) -> None:
        if item is not None:
            await add(items[item], 1)

    async def steal(thief: int) -> None:
        await trace.enter(thief)
        for _ in range(ATTEMPTS):
            await trace.note(thief)
            await work_on(await queue.steal(thief))
        await trace.leave(thief)

    await trace.enter(OWNER)
    threads: list[Thread] = []
    for thief in range(1, THIEVES + 1):
        if note_thieves:
            await trace.note(OWNER)
        threads.append(await world.create(steal, thief, name=f"thief {thief}"))
    pushed = 0
    for pushes, pops in rounds:
        for _ in range(pushes):
            await trace.note(OWNER)
            await queue.push(pushed)
            pushed += 1
        for _ in range(pops):
            await trace.note(OWNER)
            await work_on(await queue.pop())
    for thread in threads:
        await thread.join()
    for item in items:
        world.check(await item.read() == 1, "an item was not worked on once")
    await trace.leave(OWNER)


IN_TURNS = [(2, 1)] * (ITEMS // 2) + [(0, 1)] * (ITEMS // 2)
ONE_AFTER_THE_OTHER = [(ITEMS, ITEMS)]


async def work_steal_queue(world: World) -> None:
    """The owner overwrites an element that a thief has claimed but not yet read, and the new one is done twice."""
    trace = Silent()
    await share_work(world, Queue(world, world.mutex("lock"), trace, 0), trace, IN_TURNS)


async def interlocked_work_steal_queue(world: World) -> None:
    """The same with a spin lock."""
    trace = Silent()
    await share_work(world, Queue(world, SpinLock(world), trace, 0), trace, IN_TURNS)


async def interlocked_work_steal_queue_with_state(world: World) -> None:
    """The queue is right, but threads that start together spoil the vector of their call stacks."""
    trace = CallStacks(world)
    await share_work(world, Queue(world, SpinLock(world), trace, 1), trace, IN_TURNS)


async def state_work_steal_queue(world: World) -> None:
    """The same, where all is pushed before anything is popped."""
    trace = CallStacks(world)
    await share_work(world, Queue(world, SpinLock(world), trace, 1), trace, ONE_AFTER_THE_OTHER, note_thieves=True)


PROGRAMS: dict[str, Program] = {
    "Chess/InterlockedWorkStealQueue": interlocked_work_steal_queue,
    "Chess/InterlockedWorkStealQueueWithState": interlocked_work_steal_queue_with_state,
    "Chess/StateWorkStealQueue": state_work_steal_queue,
    "Chess/WorkStealQueue": work_steal_queue,
}
