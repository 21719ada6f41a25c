"""SLUB: geometry against the catalogue's vectors, its counters under random programs, and what it refuses."""

from __future__ import annotations

from typing import Any

import pytest
from slubloom.actors import Outcome
from slubloom.kernel.pages import GFP_KERNEL
from slubloom.kernel.rcu import RcuHead
from slubloom.kernel.slab.allocate import kmem_cache_alloc, kmem_cache_alloc_node
from slubloom.kernel.slab.create import kmem_cache_create
from slubloom.kernel.slab.destroy import kmem_cache_destroy
from slubloom.kernel.slab.free import kmem_cache_free
from slubloom.kernel.slab.geometry import (
    SLAB_HWCACHE_ALIGN,
    SLAB_TYPESAFE_BY_RCU,
    Tunables,
    calculate_alignment,
    calculate_sizes,
)
from slubloom.kernel.slab.procfs import read_slabinfo
from slubloom.kernel.slab.shrink import kmem_cache_shrink
from slubloom.kernel.slab.sizing import SIZING_6_1
from slubloom.kernel.slab.sysfs import read_attribute

from .helpers import TWO_NODES, booted, run, start

# size: order, objects, min_partial, cpu_partial with 2, 4, 8 and 64 processors (catalogue 2.3).
GOLDEN = {
    8: [(0, 512, 5, 120)] * 4,
    64: [(0, 64, 5, 120)] * 4,
    96: [(0, 42, 5, 120)] * 4,
    192: [(0, 21, 5, 120)] * 3 + [(1, 42, 5, 120)],
    256: [(0, 16, 5, 52)] * 2 + [(1, 32, 5, 52)] * 2,
    320: [(0, 12, 5, 52), (1, 25, 5, 52), (1, 25, 5, 52), (2, 51, 5, 52)],
    512: [(1, 16, 5, 52)] * 2 + [(2, 32, 5, 52)] * 2,
    576: [(1, 14, 5, 52), (2, 28, 5, 52), (2, 28, 5, 52), (3, 56, 5, 52)],
    832: [(2, 19, 5, 52)] * 2 + [(3, 39, 5, 52)] * 2,
    1024: [(2, 16, 5, 24)] * 2 + [(3, 32, 5, 24)] * 2,
    1088: [(2, 15, 5, 24)] + [(3, 30, 5, 24)] * 3,
    2048: [(3, 16, 5, 24)] * 4,
    4096: [(3, 8, 6, 6)] * 4,
    6016: [(3, 5, 6, 6)] * 4,
    12288: [(3, 2, 6, 6)] * 4,
    16384: [(3, 2, 7, 6)] * 4,
    40000: [(4, 1, 7, 6)] * 4,
}


@pytest.mark.parametrize("size", GOLDEN)
def test_geometry_is_that_of_the_kernel(size: int) -> None:
    for nr_cpus, expected in zip((2, 4, 8, 64), GOLDEN[size], strict=True):
        geometry = calculate_sizes(size, 0, 0, ctor=False, tunables=Tunables(nr_cpus), sizing=SIZING_6_1)
        assert (geometry.order, geometry.objects, geometry.min_partial, geometry.cpu_partial) == expected


def test_the_free_pointer_lies_outside_where_a_freed_object_may_still_be_read() -> None:
    plain = calculate_sizes(100, 0, 0, ctor=False, tunables=Tunables(2), sizing=SIZING_6_1)
    assert (plain.size, plain.offset) == (104, 48)
    typesafe = calculate_sizes(100, 0, SLAB_TYPESAFE_BY_RCU, ctor=False, tunables=Tunables(2), sizing=SIZING_6_1)
    assert (typesafe.size, typesafe.offset) == (112, 104)


def test_alignment_to_cache_lines_halves_for_small_objects() -> None:
    assert [calculate_alignment(SLAB_HWCACHE_ALIGN, 0, size) for size in (8, 16, 17, 33, 200)] == [8, 16, 32, 64, 64]


