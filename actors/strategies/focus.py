"""What strategies share that order the accesses to one resource, drawn for the run, and leave the rest to chance.

The resource is drawn in proportion to the accesses a pilot run has counted.  Actors are drawn uniformly; one that must
not pass at its access is held, and not drawn again until it is let go.  So a pick costs a draw, and one more, once, for
each actor that is held or gone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from .base import SeededStrategy

if TYPE_CHECKING:
    from ..actor import Actor
    from ..profile import Profile


class FocusedStrategy(SeededStrategy):
    """Base of strategies with one interesting resource; subclasses say who is held (`holds`)."""

    watches_enabled: ClassVar[bool] = True
    needs_profile: ClassVar[bool] = True

    def __init__(self, seed: int, profile: Profile) -> None:
        super().__init__(seed)
        self._interesting, self._accesses = self._draw_resource(profile)  # its identity; accesses by actor's signature
        self._free: list[Actor] = []  # may be drawn; some may have been disabled since
        self._listed: dict[Actor, None] = {}  # free or held

    def _draw_resource(self, profile: Profile) -> tuple[int, dict[int, int]]:
        shared = profile.shared()
        total = sum(sum(by_actor.values()) for by_actor in shared.values())
        mark = int(self._random() * total)
        for identity, by_actor in shared.items():
            mark -= sum(by_actor.values())
            if mark < 0:
                return identity, by_actor
        return 0, {}

    def on_enabled(self, actor: Actor) -> None:
        """Let it be drawn, unless it is listed or held already."""
        if actor not in self._listed:
            self._listed[actor] = None
            self._free.append(actor)

    def is_at_access(self, actor: Actor) -> bool:
        """Whether its pending operation is about the interesting resource."""
        op = actor.pending
        return op.races and op.resource.identity == self._interesting

    def holds(self, actor: Actor) -> bool:
        """Whether an enabled actor must not be drawn now; it is put aside in that case, by the subclass."""
        raise NotImplementedError

    def draw_free(self) -> Actor | None:
        """An enabled actor that is not held, each equally likely; None where there is none."""
        free = self._free
        while free:
            index = int(self._random() * len(free))
            actor = free[index]
            if actor.slot < 0:
                del self._listed[actor]
            elif not self.holds(actor):
                return actor
            free[index] = free[-1]
            free.pop()
        return None
