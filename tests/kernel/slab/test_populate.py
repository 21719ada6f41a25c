"""A machine that boots with the caches of a recorded /proc/slabinfo."""

from __future__ import annotations

import lzma
import re
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from slubloom.actors import Interleaver, Outcome
from slubloom.actors.strategies import RandomWalk
from slubloom.kernel import boot
from slubloom.kernel.afterwards import read_afterwards
from slubloom.kernel.boot import BootError
from slubloom.kernel.sanitizers.slab_invariants import SlabInvariants
from slubloom.kernel.slab.flags import SLAB_DEBUG_FLAGS
from slubloom.topology import TopologyError, from_document
from slubloom.topology.slabinfo import parse_slabinfo

from ..helpers import run

if TYPE_CHECKING:
    from slubloom.kernel import Machine
    from slubloom.topology.slabinfo import SlabinfoRow

SHARED = Path(__file__).parents[3].parent / "shared"
DUMPS = SHARED / "data" / "slab"
recorded = pytest.mark.skipif(not DUMPS.is_dir(), reason="the recorded dumps are not beside this checkout")


def row(name: str, objs: str, slabs: int) -> str:
    return f"{name} {objs} : tunables 0 0 0 : slabdata {slabs} {slabs} 0\n"


def booted(text: str, *memory: str, tasks: list[dict[str, Any]] | None = None, **kernel: Any) -> Machine:
    """A machine with the caches of `text`, and a node with one processor for each of `memory`."""
    rows = parse_slabinfo(text)
    nodes = [{"id": n, "cpus": str(n), "memory": size} for n, size in enumerate(memory or ["64M"])]
    document: dict[str, Any] = {
        "machine": {"slabinfo": [list(found) for found in rows], "node": nodes},
        "kernel": kernel,
        "task": tasks or [],
    }
    return boot(from_document(document), Interleaver(RandomWalk(0))).machine


def shown(machine: Machine) -> dict[str, SlabinfoRow]:
    """What /proc/slabinfo says, by name."""
    return {found.name: found for found in parse_slabinfo(read_afterwards(machine, "/proc/slabinfo"))}


def numbers(found: SlabinfoRow) -> tuple[int, ...]:
    """All that SLUB reproduces of a row."""
    return (*found[2:7], found.num_slabs)


def partial(machine: Machine, name: str) -> dict[int, list[int]]:
    """Objects in use in the partial slabs of each node."""
    cache = machine.slab.names[name]
    return {node: [slab.inuse for slab in n.partial] for node, n in cache.node.items()}


# --- what is made of a row


def test_free_objects_are_in_half_full_slabs_and_all_others_are_full() -> None:
    # b: 3 of 48 are free: two slabs' worth of halves would be 16, so one slab has them.  c: 20 are free, in three.
    machine = booted(row("a", "48 48 256 16 1", 3) + row("b", "45 48 256 16 1", 3) + row("c", "60 80 256 16 1", 5))
    assert partial(machine, "a") == {0: []}
    assert partial(machine, "b") == {0: [13]}
    assert partial(machine, "c") == {0: [9, 9, 10]}
    assert [shown(machine)[name].active_objs for name in "abc"] == [48, 45, 60]


def test_where_halves_are_not_enough_every_slab_has_free_objects() -> None:
    machine = booted(row("a", "7 48 256 16 1", 3) + row("empty", "0 32 256 16 1", 2) + row("single", "1 3 4096 1 1", 3))
    assert partial(machine, "a") == {0: [2, 2, 3]}
    assert partial(machine, "empty") == {0: [0, 0]}
    assert partial(machine, "single") == {0: [0, 0]}
    assert numbers(shown(machine)["single"]) == (1, 3, 4096, 1, 1, 3)


