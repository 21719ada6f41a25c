"""What releases do differently about sizes (catalogue 2.3 and the commits named in the history of patches)."""

from __future__ import annotations

import pytest
from slubloom.kernel.releases import checkout
from slubloom.kernel.slab.flags import SLAB_KMALLOC, SLAB_POISON, SLAB_RED_ZONE, SLAB_STORE_USER
from slubloom.kernel.slab.geometry import Geometry, calculate_sizes
from slubloom.kernel.slab.sizing import SIZING_3_10, SIZING_6_1, Tunables, order_by_fewer_objects, order_by_more_waste


def made(release: str, size: int, flags: int = 0, *, ctor: bool = False) -> Geometry:
    return calculate_sizes(size, 0, flags, ctor=ctor, tunables=Tunables(4), sizing=checkout(release).sizing)


def test_the_history_leads_from_the_oldest_sizing_to_the_newest() -> None:
    assert checkout("v3.10").sizing == SIZING_3_10
    assert checkout("v6.1").sizing == SIZING_6_1


def test_processors_kept_few_slabs_up_to_5_15() -> None:
    sizes = (64, 256, 1024, 4096)
    assert [made("v5.15", size).cpu_partial for size in sizes] == [30, 13, 6, 2]
    assert [made("v5.16", size).cpu_partial for size in sizes] == [120, 52, 24, 6]


def test_their_limit_is_in_slabs_from_5_16() -> None:
    assert made("v5.15", 64).cpu_partial_slabs == 0
    assert made("v5.16", 64).cpu_partial_slabs == 4  # 2 * 120 objects, 64 in a slab


@pytest.mark.parametrize(
    ("release", "expected"), [("v5.10", [8, 8, 8]), ("v5.11", [8, 4, 8]), ("v6.1", [8, 4, 8])], ids=str
)
def test_slabs_are_for_processors_that_are_plugged_in_from_5_11(release: str, expected: list[int]) -> None:
    sizing = checkout(release).sizing
    assert [sizing.nr_cpus(possible=8, present=present, online=1) for present in (8, 4, 1)] == expected


def test_release_candidates_of_5_11_counted_those_that_run() -> None:
    sizing = checkout("v5.11", revert=["3286222fc609"]).sizing
    assert sizing.nr_cpus(possible=8, present=8, online=1) == 1


def test_the_free_pointer_moved_twice() -> None:
    assert [made("v5.6", size).offset for size in (8, 24, 100)] == [0, 0, 0]
    assert [made("v5.7", size).offset for size in (8, 24, 100)] == [0, 16, 56]  # 12 and 52, rounded up
    assert [made("v5.13", size).offset for size in (8, 24, 100)] == [0, 8, 48]  # rounded down
    for release in ("v5.6", "v5.7", "v5.13"):
        assert made(release, 100, ctor=True).offset == made(release, 100, SLAB_POISON).offset == 104


def test_a_small_object_in_red_zones_kept_the_pointer_inside_up_to_5_12() -> None:
    assert (made("v5.12", 4, SLAB_RED_ZONE).offset, made("v5.12", 4, SLAB_RED_ZONE).size) == (0, 24)
    assert (made("v5.13", 4, SLAB_RED_ZONE).offset, made("v5.13", 4, SLAB_RED_ZONE).size) == (8, 32)


def test_there_is_a_red_zone_on_the_left_from_4_6() -> None:
    assert (made("v4.5", 100, SLAB_RED_ZONE).size, made("v4.5", 100, SLAB_RED_ZONE).red_left_pad) == (112, 0)
    assert (made("v4.6", 100, SLAB_RED_ZONE).size, made("v4.6", 100, SLAB_RED_ZONE).red_left_pad) == (120, 8)


def test_tracks_hold_a_handle_instead_of_sixteen_addresses_from_5_19() -> None:
    assert made("v5.18", 64, SLAB_STORE_USER).size == 64 + 2 * 152
    assert made("v5.19", 64, SLAB_STORE_USER).size == 64 + 2 * 32


def test_kmalloc_remembers_the_requested_size_from_6_1() -> None:
    assert made("v6.0", 64, SLAB_STORE_USER | SLAB_KMALLOC).size == 128
    assert made("v6.1", 64, SLAB_STORE_USER | SLAB_KMALLOC).size == 136


@pytest.mark.parametrize("nr_cpus", [1, 2, 4, 8, 64, 256])
def test_the_order_without_fewer_objects_differs_for_few_sizes_only(nr_cpus: int) -> None:
    tunables = Tunables(nr_cpus)
    different = [
        size
        for size in range(8, 100_000, 8)
        if order_by_fewer_objects(size, tunables) != order_by_more_waste(size, tunables)
    ]
    assert (different[0], different[-1], len(different)) == (10928, 12280, 170)
    assert (order_by_fewer_objects(10928, tunables), order_by_more_waste(10928, tunables)) == (2, 3)


def test_the_order_without_fewer_objects_can_be_tried_on_an_older_release() -> None:
    sizing = checkout("v6.1", apply=["0fe2735d5e2e"]).sizing
    assert calculate_sizes(11000, 0, 0, ctor=False, tunables=Tunables(4), sizing=sizing).order == 3
