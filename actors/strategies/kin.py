"""Rendezvous among kin: like actors count as one.

SURW makes every order of the interesting accesses equally likely, so one checker among a hundred writers is first in
one run of a hundred and one.  But it matters little *which* of a hundred like writers comes first.  Here, as in SURW,
one shared resource is drawn for the run; every actor is held at its accesses to it, until nobody can do anything else.
Then one of those held goes on: its kind is drawn first, each kind equally likely, and then the actor among its kind.
Actors made by the same code, told by their names without numbers, are of one kind.  A bug in which one kind must get
between two steps of another is found in a number of schedules that does not grow with how many there are.

Not uniform over orders, so it stands beside SURW in the portfolio, not in its place.  A pick costs a step for each
actor that is held or gone, once, and at a rendezvous one for each kind.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from .focus import FocusedStrategy

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..actor import Actor
    from ..profile import Profile


def kind_of(name: str) -> str:
    """The name of an actor without the number that tells it from its kin: ``kworker`` of ``kworker/1:0``."""
    return name.rstrip("0123456789/:.#-_") or name


class Kin(FocusedStrategy):
    """Hold everybody at the accesses that matter in this run, and let one kind after the other go on."""

    name: ClassVar[str] = "kin"

    def __init__(self, seed: int, profile: Profile) -> None:
        super().__init__(seed, profile)
        self._waiting: dict[str, list[Actor]] = {}  # those held, by kind; some may have been disabled since

    def holds(self, actor: Actor) -> bool:
        """Everybody is held at an access."""
        if not self.is_at_access(actor):
            return False
        self._waiting.setdefault(kind_of(actor.name), []).append(actor)
        return True

    def pick(self, enabled: Sequence[Actor]) -> int:
        """Draw uniformly among those that are not held, or else let one that is held go on."""
        actor = self.draw_free()
        return actor.slot if actor is not None else self._rendezvous(enabled)

    def _rendezvous(self, enabled: Sequence[Actor]) -> int:
        """Everybody is held: one of a random kind goes on, and may be drawn again."""
        waiting = self._waiting
        while waiting:
            kind = list(waiting)[int(self._random() * len(waiting))]
            kin = waiting[kind]
            index = int(self._random() * len(kin))
            actor, kin[index] = kin[index], kin[-1]
            kin.pop()
            if not kin:
                del waiting[kind]
            if actor.slot >= 0:
                self._free.append(actor)
                return actor.slot
            del self._listed[actor]
        return int(self._random() * len(enabled))
