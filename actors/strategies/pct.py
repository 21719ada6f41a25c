"""PCT: priorities at random, changed at a few random moments.

Burckhardt, Kothari, Musuvathi, Nagarakatte, *A randomized scheduler with probabilistic guarantees of finding bugs*
(ASPLOS 2010), as exploration.md 3.2 gives it.  A bug that needs ``depth`` orderings is found in one run with
probability at least 1/(n·k^(depth-1)), for n actors and k decisions; k comes from the pilot run.

An actor that is born later gets a rank at random among all, not the lowest.  Past a multiple of k the choice becomes
uniform: an actor that spins with the highest priority would spin for ever.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from .base import SeededStrategy
from .queue import ActorQueue

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..actor import Actor
    from ..profile import Profile

FAIR_AFTER = 8
"""Decisions, in multiples of those of the pilot run, after which the choice is uniform."""


class Pct(SeededStrategy):
    """The highest priority goes first; ``depth`` - 1 times, at a random decision, who has it gets the lowest."""

    name: ClassVar[str] = "pct"
    watches_enabled: ClassVar[bool] = True
    needs_profile: ClassVar[bool] = True
    depth: ClassVar[int] = 3

    def __init__(self, seed: int, profile: Profile) -> None:
        super().__init__(seed)
        decisions = max(profile.decisions, 1)
        # Their order among themselves is random too: sorted by moment, each keeps the priority it was drawn with.
        moments = [(1 + int(self._random() * decisions), -rank) for rank in range(1, self.depth)]
        self._changes = sorted(moments, reverse=True)
        self._decision = 0
        self._fair_after = FAIR_AFTER * decisions + 1000
        self._priority: dict[int, float] = {}  # by serial number; higher goes first
        self._queue = ActorQueue()

    def on_enabled(self, actor: Actor) -> None:
        """Queue the actor at its priority, drawn when it is first seen."""
        serial = actor.serial
        priority = self._priority.get(serial)
        if priority is None:
            priority = self._priority[serial] = self._random()
        self._queue.push(-priority, actor)

    def pick(self, enabled: Sequence[Actor]) -> int:
        """The enabled actor of the highest priority."""
        self._decision = decision = self._decision + 1
        if decision > self._fair_after:
            return int(self._random() * len(enabled))
        actor = self._queue.first()
        while self._changes and self._changes[-1][0] <= decision:
            _, priority = self._changes.pop()
            self._priority[actor.serial] = priority
            self.on_enabled(actor)
            actor = self._queue.first()
        return actor.slot


class Pct10(Pct):
    """PCT for deep bugs: nine changes of priority."""

    name: ClassVar[str] = "pct10"
    depth: ClassVar[int] = 10