def check_invariants(machine: Any) -> None:
    """I2, I3, I4 and I6 of catalogue 2.11, for every cache."""
    slub = machine.slab
    slabs = list(dict.fromkeys(slub.slabs.values()))
    for cache in slub.slab_caches:
        for node, n in cache.node.items():
            here = [slab for slab in slabs if slab.cache is cache and slab.node == node]
            assert n.nr_slabs == len(here)
            assert n.total_objects == sum(slab.objects for slab in here)
            assert n.nr_partial == len(list(n.partial))
            for slab in n.partial:
                assert not slab.frozen
                assert slab.inuse < slab.objects
        for slab in slabs:
            if slab.cache is cache:
                assert slab.inuse == slab.objects - len(slab.free_objects(slab.freelist))


@pytest.mark.parametrize("seed", range(25))
def test_counters_add_up_after_tasks_on_four_processors_allocated_and_freed(seed: int) -> None:
    machine = booted(seed)
    slub = machine.slab
    bag: list[int] = []
    live: dict[int, None] = {}

    async def create() -> None:
        await kmem_cache_create(slub, "shared", 700)

    def work(number: int) -> Any:
        async def body() -> None:
            while (cache := slub.find("shared")) is None:
                await machine.current.sleep(100)
            for turn in range(12):
                if turn % 3 != 2 or not bag:
                    address = await kmem_cache_alloc_node(slub, cache, GFP_KERNEL, (-1, 0, 1)[(turn + number) % 3])
                    assert address is not None
                    assert address not in live
                    live[address] = None
                    bag.append(address)
                else:
                    address = bag.pop(0)
                    del live[address]
                    await kmem_cache_free(slub, cache, address)

        return body

    start(machine, 0, "create", create)
    for number in range(4):
        start(machine, number, f"t{number}", work(number))
    assert run(machine) is Outcome.FINISHED
    assert machine.violations == []
    check_invariants(machine)
    cache = slub.find("shared")
    assert cache is not None
    held = sum(len(c.slab.free_objects(c.freelist)) for c in cache.cpu_slab.values() if c.slab)
    used = sum(slab.inuse for slab in dict.fromkeys(slub.slabs.values()) if slab.cache is cache)
    assert used - held == len(live)


def story(function: Any, *, text: str | None = None, stop: bool = True, seed: int = 0) -> Any:
    """Run `function(machine)` as the only thread, on processor 0; the machine."""
    machine = booted(seed, stop=stop) if text is None else booted(seed, text, stop=stop)

    async def body() -> None:
        await function(machine)

    start(machine, 0, "story", body)
    assert run(machine) in (Outcome.FINISHED, Outcome.STOPPED)
    return machine


def test_an_object_comes_from_the_wanted_node() -> None:
    async def body(machine: Any) -> None:
        cache = await kmem_cache_create(machine.slab, "x", 512)
        for node in (1, 0):
            address = await kmem_cache_alloc_node(machine.slab, cache, GFP_KERNEL, node)
            (slab,) = {s for s in machine.slab.slabs.values() if s.base <= address < s.base + (4096 << s.order)}
            assert slab.node == node
            assert slab.cache is cache

    assert story(body).violations == []


def test_shrinking_frees_empty_slabs_and_puts_the_fullest_first() -> None:
    async def body(machine: Any) -> None:
        slub = machine.slab
        cache = await kmem_cache_create(slub, "x", 1024)  # 16 or 32 objects a slab
        per_slab = cache.geometry.objects
        objects = [await kmem_cache_alloc(slub, cache) for _ in range(4 * per_slab)]
        slabs = [objects[i : i + per_slab] for i in range(0, len(objects), per_slab)]
        for slab, kept in zip(slabs, (3, 0, per_slab - 1, 9), strict=True):
            for address in slab[kept:]:
                await kmem_cache_free(slub, cache, address)
        assert await kmem_cache_shrink(slub, cache)
        n = cache.node[0]
        assert [slab.inuse for slab in n.partial] == [per_slab - 1, 9, 3]
        assert await read_attribute(slub, cache, "partial") == "3 N0=3\n"
        assert await read_attribute(slub, cache, "objects") == f"{per_slab + 11} N0={per_slab + 11}\n"

    machine = story(body)
    assert machine.violations == []
    check_invariants(machine)


