"""URW: random walk weighted by how much each actor still has to do.

Zhao et al., *Selectively uniform concurrency testing* (ASPLOS 2025), as exploration.md 3.5 gives it.  With exact counts
and nobody blocking, every interleaving is equally likely: a short actor is no more likely to come early than late.
The counts are a pilot run's; where they are wrong the walk only becomes less uniform.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from .base import SeededStrategy
from .weights import Weights

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..actor import Actor
    from ..operation import Op
    from ..profile import Profile


class Urw(SeededStrategy):
    """An enabled actor, in proportion to the steps that it and those it will spawn still have to make."""

    name: ClassVar[str] = "urw"
    watches_enabled: ClassVar[bool] = True
    watches_steps: ClassVar[bool] = True
    needs_profile: ClassVar[bool] = True

    def __init__(self, seed: int, profile: Profile) -> None:
        super().__init__(seed)
        self._expected = profile.with_descendants(profile.events)
        self._left: dict[int, int] = {}  # steps left, by signature
        self._weights = Weights()  # of the enabled; an actor that was disabled since may still be in
        self._by_serial: dict[int, Actor] = {}
        self._serial_of: dict[int, int] = {}  # by signature

    def _weight(self, signature: int) -> int:
        left = self._left.get(signature)
        if left is None:
            left = self._left[signature] = self._expected.get(signature, 1)
        return max(left, 1)

    def on_enabled(self, actor: Actor) -> None:
        """Let it be drawn."""
        self._by_serial[actor.serial] = actor
        self._serial_of[actor.maker.signature] = actor.serial
        self._weights[actor.serial] = self._weight(actor.maker.signature)

    def on_step(self, actor: Actor, op: Op) -> None:
        """One step less to make."""
        signature = actor.maker.signature
        self._left[signature] = self._weight(signature) - 1
        if self._weights[actor.serial]:
            self._weights[actor.serial] = self._weight(signature)

    def on_spawn(self, parent: int, child: Actor) -> None:
        """What the child has to do is no longer the parent's."""
        signature = child.maker.signature
        self._left[parent] = self._weight(parent) - self._weight(signature)
        serial = self._serial_of.get(parent, -1)
        if serial >= 0 and self._weights[serial]:
            self._weights[serial] = self._weight(parent)

    def pick(self, enabled: Sequence[Actor]) -> int:
        """Draw; who turns out not to be enabled any more loses its weight."""
        weights = self._weights
        while weights.total:
            serial = weights.find(int(self._random() * weights.total))
            actor = self._by_serial[serial]
            if actor.slot >= 0:
                return actor.slot
            weights[serial] = 0
        return int(self._random() * len(enabled))
