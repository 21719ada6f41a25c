"""Owners of objects (from 5.9): bytes, stocks, and what a cgroup leaves to its parent."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from slubloom.kernel.kthread import kthread_run
from slubloom.kernel.memcg.objects import ObjectOwners
from slubloom.kernel.pages import GFP_KERNEL
from slubloom.kernel.slab.allocate import kmem_cache_alloc, kmem_cache_alloc_bulk
from slubloom.kernel.slab.free import kmem_cache_free, kmem_cache_free_bulk

from ..slab.story import slab_of
from .story import OBJECTS, accounted, memcg_of, told, until, works_done

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from slubloom.kernel import Machine

PAGE = 4096
SIZE = 1000 + 8  # of an object: with the free pointer behind it, for there is a constructor
CHARGE = SIZE + 8


def told_of_objects(body: Callable[[Machine, ObjectOwners], Awaitable[None]], release: str = "v6.1") -> Machine:
    async def with_kmem(machine: Machine) -> None:
        kmem = machine.slab.memcg
        assert isinstance(kmem, ObjectOwners)
        await body(machine, kmem)

    machine = told(with_kmem, release=release)
    assert machine.violations == []
    return machine


@pytest.mark.parametrize("release", OBJECTS)
def test_an_object_takes_its_bytes_from_a_page_and_gives_them_back_to_the_stock(release: str) -> None:
    async def body(machine: Machine, kmem: ObjectOwners) -> None:
        slub, stock = machine.slab, kmem.stocks[0]
        cache = await accounted(machine, "x", 1000)
        assert cache.size == SIZE
        await machine.cgroups.attach("g")  # type: ignore[union-attr]
        g = memcg_of(machine, "g")
        objects = []
        left = []
        for _ in range(5):
            objects.append(await kmem_cache_alloc(slub, cache) or 0)
            left.append((g.memory.usage, stock.nr_bytes))
        # Four objects fit into a page, and the fifth wants a new one, which it does not fill up with the old rest.
        rest = PAGE - 4 * CHARGE
        assert left == [(1, PAGE - n * CHARGE) for n in (1, 2, 3, 4)] + [(2, rest + PAGE - CHARGE)]
        objcg = g.objcg
        assert objcg is not None
        slab = slab_of(machine, objects[0])
        assert slab.objcgs == [objcg] * 5 + [None] * (slab.objects - 5)
        assert objcg.refcnt.references == 1 + 5 + 1  # its own, the objects, the stock
        for address in objects:
            await kmem_cache_free(slub, cache, address)
        assert (g.memory.usage, stock.nr_bytes) == (1, PAGE)
        await kmem.drain_all_stock(g)
        assert (g.memory.usage, stock.nr_bytes, objcg.refcnt.references) == (0, 0, 1)

    told_of_objects(body, release)


def test_another_cgroup_drives_a_stock_out_and_the_rest_waits_with_its_owner() -> None:
    async def body(machine: Machine, kmem: ObjectOwners) -> None:
        slub, groups, stock = machine.slab, machine.cgroups, kmem.stocks[0]
        assert groups is not None
        await groups.mkdir("h")
        cache = await accounted(machine, "x", 1000)
        await groups.attach("g")
        one = await kmem_cache_alloc(slub, cache)
        g, h = memcg_of(machine, "g").objcg, memcg_of(machine, "h").objcg
        assert g is not None
        await groups.attach("h")
        await kmem_cache_alloc(slub, cache)
        assert (stock.cached_objcg, stock.nr_bytes, g.nr_charged_bytes) == (h, PAGE - CHARGE, PAGE - CHARGE)
        await kmem_cache_free(slub, cache, one or 0)
        # Its bytes come back to a stock of its own, together with those that waited: a page, which is not too much.
        assert (stock.cached_objcg, stock.nr_bytes, g.nr_charged_bytes) == (g, PAGE, 0)

    told_of_objects(body)


def test_bulk_allocations_charge_all_objects_and_free_each() -> None:
    async def body(machine: Machine, kmem: ObjectOwners) -> None:
        slub = machine.slab
        cache = await accounted(machine, "x", 1000)
        await machine.cgroups.attach("g")  # type: ignore[union-attr]
        objects = await kmem_cache_alloc_bulk(slub, cache, GFP_KERNEL, 10)
        g = memcg_of(machine, "g")
        assert g.objcg is not None
        assert (g.memory.usage, g.objcg.refcnt.references) == (3, 1 + 10 + 1)
        await kmem_cache_free_bulk(slub, cache, objects)
        await kmem.drain_all_stock(g)
        assert (g.memory.usage, g.objcg.refcnt.references) == (0, 1)

    told_of_objects(body)


def test_a_removed_cgroup_leaves_its_objects_to_its_parent_at_once_and_nothing_waits_for_them() -> None:
    async def body(machine: Machine, kmem: ObjectOwners) -> None:
        slub, groups = machine.slab, machine.cgroups
        assert groups is not None
        cache = await accounted(machine, "x", 1000)
        await groups.mkdir("g/a")
        await groups.attach("g/a")
        objects = [await kmem_cache_alloc(slub, cache) or 0 for _ in range(3)]
        g, objcg = memcg_of(machine, "g"), memcg_of(machine, "g/a").objcg
        assert objcg is not None
        await groups.attach("/")
        await groups.rmdir("g/a")
        await until(machine, "memcgs_freed", 1)
        assert objcg.memcg is g
        assert list(g.objcg_list) == [objcg]
        assert g.memory.usage == 1
        # And again: what the parent has inherited goes on to its own parent.
        await groups.rmdir("g")
        await until(machine, "memcgs_freed", 2)
        assert objcg.memcg is groups.root.memcg
        for address in objects:
            await kmem_cache_free(slub, cache, address)
        await kmem.drain_all_stock(groups.root.memcg)
        await until(machine, "objcgs_freed", 2)
        assert groups.root.memcg.memory.usage == 0
        assert not groups.root.memcg.objcg_list

    machine = told_of_objects(body)
    assert "memcg_caches_created" not in machine.counters


def test_stocks_of_other_processors_are_drained_by_work_items() -> None:
    async def body(machine: Machine, kmem: ObjectOwners) -> None:
        groups = machine.cgroups
        assert groups is not None
        cache = await accounted(machine, "x", 1000)

        async def allocate_and_free() -> None:
            await groups.attach("g")
            await kmem_cache_free(machine.slab, cache, await kmem_cache_alloc(machine.slab, cache) or 0)
            await groups.leave(machine.current)

        await kthread_run(machine, allocate_and_free, cpu=1).join()
        g = memcg_of(machine, "g")
        assert (kmem.stocks[1].nr_bytes, g.memory.usage) == (PAGE, 1)
        await kmem.drain_all_stock(g)
        await works_done(machine)
        assert (kmem.stocks[1].nr_bytes, kmem.stocks[1].cached_objcg, g.memory.usage) == (0, None, 0)

    told_of_objects(body)


def test_the_nearest_living_ancestor_pays_where_the_cgroup_has_gone() -> None:
    async def body(machine: Machine, kmem: ObjectOwners) -> None:
        groups: Any = machine.cgroups
        await groups.mkdir("g/a")
        await groups.attach("g/a")
        g, a = memcg_of(machine, "g"), memcg_of(machine, "g/a")
        own = await kmem.get_obj_cgroup_from_current()
        assert own is a.objcg
        await kmem.memcg_reparent_objcgs(a, g)
        assert a.objcg is None
        inherited = await kmem.get_obj_cgroup_from_current()
        assert inherited is g.objcg
        for objcg in (own, inherited):
            assert objcg is not None
            await objcg.refcnt.put()

    told_of_objects(body)