def test_destroying_a_cache_with_objects_warns_and_leaves_it() -> None:
    async def body(machine: Any) -> None:
        cache = await kmem_cache_create(machine.slab, "x", 100)
        await kmem_cache_alloc(machine.slab, cache)
        assert not await kmem_cache_destroy(machine.slab, cache)
        assert machine.slab.find("x") is cache

    machine = story(body, stop=False)
    assert [violation.kind for violation in machine.violations] == ["objects-remaining"]


def test_everything_a_cache_had_is_given_back_when_it_is_destroyed() -> None:
    async def body(machine: Any) -> None:
        slub = machine.slab
        before = sum(node.free_pages for node in machine.nodes.values())
        for round_number in range(3):
            cache = await kmem_cache_create(slub, f"x{round_number}", 3000)
            objects = [await kmem_cache_alloc(slub, cache) for _ in range(50)]
            for address in objects:
                await kmem_cache_free(slub, cache, address)
            assert await kmem_cache_destroy(slub, cache)
        await machine.current.sleep(1000)
        after = sum(node.free_pages for node in machine.nodes.values())
        assert before - after <= 8  # slabs of the boot caches stay

    assert story(body).violations == []


@pytest.mark.parametrize("release", ["v4.10", "v4.11", "v6.11", "v6.12"])
def test_slabs_that_may_be_looked_at_under_rcu_are_freed_by_a_callback_before_the_cache(release: str) -> None:
    at_return: dict[int, None] = {}

    async def body(machine: Any) -> None:
        slub = machine.slab
        cache = await kmem_cache_create(slub, "x", 100, flags=SLAB_TYPESAFE_BY_RCU)
        await kmem_cache_free(slub, cache, await kmem_cache_alloc(slub, cache))
        assert await kmem_cache_destroy(slub, cache)
        at_return[machine.counters.get("caches_destroyed", 0)] = None

    for seed in range(20):
        machine = booted(seed, TWO_NODES, release=release)

        async def story_of(machine: Any = machine) -> None:
            await body(machine)

        start(machine, 0, "story", story_of)
        assert run(machine) is Outcome.FINISHED
        assert machine.violations == []
        wanted = {"rcu_freed_slabs": 1, "rcu_barriers": 1, "caches_destroyed": 1}
        assert {name: machine.counters[name] for name in wanted} == wanted
        assert machine.slab.find("x") is None
    # Where a work item waits for the callbacks, destroying returns before the cache is gone.
    assert (0 in at_return) is (release in ("v4.11", "v6.11"))


def test_an_object_freed_twice_is_reported() -> None:
    async def twice(machine: Any) -> None:
        cache = await kmem_cache_create(machine.slab, "x", 100)
        address = await kmem_cache_alloc(machine.slab, cache)
        await kmem_cache_free(machine.slab, cache, address)
        await kmem_cache_free(machine.slab, cache, address)

    (violation,) = story(twice).violations
    assert violation.kind == "double-free"
    assert "which belongs to the cache x of size 100" in violation.report


SHARED_BAG = """
[[machine.node]]
id = 0
cpus = "0-1"
memory = "16M"
[[cache]]
name = "x"
size = 64
[[task]]
name = "user"
cpu = 0
program = [
    {op = "kmem_cache_alloc", cache = "x"},
    {op = "repeat", count = 5, program = [{op = "access", cache = "x"}]},
]
[[task]]
name = "freer"
cpu = 1
program = [
    {op = "repeat", count = 8, program = [{op = "cond_resched"}]},
    {op = "kmem_cache_free", cache = "x"},
]
"""


def test_an_object_used_while_another_task_frees_it_is_a_use_after_free_in_some_schedules() -> None:
    found = {}
    for seed in range(60):
        machine = booted(seed, SHARED_BAG)
        run(machine)
        found[tuple(violation.kind for violation in machine.violations)] = None
    assert set(found) == {(), ("use-after-free",)}


