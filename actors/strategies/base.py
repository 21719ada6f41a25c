"""The interface of a strategy.

A strategy is asked at every decision of a run: which of the enabled actors takes the next step (`pick`), and everything
else that is not determined (`choose`: which waiter wakes, which message of equals comes first, …).  It is never asked
where there is only one possibility.  The answers, in order, are the tape.

Whether operations cost virtual time (``costed``) belongs to the strategy too, because only `Timed` orders actors by it.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ..actor import Actor
    from ..interleaver import Interleaver
    from ..operation import Op
    from ..resource import Access, Resource


class TapeError(Exception):
    """A recorded tape does not fit the run: the scenario or the program has changed since it was recorded."""


class Strategy:
    """Base of all strategies: answers by index."""

    name: ClassVar[str] = ""
    costed: bool = False
    watches_enabled: ClassVar[bool] = False  # wants `on_enabled`: costs a call each time
    watches_steps: ClassVar[bool] = False  # wants `on_step` and `on_spawn`: likewise
    watches_touches: ClassVar[bool] = False  # wants `touch`: likewise
    needs_profile: ClassVar[bool] = False  # is made with the profile of a pilot run

    # A strategy that decides everything uniformly gives its generator of numbers in [0, 1): hot paths then draw from it
    # themselves, a call less than `pick` or `choose`.
    draw: Callable[[], float] | None = None

    def begin(self, interleaver: Interleaver) -> None:
        """Called once, before the first step; takes in the actors that are enabled already."""
        if self.watches_enabled:
            for actor in interleaver.enabled:
                self.on_enabled(actor)

    def pick(self, enabled: Sequence[Actor]) -> int:
        """Index of the actor to take the next step, of two or more ``enabled`` whose ``pending`` can be looked at."""
        raise NotImplementedError

    def choose(self, kind: str, n: int) -> int:
        """Answer another decision of the run: 0 ≤ answer < `n`, where `n` ≥ 2 and `kind` says what is decided."""
        raise NotImplementedError

    def on_enabled(self, actor: Actor) -> None:
        """Told of each actor that becomes enabled, where ``watches_enabled``."""

    def on_step(self, actor: Actor, op: Op) -> None:
        """Told of each step before it is made, also where there was nothing to pick, where ``watches_steps``."""

    def touch(self, resource: Resource, access: Access) -> None:
        """Told of what the step being made touches beyond its operation, where ``watches_touches``."""

    def on_spawn(self, parent: int, child: Actor) -> None:
        """Told of each actor that is born and the signature of who spawned it, where ``watches_steps``."""

    def on_end(self, *, violated: bool) -> None:
        """Told by who explores that the run is over: a strategy that learns over several runs uses it."""


class SeededStrategy(Strategy):
    """Base of strategies that draw from a generator seeded with `seed`; answers what it does not pick uniformly."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed).random

    def choose(self, kind: str, n: int) -> int:
        """Any of the `n` answers."""
        return int(self._random() * n)
