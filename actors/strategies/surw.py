"""SURW: uniform over the orders of the accesses to one resource, drawn anew for each run.

Zhao et al., *Selectively uniform concurrency testing* (ASPLOS 2025), as exploration.md 3.5 gives it.  Few bugs need
more than one resource's accesses in a certain order, and a run that is uniform over those orders finds it soon,
however many other steps there are.  Before the run one shared resource is drawn in proportion to its accesses (a pilot
run's counts).  An *intended* actor is drawn in proportion to the accesses each still has to make; others go on by a
plain random walk until they are about to make an access, and then are held until the intended one has made its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from .focus import FocusedStrategy
from .weights import Weights

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..actor import Actor
    from ..interleaver import Interleaver
    from ..operation import Op
    from ..profile import Profile


class Surw(FocusedStrategy):
    """Hold back every actor but one at the accesses that matter in this run."""

    name: ClassVar[str] = "surw"
    watches_steps: ClassVar[bool] = True

    def __init__(self, seed: int, profile: Profile) -> None:
        super().__init__(seed, profile)
        self._expected = profile.with_descendants(self._accesses)
        self._weights = Weights()  # accesses left, by serial number, of the living
        self._by_serial: dict[int, Actor] = {}
        self._serial_of: dict[int, int] = {}  # by signature
        self._intended = -1  # a serial number
        self._held: dict[int, Actor] = {}  # by serial number; some may have been disabled since

    def begin(self, interleaver: Interleaver) -> None:
        """Take in the actors that are alive already."""
        for actor in interleaver.actors:
            if actor.serial not in self._by_serial:
                self._know(actor)
        super().begin(interleaver)

    def _know(self, actor: Actor) -> int:
        serial, signature = actor.serial, actor.maker.signature
        self._by_serial[serial] = actor
        self._serial_of[signature] = serial
        weight = self._weights[serial] = self._expected.get(signature, 0)
        return weight

    def on_step(self, actor: Actor, op: Op) -> None:
        """An access made: draw whose is the next, and let everybody come as far as theirs."""
        if op.races and op.resource.identity == self._interesting:
            serial = actor.serial
            if self._weights[serial]:
                self._weights[serial] -= 1
            if serial == self._intended or self._intended < 0:
                self._redraw()

    def on_spawn(self, parent: int, child: Actor) -> None:
        """The child takes its share of the accesses, and perhaps the intention, over from its parent."""
        weight = self._know(child)
        serial = self._serial_of.get(parent, -1)
        if not weight or serial < 0:
            return
        before = self._weights[serial]
        self._weights[serial] = max(before - weight, 0)
        if serial == self._intended and self._random() * max(before, weight) < weight:
            self._intended = child.serial

    def _redraw(self) -> None:
        weights = self._weights
        self._intended = weights.find(int(self._random() * weights.total)) if weights.total else -1
        if self._intended < 0:
            self._release()
        elif (actor := self._held.pop(self._intended, None)) is not None:
            self._free.append(actor)

    def _release(self) -> None:
        self._free += self._held.values()
        self._held.clear()

    def holds(self, actor: Actor) -> bool:
        """Everybody but the intended actor is held at an access."""
        if self._intended < 0 or actor.serial == self._intended or not self.is_at_access(actor):
            return False
        self._held[actor.serial] = actor
        return True

    def pick(self, enabled: Sequence[Actor]) -> int:
        """Draw uniformly among those that are not held."""
        if self._intended < 0:
            self._redraw()
        actor = self.draw_free()
        if actor is None and self._held:
            # The intended actor cannot come to its access: let another make one.
            self._release()
            self._intended = -1
            actor = self.draw_free()
        return actor.slot if actor is not None else int(self._random() * len(enabled))
