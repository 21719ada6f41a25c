"""Percentiles by nearest rank."""

from __future__ import annotations

import random

import pytest

from slubloom.compare.figures import Histogram


@pytest.mark.parametrize(
    ("numbers", "percent", "expected"),
    [
        ([15, 20, 35, 40, 50], 5, 15),
        ([15, 20, 35, 40, 50], 30, 20),
        ([15, 20, 35, 40, 50], 40, 20),
        ([15, 20, 35, 40, 50], 50, 35),
        ([15, 20, 35, 40, 50], 100, 50),
        ([1, 2], 50, 1),
        ([3], 99, 3),
        ([], 50, 0),
    ],
)
def test_percentiles(numbers: list[int], percent: int, expected: int) -> None:
    assert Histogram(numbers).percentile(percent) == expected


def test_percentiles_are_those_of_the_sorted_list() -> None:
    draw = random.Random(1)
    for size in range(1, 250):
        numbers = [draw.randrange(40) for _ in range(size)]
        histogram = Histogram(numbers)
        for percent in (1, 50, 99):
            assert histogram.percentile(percent) == sorted(numbers)[-(-percent * size // 100) - 1]
        assert (histogram.min, histogram.max) == (min(numbers), max(numbers))
        assert (histogram.count, histogram.total) == (size, sum(numbers))
