"""Bags: what the tasks of a workload have allocated and not freed yet, by name.

A bag is shared by all tasks, so putting something in and taking something out is declared as part of the step that
does it: who takes the object that another has put in comes after it.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Generic, TypeVar

from ..actors import Access

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ..actors import Interleaver

T = TypeVar("T")


class Bag(Generic[T]):
    """A queue: the first put in is the first taken out."""

    __slots__ = ("_interleaver", "_resource", "_things")

    def __init__(self, interleaver: Interleaver, name: str) -> None:
        self._interleaver = interleaver
        self._resource = interleaver.resource(name)
        self._things: deque[T] = deque()
        self._declare(Access.WRITE)  # whoever uses it comes after who made it

    def _declare(self, access: Access) -> None:
        touch = self._interleaver.touch
        if touch is not None:
            touch(self._resource, access)

    def put(self, things: Iterable[T]) -> None:
        """Put things in, in this order."""
        self._declare(Access.WRITE)
        self._things.extend(things)

    def take(self) -> T | None:
        """Take the first thing out; None where there is none."""
        self._declare(Access.WRITE)
        return self._things.popleft() if self._things else None

    def take_many(self, count: int | None) -> list[T]:
        """Take the first `count` things out, or all there are."""
        self._declare(Access.WRITE)
        size = len(self._things)
        return [self._things.popleft() for _ in range(size if count is None else min(count, size))]

    def look(self, count: int | None = None) -> list[T]:
        """The first `count` things, or all, which stay."""
        self._declare(Access.READ)
        return [*self._things][:count]

    def __len__(self) -> int:
        self._declare(Access.READ)
        return len(self._things)