def test_allocation_fails_politely_when_memory_runs_out() -> None:
    tiny = '[[machine.node]]\nid = 0\ncpus = "0"\nmemory = "1M"\n'

    async def body(machine: Any) -> None:
        cache = await kmem_cache_create(machine.slab, "x", 4096)
        got = 0
        while await kmem_cache_alloc(machine.slab, cache) is not None:
            got += 1
        assert 200 < got < 256
        assert any("SLUB: Unable to allocate memory" in line for line in machine.console)

    assert story(body, text=tiny).violations == []


def test_a_name_in_use_is_refused() -> None:
    async def body(machine: Any) -> None:
        assert await kmem_cache_create(machine.slab, "x", 100, ctor=len) is not None
        assert await kmem_cache_create(machine.slab, "x", 200, ctor=len) is None

    assert story(body).violations == []


def test_slabinfo_has_a_line_a_cache() -> None:
    async def body(machine: Any) -> None:
        cache = await kmem_cache_create(machine.slab, "x", 1000)
        await kmem_cache_alloc(machine.slab, cache)
        lines = (await read_slabinfo(machine.slab)).splitlines()
        assert lines[0] == "slabinfo - version: 2.1"
        assert lines[2].split()[:6] == ["x", "16", "16", "1000", "16", "4"]

    assert story(body).violations == []


def test_synchronize_rcu_outlasts_every_reader_that_began_before_it() -> None:
    for seed in range(80):
        machine = booted(seed)
        rcu = machine.rcu
        sections: dict[str, int] = {}  # reader → number of the section it is in

        def read(name: str, machine: Any = machine, rcu: Any = rcu, sections: dict[str, int] = sections) -> Any:
            async def body() -> None:
                for number in range(1, 4):
                    async with rcu.reader():
                        sections[name] = number
                        await machine.slab.kmem_cache.read_node
                        await machine.slab.kmem_cache.read_node
                        del sections[name]

            return body

        async def update(rcu: Any = rcu, sections: dict[str, int] = sections) -> None:
            for _ in range(2):
                inside = dict(sections)
                await rcu.synchronize_rcu()
                assert not [name for name, number in inside.items() if sections.get(name) == number]

        for cpu in range(4):
            start(machine, cpu, f"reader{cpu}", read(f"r{cpu}"))
            start(machine, cpu, f"preempter{cpu}", read(f"p{cpu}"))
        start(machine, 0, "update", update)
        assert run(machine) is Outcome.FINISHED
        assert machine.violations == []


def test_a_callback_runs_only_after_the_readers_of_its_time_and_a_barrier_after_all_callbacks() -> None:
    for seed in range(80):
        machine = booted(seed)
        rcu = machine.rcu
        sections: dict[str, int] = {}  # reader → number of the section it is in
        ran: list[int] = []
        broken: list[str] = []

        def read(name: str, machine: Any = machine, rcu: Any = rcu, sections: dict[str, int] = sections) -> Any:
            async def body() -> None:
                for number in range(1, 4):
                    await rcu.read_lock()
                    sections[name] = number
                    await machine.slab.kmem_cache.read_node
                    del sections[name]
                    await rcu.read_unlock()

            return body

        async def update(rcu: Any = rcu, sections: Any = sections, ran: list[int] = ran, broken: Any = broken) -> None:
            for number in range(3):
                inside = dict(sections)

                def callback(number: int = number, inside: dict[str, int] = inside) -> None:
                    ran.append(number)
                    broken.extend(name for name, section in inside.items() if sections.get(name) == section)

                await rcu.call_rcu(RcuHead(callback))
            await rcu.rcu_barrier()
            assert len(ran) >= 3

        for cpu in range(4):
            start(machine, cpu, f"reader{cpu}", read(f"r{cpu}"))
            start(machine, cpu, f"preempter{cpu}", read(f"p{cpu}"))
        start(machine, 1, "update", update)
        start(machine, 2, "update too", update)
        assert run(machine) is Outcome.FINISHED
        assert machine.violations == []
        assert broken == []
        assert len(ran) == 6


def test_waiting_for_readers_inside_a_reader_is_reported() -> None:
    async def body(machine: Any) -> None:
        async with machine.rcu.reader():
            await machine.rcu.synchronize_rcu()

    (violation,) = story(body).violations
    assert "Illegal synchronize_rcu() in RCU read-side critical section" in violation.title
