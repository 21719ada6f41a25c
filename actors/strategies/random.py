"""Uniform random walk: each enabled actor is equally likely to take the next step.

The baseline of every comparison (exploration.md 3.1): cheap, good where bugs are dense, poor where one short actor must
outlast many steps of another.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from .base import SeededStrategy

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..actor import Actor


class RandomWalk(SeededStrategy):
    """Draw every decision uniformly from a generator seeded with `seed`."""

    name: ClassVar[str] = "random"

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        self.draw = self._random

    def pick(self, enabled: Sequence[Actor]) -> int:
        """Any enabled actor."""
        return int(self._random() * len(enabled))
