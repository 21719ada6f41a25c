from __future__ import annotations

import lzma
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from slubloom.actors import Interleaver, NumaNode
from slubloom.actors.strategies import RandomWalk
from slubloom.actors.zone import (
    ALLOC_HARDER,
    ALLOC_HIGH,
    WMARK_LOW,
    WMARK_MIN,
    ZONE_DMA,
    ZONE_DMA32,
    ZONE_MOVABLE,
    ZONE_NORMAL,
    Zone,
    calculate_min_free_kbytes,
    pages_beyond_high,
    setup_per_zone_lowmem_reserve,
    setup_per_zone_wmarks,
)

RECORDED = Path(__file__).parents[2].parent / "shared" / "real-kernel" / "boot"
NO_WATERMARK = (0, 0, 0)
MIB = 256  # pages


def zone_of(pages: int, start: int = 1 << 20) -> Zone:
    zone = Zone(ZONE_NORMAL)
    zone.add(start, pages)
    return zone


def node_with(*ranges: tuple[int, int]) -> NumaNode:
    node = NumaNode(Interleaver(RandomWalk(0)), 0, {0: 10})
    for start, pages in ranges:
        node.boot_memory(start, pages)
    return node


def take_away(node: NumaNode, start: int, pages: int) -> bool:
    """Isolate a range and take it away; false, and no change, where something in it is in use."""
    zones = [zone for zone in node.zones if zone.part_of(start, pages)]
    if any(node.unmovable(zone, start, pages) is not None for zone in zones):
        return False
    for zone in zones:
        give_up(zone, start, pages)
    return True


def give_up(zone: Zone, start: int, pages: int) -> None:
    for part in zone.part_of(start, pages):
        zone.isolate(*part)
        zone.offline(*part)
        zone.dissociate(*part)


def sizes(node: NumaNode) -> list[int]:
    return [zone.managed_pages for zone in node.zones]


# --- where page frames go


def test_memory_is_divided_at_16_mib_and_at_4_gib() -> None:
    node = node_with((0, 6 << 18))  # 6 GiB
    assert sizes(node) == [4096, (1 << 20) - 4096, 2 << 18, 0, 0]
    assert [zone.start_pfn for zone in node.zones[:3]] == [0, 4096, 1 << 20]
    assert sizes(node_with((100 * MIB, 64 * MIB))) == [0, 64 * MIB, 0, 0, 0]


def test_memory_that_comes_later_is_normal_whatever_its_address() -> None:
    empty = node_with()
    assert empty.zone_for(100 * MIB, 64 * MIB).index == ZONE_NORMAL
    low = node_with((0, 64 * MIB))
    assert low.zone_for(64 * MIB, 64 * MIB).index == ZONE_NORMAL  # touches ZONE_DMA32, does not reach into it


def test_memory_that_comes_back_into_a_hole_of_a_lower_zone_goes_there() -> None:
    node = node_with((0, 128 * MIB))
    assert take_away(node, 32 * MIB, 32 * MIB)
    assert node.zone_for(32 * MIB, 32 * MIB).index == ZONE_DMA32
    assert take_away(node, 4 * MIB, 4 * MIB)
    assert node.zone_for(4 * MIB, 4 * MIB).index == ZONE_DMA


def test_a_zone_spans_from_its_first_page_frame_to_its_last() -> None:
    zone = zone_of(4096, start=8192)
    give_up(zone, 9216, 1024)
    assert (zone.start_pfn, zone.spanned_pages, zone.managed_pages) == (8192, 4096, 3072)
    give_up(zone, 8192, 1024)
    assert (zone.start_pfn, zone.spanned_pages, zone.managed_pages) == (10240, 2048, 2048)
    zone.add(9216, 1024)
    assert zone.blocks == [(9216, 12288)]
    give_up(zone, 0, 1 << 20)
    assert (zone.start_pfn, zone.spanned_pages, zone.managed_pages, zone.free_pages) == (0, 0, 0, 0)


def test_memory_in_use_is_not_taken_away_nor_is_any_other_zone_touched() -> None:
    node = node_with((0, 32 * MIB))
    pfn = node.allocate(3, ZONE_DMA32, 0)
    assert pfn is not None
    assert not take_away(node, 0, 32 * MIB)
    assert sizes(node) == [16 * MIB, 16 * MIB, 0, 0, 0]
    assert node.free_pages == 32 * MIB - 8
    node.free(pfn)
    assert take_away(node, 0, 32 * MIB)
    assert (node.free_pages, node.present_pages) == (0, 0)


