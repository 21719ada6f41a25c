"""The ways an object takes: which path of SLUB is walked when, by the kernel's own statistics."""

from __future__ import annotations

from typing import Any

from slubloom.actors import Op, OpKind
from slubloom.kernel.kthread import kthread_run
from slubloom.kernel.pages import GFP_KERNEL, GFP_NOWARN
from slubloom.kernel.slab.allocate import kmem_cache_alloc, kmem_cache_alloc_bulk, kmem_cache_alloc_node
from slubloom.kernel.slab.create import kmem_cache_create
from slubloom.kernel.slab.destroy import kmem_cache_destroy
from slubloom.kernel.slab.flags import SLAB_HWCACHE_ALIGN, SLAB_TYPESAFE_BY_RCU
from slubloom.kernel.slab.free import kmem_cache_free, kmem_cache_free_bulk
from slubloom.kernel.slab.hotplug import slub_cpu_dead
from slubloom.kernel.slab.placement import placement_of
from slubloom.kernel.slab.shrink import kmem_cache_shrink

from .story import TWO_CPUS, counted, on, slab_of, told

SPIN = Op(OpKind.LOCAL, "spin")
TWO_NODES = """
[[machine.node]]
id = 0
cpus = "0"
memory = "64M"
[[machine.node]]
id = 1
cpus = "1"
memory = "64M"
"""


async def fill(machine: Any, cache: Any, slabs: int) -> list[list[int]]:
    """The objects of `slabs` slabs, in order of the slabs; every slab is full."""
    per_slab = cache.geometry.objects
    return [[await kmem_cache_alloc(machine.slab, cache) for _ in range(per_slab)] for _ in range(slabs)]


def test_the_last_object_freed_is_the_first_allocated_again() -> None:
    async def body(machine: Any) -> None:
        slub = machine.slab
        cache = await kmem_cache_create(slub, "x", 100)
        first, second, third = [await kmem_cache_alloc(slub, cache) for _ in range(3)]
        assert (second - first, third - second) == (104, 104)
        await kmem_cache_free(slub, cache, first)
        await kmem_cache_free(slub, cache, third)
        assert [await kmem_cache_alloc(slub, cache) for _ in range(3)] == [third, first, third + 104]
        assert counted(cache, 0) == {"ALLOC_FASTPATH": 5, "ALLOC_SLOWPATH": 1, "FREE_FASTPATH": 2, "ALLOC_SLAB": 1}

    assert told(body).violations == []


def test_what_others_free_into_our_slab_comes_back_when_ours_is_used_up() -> None:
    async def body(machine: Any) -> None:
        slub = machine.slab
        cache = await kmem_cache_create(slub, "x", 1024)
        objects = [await kmem_cache_alloc(slub, cache) for _ in range(cache.geometry.objects)]
        await on(machine, 1, lambda: kmem_cache_free_bulk(slub, cache, objects[:3]))
        assert counted(cache, 1) == {"FREE_SLOWPATH": 1, "FREE_FROZEN": 1}
        again = [await kmem_cache_alloc(slub, cache) for _ in range(3)]
        assert sorted(again) == objects[:3]
        assert counted(cache, 0)["ALLOC_REFILL"] == 1
        assert counted(cache, 0)["ALLOC_SLAB"] == 1
        await kmem_cache_alloc(slub, cache)  # nothing left: the slab is full and nobody's
        assert counted(cache, 0)["DEACTIVATE_BYPASS"] == 1
        assert counted(cache, 0)["ALLOC_SLAB"] == 2

    assert told(body).violations == []


def test_the_first_free_into_a_full_slab_gives_it_to_the_processor_that_frees() -> None:
    async def body(machine: Any) -> None:
        slub = machine.slab
        cache = await kmem_cache_create(slub, "x", 1024)  # 2 processors: 16 objects a slab, 3 partial slabs
        assert (cache.geometry.objects, cache.cpu_partial_slabs) == (16, 3)
        slabs = await fill(machine, cache, 6)
        for objects in slabs[:3]:
            await on(machine, 1, lambda objects=objects: kmem_cache_free(slub, cache, objects[0]))
        there = placement_of(cache).cpus[1].partial
        assert [slab.base for slab in there] == [slabs[number][0] for number in (2, 1, 0)]
        assert all(slab.frozen for slab in there)
        assert cache.node[0].nr_partial == 0
        # The fourth finds the list full: the three go to the node, in the order they are met.
        await on(machine, 1, lambda: kmem_cache_free(slub, cache, slabs[3][0]))
        where = placement_of(cache)
        assert [slab.base for slab in where.cpus[1].partial] == [slabs[3][0]]
        assert [slab.base for slab in where.nodes[0].partial] == [slabs[number][0] for number in (2, 1, 0)]
        assert counted(cache, 1) == {
            "FREE_SLOWPATH": 4,
            "CPU_PARTIAL_FREE": 4,
            "CPU_PARTIAL_DRAIN": 1,
            "FREE_ADD_PARTIAL": 3,
        }

    assert told(body).violations == []


