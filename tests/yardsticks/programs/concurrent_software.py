"""Small programs with one bug each: a missing order, a lock that protects nothing, a check that cannot hold."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .common import add, run_threads
from .families import reorder, twostage, wronglock

if TYPE_CHECKING:
    from ..world import Variable, World
    from . import Program


async def account(world: World) -> None:
    """The checker gets the sum wrong, which shows only if both others have been at the account before it."""
    opening, paid_in, paid_out = 1, 2, 4
    lock = world.mutex("lock")
    balance = world.variable("balance", opening)
    deposited = world.variable("deposited", False)
    withdrawn = world.variable("withdrawn", False)

    async def check() -> None:
        async with lock:
            if await deposited.read() and await withdrawn.read():
                world.check(await balance.read() == opening - paid_in - paid_out, "the balance is not as expected")

    async def deposit() -> None:
        async with lock:
            await add(balance, paid_in)
            await deposited.write(True)

    async def withdraw() -> None:
        async with lock:
            await add(balance, -paid_out)
            await withdrawn.write(True)

    await run_threads(world, check, deposit, withdraw)


async def bluetooth_driver(world: World) -> None:
    """A request sees that the driver is not stopping, and takes its reference after the driver has stopped."""
    lock = world.mutex("lock")
    references = world.variable("references", 1)
    stopping = world.variable("stopping", False)
    idle = world.variable("idle", False)
    stopped = world.variable("stopped", False)

    async def put() -> None:
        async with lock:
            await add(references, -1)
            left = await references.read()
        if left == 0:
            await idle.write(True)

    async def stop() -> None:
        await stopping.write(True)
        await put()
        if await idle.read():
            await stopped.write(True)

    stopper = await world.create(stop)
    if not await stopping.read():
        async with lock:
            await add(references, 1)
        world.check(not await stopped.read(), "a request runs in a stopped driver")
    await put()
    await stopper.join()


async def carter01(world: World) -> None:
    """Each group's first member wants the room while it holds the register, and its last needs that to leave."""
    register = world.mutex("register")
    room = world.mutex("room")

    async def visit(members: Variable[int]) -> None:
        async with register:
            if await add(members, 1) == 1:
                await room.lock()
        async with register:
            if await add(members, -1) == 0:
                await room.unlock()

    first = world.variable("members of the first group", 0)
    second = world.variable("members of the second group", 0)

    async def visit_first() -> None:
        await visit(first)

    async def visit_second() -> None:
        await visit(second)

    async def nothing() -> None:
        pass

    await run_threads(world, visit_first, visit_second, nothing, nothing)


async def circular_buffer(world: World) -> None:
    """The receiver takes its own count of attempts for the number of the element that comes next."""
    size, attempts = 10, 7
    lock = world.mutex("lock")
    buffer = world.array("buffer", [0] * size)
    first = world.variable("first", 0)
    end = world.variable("end", 0)
    may_send = world.variable("may send", True)
    may_receive = world.variable("may receive", False)

    async def insert(element: int) -> None:
        position = await end.read()
        if position < size:
            await buffer[position].write(element)
            await end.write((position + 1) % size)

    async def remove() -> int:
        if await end.read() > 0 and await first.read() < size:
            return await buffer[await add(first, 1) - 1].read()
        return -1

    async def send() -> None:
        for element in range(attempts):
            async with lock:
                if await may_send.read():
                    await insert(element)
                    await may_send.write(False)
                    await may_receive.write(True)

    async def receive() -> None:
        for attempt in range(attempts):
            async with lock:
                if await may_receive.read():
                    world.check(await remove() == attempt, "received another element than expected")
                    await may_receive.write(False)
                    await may_send.write(True)

    await run_threads(world, send, receive)


async def deadlock01(world: World) -> None:
    """Two threads take two locks in opposite orders."""
    a = world.mutex("a")
    b = world.mutex("b")
    counter = world.variable("counter", 1)

    async def up() -> None:
        async with a, b:
            await add(counter, 1)

    async def down() -> None:
        async with b, a:
            await add(counter, -1)

    await run_threads(world, up, down)


async def lazy01(world: World) -> None:
    """A thread takes for granted that it comes before at least one of the two others."""
    lock = world.mutex("lock")
    data = world.variable("data", 0)

    async def look() -> None:
        async with lock:
            world.check(await data.read() < 3, "both others came first")

    async def add_two() -> None:
        async with lock:
            await add(data, 2)

    async def add_one() -> None:
        async with lock:
            await add(data, 1)

    await run_threads(world, look, add_two, add_one)