def test_slabs_of_the_smallest_order_are_reproduced() -> None:
    machine = booted(row("x", "136 136 512 16 2", 10))
    slabs = dict.fromkeys(machine.slab.slabs.values())
    orders = [slab.order for slab in slabs if slab.cache.name == "x"]
    assert sorted(orders) == [0, 0, 0, 1, 1, 1, 1, 1, 1, 1]
    assert numbers(shown(machine)["x"]) == (136, 136, 512, 16, 2, 10)


def test_the_geometry_is_the_recorded_one_whatever_this_kernel_would_choose() -> None:
    # By itself this kernel puts 16 objects of 256 bytes into a page.
    machine = booted(row("slab_like", "0 15 200 15 1", 1) + row("odd", "3 6 25 2 4", 3))
    assert numbers(shown(machine)["slab_like"]) == (0, 15, 200, 15, 1, 1)
    assert numbers(shown(machine)["odd"]) == (3, 6, 25, 2, 4, 3)


def test_slabs_are_dealt_to_the_nodes_in_proportion_to_their_memory() -> None:
    machine = booted(row("x", "128 128 256 16 1", 8), "64M", "192M")
    cache = machine.slab.names["x"]
    assert {node: n.nr_slabs for node, n in cache.node.items()} == {0: 2, 1: 6}
    # Many caches with one slab each do not all end up on one node.
    machine = booted("".join(row(f"c{i}", "16 16 256 16 1", 1) for i in range(8)), "64M", "64M")
    nodes = [n.node for i in range(8) for n in machine.slab.names[f"c{i}"].node.values() if n.nr_slabs]
    assert sorted(nodes) == [0, 0, 0, 0, 1, 1, 1, 1]


def test_the_pages_come_from_the_page_allocator() -> None:
    dump = row("x", "160 160 256 16 1", 10) + row("y", "4 4 8192 4 8", 1)
    empty, full = booted(row("x", "0 0 256 16 1", 0) + row("y", "0 0 8192 4 8", 0)), booted(dump)
    assert empty.nodes[0].free_pages - full.nodes[0].free_pages == 18
    slab_pages = [
        int(re.search(r"nr_slab_unreclaimable (\d+)", read_afterwards(machine, "/proc/zoneinfo"))[1])  # type: ignore[index]
        for machine in (empty, full)
    ]
    assert slab_pages[1] - slab_pages[0] == 18


def test_caches_are_listed_in_the_order_of_the_file() -> None:
    names = ["newest", "older", "kmem_cache_node", "kmem_cache"]
    machine = booted("".join(row(name, "0 0 256 16 1", 0) for name in names))
    assert list(shown(machine)) == names


def test_recorded_caches_are_not_merged() -> None:
    machine = booted(row("a", "0 0 256 16 1", 0) + row("b", "0 0 256 16 1", 0))
    assert machine.slab.names["a"] is not machine.slab.names["b"]
    assert read_afterwards(machine, "/sys/kernel/slab/a/aliases") == "0\n"


def test_a_name_with_a_slash_is_a_directory_with_an_exclamation_mark() -> None:
    machine = booted(row("a/b", "0 0 256 16 1", 0))
    assert read_afterwards(machine, "/sys/kernel/slab/a!b/slab_size") == "256\n"


# --- the caches that the structures of all caches are made of


def test_the_structures_of_the_emulated_caches_are_among_the_recorded_objects() -> None:
    text = (
        row("x", "0 0 256 16 1", 0)
        + row("kmem_cache_node", "90 128 64 64 1", 2)
        + row("kmem_cache", "20 32 256 16 1", 2)
    )
    machine = booted(text)
    assert numbers(shown(machine)["kmem_cache_node"]) == (90, 128, 64, 64, 1, 2)
    assert numbers(shown(machine)["kmem_cache"]) == (20, 32, 256, 16, 1, 2)
    assert machine.slab.names["x"].node[0].list_lock.address in machine.slab.structures
    assert not any(line.startswith("slabinfo") for line in machine.console)


