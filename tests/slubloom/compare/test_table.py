"""Numbers and rows as a person reads them."""

from __future__ import annotations

import pytest

from slubloom.compare.result import Figure
from slubloom.compare.table import Row, aligned, count_text, time_text


@pytest.mark.parametrize(
    ("ns", "expected"),
    [
        (0, "0 ns"),
        (999, "999 ns"),
        (1_000, "1.000 us"),
        (12_345, "12.35 us"),
        (999_949, "999.9 us"),
        (999_999, "1.000 ms"),
        (24_003_830, "24.00 ms"),
        (1_500_000_000, "1.500 s"),
        (12_345_678_000_000, "12346 s"),
    ],
)
def test_times_have_four_digits_and_the_unit_that_suits_them(ns: int, expected: str) -> None:
    assert time_text(Figure(ns, ns, ns)) == expected


def test_a_range_has_the_unit_of_its_median() -> None:
    assert time_text(Figure(4_000_000, 900_000, 12_000_000)) == "4.000 ms [0.900..12.00]"
    assert count_text(Figure(1_234, 0, 56_789)) == "1,234 [0..56,789]"


def test_columns_are_as_wide_as_what_is_in_them() -> None:
    rows = [Row("", ("v4.10", "v6.12+x")), Row("a lock"), Row("  held", ("1 ns", "12.35 us"))]
    assert aligned(rows) == ["        v4.10   v6.12+x", "a lock", "  held   1 ns  12.35 us"]
