"""POS: partial order sampling.

Yuan, Yang, Gu, *Partial order aware concurrency sampling* (CAV 2018), as exploration.md 3.4 gives it: every pending
operation gets a priority of its own, the highest goes first, and afterwards the actor's next operation gets a new one,
and so does every pending operation that conflicts with the one performed.  Operations are indexed by resource, so a
step costs as many redraws as there are conflicts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from ..resource import conflict
from .base import SeededStrategy
from .queue import ActorQueue

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..actor import Actor
    from ..operation import Op
    from ..resource import Resource


class Pos(SeededStrategy):
    """The pending operation of the highest random priority goes first."""

    name: ClassVar[str] = "pos"
    watches_enabled: ClassVar[bool] = True
    watches_steps: ClassVar[bool] = True

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        self._queue = ActorQueue()
        self._pending_on: dict[Resource, dict[Actor, None]] = {}
        self._stepped: Actor | None = None  # its new pending operation has no priority yet

    def on_enabled(self, actor: Actor) -> None:
        """Draw a priority for its pending operation."""
        self._queue.push(self._random(), actor)
        op = actor.pending
        if op.access:
            self._pending_on.setdefault(op.resource, {})[actor] = None

    def on_step(self, actor: Actor, op: Op) -> None:
        """Redraw what conflicts with the operation about to be performed."""
        if self._stepped is not None:
            self._draw_next(self._stepped)
        self._stepped = actor
        if op.access:
            others = self._pending_on.get(op.resource)
            if others:
                others.pop(actor, None)
                for other in list(others):
                    if other.slot < 0 or other.pending.resource is not op.resource:
                        del others[other]  # not pending here any more
                    elif conflict(op.access, other.pending.access):
                        self.on_enabled(other)

    def _draw_next(self, actor: Actor) -> None:
        if actor.slot >= 0:
            self.on_enabled(actor)

    def pick(self, enabled: Sequence[Actor]) -> int:
        """The enabled actor with the highest pending operation."""
        if self._stepped is not None:
            self._draw_next(self._stepped)
            self._stepped = None
        return self._queue.first().slot
