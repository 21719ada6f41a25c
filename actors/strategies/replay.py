"""Replay: the decisions of an earlier run, in order, from its tape."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from .base import Strategy, TapeError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..actor import Actor


class Replay(Strategy):
    """Give the answers of `tape`; `costed` as it was in the recorded run."""

    name: ClassVar[str] = "replay"

    def __init__(self, tape: Sequence[int], *, costed: bool) -> None:
        self.costed = costed
        self._tape = tape
        self.position = 0  # of the next decision

    def pick(self, enabled: Sequence[Actor]) -> int:
        """The recorded actor."""
        return self._next("which actor steps", len(enabled))

    def choose(self, kind: str, n: int) -> int:
        """The recorded answer."""
        return self._next(kind, n)

    def _next(self, kind: str, n: int) -> int:
        position = self.position
        if position >= len(self._tape):
            raise TapeError(f"the tape ends after {position} decisions but the run goes on: next is {kind} (1 of {n})")
        answer = self._tape[position]
        if answer >= n:
            raise TapeError(f"decision {position} of the tape is {answer} but here is a choice of {n} ({kind})")
        self.position = position + 1
        return answer


class TolerantReplay(Replay):
    """Follow a tape as far as it fits, then go on with the first answer everywhere.

    ``lost_at`` is the number of the decision at which it stopped to fit, None while it does.
    """

    def __init__(self, tape: Sequence[int], *, costed: bool) -> None:
        super().__init__(tape, costed=costed)
        self.length = len(tape)
        self.lost_at: int | None = None

    def _next(self, kind: str, n: int) -> int:
        if self.lost_at is None:
            try:
                return super()._next(kind, n)
            except TapeError:
                self.lost_at = self.position
        return 0