def test_their_sizes_are_the_recorded_ones() -> None:
    machine = booted(row("kmem_cache_node", "40 40 200 20 1", 2) + row("kmem_cache", "8 8 1024 4 1", 2))
    assert numbers(shown(machine)["kmem_cache_node"]) == (40, 40, 200, 20, 1, 2)
    assert numbers(shown(machine)["kmem_cache"]) == (8, 8, 1024, 4, 1, 2)


def test_a_machine_that_needs_more_of_them_says_so() -> None:
    machine = booted(row("kmem_cache_node", "20 20 200 20 1", 1), "64M", "64M")
    found = shown(machine)["kmem_cache_node"]
    assert found.num_slabs == 2
    said = [line for line in machine.console if line.startswith("slabinfo line 1: kmem_cache_node has ")]
    assert len(said) == 1
    assert said[0].endswith("not 20 of 20 in 1: this machine needs them")


def test_the_kmalloc_caches_take_their_sizes_from_the_dump() -> None:
    machine = booted(row("kmalloc-64", "20 46 344 23 2", 2), kmalloc=True)
    assert numbers(shown(machine)["kmalloc-64"]) == (20, 46, 344, 23, 2, 2)
    assert machine.slab.names["kmalloc-64"] in machine.slab.kmalloc_caches.values()


# --- with other options, and afterwards


def test_recorded_caches_are_not_debugged() -> None:
    text = row("x", "5 16 256 16 1", 1) + row("kmem_cache", "16 16 256 16 1", 1)
    machine = booted(text, boot={"slub_debug": "FZPU"})
    for name in ("x", "kmem_cache"):
        assert not machine.slab.names[name].flags & SLAB_DEBUG_FLAGS
        assert shown(machine)[name].objsize == 256
    assert machine.slab.names["kmem_cache_node"].flags & SLAB_DEBUG_FLAGS


@pytest.mark.parametrize("release", ["v3.10", "v3.15", "v4.12", "v5.11", "v5.15", "v6.1"])
def test_every_release_boots_with_recorded_caches(release: str) -> None:
    machine = booted(row("x", "30 48 256 16 1", 3), "64M", "64M", release=release, freelist_random=True)
    assert numbers(shown(machine)["x"]) == (30, 48, 256, 16, 1, 3)


def test_programs_use_the_recorded_caches_by_their_names() -> None:
    use = [
        {"op": "kmem_cache_alloc", "cache": "x", "count": 20},
        {"op": "read", "path": "/sys/kernel/slab/x/objects"},
        {"op": "kmem_cache_free", "cache": "x"},
        {"op": "kmem_cache_shrink", "cache": "x"},
    ]
    machine = booted(row("x", "30 48 256 16 1", 3), tasks=[{"name": "t", "program": use}])
    assert run(machine) is Outcome.FINISHED
    assert machine.violations == []
    # 18 were free in three slabs and 20 were wanted: after the last free all of the new slab is free, and it is gone.
    assert numbers(shown(machine)["x"]) == (30, 48, 256, 16, 1, 3)


def test_empty_recorded_slabs_go_when_the_cache_is_shrunk() -> None:
    shrink = [{"op": "write", "path": "/sys/kernel/slab/x/shrink", "value": "1"}]
    machine = booted(row("x", "3 48 256 16 2", 3), tasks=[{"name": "t", "program": shrink}])
    before = machine.nodes[0].free_pages
    cache = machine.slab.names["x"]
    slabs = list(cache.node[0].partial)
    assert [slab.inuse for slab in slabs] == [1, 1, 1]
    for slab in slabs[1:]:  # what nobody else can do: free objects that belong to nobody
        slab.inuse, slab.live, slab.freelist, slab.links[0] = 0, 0, 0, slab.freelist
    assert run(machine) is Outcome.FINISHED
    assert numbers(shown(machine)["x"]) == (1, 16, 256, 16, 2, 1)
    assert machine.nodes[0].free_pages == before + 4


