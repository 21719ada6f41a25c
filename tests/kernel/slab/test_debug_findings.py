"""SLUB debugging: what is found, and what the kernel does about it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from slubloom.actors.strategies import Timed
from slubloom.kernel.pages import GFP_KERNEL
from slubloom.kernel.slab.allocate import kmem_cache_alloc, kmem_cache_alloc_bulk
from slubloom.kernel.slab.debug_validate import validate_slab_cache
from slubloom.kernel.slab.free import kmem_cache_free, kmem_cache_free_bulk
from slubloom.topology import TopologyError, loads

from .debugging import DESTROY, SHRINK, VALIDATE, alloc, free, run_program, run_story, run_text, task, topology, write

if TYPE_CHECKING:
    from slubloom.kernel.slab import Slub
    from slubloom.kernel.slab.cache import KmemCache

ALL_BUT_SLUB = "sanitizers = ['kasan', 'lockdep']"


def test_an_object_whose_red_zone_is_broken_is_not_freed_and_its_red_zone_is_mended() -> None:
    ran = run_program("FZ", alloc(), write(64, "00"), free(keep=True), free(), DESTROY)
    assert ran.titles == ["BUG t: Right Redzone overwritten"]  # the second free goes through


@pytest.mark.parametrize(
    ("flags", "offset", "title", "kind"),
    [
        ("FZ", -1, "Left Redzone overwritten", "invariant"),
        ("FZ", 60, "Right Redzone overwritten", "invariant"),  # 60 bytes, padded to 64: the gap is the zone
        ("FP", 62, "Alignment padding overwritten", "invariant"),
        ("FPU", 150, "Object padding overwritten", "invariant"),
        ("FZPU", 140, "Object padding overwritten", "invariant"),
    ],
)
def test_a_write_beside_an_object_in_use_is_found_when_it_is_freed(
    flags: str, offset: int, title: str, kind: str
) -> None:
    # 60 bytes: U without Z has the pointer at 64, tracks up to 136, and with an alignment of 32 padding up to 160.
    # With Z there is a word of padding behind the tracks.
    options = {"size": 60, "align": 32 if flags == "FPU" else 0}
    ran = run_program(flags, alloc(), write(offset, "77"), free(), **options)
    assert (ran.titles, ran.kinds) == ([f"BUG t: {title}"], [kind])


@pytest.mark.parametrize(
    ("offset", "title"),
    [(0, "Poison"), (62, "Poison"), (63, "End Poison"), (64, "Right Redzone"), (-8, "Left Redzone")],
)
def test_a_write_to_a_free_object_takes_its_slab_out_of_use(offset: int, title: str) -> None:
    ran = run_program("FZP", alloc(), free(keep=True), write(offset, "42"), alloc())
    assert ran.titles == [f"BUG t: {title} overwritten"]
    assert ran.kinds == ["use-after-free" if "Poison" in title else "invariant"]
    assert ran.fixes[-1] == "FIX t: Marking all objects used"
    assert ran.address(0) >> 12 != ran.address(1) >> 12


def test_padding_at_the_end_of_a_slab_is_checked_and_mended() -> None:
    # FP with 64 bytes: 56 objects of 72 leave 64 bytes at 4032.
    ran = run_program("FP", alloc(), write(4032, "5a5b5c5a"), VALIDATE, VALIDATE)
    p = ran.address()
    assert ran.titles == [f"BUG t: Padding overwritten. 0x{p + 4033:016x}-0x{p + 4034:016x} @offset=4033"]
    assert f"Padding {p + 4032:016x}: 5a 5b 5c 5a 5a" in ran.violations[0].report
    assert ran.fixes == [f"FIX t: Restoring slab padding 0x{p + 4033:016x}-0x{p + 4034:016x}=0x5a"]


def test_what_was_overwritten_in_an_empty_slab_is_found_when_its_pages_go() -> None:
    quiet = run_program("ZP", alloc(), free(keep=True), write(5, "00"), SHRINK)
    assert quiet.violations == []  # not without consistency checks
    ran = run_program("FZP", alloc(), free(keep=True), write(5, "00"), SHRINK)
    assert ran.titles == ["BUG t: Poison overwritten"]
    assert " __free_slab\n" in ran.violations[0].report


def test_freeing_the_only_object_twice_is_told_by_the_count() -> None:
    for flags in ("F", "Z", "U"):
        ran = run_program(flags, alloc(), free(keep=True), free(keep=True))
        assert ran.titles == ["BUG t: Slab has 0 allocated objects but 1 are to be freed"]
        assert ran.kinds == ["double-free"]
        assert "1 are to be freed\n\n-----" in ran.violations[0].report  # the kernel's own line feed
        assert ran.fixes == [f"FIX t: Object at 0x{ran.address():016x} not freed"]


def test_a_refused_free_cuts_the_free_list_behind_the_object() -> None:
    # As 6.1 does: the pointer of the object is written before anything is checked.
    ran = run_program("F", alloc(3), free(1, keep=True), free(1), free(1))
    assert ran.titles == [
        "BUG t: Object already free",
        "BUG t: Wrong object count. Counter is 2 but counted were 63",
    ]


def test_kasan_sees_a_double_free_before_slub_does() -> None:
    for sanitizers, title in (("sanitizers = []", "BUG t: Object"), (ALL_BUT_SLUB, "BUG: KASAN: double-free")):
        ran = run_program("FZPU", alloc(2), free(1, keep=True), free(1, keep=True), sanitizers=sanitizers)
        assert ran.kinds == ["double-free"]
        assert ran.titles[0].startswith(title)


def test_kasan_sees_stray_writes_before_slub_does() -> None:
    for flags in ("", "FZP"):
        beyond = run_program(flags, alloc(), write(64, "12"), sanitizers=ALL_BUT_SLUB)
        assert beyond.kinds == ["invariant"]
        assert beyond.titles == ["BUG: KASAN: slab-out-of-bounds in user_write"]
        assert "located 0 bytes to the right of" in beyond.violations[0].report
        before = run_program(flags, alloc(2), write(-3, "1212", 1), sanitizers=ALL_BUT_SLUB)
        assert "located 3 bytes to the left of" in before.violations[0].report
        stale = run_program(flags, alloc(), free(keep=True), write(8, "12"), sanitizers=ALL_BUT_SLUB)
        assert stale.kinds == ["use-after-free"]
        assert run_program(flags, alloc(), write(0, "12" * 64), sanitizers=ALL_BUT_SLUB).violations == []


def test_after_kasan_s_report_the_write_happens_and_slub_finds_it() -> None:
    ran = run_program("FZ", alloc(), write(64, "12"), free(), sanitizers=ALL_BUT_SLUB)
    assert ran.titles == ["BUG: KASAN: slab-out-of-bounds in user_write", "BUG t: Right Redzone overwritten"]


def test_a_write_must_stay_in_the_slab() -> None:
    for offset in (-9, 4096 - 8):
        ran = run_program("FZ", alloc(), write(offset, "12"))
        assert ran.violations == []
        assert ran.machine.counters["operations_out_of_bounds"] == 1
        assert ran.machine.console[-1] == (
            f"user: write_memory: 1 bytes at offset {offset} of object 0 of t are not all in the slab of that object; "
            "nothing was written"
        )


@pytest.mark.parametrize("data", ["1", "0x12", "zz", ""])
def test_bytes_are_pairs_of_hexadecimal_digits(data: str) -> None:
    with pytest.raises(TopologyError, match="bytes"):
        loads(topology("F") + task("user", 0, write(0, data)))


@pytest.mark.parametrize("wrong", [4, -8, 88 * 46 - 8])
def test_a_pointer_that_is_no_object_is_not_freed(wrong: int) -> None:
    freed: list[int] = []

    async def story(slub: Slub, cache: KmemCache) -> None:
        address = await kmem_cache_alloc(slub, cache)
        assert address is not None
        freed.append(address + wrong)
        await kmem_cache_free(slub, cache, address + wrong)

    ran = run_story("FZ", story)
    assert ran.kinds == ["double-free"]
    assert ran.titles == [f"BUG t: Invalid object pointer 0x{freed[0]:016x}"]
    assert ran.fixes == [f"FIX t: Object at 0x{freed[0]:016x} not freed"]


def test_an_object_that_is_twice_in_a_bulk_free_is_freed_once() -> None:
    async def story(slub: Slub, cache: KmemCache) -> None:
        address = await kmem_cache_alloc(slub, cache)
        other = await kmem_cache_alloc(slub, cache)
        assert address is not None
        assert other is not None
        await kmem_cache_free_bulk(slub, cache, [address, address])
        await validate_slab_cache(slub, cache)
        await kmem_cache_free(slub, cache, other)

    ran = run_story("FZPU", story)
    assert ran.titles == ["BUG t: Bulk free expected 2 objects but found 1"]


def test_objects_are_freed_in_bulk_and_handed_out_again() -> None:
    async def story(slub: Slub, cache: KmemCache) -> None:
        for _ in range(3):
            objects = await kmem_cache_alloc_bulk(slub, cache, GFP_KERNEL, 60)
            assert len(dict.fromkeys(objects)) == 60
            await validate_slab_cache(slub, cache)
            await kmem_cache_free_bulk(slub, cache, objects)
            await validate_slab_cache(slub, cache)

    assert run_story("FZPU", story).violations == []


def test_without_checks_the_free_list_goes_where_a_stray_write_points() -> None:
    # The third byte of the pointer in the middle of the first free object: no address of this slab any more.
    ran = run_program("Z", alloc(2), free(1, keep=True), write(34, "7f"), alloc(), alloc())
    assert ran.kinds == ["kernel-bug"]
    assert "general protection fault" in ran.titles[0]
    # To another object, which is in use: it is handed out a second time.
    first = run_program("Z", alloc(2))
    target = first.address(1).to_bytes(8, "little").hex()
    twice = run_program("Z", alloc(2), free(1, keep=True), write(32, target), alloc(2))
    assert twice.violations == []
    assert [twice.address(index) for index in (2, 3)] == [twice.address(0), twice.address(1)]


def test_a_free_list_that_was_cut_off_unnoticed_is_a_null_pointer_in_the_end() -> None:
    # 64 bytes with F: 64 objects; one is lost, so after 63 the list is empty, and the slab is not full.
    ran = run_program("F", alloc(3), free(1, keep=True), free(1), alloc(62), free(2), alloc(2))
    assert ran.kinds[0] == "double-free"
    lost = run_program("F", alloc(3), free(2, keep=True), free(1, keep=True), alloc(63))
    assert lost.kinds == ["double-free", "null-deref"]


def test_checking_a_list_corrects_its_count_only_once() -> None:
    ran = run_program("P", alloc(3), free(2, keep=True), write(64, "00" * 8, 1), VALIDATE, VALIDATE)
    assert ran.titles == ["BUG t: Wrong object count. Counter is 1 but counted were 55"]
    assert ran.fixes == ["FIX t: Object count adjusted"]


def test_objects_of_a_type_that_rcu_readers_may_touch_are_not_poisoned() -> None:
    for options in ({"flags": "FZPR"}, {"flags": "FZP", "ctor": True}):
        ran = run_program(
            options["flags"], alloc(), free(keep=True), write(5, "99"), alloc(), VALIDATE, ctor="ctor" in options
        )
        assert ran.violations == []
        assert ran.address(0) == ran.address(1)


def test_full_slabs_are_checked_only_where_they_are_listed() -> None:
    assert run_program("Z", alloc(46), write(64, "00"), VALIDATE).violations == []
    found = run_program("ZU", alloc(26), write(64, "00"), VALIDATE)  # 152 bytes: 26 in a page
    assert found.titles == ["BUG t: Right Redzone overwritten"]


def test_counters_that_disagree_with_the_lists_are_reported() -> None:
    async def story(slub: Slub, cache: KmemCache) -> None:
        await kmem_cache_alloc(slub, cache)
        for n in cache.node.values():
            n.nr_partial += 1
            n.nr_slabs += 2
        await validate_slab_cache(slub, cache)

    ran = run_story("FU", story)
    assert ran.kinds == ["invariant"] * 4  # of two nodes
    assert ran.titles[:2] == [
        "SLUB t: 1 partial slabs counted but counter=2",
        "SLUB: t 1 slabs counted but counter=3",
    ]


def test_tracks_tell_who_had_an_object_and_how_long_ago() -> None:
    text = topology("FZPU") + task("giver", 0, alloc(2), 'op="sleep", ns=20_000_000', free(1, keep=True))
    text += task("taker", 2, 'op="sleep", ns=100_000_000', free(1, keep=True))
    ran = run_text(text, strategy=Timed())
    assert ran.kinds == ["double-free"]
    found = re.findall(r"^(\w+) in (.+) age=(\d+) cpu=(\d+) pid=(\d+)$", ran.violations[0].report, re.MULTILINE)
    assert [(what, function, age, cpu) for what, function, age, cpu, _ in found] == [
        ("Allocated", "user mode", "25", "0"),  # 100 ms in ticks of 4 ms
        ("Freed", "user mode", "20", "0"),
    ]
    assert found[0][4] == found[1][4]


def test_traced_caches_tell_of_every_object() -> None:
    ran = run_program("T", alloc(2), free(1))
    traced = [line for line in ran.machine.console if line.startswith("TRACE")]
    p = ran.address() - 64
    assert traced == [
        f"TRACE t alloc 0x{p:016x} inuse=1 fp=0x{p + 64:016x}",
        f"TRACE t alloc 0x{p + 64:016x} inuse=2 fp=0x{p + 128:016x}",
        f"TRACE t free 0x{p:016x} inuse=2 fp=0x{p + 128:016x}",
    ]
    assert f"Object {p:016x}: {'00 ' * 16} ................" in ran.machine.console
    assert ran.violations == []


def test_the_kernel_is_tainted_after_its_first_report() -> None:
    ran = run_program("FZ", alloc(2), write(-1, "00"), write(-1, "00", 1), free())
    assert [report.report.splitlines()[1] for report in ran.violations] == [
        "BUG t (Not tainted): Left Redzone overwritten",
        "BUG t (Tainted: G    B             ): Left Redzone overwritten",
    ]