async def queue(world: World) -> None:
    """The consumer compares what it takes with what was put in at the same attempt, though attempts may fail."""
    size = 20
    lock = world.mutex("lock")
    elements = world.array("queue", [0] * size)
    head = world.variable("head", 0)
    tail = world.variable("tail", 0)
    amount = world.variable("amount", 0)
    stored = world.array("stored", [0] * size)
    may_put = world.variable("may put", True)
    may_take = world.variable("may take", False)

    async def put(value: int) -> None:
        position = await tail.read()
        await elements[position].write(value)
        await add(amount, 1)
        await tail.write(1 if position == size else position + 1)

    async def take() -> int:
        position = await head.read()
        value = await elements[position].read()
        await add(amount, -1)
        await head.write(1 if position == size else position + 1)
        return value

    async def produce() -> None:
        value = 0
        async with lock:
            await put(value)
            await stored[0].write(value)
            world.check(await head.read() != await tail.read(), "empty after a put")
        for attempt in range(1, size):
            async with lock:
                if await may_put.read():
                    value += 1
                    await put(value)
                    await stored[attempt].write(value)
                    await may_put.write(False)
                    await may_take.write(True)

    async def consume() -> None:
        for attempt in range(size):
            async with lock:
                if await may_take.read():
                    world.check(await take() == await stored[attempt].read(), "took another element than was stored")
                    await may_take.write(False)
                    await may_put.write(True)

    await run_threads(world, produce, consume)


async def stack(world: World) -> None:
    """Once anything was pushed, the popper pops without asking whether anything is left."""
    size = 10
    lock = world.mutex("lock")
    elements = world.array("stack", [0] * size)
    top = world.variable("top", 0)
    begun = world.variable("begun", False)

    async def push() -> None:
        for element in range(size):
            async with lock:
                position = await top.read()
                world.check(position < size, "overflow")
                await elements[position].write(element)
                await add(top, 1)
                await begun.write(True)

    async def pop() -> None:
        for _ in range(size):
            async with lock:
                if await begun.read():
                    world.check(await top.read() > 0, "underflow")
                    await elements[await add(top, -1)].read()

    await run_threads(world, push, pop)


async def token_ring(world: World) -> None:
    """Three threads pass a value on, in whatever order they come, and all three places are expected to agree."""
    lock = world.mutex("lock")
    places = [world.variable("first", 1), world.variable("second", 2), world.variable("third", 1)]
    passed = world.array("passed", [False] * 3)

    async def pass_on(source: int, target: int, gain: int) -> None:
        async with lock:
            await places[target].write((await places[source].read() + gain) % 4)
            await passed[target].write(True)

    async def third_to_first() -> None:
        await pass_on(2, 0, 1)

    async def first_to_second() -> None:
        await pass_on(0, 1, 0)

    async def second_to_third() -> None:
        await pass_on(1, 2, 0)

    async def check() -> None:
        async with lock:
            if await passed[0].read() and await passed[1].read() and await passed[2].read():
                agreed = await places[0].read() == await places[1].read()
                agreed = agreed and await places[1].read() == await places[2].read()
                world.check(agreed, "the places do not agree")

    await run_threads(world, third_to_first, first_to_second, second_to_third, check)


PROGRAMS: dict[str, Program] = {
    "CS/account": account,
    "CS/bluetooth_driver": bluetooth_driver,
    "CS/carter01": carter01,
    "CS/circular_buffer": circular_buffer,
    "CS/deadlock01": deadlock01,
    "CS/lazy01": lazy01,
    "CS/queue": queue,
    "CS/reorder_3": reorder(2, 1),
    "CS/reorder_4": reorder(3, 1),
    "CS/reorder_5": reorder(4, 1),
    "CS/reorder_10": reorder(9, 1),
    "CS/reorder_20": reorder(10, 10),
    "CS/reorder_50": reorder(40, 10),
    "CS/reorder_100": reorder(99, 1),
    "CS/stack": stack,
    "CS/token_ring": token_ring,
    "CS/twostage": twostage(1, 1),
    "CS/twostage_20": twostage(10, 10),
    "CS/twostage_50": twostage(40, 10),
    "CS/twostage_100": twostage(99, 1),
    "CS/wronglock": wronglock(1, 7),
    "CS/wronglock_3": wronglock(1, 3),
}