def test_before_5_16_the_list_of_a_processor_is_full_by_its_free_objects() -> None:
    async def body(machine: Any) -> None:
        slub = machine.slab
        cache = await kmem_cache_create(slub, "x", 1024)  # 6 free objects may be kept
        assert (cache.cpu_partial, cache.cpu_partial_slabs) == (6, 0)
        slabs = await fill(machine, cache, 9)
        for number in range(8):
            await on(machine, 1, lambda number=number: kmem_cache_free(slub, cache, slabs[number][0]))
        # Seven slabs with one free object each: the eighth put finds more than 6 and drains.
        where = placement_of(cache)
        assert [slab.base for slab in where.cpus[1].partial] == [slabs[7][0]]
        assert cache.node[0].nr_partial == 7
        assert counted(cache, 1)["CPU_PARTIAL_DRAIN"] == 1

    assert told(body, release="v5.15").violations == []


def test_a_search_of_the_nodes_list_takes_some_slabs_along() -> None:
    async def body(machine: Any) -> None:
        slub = machine.slab
        cache = await kmem_cache_create(slub, "x", 1024)
        slabs = await fill(machine, cache, 5)
        for objects in slabs:
            await kmem_cache_free(slub, cache, objects[0])
        await kmem_cache_shrink(slub, cache)  # all to the node's list, equally full
        assert cache.node[0].nr_partial == 5
        await kmem_cache_alloc(slub, cache)
        where = placement_of(cache)
        # One to allocate from, then more until they are more than half of 3: two.
        assert (len(where.cpus[0].partial), where.nodes[0].nr_partial) == (2, 2)
        assert counted(cache, 0)["ALLOC_FROM_PARTIAL"] == 1
        assert counted(cache, 0)["CPU_PARTIAL_NODE"] == 2
        # The next two slabs are the processor's own.
        for _ in range(2):
            await kmem_cache_alloc(slub, cache)
        assert counted(cache, 0)["CPU_PARTIAL_ALLOC"] == 2
        assert counted(cache, 0)["ALLOC_SLAB"] == 5

    assert told(body).violations == []


def test_an_emptied_slab_is_kept_while_the_node_has_fewer_than_min_partial() -> None:
    async def body(machine: Any) -> None:
        slub = machine.slab
        cache = await kmem_cache_create(slub, "x", 1024)
        slabs = await fill(machine, cache, 9)
        for objects in slabs[:8]:
            await kmem_cache_free(slub, cache, objects[0])
        await kmem_cache_shrink(slub, cache)
        n = cache.node[0]
        assert (n.nr_slabs, n.nr_partial, cache.min_partial) == (9, 8, 5)
        for objects in slabs[:8]:
            await kmem_cache_free_bulk(slub, cache, objects[1:])
        # Eight partial slabs: those go that become empty while there are five or more, the last four stay.
        assert (n.nr_slabs, n.nr_partial) == (5, 4)
        assert counted(cache, 0)["FREE_SLAB"] == 4
        assert counted(cache, 0)["FREE_REMOVE_PARTIAL"] == 4

    assert told(body).violations == []


def test_an_allocation_that_insists_on_another_node_gives_the_own_slab_up() -> None:
    async def body(machine: Any) -> None:
        slub = machine.slab
        cache = await kmem_cache_create(slub, "x", 512)
        here = await kmem_cache_alloc(slub, cache)
        there = await kmem_cache_alloc_node(slub, cache, GFP_KERNEL, 1)
        assert (slab_of(machine, here).node, slab_of(machine, there).node) == (0, 1)
        assert not slab_of(machine, here).frozen
        assert [slab.base for slab in cache.node[0].partial] == [here]
        assert counted(cache, 0)["ALLOC_NODE_MISMATCH"] == 1
        assert counted(cache, 0)["DEACTIVATE_TO_HEAD"] == 1

    assert told(body, machine=TWO_NODES).violations == []


def test_bulk_allocation_is_all_or_nothing() -> None:
    async def body(machine: Any) -> None:
        slub = machine.slab
        cache = await kmem_cache_create(slub, "x", 4096)
        many = await kmem_cache_alloc_bulk(slub, cache, GFP_KERNEL, 100)
        assert len(dict.fromkeys(many)) == 100
        assert await kmem_cache_alloc_bulk(slub, cache, GFP_KERNEL, 3_000) == []
        await kmem_cache_free_bulk(slub, cache, many)
        await kmem_cache_shrink(slub, cache)
        assert cache.node[0].nr_slabs == 0

    machine = told(body, machine=TWO_CPUS.replace("64M", "8M"))
    assert machine.violations == []
    assert any("SLUB: Unable to allocate memory" in line for line in machine.console)


def test_a_constructor_runs_once_for_each_object_of_a_new_slab() -> None:
    async def body(machine: Any) -> None:
        slub = machine.slab
        made: list[int] = []
        cache = await kmem_cache_create(slub, "x", 1024, ctor=made.append)
        address = await kmem_cache_alloc(slub, cache)
        assert made == [address + 1032 * number for number in range(cache.geometry.objects)]
        await kmem_cache_free(slub, cache, address)
        assert await kmem_cache_alloc(slub, cache) == address
        assert len(made) == cache.geometry.objects

    assert told(body).violations == []


