"""How much is scanned: numbers worked out by hand from the kernel's formulas."""

from __future__ import annotations

import pytest
from slubloom.kernel.shrinker.arithmetic import Plan, next_deferred, next_scan, plan


def scans(wanted: Plan, scanned_of_each: int | None = None) -> list[int]:
    """The calls of one round, where each call scans what it is asked or `scanned_of_each`."""
    calls, total = [], wanted.total_scan
    while (number := next_scan(wanted, total)) is not None:
        calls.append(number)
        total -= number if scanned_of_each is None else scanned_of_each
    return calls


@pytest.mark.parametrize(
    ("freeable", "priority", "seeks", "delta"),
    [
        (4096, 12, 2, 2),  # 4096 >> 12 = 1, times 4 / 2
        (4095, 12, 2, 0),  # nothing is left of it
        (10_000, 4, 2, 1250),  # 625 * 4 / 2
        (10_000, 0, 2, 20_000),  # twice what there is
        (10_000, 4, 8, 312),  # dearer objects: 2500 / 8, rounded down
        (10_000, 12, 0, 5_000),  # objects that cost nothing to recreate: half of them, whatever the priority
        (7, 12, 0, 3),
    ],
)
def test_pressure_is_a_fraction_of_what_is_freeable(freeable: int, priority: int, seeks: int, delta: int) -> None:
    assert plan(freeable, 0, priority, seeks).delta == delta


def test_no_more_than_twice_of_what_is_freeable_is_wanted_at_once() -> None:
    assert plan(100, 1_000_000, 0).total_scan == 200
    assert plan(100, 1_000_000, 12).total_scan == 200  # 1000000 >> 12 = 244, and 0 new ones
    assert plan(1000, 1_000_000, 12).total_scan == 244


def test_work_is_done_in_batches_and_the_rest_is_deferred() -> None:
    wanted = plan(10_000, 0, 5)  # 312 * 2
    assert (wanted.total_scan, wanted.batch) == (624, 128)
    assert scans(wanted) == [128, 128, 128, 128]  # 112 are left, less than a batch
    assert next_deferred(wanted, 4 * 128) == 112


def test_what_was_deferred_counts_with_the_priority_but_is_kept_in_full() -> None:
    wanted = plan(10_000, 4000, 5)
    assert wanted.total_scan == 125 + 624
    assert scans(wanted) == [128] * 5  # 749 - 640 = 109
    assert next_deferred(wanted, 640) == 4000 + 624 - 640


def test_less_than_a_batch_is_scanned_where_there_is_no_more() -> None:
    wanted = plan(50, 0, 0)
    assert wanted.total_scan == 100
    assert scans(wanted) == [100]  # 100 < 128, but not below the 50 that there are
    assert next_deferred(wanted, 100) == 0


def test_less_than_a_batch_is_not_scanned_at_low_pressure() -> None:
    wanted = plan(50, 0, 12)
    assert (wanted.total_scan, scans(wanted)) == (0, [])
    assert next_deferred(wanted, 0) == 0


def test_a_batch_of_its_own_replaces_the_default() -> None:
    wanted = plan(1000, 0, 4, batch=10)  # 62 * 2 = 124
    assert scans(wanted) == [10] * 12
    assert next_deferred(wanted, 120) == 4


def test_a_shrinker_that_skips_objects_is_called_again_for_them() -> None:
    wanted = plan(1000, 0, 1)  # 500 * 2
    assert scans(wanted, scanned_of_each=200) == [128, 128, 128, 128, 128]


def test_deferred_work_is_never_below_zero_nor_above_twice_the_cache() -> None:
    assert next_deferred(plan(100, 0, 3), 1000) == 0
    assert next_deferred(plan(100, 5000, 12), 0) == 200
