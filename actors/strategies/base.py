"""The interface of a strategy.

A strategy is asked at every decision of a run: which of the enabled actors takes the next step (`pick`), and everything
else that is not determined (`choose`: which waiter wakes, which message of equals comes first, …).  It is never asked
where there is only one possibility.  The answers, in order, are the tape.

Whether operations cost virtual time (``costed``) belongs to the strategy too, because only `Timed` orders actors by it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ..actor import Actor
    from ..interleaver import Interleaver


class TapeError(Exception):
    """A recorded tape does not fit the run: the scenario or the program has changed since it was recorded."""


class Strategy:
    """Base of all strategies: answers by index."""

    name: ClassVar[str] = ""
    costed: bool = False
    watches_enabled: ClassVar[bool] = False  # wants `on_enabled`: costs a call each time

    # A strategy that decides everything uniformly gives its generator of numbers in [0, 1): hot paths then draw from it
    # themselves, a call less than `pick` or `choose`.
    draw: Callable[[], float] | None = None

    def begin(self, interleaver: Interleaver) -> None:
        """Called once, before the first step."""

    def pick(self, enabled: Sequence[Actor]) -> int:
        """Index of the actor to take the next step, of two or more ``enabled`` whose ``pending`` can be looked at."""
        raise NotImplementedError

    def choose(self, kind: str, n: int) -> int:
        """Answer another decision of the run: 0 ≤ answer < `n`, where `n` ≥ 2 and `kind` says what is decided."""
        raise NotImplementedError

    def on_enabled(self, actor: Actor) -> None:
        """Told of each actor that becomes enabled, where ``watches_enabled``."""
