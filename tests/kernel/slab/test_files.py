"""/proc/slabinfo and /sys/kernel/slab: formats, what each file counts, and what can be written."""

from __future__ import annotations

import json
import lzma
import re
from errno import EACCES, EINVAL, EISDIR, ENOENT, ENOTDIR, ERANGE
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from slubloom.kernel.files import read_file, write_file
from slubloom.kernel.pages import GFP_KERNEL
from slubloom.kernel.slab.allocate import kmem_cache_alloc_node
from slubloom.kernel.slab.create import kmem_cache_create
from slubloom.kernel.slab.flags import SLAB_RED_ZONE
from slubloom.kernel.slab.free import kmem_cache_free
from slubloom.kernel.slab.procfs import HEADER, slabinfo_line
from slubloom.kernel.slab.sysfs import ATTRIBUTES, STATISTICS, attributes
from slubloom.topology.slabinfo import parse_slabinfo

from ..helpers import TWO_NODES, booted, run, start
from .reading import STATS, some_objects, story

if TYPE_CHECKING:
    from slubloom.kernel import Machine

BOOT = Path(__file__).parents[3].parent / "shared" / "real-kernel" / "boot"
recorded = pytest.mark.skipif(not BOOT.is_dir(), reason="the recorded kernel is not beside this checkout")


async def texts(machine: Machine, *names: str) -> list[str]:
    """The texts of attributes of cache x, without their newlines."""
    found = [await read_file(machine, f"/sys/kernel/slab/x/{name}") for name in names]
    assert all(isinstance(text, str) for text in found), found
    return [str(text).removesuffix("\n") for text in found]


# --- /proc/slabinfo


@recorded
@pytest.mark.parametrize(
    "path", sorted(BOOT.glob("*/slabinfo*.xz")), ids=lambda path: f"{path.parent.name}-{path.stem}"
)
def test_the_recorded_numbers_make_the_recorded_bytes(path: Path) -> None:
    text = lzma.decompress(path.read_bytes()).decode()
    lines = [
        slabinfo_line(r.name, r.active_objs, r.num_objs, r.objsize, r.objperslab, r.pagesperslab, r.num_slabs)
        for r in parse_slabinfo(text)
    ]
    assert HEADER + "".join(lines) == text


def test_what_does_not_fit_into_its_column_pushes_the_others_away() -> None:
    line = slabinfo_line("nf_conntrack_ffffffff81a25e00", 1632, 12345678, 320, 51, 4, 32)
    assert line == (
        "nf_conntrack_ffffffff81a25e00   1632 12345678    320   51    4"
        " : tunables    0    0    0 : slabdata     32     32      0\n"
    )


def test_slabinfo_counts_what_processors_have_as_in_use() -> None:
    async def body(machine: Machine) -> None:
        cache, objects = await some_objects(machine)
        found = await slabinfo(machine, "x")
        assert found == ["48", "48", "256", "16", "1", ":", "tunables", *"000", ":", "slabdata", "3", "3", "0"]
        await kmem_cache_free(machine.slab, cache, objects[0])  # its slab was full: it goes to the processor's list
        assert (await slabinfo(machine, "x"))[:2] == ["48", "48"]
        assert await write_file(machine, "/sys/kernel/slab/x/shrink", "1\n") == 0
        assert (await slabinfo(machine, "x"))[:2] == ["39", "48"]

    assert story(body).violations == []


async def slabinfo(machine: Machine, name: str) -> list[str]:
    """The columns of a cache, found as libproc and the procfs library of Prometheus find them."""
    text = await read_file(machine, "/proc/slabinfo")
    assert isinstance(text, str)
    lines = text.splitlines()
    assert re.fullmatch(r"slabinfo - version: \d+\.\d+", lines[0])
    assert lines[1].startswith("# name")
    for line in lines[2:]:
        assert len(re.split(r"\s+", line)) == 16
        scanned = re.fullmatch(
            r"(\S+)\s+(\d+)\s+(\d+)\s+(\d+)\s+(\d+)\s+(\d+) : tunables\s+\d+\s+\d+\s+\d+"
            r" : slabdata\s+(\d+)\s+(\d+)\s+\d+",
            line,
        )
        assert scanned is not None
        if scanned[1] == name:
            return line.split()[1:]
    raise AssertionError(f"no line of {name}")


# --- /sys/kernel/slab: which files there are


