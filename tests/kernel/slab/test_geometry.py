"""Geometry: worked by hand from the rules, and the kernel's own table of the catalogue."""

from __future__ import annotations

import pytest
from slubloom.kernel.slab.flags import (
    CMPXCHG_DOUBLE,
    OBJECT_POISON,
    SLAB_ACCOUNT,
    SLAB_CACHE_DMA,
    SLAB_CACHE_DMA32,
    SLAB_CONSISTENCY_CHECKS,
    SLAB_HWCACHE_ALIGN,
    SLAB_KMALLOC,
    SLAB_NO_USER_FLAGS,
    SLAB_NOLEAKTRACE,
    SLAB_POISON,
    SLAB_RECLAIM_ACCOUNT,
    SLAB_RED_ZONE,
    SLAB_STORE_USER,
    SLAB_TRACE,
    SLAB_TYPESAFE_BY_RCU,
)
from slubloom.kernel.slab.geometry import Geometry, calculate_alignment, calculate_sizes
from slubloom.kernel.slab.sizing import SIZING_6_1, Tunables, align_up, get_order
from slubloom.kernel.slab.slub_debug import parse_slub_debug

MIB = 1 << 20

# size: order, objects, min_partial, cpu_partial, cpu_partial_slabs with 2, 4, 8 and 64 processors (catalogue 2.3).
GOLDEN = {
    8: [(0, 512, 5, 120, 1)] * 4,
    32: [(0, 128, 5, 120, 2)] * 4,
    64: [(0, 64, 5, 120, 4)] * 4,
    96: [(0, 42, 5, 120, 6)] * 4,
    128: [(0, 32, 5, 120, 8)] * 4,
    192: [(0, 21, 5, 120, 12)] * 3 + [(1, 42, 5, 120, 6)],
    256: [(0, 16, 5, 52, 7)] * 2 + [(1, 32, 5, 52, 4)] * 2,
    320: [(0, 12, 5, 52, 9), (1, 25, 5, 52, 5), (1, 25, 5, 52, 5), (2, 51, 5, 52, 3)],
    512: [(1, 16, 5, 52, 7)] * 2 + [(2, 32, 5, 52, 4)] * 2,
    576: [(1, 14, 5, 52, 8), (2, 28, 5, 52, 4), (2, 28, 5, 52, 4), (3, 56, 5, 52, 2)],
    640: [(1, 12, 5, 52, 9), (2, 25, 5, 52, 5), (2, 25, 5, 52, 5), (3, 51, 5, 52, 3)],
    832: [(2, 19, 5, 52, 6)] * 2 + [(3, 39, 5, 52, 3)] * 2,
    1024: [(2, 16, 5, 24, 3)] * 2 + [(3, 32, 5, 24, 2)] * 2,
    1088: [(2, 15, 5, 24, 4)] + [(3, 30, 5, 24, 2)] * 3,
    1472: [(3, 22, 5, 24, 3)] * 4,
    2048: [(3, 16, 5, 24, 3)] * 4,
    3072: [(3, 10, 5, 24, 5)] * 4,
    4096: [(3, 8, 6, 6, 2)] * 4,
    6016: [(3, 5, 6, 6, 3)] * 4,
    8192: [(3, 4, 6, 6, 3)] * 4,
    12288: [(3, 2, 6, 6, 6)] * 4,
    16384: [(3, 2, 7, 6, 6)] * 4,
    40000: [(4, 1, 7, 6, 12)] * 4,
}


def made(
    size: int, flags: int = 0, *, align: int = 0, ctor: bool = False, nr_cpus: int = 2, debug: str | None = None
) -> Geometry:
    tunables = Tunables(nr_cpus) if debug is None else Tunables(nr_cpus, debug=parse_slub_debug(debug))
    flags = tunables.debug.cache_flags("cache", flags)
    return calculate_sizes(size, align, flags, ctor=ctor, tunables=tunables, sizing=SIZING_6_1)


@pytest.mark.parametrize("size", GOLDEN)
def test_orders_and_limits_are_those_of_the_kernel(size: int) -> None:
    for nr_cpus, expected in zip((2, 4, 8, 64), GOLDEN[size], strict=True):
        g = made(size, nr_cpus=nr_cpus)
        assert (g.order, g.objects, g.min_partial, g.cpu_partial, g.cpu_partial_slabs) == expected


