"""Several locks around one block: taken in order, left in reverse."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


class Together:
    """``async with Together((take, leave), …):`` takes and leaves what the pairs say.

    A thread that dies inside keeps what it holds, as in the kernel.  A class and not a generator: the functions that
    wait in a generator are not in a suspended thread's stack.
    """

    __slots__ = ("_pairs",)

    def __init__(self, *pairs: tuple[Callable[[], Awaitable[None]], Callable[[], Awaitable[None]]]) -> None:
        self._pairs = pairs

    def then(self, take: Callable[[], Awaitable[None]], leave: Callable[[], Awaitable[None]]) -> Together:
        """The same, and one more behind."""
        return Together(*self._pairs, (take, leave))

    async def __aenter__(self) -> None:
        for take, _ in self._pairs:
            await take()

    async def __aexit__(self, kind: type[BaseException] | None, *_: Any) -> None:
        if kind is None or issubclass(kind, Exception):
            for pair in reversed(self._pairs):
                await pair[1]()