@recorded
def test_the_files_are_those_of_the_recorded_kernel() -> None:
    caches = json.loads(lzma.decompress((BOOT / "4c2n" / "sys-kernel-slab.json.xz").read_bytes()))["caches"]
    # Files that are written only read as nothing, and the recorder left them out.
    files = {*next(iter(caches.values())), "shrink", "validate"}
    assert all({*values, "shrink", "validate"} == files for values in caches.values())
    assert files == set(ATTRIBUTES)


def test_a_directory_lists_its_files() -> None:
    async def body(machine: Machine) -> None:
        await some_objects(machine)
        listed = await read_file(machine, "/sys/kernel/slab/x")
        assert str(listed).split() == list(ATTRIBUTES)
        assert await read_file(machine, "/sys/kernel/slab/x/") == listed

    story(body)


def test_mergeable_caches_share_a_directory_and_are_links_to_it() -> None:
    async def body(machine: Machine) -> None:
        slub = machine.slab
        first = await kmem_cache_create(slub, "first", 256)
        assert await kmem_cache_create(slub, "second", 250) is first
        assert await kmem_cache_create(slub, "single", 256, flags=SLAB_RED_ZONE) is not None
        listed = await read_file(machine, "/sys/kernel/slab")
        assert str(listed).split() == [":0000256", "first", "kmem_cache", "kmem_cache_node", "second", "single"]
        for name in (":0000256", "first", "second"):
            assert await read_file(machine, f"/sys/kernel/slab/{name}/aliases") == "1\n"
        assert await read_file(machine, "/sys/kernel/slab/single/red_zone") == "1\n"

    story(body)


@pytest.mark.parametrize(
    ("path", "error"),
    [
        ("/proc/cpuinfo", ENOENT),
        ("/sys/kernel/slab/nix/objects", ENOENT),
        ("/sys/kernel/slab/:0009999/objects", ENOENT),
        ("/sys/kernel/slab/x/nix", ENOENT),
        ("/sys/kernel/slab/x/alloc_fastpath", ENOENT),
        ("/sys/kernel/slab/x/objects/nix", ENOTDIR),
        ("/sys/kernel/slabs", ENOENT),
    ],
)
def test_what_is_not_there_cannot_be_read(path: str, error: int) -> None:
    async def body(machine: Machine) -> None:
        await some_objects(machine)
        assert await read_file(machine, path) == -error

    story(body)


def test_a_task_is_told_why_it_cannot_read_or_write() -> None:
    program = [
        '{op = "read", path = "/sys/kernel/slab/nix/objects"}',
        '{op = "write", path = "/sys/kernel/slab/kmem_cache/order", value = "1"}',
    ]
    machine = booted(text=TWO_NODES + f'[[task]]\nname = "t"\nprogram = [{", ".join(program)}]\n')
    run(machine)
    assert "t: cannot read /sys/kernel/slab/nix/objects: ENOENT" in machine.console
    assert "t: cannot write /sys/kernel/slab/kmem_cache/order: EACCES" in machine.console


# --- what they show


def test_sizes_flags_and_tunables() -> None:
    async def body(machine: Machine) -> None:
        def init_once(_: int) -> None: ...

        await kmem_cache_create(machine.slab, "x", 250, ctor=init_once, useroffset=8, usersize=16)
        names = "slab_size object_size align objs_per_slab order usersize aliases min_partial cpu_partial"
        # 250 bytes are 256, and the free pointer is behind them: too much for the 16 objects that four processors want
        # in a page, so a slab is two.
        assert await texts(machine, *names.split()) == ["264", "250", "8", "31", "1", "16", "0", "5", "52"]
        assert await texts(machine, "remote_node_defrag_ratio", "ctor") == ["100", "init_once+0x0/0x10"]
        flags = "hwcache_align reclaim_account destroy_by_rcu cache_dma sanity_checks trace red_zone poison store_user"
        assert await texts(machine, *flags.split()) == ["0"] * 9
        assert await texts(machine, "shrink", "validate") == ["", ""]

    story(body)


def test_debug_flags_show() -> None:
    async def body(machine: Machine) -> None:
        await some_objects(machine)
        names = "sanity_checks red_zone poison store_user trace cpu_partial"
        assert await texts(machine, *names.split()) == ["1", "1", "1", "1", "0", "0"]

    story(body, '[kernel.boot]\nslub_debug = "FZPU"\n')


