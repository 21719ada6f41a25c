"""Exact order statistics of whole numbers, by nearest rank."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


class Histogram:
    """How often each number came: a million times held are a few hundred different ones."""

    __slots__ = ("_times", "count", "total")

    def __init__(self, numbers: Iterable[int] = ()) -> None:
        self._times: dict[int, int] = {}
        self.count = 0
        self.total = 0
        for number in numbers:
            self.add(number)

    def add(self, number: int) -> None:
        """Count `number`."""
        self._times[number] = self._times.get(number, 0) + 1
        self.count += 1
        self.total += number

    @property
    def max(self) -> int:
        """The largest; 0 of none."""
        return max(self._times, default=0)

    @property
    def min(self) -> int:
        """The smallest; 0 of none."""
        return min(self._times, default=0)

    def percentile(self, percent: int) -> int:
        """The smallest number that `percent` of 100 are not above; 0 of none."""
        rank = -(-percent * self.count // 100)
        seen = 0
        for number in sorted(self._times):
            seen += self._times[number]
            if seen >= rank:
                return number
        return 0