# --- which zone serves a request


def test_a_request_is_served_from_the_highest_allowed_zone() -> None:
    node = node_with((0, 6 << 18))
    assert node.allocate(0, ZONE_MOVABLE, 0) == 1 << 20
    assert node.allocate(0, ZONE_NORMAL, 0) == (1 << 20) + 1
    assert node.allocate(0, ZONE_DMA32, 0) == 4096
    assert node.allocate(0, ZONE_DMA, 0) == 0


def test_a_zone_that_is_used_up_leaves_the_request_to_the_one_below() -> None:
    node = node_with((15 * MIB, 2 * MIB))
    blocks = [node.allocate(8, ZONE_NORMAL, 0) for _ in range(2)]
    assert blocks == [16 * MIB, 15 * MIB]
    assert node.allocate(0, ZONE_NORMAL, 0) is None


def test_pages_go_back_to_the_zone_they_came_from() -> None:
    node = node_with((15 * MIB, 2 * MIB))
    blocks = [node.allocate(8, ZONE_NORMAL, 0) for _ in range(2)]
    for pfn in blocks:
        assert pfn is not None
        node.free(pfn)
    assert [zone.free_pages for zone in node.zones] == [MIB, MIB, 0, 0, 0]
    with pytest.raises(KeyError, match="page frame 4096"):
        node.free(4096)


# --- watermarks


def test_a_zone_is_emptied_down_to_the_mark_and_no_further() -> None:
    zone = zone_of(1024)
    zone.watermarks = (100, 125, 150)
    while zone.allocate(0, ZONE_NORMAL, WMARK_LOW) is not None:
        pass
    assert zone.free_pages == 125
    while zone.allocate(0, ZONE_NORMAL, WMARK_MIN) is not None:
        pass
    assert zone.free_pages == 100


@pytest.mark.parametrize(
    ("flags", "left"),
    [
        (0, 100),
        (ALLOC_HIGH, 50),  # half of it
        (ALLOC_HARDER, 75),  # three quarters
        (ALLOC_HIGH | ALLOC_HARDER, 38),  # three quarters of a half, 50 - 12
    ],
)
def test_privileges_lower_the_mark(flags: int, left: int) -> None:
    zone = zone_of(1024)
    zone.watermarks = (100, 125, 150)
    while zone.allocate(0, ZONE_NORMAL, WMARK_MIN | flags) is not None:
        pass
    assert zone.free_pages == left


def test_a_larger_order_counts_all_its_pages_but_one_against_the_mark() -> None:
    zone = zone_of(1024)
    assert zone.watermark_ok(3, 1016, ZONE_NORMAL)  # 1024 - 7 > 1016
    assert not zone.watermark_ok(3, 1017, ZONE_NORMAL)


def test_a_larger_order_needs_a_free_block_of_its_size_however_much_is_free() -> None:
    zone = Zone(ZONE_NORMAL)
    for start in range(0, 4096, 16):
        zone.add(start, 8)
    assert zone.free_pages == 2048
    assert zone.watermark_ok(3, 100, ZONE_NORMAL)
    assert not zone.watermark_ok(4, 100, ZONE_NORMAL)
    assert zone.allocate(4, ZONE_NORMAL, WMARK_MIN) is None


def test_what_is_reserved_for_low_requests_is_kept_from_those_that_could_go_higher() -> None:
    node = node_with((0, 6 << 18))
    setup_per_zone_lowmem_reserve(node.zones)
    # One page in 256 of what lies above, for DMA32 2 GiB of ZONE_NORMAL; the last zones protect nobody.
    assert node.zones[ZONE_DMA].lowmem_reserve == (0, 4080, 4080 + 2048, 4080 + 2048, 4080 + 2048)
    assert node.zones[ZONE_DMA32].lowmem_reserve == (0, 0, 2048, 2048, 2048)
    assert node.zones[ZONE_NORMAL].lowmem_reserve == (0, 0, 0, 0, 0)
    dma32 = node.zones[ZONE_DMA32]
    assert dma32.watermark_ok(0, 100, ZONE_NORMAL, free_pages=2149)
    assert not dma32.watermark_ok(0, 100, ZONE_NORMAL, free_pages=2148)
    assert dma32.watermark_ok(0, 100, ZONE_DMA32, free_pages=101)


def test_a_zone_without_pages_reserves_nothing() -> None:
    node = node_with((1 << 20, 1 << 18))
    setup_per_zone_lowmem_reserve(node.zones)
    assert all(not any(zone.lowmem_reserve) for zone in node.zones)


