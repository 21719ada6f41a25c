"""The enabled actors in the order of a key: a heap that is told of changes and cleaned when it is looked at.

An actor's latest entry counts (its ``stamp``); older ones, and those of actors that were disabled since, are dropped
when they come up.  A push and a look cost O(log actors).
"""

from __future__ import annotations

from heapq import heappop, heappush
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..actor import Actor


class ActorQueue:
    """The smallest key comes first; of equal ones the actor that was born first."""

    __slots__ = ("_heap",)

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, int, Actor]] = []

    def push(self, key: float, actor: Actor) -> None:
        """Put an enabled actor in, or give it another key."""
        actor.stamp += 1
        heappush(self._heap, (key, actor.serial, actor.stamp, actor))

    def first(self) -> Actor:
        """The enabled actor of the smallest key; there must be one."""
        heap = self._heap
        while True:
            _, _, stamp, actor = heap[0]
            if actor.slot >= 0 and actor.stamp == stamp:
                return actor
            heappop(heap)
