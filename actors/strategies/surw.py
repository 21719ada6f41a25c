"""SURW: uniform over the orders of the accesses to one resource, drawn anew for each run.

Zhao et al., *Selectively uniform concurrency testing* (ASPLOS 2025), as exploration.md 3.5 gives it.  Few bugs need
more than one resource's accesses in a certain order, and a run that is uniform over those orders finds it soon,
however many other steps there are.  Before the run one shared resource is drawn in proportion to its accesses (a pilot
run's counts).  An *intended* actor is drawn in proportion to the accesses each still has to make; others go on by a
plain random walk until they are about to make an access, and then are held until the intended one has made its own.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, ClassVar

from .base import Strategy
from .weights import Weights

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..actor import Actor
    from ..interleaver import Interleaver
    from ..operation import Op
    from ..profile import Profile


class Surw(Strategy):
    """Hold back every actor but one at the accesses that matter in this run."""

    name: ClassVar[str] = "surw"
    watches_enabled: ClassVar[bool] = True
    watches_steps: ClassVar[bool] = True
    needs_profile: ClassVar[bool] = True

    def __init__(self, seed: int, profile: Profile) -> None:
        self._random = random.Random(seed).random
        self._interesting, accesses = self._draw_resource(profile)
        self._expected = profile.with_descendants(accesses)
        self._weights = Weights()  # accesses left, by serial number, of the living
        self._by_serial: dict[int, Actor] = {}
        self._serial_of: dict[int, int] = {}  # by signature
        self._intended = -1  # a serial number
        self._free: list[Actor] = []  # may be drawn; some may have been disabled since
        self._listed: dict[Actor, None] = {}
        self._held: dict[int, Actor] = {}  # by serial number; some may have been disabled since

    def _draw_resource(self, profile: Profile) -> tuple[int, dict[int, int]]:
        shared = profile.shared()
        total = sum(sum(by_actor.values()) for by_actor in shared.values())
        mark = int(self._random() * total)
        for identity, by_actor in shared.items():
            mark -= sum(by_actor.values())
            if mark < 0:
                return identity, by_actor
        return 0, {}

    def begin(self, interleaver: Interleaver) -> None:
        """Take in the actors that are alive already."""
        for actor in interleaver.actors:
            if actor.serial not in self._by_serial:
                self._know(actor)
        for actor in interleaver.enabled:
            self.on_enabled(actor)

    def _know(self, actor: Actor) -> int:
        serial, signature = actor.serial, actor.maker.signature
        self._by_serial[serial] = actor
        self._serial_of[signature] = serial
        weight = self._expected.get(signature, 0)
        self._weigh(actor, weight)
        return weight

    def _weigh(self, actor: Actor, weight: int) -> None:
        """Note how many accesses `actor` still has to make, those it will spawn included."""
        self._weights[actor.serial] = weight

    def on_enabled(self, actor: Actor) -> None:
        """Let it be drawn, unless it is listed or held already."""
        if actor not in self._listed:
            self._listed[actor] = None
            self._free.append(actor)

    def on_step(self, actor: Actor, op: Op) -> None:
        """An access made: draw whose is the next, and let everybody come as far as theirs."""
        if op.races and op.resource.identity == self._interesting:
            serial = actor.serial
            if self._weights[serial]:
                self._weigh(actor, self._weights[serial] - 1)
            if serial == self._intended or self._intended < 0:
                self._redraw()

    def on_spawn(self, parent: int, child: Actor) -> None:
        """The child takes its share of the accesses, and perhaps the intention, over from its parent."""
        weight = self._know(child)
        serial = self._serial_of.get(parent, -1)
        if not weight or serial < 0:
            return
        before = self._weights[serial]
        self._weigh(self._by_serial[serial], max(before - weight, 0))
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

    def pick(self, enabled: Sequence[Actor]) -> int:
        """Draw uniformly among those that are not held: a step for each that is held or gone, once."""
        if self._intended < 0:
            self._redraw()
        free = self._free
        while True:
            if not free:
                if not self._held:
                    return int(self._random() * len(enabled))
                # The intended actor cannot come to its access: let another make one.
                self._release()
                self._intended = -1
            index = int(self._random() * len(free))
            actor = free[index]
            if actor.slot >= 0:
                if self._intended < 0 or actor.serial == self._intended:
                    return actor.slot
                op = actor.pending
                if not op.races or op.resource.identity != self._interesting:
                    return actor.slot
                self._held[actor.serial] = actor
            else:
                del self._listed[actor]
            free[index] = free[-1]
            free.pop()

    def choose(self, kind: str, n: int) -> int:
        """Any of the `n` answers."""
        return int(self._random() * n)