@pytest.mark.parametrize(
    ("align", "flags", "size", "expected"),
    [
        (0, 0, 100, 8),
        (4, 0, 100, 8),
        (12, 0, 100, 16),  # to a whole word
        (24, 0, 100, 24),  # not a power of two, and nobody minds
        (0, SLAB_HWCACHE_ALIGN, 1, 8),
        (0, SLAB_HWCACHE_ALIGN, 8, 8),
        (0, SLAB_HWCACHE_ALIGN, 9, 16),
        (0, SLAB_HWCACHE_ALIGN, 16, 16),
        (0, SLAB_HWCACHE_ALIGN, 17, 32),
        (0, SLAB_HWCACHE_ALIGN, 32, 32),
        (0, SLAB_HWCACHE_ALIGN, 33, 64),
        (0, SLAB_HWCACHE_ALIGN, 5000, 64),
        (128, SLAB_HWCACHE_ALIGN, 5000, 128),
        (32, SLAB_HWCACHE_ALIGN, 16, 32),
    ],
)
def test_alignment(align: int, flags: int, size: int, expected: int) -> None:
    assert calculate_alignment(flags, align, size) == expected


def test_an_alignment_that_is_no_power_of_two_is_rounded_with_the_mask_of_one() -> None:
    assert [align_up(size, 24) for size in (8, 16, 40, 104)] == [8, 32, 40, 104]


def test_get_order_is_zero_for_up_to_a_page() -> None:
    assert [get_order(size) for size in (1, 4096, 4097, 8192, 8193, 4 * MIB, 4 * MIB + 1)] == [0, 0, 1, 1, 2, 10, 11]


def test_a_plain_object_has_the_free_pointer_in_its_middle() -> None:
    g = made(100)
    assert (g.size, g.inuse, g.offset, g.red_left_pad) == (104, 104, 48, 0)
    assert [made(size).offset for size in (1, 8, 15, 16, 31, 32)] == [0, 0, 0, 8, 8, 16]


@pytest.mark.parametrize(
    ("flags", "ctor"), [(SLAB_TYPESAFE_BY_RCU, False), (SLAB_POISON, False), (0, True)], ids=["rcu", "poison", "ctor"]
)
def test_an_object_that_is_touched_while_it_is_free_has_the_free_pointer_behind_it(flags: int, ctor: bool) -> None:
    g = made(100, flags, ctor=ctor)
    assert (g.size, g.inuse, g.offset) == (112, 104, 104)


def test_red_zones_around_an_object_that_fills_its_words() -> None:
    # 64 → a word of red zone, 72 → the word before tracks, 80 → a left pad as large as the alignment, 144 → 192.
    g = made(64, SLAB_RED_ZONE | SLAB_HWCACHE_ALIGN)
    assert (g.inuse, g.offset, g.red_left_pad, g.size) == (72, 32, 64, 192)


def test_padding_serves_as_the_red_zone_where_there_is_some() -> None:
    # 100 → 104, no word more; + 8 + 8.
    g = made(100, SLAB_RED_ZONE)
    assert (g.inuse, g.offset, g.red_left_pad, g.size) == (104, 48, 8, 120)


def test_a_red_zoned_object_smaller_than_a_pointer_has_it_behind() -> None:
    # 4 → 8, pointer 16, + 8 + 8.
    g = made(4, SLAB_RED_ZONE)
    assert (g.inuse, g.offset, g.size) == (8, 8, 32)


def test_all_debugging_at_once() -> None:
    # 100 → 104, pointer 112, two tracks of 32 bytes 176, + 8 + 8.
    g = made(100, SLAB_RED_ZONE | SLAB_POISON | SLAB_STORE_USER | SLAB_CONSISTENCY_CHECKS)
    assert (g.inuse, g.offset, g.red_left_pad, g.size) == (104, 104, 8, 192)
    assert (g.cpu_partial, g.cpu_partial_slabs) == (0, 0)


def test_a_tracked_kmalloc_object_keeps_what_was_asked_for() -> None:
    assert made(64, SLAB_STORE_USER, align=64).size == 128  # 64 + 64
    assert made(64, SLAB_STORE_USER | SLAB_KMALLOC, align=64).size == 192  # 64 + 64 + 4


