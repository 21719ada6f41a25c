"""Caches of cgroups (up to 5.8): how one is wanted, created, found, deactivated, destroyed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from slubloom.kernel.gfp import GFP_ACCOUNT, GFP_ATOMIC
from slubloom.kernel.kthread import kthread_run
from slubloom.kernel.memcg.memcg import NO_ID, KmemState
from slubloom.kernel.pages import GFP_KERNEL
from slubloom.kernel.slab.allocate import kmem_cache_alloc, kmem_cache_alloc_bulk
from slubloom.kernel.slab.create import kmem_cache_create
from slubloom.kernel.slab.destroy import kmem_cache_destroy
from slubloom.kernel.slab.flags import SLAB_TYPESAFE_BY_RCU
from slubloom.kernel.slab.free import kmem_cache_free, kmem_cache_free_bulk
from slubloom.kernel.slab.procfs import read_slabinfo

from ..slab.story import slab_of
from .story import CHILD_CACHES, PINNED_BY_PAGES, accounted, memcg_of, told, until, with_child, works_done

if TYPE_CHECKING:
    from slubloom.kernel import Machine
    from slubloom.kernel.slab.cache import KmemCache


def child_of(machine: Machine, cache: KmemCache, path: str = "g") -> KmemCache | None:
    """What the array of `cache` has for a cgroup."""
    params = cache.memcg_root
    assert params is not None
    assert params.memcg_caches is not None
    return params.memcg_caches.entries[memcg_of(machine, path).kmemcg_id]


def name_of_cache(machine: Machine, address: int | None) -> str:
    assert address is not None
    return slab_of(machine, address).cache.name


@pytest.mark.parametrize("release", CHILD_CACHES)
def test_the_first_object_is_the_root_caches_and_the_next_ones_are_the_childs(release: str) -> None:
    names = []

    async def body(machine: Machine) -> None:
        cache = await accounted(machine, "x")
        await machine.cgroups.attach("g")  # type: ignore[union-attr]
        first = await with_child(machine, cache)
        second = await kmem_cache_alloc(machine.slab, cache)
        several = await kmem_cache_alloc_bulk(machine.slab, cache, GFP_KERNEL, 2)
        names.extend(name_of_cache(machine, address) for address in (first, second, *several))
        # All of them are freed through the cache that everybody knows.
        for address in (first, second):
            await kmem_cache_free(machine.slab, cache, address or 0)
        await kmem_cache_free_bulk(machine.slab, cache, several)

    machine = told(body, release=release)
    assert machine.violations == []
    serial = memcg_of(machine, "g").serial
    assert names == ["x", *[f"x({serial}:g)"] * 3]
    assert machine.counters["memcg_cache_works"] == 1
    assert machine.counters["memcg_caches_created"] == 1


@pytest.mark.parametrize("release", ["v4.11", "v5.4"])
def test_only_accounted_allocations_of_tasks_in_a_cgroup_make_a_child(release: str) -> None:
    async def body(machine: Machine) -> None:
        slub = machine.slab
        x = await accounted(machine, "x")
        plain = await kmem_cache_create(slub, "plain", 512)
        assert plain is not None
        await kmem_cache_alloc(slub, x)  # in the root cgroup
        await machine.cgroups.attach("g")  # type: ignore[union-attr]
        await kmem_cache_alloc(slub, plain)
        await works_done(machine)
        assert "memcg_cache_works" not in machine.counters
        await kmem_cache_alloc(slub, plain, GFP_KERNEL | GFP_ACCOUNT)
        await works_done(machine)
        assert child_of(machine, plain) is not None
        assert child_of(machine, x) is None

    told(body, release=release)


@pytest.mark.parametrize("release", CHILD_CACHES)
def test_several_misses_queue_several_items_and_one_of_them_creates_the_child(release: str) -> None:
    async def body(machine: Machine) -> None:
        cache = await accounted(machine, "x")
        await machine.cgroups.attach("g")  # type: ignore[union-attr]
        machine.this_cpu.local_irq_disable()  # keep workers from the list of caches while allocating
        machine.running.preempt_disable()
        for _ in range(3):
            await kmem_cache_alloc(machine.slab, cache, GFP_ATOMIC)
        machine.running.preempt_enable()
        machine.this_cpu.local_irq_enable()
        await works_done(machine)

    machine = told(body, release=release)
    assert machine.counters["memcg_cache_works"] == 3
    assert machine.counters["memcg_caches_created"] == 1


def test_arrays_double_with_the_numbers_and_old_ones_are_freed_after_readers() -> None:
    sizes = []

    async def body(machine: Machine) -> None:
        cgroups = machine.cgroups
        assert cgroups is not None
        cache = await accounted(machine, "x")
        params = cache.memcg_root
        assert params is not None
        old = params.memcg_caches
        for number in range(1, 10):
            await cgroups.mkdir(f"c{number}")
            assert memcg_of(machine, f"c{number}").kmemcg_id == number
            assert params.memcg_caches is not None
            sizes.append(len(params.memcg_caches.entries))
        later = await accounted(machine, "later")
        assert later.memcg_root is not None
        assert later.memcg_root.memcg_caches is not None
        sizes.append(len(later.memcg_root.memcg_caches.entries))
        await machine.rcu.rcu_barrier()
        assert type(old).__name__ == "FreedCacheArray"

    assert told(body, release="v4.14").violations == []
    # Number 4 wants 2 * 5 places, number 10 would be the next to want more.
    assert sizes == [4, 4, 4, 10, 10, 10, 10, 10, 10, 10]


def test_a_number_is_used_again_by_the_next_cgroup() -> None:
    async def body(machine: Machine) -> None:
        cgroups = machine.cgroups
        assert cgroups is not None
        cache = await accounted(machine, "x")
        for path in ("a", "b"):
            await cgroups.mkdir(path)
        await cgroups.attach("a")
        await with_child(machine, cache)
        a = memcg_of(machine, "a")
        assert (a.kmemcg_id, memcg_of(machine, "b").kmemcg_id) == (1, 2)
        a.css.get()  # so that it can be looked at
        await cgroups.attach("/")
        await cgroups.rmdir("a")
        await until(machine, "memcgs_offlined", 1)
        assert (a.kmemcg_id, a.kmem_state) == (NO_ID, KmemState.ALLOCATED)
        await cgroups.mkdir("c")
        assert memcg_of(machine, "c").kmemcg_id == 1
        # The number says nothing of the caches of who had it before.
        assert child_of(machine, cache, "c") is None
        await a.css.put()

    assert told(body, release="v4.14").violations == []


@pytest.mark.parametrize("release", CHILD_CACHES)
def test_a_cgroup_that_goes_offline_gets_no_cache_any_more(release: str) -> None:
    async def body(machine: Machine) -> None:
        cgroups, slub = machine.cgroups, machine.slab
        assert cgroups is not None
        cache = await accounted(machine, "x")
        memcg = memcg_of(machine, "g")

        async def hold_slab_mutex() -> None:
            async with slub.slab_mutex:
                while memcg.kmem_state is KmemState.ONLINE:
                    await machine.current.sleep(1_000)

        holder = kthread_run(machine, hold_slab_mutex, cpu=1)
        while not slub.slab_mutex.is_locked:
            await machine.current.sleep(1_000)
        await cgroups.attach("g")
        await kmem_cache_free(slub, cache, await kmem_cache_alloc(slub, cache) or 0)
        await cgroups.attach("/")
        await cgroups.rmdir("g")
        await holder.join()  # going offline has begun, and waits for the mutex; so does the item
        await works_done(machine)
        assert "memcg_caches_created" not in machine.counters
        await until(machine, "memcgs_freed", 1)

    assert told(body, release=release).violations == []


@pytest.mark.parametrize("release", PINNED_BY_PAGES)
def test_a_removed_cgroup_stays_until_its_last_object_is_freed(release: str) -> None:
    async def body(machine: Machine) -> None:
        cgroups, slub = machine.cgroups, machine.slab
        assert cgroups is not None
        cache = await accounted(machine, "x")
        await cgroups.attach("g")
        await with_child(machine, cache)
        last = await kmem_cache_alloc(slub, cache)
        memcg = memcg_of(machine, "g")
        await cgroups.attach("/")
        await cgroups.rmdir("g")
        await until(machine, "memcgs_offlined", 1)
        await works_done(machine)
        await machine.rcu.synchronize_rcu()
        await works_done(machine)
        assert "memcgs_freed" not in machine.counters
        (child,) = memcg.kmem_caches
        assert (child.cpu_partial, child.min_partial) == (0, 0)
        assert memcg.css.references == sum(n.nr_slabs for n in child.node.values()) << child.geometry.order
        await kmem_cache_free(slub, cache, last or 0)
        await until(machine, "memcgs_freed", 1)

    machine = told(body, release=release)
    assert machine.violations == []
    assert machine.counters["memcg_caches_destroyed"] == 1


@pytest.mark.parametrize("release", ["v4.9", "v4.14", "v4.19", "v5.4", "v5.8"])
@pytest.mark.parametrize("flags", [0, SLAB_TYPESAFE_BY_RCU])
def test_destroying_a_cache_destroys_its_children_of_living_and_of_removed_cgroups(release: str, flags: int) -> None:
    async def body(machine: Machine) -> None:
        cgroups, slub = machine.cgroups, machine.slab
        assert cgroups is not None
        await cgroups.mkdir("h")
        cache = await kmem_cache_create(slub, "x", 256, flags=flags | 0x0400_0000, ctor=lambda _: None)
        assert cache is not None
        kept: list[int] = []
        for path in ("g", "h"):
            await cgroups.attach(path)
            kept += [await with_child(machine, cache), await kmem_cache_alloc(slub, cache) or 0]
        await cgroups.attach("/")
        await cgroups.rmdir("h")
        await until(machine, "memcgs_offlined", 1)
        await works_done(machine)
        for address in kept[:-1]:
            await kmem_cache_free(slub, cache, address)
        assert await kmem_cache_destroy(slub, cache) is False  # the last object is in a child
        await kmem_cache_free(slub, cache, kept[-1])
        assert await kmem_cache_destroy(slub, cache)
        await machine.rcu.rcu_barrier()
        await works_done(machine)
        await until(machine, "memcgs_freed", 1)

    machine = told(body, release=release, stop=False)
    assert [violation.kind for violation in machine.violations] == ["objects-remaining"]
    assert machine.counters["memcg_caches_created"] == machine.counters["memcg_caches_destroyed"] == 2
    assert [cache.name for cache in machine.slab.slab_caches] == ["kmem_cache", "kmem_cache_node"]


def test_slabinfo_counts_children_with_their_root() -> None:
    texts: list[Any] = []

    async def body(machine: Machine) -> None:
        cache = await accounted(machine, "x", 2040)
        await machine.cgroups.attach("g")  # type: ignore[union-attr]
        await with_child(machine, cache)
        await kmem_cache_alloc(machine.slab, cache)
        texts.append(await read_slabinfo(machine.slab))

    told(body, release="v4.14")
    lines = [line.split() for line in texts[0].splitlines()[2:]]
    assert [line[0] for line in lines] == ["x", "kmem_cache_node", "kmem_cache"]
    # One slab of 16 objects each: the root's, and the child's.
    assert lines[0][1:6] == ["32", "32", "2048", "16", "8"]


def test_without_accounting_of_kernel_memory_there_is_one_cache_for_all() -> None:
    async def body(machine: Machine) -> None:
        assert machine.slab.memcg is None
        cache = await accounted(machine, "x")
        cgroups = machine.cgroups
        assert cgroups is not None
        await cgroups.attach("g")
        address = await kmem_cache_alloc(machine.slab, cache)
        assert name_of_cache(machine, address) == "x"
        await cgroups.attach("/")
        await cgroups.rmdir("g")
        await until(machine, "memcgs_freed", 1)

    machine = told(body, release="v4.14", kernel="kmem_accounting = false\n")
    assert machine.violations == []
    assert "memcg_cache_works" not in machine.counters
