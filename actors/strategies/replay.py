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
        self._position = 0

    def pick(self, enabled: Sequence[Actor]) -> int:
        """The recorded actor."""
        return self._next("which actor steps", len(enabled))

    def choose(self, kind: str, n: int) -> int:
        """The recorded answer."""
        return self._next(kind, n)

    def _next(self, kind: str, n: int) -> int:
        position = self._position
        if position >= len(self._tape):
            raise TapeError(f"the tape ends after {position} decisions but the run goes on: next is {kind} (1 of {n})")
        self._position = position + 1
        answer = self._tape[position]
        if answer >= n:
            raise TapeError(f"decision {position} of the tape is {answer} but here is a choice of {n} ({kind})")
        return answer