def test_an_object_of_a_typesafe_cache_may_be_used_again_under_the_eyes_of_a_reader() -> None:
    async def body(machine: Any) -> None:
        slub = machine.slab
        cache = await kmem_cache_create(slub, "x", 100, flags=SLAB_TYPESAFE_BY_RCU)
        address = await kmem_cache_alloc(slub, cache)
        slab = slab_of(machine, address)
        states = ["", ""]  # of the reader, and what it is to do

        async def read() -> None:
            async with machine.rcu.reader():
                states[0] = "reading"
                while states[1] != "leave":
                    machine.kasan.check_access(cache, slab, address, write=False)  # legal: still of this type
                    await SPIN

        reader = kthread_run(machine, read, cpu=1)
        while states[0] != "reading":
            await SPIN
        await kmem_cache_free(slub, cache, address)
        assert await kmem_cache_alloc(slub, cache) == address
        await kmem_cache_free(slub, cache, address)
        await kmem_cache_shrink(slub, cache)
        assert slab_of(machine, address) is slab  # off every list, but there until the reader has gone
        assert cache.node[0].nr_slabs == 0
        states[1] = "leave"
        await reader.join()
        await machine.rcu.rcu_barrier()
        assert address not in [other.base for other in slub.slabs.values()]

    assert told(body).violations == []


def test_a_dead_processors_slabs_are_given_up_for_it() -> None:
    async def body(machine: Any) -> None:
        slub = machine.slab
        cache = await kmem_cache_create(slub, "x", 1024)
        slabs = await fill(machine, cache, 3)
        await on(machine, 1, lambda: kmem_cache_alloc(slub, cache))
        await on(machine, 1, lambda: kmem_cache_free(slub, cache, slabs[0][0]))
        there = placement_of(cache).cpus[1]
        assert (there.slab is not None, len(there.partial)) == (True, 1)
        machine.cpus[1].online = False
        await slub_cpu_dead(slub, 1)
        there = placement_of(cache).cpus[1]
        assert (there.slab, there.partial) == (None, ())
        assert cache.node[0].nr_partial == 2
        machine.cpus[1].online = True

    assert told(body).violations == []


def test_a_slab_of_fewer_pages_is_made_where_memory_has_no_large_block() -> None:
    async def body(machine: Any) -> None:
        slub, node = machine.slab, machine.nodes[0]
        cache = await kmem_cache_create(slub, "x", 1024)
        assert (cache.geometry.order, cache.geometry.min_order) == (2, 0)
        pages, gfp = machine.pages, GFP_KERNEL | GFP_NOWARN
        taken: list[int] = []
        while (got := await pages.alloc_pages_node(0, gfp, 0)) is not None:
            taken.append(got[0])
        for pfn in sorted(taken)[100:4000:2]:  # single pages, no two of them neighbours
            await pages.free_pages(0, pfn, 0)
        while await pages.alloc_pages_node(0, gfp, 2) is not None:
            pass
        await kmem_cache_alloc(slub, cache)
        assert counted(cache, 0)["ORDER_FALLBACK"] == 1
        assert (cache.node[0].nr_slabs, cache.node[0].total_objects) == (1, 4)
        assert node.free_pages > 0

    assert told(body).violations == []


def test_mergeable_requests_share_a_cache_until_the_last_is_given_back() -> None:
    async def body(machine: Any) -> None:
        slub = machine.slab
        first = await kmem_cache_create(slub, "first", 100)
        second = await kmem_cache_create(slub, "second", 97)
        other = await kmem_cache_create(slub, "other", 100, flags=SLAB_HWCACHE_ALIGN)
        assert second is first
        assert other is not first
        assert slub.find("second") is first
        assert [cache.name for cache in slub.newest_first()][:2] == ["other", "first"]
        assert await kmem_cache_destroy(slub, second)
        address = await kmem_cache_alloc(slub, first)
        await kmem_cache_free(slub, first, address)
        assert await kmem_cache_destroy(slub, first)
        assert slub.find("first") is None
        assert slub.find("second") is None

    machine = told(body)
    assert machine.violations == []
    assert machine.counters["caches_merged"] == 1
    assert machine.counters["caches_destroyed"] == 1


def test_random_free_lists_depend_on_the_seed_alone() -> None:
    def order(seed: int) -> list[int]:
        found: list[int] = []

        async def body(machine: Any) -> None:
            cache = await kmem_cache_create(machine.slab, "x", 256)
            found.extend([await kmem_cache_alloc(machine.slab, cache) for _ in range(40)])

        assert told(body, seed=seed, kernel="freelist_random = true\n").violations == []
        return found

    assert order(1) == order(1)
    assert order(1) != order(2)
    assert len(dict.fromkeys(order(1))) == 40
    first_slab = order(1)[:16]
    assert sorted(first_slab) != first_slab
