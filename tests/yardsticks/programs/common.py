"""What many of the programs do."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from ..world import Variable, World


async def add(variable: Variable[int], amount: int) -> int:
    """Add to a plain variable, a read and then a write; the new value."""
    total = await variable.read() + amount
    await variable.write(total)
    return total


async def run_threads(world: World, *functions: Callable[[], Awaitable[None]]) -> None:
    """Start a thread for each function, in order, and wait for them in the same order."""
    threads = [await world.create(function) for function in functions]
    for thread in threads:
        await thread.join()