def test_slabs_and_objects_where_they_are() -> None:
    names = ("slabs", "total_objects", "objects", "partial", "objects_partial", "cpu_slabs", "slabs_cpu_partial")

    async def body(machine: Machine) -> None:
        cache, objects = await some_objects(machine)
        # The processor has one slab, and the two others are full, on no list.
        full = ["3 N0=3", "48 N0=48", "48 N0=48", "0", "0", "1 N0=1", "0(0)"]
        assert await texts(machine, *names) == full
        # An object of a full slab is freed: the slab goes to the processor's list, where it is taken to be half full.
        await kmem_cache_free(machine.slab, cache, objects[0])
        assert await texts(machine, *names[5:]) == ["2 N0=2", "8(1) C0=8(1)"]
        assert await texts(machine, *names[:5]) == full[:5]
        # One of node 1 is wanted: both of the processor's slabs, with 8 and 15 in use, are no good and go to node 0's
        # list, and a new one of node 1 is the processor's.
        assert await kmem_cache_alloc_node(machine.slab, cache, GFP_KERNEL, 1) is not None
        expected = ["4 N0=3 N1=1", "64 N0=48 N1=16", "55 N0=39 N1=16", "2 N0=2", "23 N0=23", "1 N1=1", "0(0)"]
        assert await texts(machine, *names) == expected
        # Flushed: 15 and 8 in use on node 0, 1 on node 1; free are 1, 8 and 15.
        await write_file(machine, "/sys/kernel/slab/x/shrink", "1")
        expected = ["4 N0=3 N1=1", "64 N0=48 N1=16", "40 N0=39 N1=1", "3 N0=2 N1=1", "24 N0=23 N1=1", "0", "0(0)"]
        assert await texts(machine, *names) == expected

    assert story(body).violations == []


def test_up_to_5_15_the_free_objects_of_processors_are_counted() -> None:
    async def body(machine: Machine) -> None:
        cache, objects = await some_objects(machine)
        await kmem_cache_free(machine.slab, cache, objects[0])
        assert await texts(machine, "slabs_cpu_partial") == ["1(1) C0=1(1)"]

    story(body, release="v5.15")


def test_a_processor_that_has_only_partial_slabs_is_passed_over() -> None:
    async def body(machine: Machine) -> None:
        cache, objects = await some_objects(machine)
        await kmem_cache_free(machine.slab, cache, objects[0])
        cache.cpu_slab[0].detach()
        assert await texts(machine, "cpu_slabs", "slabs_cpu_partial") == ["0", "8(1) C0=8(1)"]

    story(body)


def test_statistics_are_summed_over_processors_and_cleared() -> None:
    async def body(machine: Machine) -> None:
        cache, objects = await some_objects(machine)
        # A slab is made for the first object, the 17th and the 33rd.
        assert await texts(machine, "alloc_slowpath", "alloc_fastpath", "alloc_slab") == [
            "3 C0=3",
            "37 C0=37",
            "3 C0=3",
        ]

        async def free_one_elsewhere() -> None:
            await kmem_cache_free(machine.slab, cache, objects[0])
            await kmem_cache_free(machine.slab, cache, objects[1])

        other = start(machine, 2, "other", free_one_elsewhere)
        while other in machine.interleaver.actors or not cache.cpu_slab.get(2):
            await machine.current.sleep(1000)
        assert await texts(machine, "free_slowpath", "cpu_partial_free") == ["2 C2=2", "1 C2=1"]
        assert await write_file(machine, "/sys/kernel/slab/x/free_slowpath", "0\n") == 0
        assert await write_file(machine, "/sys/kernel/slab/x/alloc_slab", "1") == -EINVAL
        assert await texts(machine, "free_slowpath", "alloc_slab", "free_slab") == ["0", "3 C0=3", "0"]
        assert set(STATISTICS) < set(attributes(machine.slab))

    assert story(body, STATS).violations == []


def test_pages_of_slabs_are_in_zoneinfo() -> None:
    async def body(machine: Machine) -> None:
        def pages() -> list[int]:
            return [int(n) for n in re.findall(r"nr_slab_unreclaimable (\d+)", zoneinfo)]

        zoneinfo = str(await read_file(machine, "/proc/zoneinfo"))
        before = pages()
        await some_objects(machine)
        zoneinfo = str(await read_file(machine, "/proc/zoneinfo"))
        assert pages()[0] >= before[0] + 3
        assert str(await read_file(machine, "/proc/buddyinfo")).startswith("Node 0, zone      DMA ")
        assert await read_file(machine, "/sys/devices/system/node/online") == "0-1\n"

    story(body)


# --- what can be written