@pytest.mark.parametrize(
    ("megabytes", "kilobytes"),
    [(1, 128), (16, 512), (128, 1448), (512, 2896), (4096, 8192), (16384, 16384), (8 << 20, 262_144)],
)
def test_what_is_kept_free_grows_with_the_root_of_memory(megabytes: int, kilobytes: int) -> None:
    assert calculate_min_free_kbytes(megabytes << 10) == kilobytes


def test_zones_share_what_is_kept_free_by_their_sizes() -> None:
    zones = [zone_of(30_000), zone_of(10_000), Zone(ZONE_MOVABLE)]
    setup_per_zone_wmarks(zones, 1600)  # 400 pages
    assert [zone.watermarks for zone in zones] == [(300, 375, 450), (100, 125, 150), (0, 0, 0)]


def test_watermarks_of_a_large_zone_are_a_thousandth_of_it_apart() -> None:
    zone = zone_of(1_000_000)
    setup_per_zone_wmarks([zone], 1600)
    assert zone.watermarks == (400, 1400, 2400)


def test_pages_that_only_free_others_do_not_count_as_low_memory_of_their_own() -> None:
    zone, movable = zone_of(1000), Zone(ZONE_MOVABLE)
    movable.add(0, 500)
    zone.watermarks = (10, 20, 30)
    assert pages_beyond_high([zone, movable], ZONE_NORMAL) == 970
    assert pages_beyond_high([zone, movable], ZONE_MOVABLE) == 1470


# --- the same on real machines

RAMDISK = 290
STARTUP = 2000
GIVEN_BACK = {
    "1c1n": {(0, "DMA32"): RAMDISK + STARTUP},
    "4c2n": {(1, "DMA32"): RAMDISK + STARTUP},
    "8c4n": {(1, "DMA32"): STARTUP, (3, "DMA32"): RAMDISK},
}
"""Pages that each machine got after its watermarks were set, by zone.

The kernel gives the ramdisk and its own start-up code back when it has booted.  That adds to ``managed``, as recorded,
but watermarks and reserves stay as computed before.  The log does not say how many pages these were; but kernel and
ramdisk were the same on the three machines, and one pair of numbers (any of start-up 1994 … 2017, ramdisk 283 … 307,
together 2277 … 2316) gives all their watermarks and reserves, where the two lay in memory on each.
"""

PAGEBLOCK = 512
HUGE_PAGES_FROM = 512 * MIB
"""With less memory than this the kernel leaves transparent huge pages off, and does not raise what it keeps free."""


def recorded_zones(shape: str) -> dict[tuple[int, str], dict[str, Any]]:
    """The populated zones of a recorded ``/proc/zoneinfo``, by node and name."""
    path = RECORDED / shape / "zoneinfo.xz"
    if not path.exists():
        pytest.skip(f"no recording of a real kernel: {path} is not there")
    with lzma.open(path, "rt") as file:
        texts = re.split(r"^(?=Node)", file.read(), flags=re.MULTILINE)[1:]
    zones: dict[tuple[int, str], dict[str, Any]] = {}
    for text in texts:
        head = re.match(r"Node (\d+), zone +(\w+)", text)
        assert head
        zone: dict[str, Any] = {}
        for name, value in re.findall(r"^ +(?:pages )?(\w+)(?::| ) +(\d+)$", text, flags=re.MULTILINE):
            zone.setdefault(name, int(value))  # "high" is also what a per-CPU list may hold, further down
        protection = re.search(r"protection: \((.*)\)", text)
        assert protection
        zone["protection"] = tuple(map(int, protection[1].split(", ")))
        if zone["managed"]:
            zones[int(head[1]), head[2]] = zone
    return zones


def zones_at_boot(shape: str, recorded: dict[tuple[int, str], dict[str, Any]]) -> dict[int, list[Zone]]:
    """Zones of the recorded sizes, by node, as they were when the watermarks were set."""
    nodes: dict[int, list[Zone]] = {}
    for (node, name), values in recorded.items():
        zones = nodes.setdefault(node, [Zone(index) for index in range(5)])
        zone = next(zone for zone in zones if zone.name == name)
        zone.add(values["start_pfn"], values["managed"] - GIVEN_BACK[shape].get((node, name), 0))
    return nodes