def test_flags_of_slub_itself() -> None:
    assert made(8).flags == CMPXCHG_DOUBLE
    assert made(8, SLAB_RED_ZONE).flags == SLAB_RED_ZONE | CMPXCHG_DOUBLE
    for flag in (SLAB_STORE_USER, SLAB_CONSISTENCY_CHECKS, SLAB_TRACE):
        assert made(8, flag).flags == flag
    assert made(8, SLAB_POISON).flags == SLAB_POISON | OBJECT_POISON | CMPXCHG_DOUBLE
    assert made(8, SLAB_POISON, ctor=True).flags == SLAB_POISON | CMPXCHG_DOUBLE
    typesafe = SLAB_POISON | SLAB_TYPESAFE_BY_RCU
    assert made(8, typesafe).flags == typesafe | CMPXCHG_DOUBLE


def test_pages_are_asked_for_as_the_flags_say() -> None:
    assert made(8).allocflags == 0
    assert made(4096).allocflags == 0x40000  # compound, as the order is 3
    assert made(8, SLAB_CACHE_DMA | SLAB_RECLAIM_ACCOUNT).allocflags == 0x11
    assert made(8, SLAB_CACHE_DMA32 | SLAB_ACCOUNT).allocflags == 0x4


def test_the_fallback_is_the_smallest_order_that_holds_one() -> None:
    assert [(made(size).min_order, made(size).min_objects) for size in (64, 4096, 5000, 40000)] == [
        (0, 64),
        (0, 1),
        (1, 1),
        (4, 1),
    ]


def test_objects_of_up_to_4_mib_are_possible_and_no_larger_ones() -> None:
    assert (made(4 * MIB).order, made(4 * MIB).objects, made(4 * MIB).min_partial) == (10, 1, 10)
    with pytest.raises(ValueError, match="no slab holds an object that takes 4194312 bytes"):
        made(4 * MIB + 1)
    with pytest.raises(ValueError, match="no slab holds"):
        made(4 * MIB, ctor=True)
    with pytest.raises(ValueError, match="0 bytes"):
        made(0)


@pytest.mark.parametrize(
    ("tunables", "size", "expected"),
    [
        (Tunables(2, max_order=1), 2048, (1, 4)),
        (Tunables(2, max_order=0), 5000, (1, 1)),  # it must fit
        (Tunables(2, min_order=2), 64, (2, 256)),
        (Tunables(2, min_order=10), 8, (5, 16384)),  # a slab counts to 32767
        (Tunables(2, min_order=10, max_order=10), 128, (9, 16384)),
        (Tunables(2, min_objects=60), 64, (0, 64)),
        (Tunables(2, min_objects=65), 64, (1, 128)),
        (Tunables(2, min_objects=1), 1000, (0, 4)),
        (Tunables(2, min_objects=2, max_order=10), 5000, (4, 13)),  # 1384 of 16384 wasted, 2768 of 32768, 536 of 65536
    ],
)
def test_boot_parameters(tunables: Tunables, size: int, expected: tuple[int, int]) -> None:
    g = calculate_sizes(size, 0, 0, ctor=False, tunables=tunables, sizing=SIZING_6_1)
    assert (g.order, g.objects) == expected


def test_more_objects_than_a_slab_can_count_are_refused() -> None:
    with pytest.raises(ValueError, match="32768 objects"):
        calculate_sizes(8, 0, 0, ctor=False, tunables=Tunables(2, 0, 10, 32767), sizing=SIZING_6_1)


def test_slub_debug_o_spares_caches_whose_slabs_would_grow() -> None:
    spared = made(4096, debug="FZPUO")
    assert (spared.size, spared.inuse, spared.offset) == (4096, 4096, 2048)
    assert spared.flags == SLAB_CONSISTENCY_CHECKS
    assert spared.red_left_pad == 8  # forgotten there, and without meaning
    assert made(100, debug="FZPUO") == made(100, debug="FZPU")


def test_equal_requests_share_one_result() -> None:
    assert made(72) is made(72)


def test_a_cache_may_be_out_of_reach_of_slub_debug() -> None:
    assert made(64, SLAB_NO_USER_FLAGS, debug="FZPU").size == 64
    assert made(64, SLAB_NOLEAKTRACE, debug="U").size == 64