@pytest.mark.parametrize(
    ("attribute", "value", "error"),
    [
        ("min_partial", "", EINVAL),
        ("min_partial", "x", EINVAL),
        ("min_partial", "-1", EINVAL),
        ("min_partial", "0x10", EINVAL),
        ("min_partial", " 5", EINVAL),
        ("min_partial", "5 ", EINVAL),
        ("min_partial", "18446744073709551616", ERANGE),
        ("cpu_partial", "5.5", EINVAL),
        ("cpu_partial", "4294967296", ERANGE),
        ("remote_node_defrag_ratio", "101", ERANGE),
        ("remote_node_defrag_ratio", "", EINVAL),
        ("shrink", "0", EINVAL),
        ("shrink", "", EINVAL),
        ("validate", "1", EINVAL),  # not a cache under debugging
        ("objects", "1", EACCES),
        ("ctor", "1", EACCES),
        ("nix", "1", ENOENT),
        ("alloc_slab", "0", ENOENT),
    ],
)
def test_what_cannot_be_written(attribute: str, value: str, error: int) -> None:
    async def body(machine: Machine) -> None:
        await some_objects(machine)
        before = await texts(machine, *TUNABLE)
        assert await write_file(machine, f"/sys/kernel/slab/x/{attribute}", value) == -error
        assert await texts(machine, *TUNABLE) == before

    story(body)


TUNABLE = ("min_partial", "cpu_partial", "remote_node_defrag_ratio")


def test_a_directory_is_not_written_to_nor_is_a_file_of_proc() -> None:
    async def body(machine: Machine) -> None:
        assert await write_file(machine, "/sys/kernel/slab/kmem_cache", "1") == -EISDIR
        assert await write_file(machine, "/proc/slabinfo", "1") == -EACCES
        assert await write_file(machine, "/nix", "1") == -ENOENT
        assert await write_file(machine, "/sys/kernel/slab/nix/shrink", "1") == -ENOENT

    story(body)


@pytest.mark.parametrize(
    ("value", "kept"), [("0", 0), ("3", 3), ("+7\n", 7), ("12345", 12345), (str(2**64 - 1), 2**64 - 1)]
)
def test_min_partial_takes_any_number(value: str, kept: int) -> None:
    async def body(machine: Machine) -> None:
        cache, _ = await some_objects(machine)
        assert await write_file(machine, "/sys/kernel/slab/x/min_partial", value) == 0
        assert cache.min_partial == kept
        assert await texts(machine, "min_partial") == [str(kept)]

    story(body)


def test_cpu_partial_is_also_kept_in_slabs_and_every_processor_is_flushed() -> None:
    async def body(machine: Machine) -> None:
        cache, objects = await some_objects(machine)
        await kmem_cache_free(machine.slab, cache, objects[0])
        assert await write_file(machine, "/sys/kernel/slab/x/cpu_partial", "100") == 0
        assert (cache.cpu_partial, cache.cpu_partial_slabs) == (100, 13)  # 200 objects, 16 in a slab
        assert await texts(machine, "cpu_slabs", "partial") == ["0", "2 N0=2"]
        assert await write_file(machine, "/sys/kernel/slab/x/cpu_partial", "0") == 0
        assert (cache.cpu_partial, cache.cpu_partial_slabs) == (0, 0)

    assert story(body).violations == []


def test_the_ratio_is_a_percentage_kept_in_thousandths() -> None:
    async def body(machine: Machine) -> None:
        cache, _ = await some_objects(machine)
        for value, kept in (("100", 1000), ("0", 0), ("37", 370)):
            assert await write_file(machine, "/sys/kernel/slab/x/remote_node_defrag_ratio", value) == 0
            assert cache.remote_node_defrag_ratio == kept
            assert await texts(machine, "remote_node_defrag_ratio") == [value]

    story(body)


def test_a_cache_under_debugging_keeps_no_partial_slabs_on_processors_and_can_be_validated() -> None:
    async def body(machine: Machine) -> None:
        await some_objects(machine)
        assert await write_file(machine, "/sys/kernel/slab/x/cpu_partial", "1") == -EINVAL
        assert await write_file(machine, "/sys/kernel/slab/x/cpu_partial", "0") == 0
        assert await write_file(machine, "/sys/kernel/slab/x/validate", "1") == 0
        assert await write_file(machine, "/sys/kernel/slab/x/validate", "0") == -EINVAL

    assert story(body, '[kernel.boot]\nslub_debug = "FZPU"\n').violations == []