def test_destroying_a_recorded_cache_that_is_in_use_is_the_programs_mistake() -> None:
    destroy = [{"op": "kmem_cache_destroy", "cache": "x"}]
    machine = booted(row("x", "3 16 256 16 1", 1), tasks=[{"name": "t", "program": destroy}])
    run(machine)
    assert [violation.kind for violation in machine.violations] == ["objects-remaining"]


def test_a_machine_without_enough_memory_is_refused_at_the_row_that_finds_none() -> None:
    # 1024 pages are there, and 1000 are wanted: some are kept free by the watermarks.
    text = row("x", "1000 1000 4096 1 1", 1000) + row("y", "0 0 8 512 1", 0)
    with pytest.raises(BootError, match=r"machine\.slabinfo: line 1, cache x: no node has a page left for a slab"):
        booted(text, "4M")
    with pytest.raises(TopologyError, match="line 1, cache x: there is no memory left for its slabs"):
        booted(text, "2M")


def test_the_same_dump_makes_the_same_machine() -> None:
    text = row("x", "30 48 256 16 1", 3) + row("y", "5 21 192 21 1", 1)
    first, second = (booted(text, "64M", "64M") for _ in range(2))
    assert [(pfn, slab.node, slab.inuse) for pfn, slab in first.slab.slabs.items()] == [
        (pfn, slab.node, slab.inuse) for pfn, slab in second.slab.slabs.items()
    ]


# --- the recorded ones


def dump(name: str) -> str:
    """The text of a recorded dump; of one that was damaged by hand, its sound rows."""
    if name.startswith("real:"):
        return lzma.decompress((SHARED / "real-kernel" / "boot" / name.removeprefix("real:")).read_bytes()).decode()
    if name.isdigit():
        with tarfile.open(DUMPS / f"pcp-meminfo-root-{name}.tgz") as archive:
            file = archive.extractfile("proc/slabinfo")
            assert file is not None
            return file.read().decode()
    text = (DUMPS / name).read_text()
    try:
        parse_slabinfo(text)
    except TopologyError as error:
        damaged = [int(problem.place.removeprefix("line ")) for problem in error.problems]
        return "".join(line for number, line in enumerate(text.splitlines(True), 1) if number not in damaged)
    return text


@recorded
@pytest.mark.parametrize("nodes", [1, 2])
@pytest.mark.parametrize(
    "name",
    [
        "001",
        "002",
        "004",
        "006",
        "prometheus-procfs-slabinfo.txt",
        "insights-proc_slabinfo.txt",
        "insights-slabinfo_doc.txt",
        "real:1c1n/slabinfo.xz",
        "real:4c2n/slabinfo.xz",
        "real:4c2n/slabinfo.after.xz",
        "real:8c4n/slabinfo.xz",
    ],
)
def test_a_recorded_dump_comes_back(name: str, nodes: int) -> None:
    text = dump(name)
    rows = {found.name: found for found in parse_slabinfo(text)}
    machine = booted(text, *["2G"] * nodes)
    again = shown(machine)
    # Every cache has a structure on every node: a machine with more nodes than the recorded one needs more of them.
    one_node = ("004", "insights-proc_slabinfo.txt", "real:1c1n/slabinfo.xz")
    more = {"kmem_cache_node"} if nodes == 2 and name in one_node else set()
    different = [found.name for found in rows.values() if numbers(again[found.name]) != numbers(found)]
    assert set(different) == more
    assert [known for known in again if known in rows] == list(rows)
    machine.interleaver.outcome = None
    invariants = SlabInvariants(machine)
    invariants.after_step()
    if len(machine.slab.slabs) < 50_000:
        invariants.at_end()
    assert machine.violations == []


@recorded
def test_what_a_kernel_of_the_same_kind_recorded_comes_back_to_the_byte() -> None:
    text = dump("real:4c2n/slabinfo.xz")
    assert read_afterwards(booted(text, "256M", "256M"), "/proc/slabinfo") == text
