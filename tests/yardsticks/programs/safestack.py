"""A stack without a lock, out of an array, that three threads need to break.

An element is given by its index.  To pop one, a thread first cuts its link to the next, so that nobody else takes the
same one, then moves the head to that next element, or puts the link back if the head has moved meanwhile.  The last
element is never popped.  A link that was put back may be one that has got another meaning since: then two threads can
hold the same element.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .common import run_threads

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from ..world import Variable, World
    from . import Program

NOTHING = -1
ELEMENTS = 3
THREADS = 3
ROUNDS = 2
TRIES = 16
"""How often a thread tries to pop before it gives up, so that every run ends."""


async def exchange(variable: Variable[int], value: int) -> int:
    """Give an atomic variable a value; the one before."""
    return await variable.update(lambda _: value)


async def compare_exchange(variable: Variable[int], expected: int, value: int) -> int:
    """Give an atomic variable a value if it has the expected one; the one it had."""
    return await variable.update(lambda now: value if now == expected else now)


class SafeStack:
    """The stack; all of it is atomic variables, and the values are plain ones."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._head = world.variable("head", 0)
        self._count = world.variable("count", ELEMENTS)
        self._next = world.array("next", [*range(1, ELEMENTS), NOTHING])

    async def pop(self) -> int:
        """Take an element; `NOTHING` if there were none so often that it is time to give up."""
        for _ in range(TRIES):
            if await self._count.read() > 1:
                head = await self._head.read()
                following = await exchange(self._next[head], NOTHING)
                if following != NOTHING:
                    if await self._head.compare_and_swap(head, following):
                        await self._count.update(lambda count: count - 1)
                        return head
                    await exchange(self._next[head], following)
                    continue
            await self._world.pause()
        return NOTHING

    async def push(self, element: int) -> None:
        """Put an element back."""
        head = await self._head.read()
        while True:
            await self._next[element].write(head)
            now = await compare_exchange(self._head, head, element)
            if now == head:
                break
            head = now
        await self._count.update(lambda count: count + 1)


async def safestack(world: World) -> None:
    """Two threads hold the same element, so one overwrites what the other has just written into it."""
    stack = SafeStack(world)
    values = world.array("value", [NOTHING] * ELEMENTS)

    def worker(number: int) -> Callable[[], Awaitable[None]]:
        async def work() -> None:
            for _ in range(ROUNDS):
                element = await stack.pop()
                if element == NOTHING:
                    return
                await values[element].write(number)
                world.check(await values[element].read() == number, "two threads hold the same element")
                await stack.push(element)

        return work

    await run_threads(world, *[worker(number) for number in range(THREADS)])


PROGRAMS: dict[str, Program] = {"SafeStack": safestack}