@pytest.mark.parametrize("shape", ["1c1n", "4c2n", "8c4n"])
def test_watermarks_and_reserves_are_those_of_a_recorded_machine(shape: str) -> None:
    recorded = recorded_zones(shape)
    nodes = zones_at_boot(shape, recorded)
    zones = [zone for node in nodes.values() for zone in node]
    kept_free = calculate_min_free_kbytes(pages_beyond_high(zones, ZONE_NORMAL) * 4)
    setup_per_zone_wmarks(zones, kept_free)
    if sum(zone.managed_pages for zone in zones) >= HUGE_PAGES_FROM:
        # khugepaged wants two free page blocks in each zone, and for each migrate type one for each other (3 of
        # each), but no more than a twentieth of memory: set_recommended_min_free_kbytes() of mm/khugepaged.c.
        wanted = PAGEBLOCK * sum(zone.managed_pages > 0 for zone in zones) * (2 + 3 * 3)
        raised = min(wanted, pages_beyond_high(zones, ZONE_NORMAL) // 20) * 4
        assert raised > kept_free
        setup_per_zone_wmarks(zones, raised)
    for node in nodes.values():
        setup_per_zone_lowmem_reserve(node)
    computed = {
        (number, zone.name): (*zone.watermarks, zone.lowmem_reserve)
        for number, node in nodes.items()
        for zone in node
        if zone.managed_pages
    }
    assert computed == {
        key: (zone["min"], zone["low"], zone["high"], zone["protection"]) for key, zone in recorded.items()
    }
    assert not any(zone["boost"] for zone in recorded.values())


# --- any use

ranges = st.sampled_from([(0, 3000), (3000, 3000), (0, 4096), (4000, 200), ((1 << 20) - 300, 700), (4095, 2)])


@given(ranges, st.lists(st.tuples(st.integers(0, 6), st.integers(0, 2), st.integers(0, 99)), max_size=60), st.data())
def test_random_use_hands_out_no_page_twice_none_above_its_limit_and_gets_all_of_them_back(
    memory: tuple[int, int], script: list[tuple[int, int, int]], data: st.DataObject
) -> None:
    node = node_with(memory)
    setup_per_zone_wmarks(node.zones, data.draw(st.sampled_from([128, 600, 4000])))
    setup_per_zone_lowmem_reserve(node.zones)
    initial = [zone.buddy.counts() for zone in node.zones]
    limits = (1 << 12, 1 << 20, 1 << 52)
    held: dict[int, int] = {}
    for order, highest, which in script:
        if which < 70 or not held:
            before = [zone.free_pages for zone in node.zones]
            pfn = node.allocate(order, highest, WMARK_LOW if which % 2 else WMARK_MIN)
            if pfn is None:
                assert [zone.free_pages for zone in node.zones] == before
                continue
            assert memory[0] <= pfn
            assert pfn + (1 << order) <= min(sum(memory), limits[highest])
            assert all(pfn + (1 << order) <= other or other + (1 << size) <= pfn for other, size in held.items())
            held[pfn] = order
        else:
            pfn = list(held)[which % len(held)]
            del held[pfn]
            node.free(pfn)
        assert node.free_pages == memory[1] - sum(1 << order for order in held.values())
        for zone in node.zones:
            assert zone.free_pages == sum(count << order for order, count in enumerate(zone.buddy.counts()))
            assert zone.free_pages >= zone.watermarks[WMARK_MIN] or not zone.managed_pages
    for pfn in held:
        node.free(pfn)
    assert [zone.buddy.counts() for zone in node.zones] == initial


@given(ranges, st.lists(st.tuples(st.integers(0, 5999), st.integers(1, 2000), st.booleans()), max_size=8))
def test_memory_that_comes_and_goes_is_counted_and_every_free_page_lies_in_its_zone(
    memory: tuple[int, int], changes: list[tuple[int, int, bool]]
) -> None:
    node = node_with(memory)
    present = dict.fromkeys(range(memory[0], sum(memory)))
    for offset, pages, leaves in changes:
        start = memory[0] + offset
        frames = range(start, start + pages)
        if leaves:
            assert take_away(node, start, pages)
            for pfn in frames:
                present.pop(pfn, None)
        elif not any(pfn in present for pfn in frames):
            node.zone_for(start, pages).add(start, pages)
            present.update(dict.fromkeys(frames))
        assert node.present_pages == node.free_pages == len(present)
    found = []
    for zone in node.zones:
        blocks = [pfn for low, high in zone.blocks for pfn in range(low, high)]
        zone.watermarks = NO_WATERMARK
        taken = [zone.buddy.allocate(0) for _ in range(zone.free_pages)]
        assert sorted(pfn for pfn in taken if pfn is not None) == blocks
        found += blocks
    assert sorted(found) == sorted(present)
