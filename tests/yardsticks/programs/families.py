"""Programs that come in sizes: the more threads, the less likely the few that matter meet at the right moment."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .common import add, run_threads

if TYPE_CHECKING:
    from ..world import World
    from . import Program


def reorder(setters: int, checkers: int) -> Program:
    """Setters write two variables without a lock, and a checker may look when one is written and the other is not."""

    async def program(world: World) -> None:
        a = world.variable("a", 0)
        b = world.variable("b", 0)

        async def assign() -> None:
            await a.write(1)
            await b.write(-1)

        async def check() -> None:
            untouched = await a.read() == 0 and await b.read() == 0
            world.check(untouched or (await a.read() == 1 and await b.read() == -1), "saw half of an assignment")

        await run_threads(world, *[assign] * setters, *[check] * checkers)

    return program


def twostage(writers: int, readers: int) -> Program:
    """A reader sees the first of two values and then an old second one, for no lock covers both."""

    async def program(world: World) -> None:
        first_lock = world.mutex("first lock")
        second_lock = world.mutex("second lock")
        first = world.variable("first", 0)
        second = world.variable("second", 0)

        async def write() -> None:
            async with first_lock:
                await first.write(1)
            async with second_lock:
                await second.write(await first.read() + 1)

        async def read() -> None:
            async with first_lock:
                if await first.read() == 0:
                    return
                one = await first.read()
            async with second_lock:
                two = await second.read()
            world.check(two == one + 1, "the second value is older than the first")

        await run_threads(world, *[write] * writers, *[read] * readers)

    return program


def wronglock(right: int, wrong: int) -> Program:
    """Some threads count under another lock than the one that notices."""

    async def program(world: World) -> None:
        data_lock = world.mutex("data lock")
        other_lock = world.mutex("other lock")
        data = world.variable("data", 0)

        async def count_and_look() -> None:
            async with data_lock:
                before = await data.read()
                await add(data, 1)
                world.check(await data.read() == before + 1, "somebody else has counted meanwhile")

        async def count() -> None:
            async with other_lock:
                await add(data, 1)

        await run_threads(world, *[count_and_look] * right, *[count] * wrong)

    return program
