"""Discrete-event simulation: the earliest virtual clock goes first.

Every processor has a clock which its operations advance; the enabled actor whose clock is earliest takes the next step,
ties in order of becoming enabled.  Threads of one processor share its clock: the current one goes on until it blocks or
its time slice is over.  Other decisions are answered first come, first served.  No seed has an influence.

The heap is lazy: an actor has at most one live entry (its ``stamp``); clocks only move forward, so an entry whose
actor's clock has moved on is pushed again when it comes up.  A pick costs O(log actors).
"""

from __future__ import annotations

from heapq import heapify, heappop, heappush, heapreplace
from typing import TYPE_CHECKING, ClassVar

from .base import Strategy

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..actor import Actor
    from ..interleaver import Interleaver


class Timed(Strategy):
    """The earliest clock first."""

    name: ClassVar[str] = "timed"
    costed = True
    watches_enabled: ClassVar[bool] = True

    def __init__(self, seed: int = 0) -> None:
        self.seed = seed
        self._heap: list[tuple[int, int, Actor]] = []
        self._stamp = 0

    def begin(self, interleaver: Interleaver) -> None:
        """Take in the actors that are enabled already."""
        for actor in interleaver.enabled:
            self.on_enabled(actor)
        heapify(self._heap)

    def on_enabled(self, actor: Actor) -> None:
        """Queue the actor at the time its clock shows."""
        self._stamp = stamp = self._stamp + 1
        actor.stamp = stamp
        heappush(self._heap, (actor.clock.ns, stamp, actor))

    def pick(self, enabled: Sequence[Actor]) -> int:
        """The enabled actor with the earliest clock."""
        heap = self._heap
        while True:
            ns, stamp, actor = heap[0]
            if actor.slot < 0 or actor.stamp != stamp:
                heappop(heap)
            elif actor.clock.ns > ns:
                # Behind those of the same time that wait already: equals take turns.
                self._stamp = stamp = self._stamp + 1
                actor.stamp = stamp
                heapreplace(heap, (actor.clock.ns, stamp, actor))
            else:
                # Threads of one processor share its clock: whose turn it is, the processor says.
                return actor.turn().slot if actor.contested else actor.slot

    def choose(self, kind: str, n: int) -> int:
        """First come, first served."""
        return 0
