"""Going offline, era by era: who waits for grace periods, and with which locks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from slubloom.kernel.memcg.deferred import MEMCG_KMEM_CACHE, SYSTEM
from slubloom.kernel.slab.allocate import kmem_cache_alloc
from slubloom.kernel.slab.flags import SLAB_TYPESAFE_BY_RCU
from slubloom.kernel.slab.free import kmem_cache_free

from .story import accounted, memcg_of, told, until, with_child

if TYPE_CHECKING:
    from slubloom.kernel import Machine

CACHES = 3


def removal(release: str, *, flags: int = 0, cgroups: int = 1) -> tuple[Machine, list[tuple[str, bool, bool]]]:
    """Cgroups with three emptied caches each are removed: what waited, and whether under cgroup_mutex, slab_mutex."""
    waits: list[tuple[str, bool, bool]] = []

    async def body(machine: Machine) -> None:
        slub, groups = machine.slab, machine.cgroups
        assert groups is not None

        def watched(what: str, wait: Any) -> Any:
            async def watching() -> None:
                waits.append((what, groups.cgroup_mutex.is_locked, slub.slab_mutex.is_locked))  # type: ignore[union-attr]
                await wait()

            return watching

        caches = [await accounted(machine, f"x{number}", flags=flags) for number in range(CACHES)]
        for number in range(cgroups):
            await groups.mkdir(f"c{number}")
            await groups.attach(f"c{number}")
            for cache in caches:
                first = await with_child(machine, cache)
                second = await kmem_cache_alloc(slub, cache)
                for address in (first, second):
                    await kmem_cache_free(slub, cache, address or 0)
        await groups.attach("/")
        await machine.rcu.rcu_barrier()
        groups.deferred.synchronize_sched = watched("grace period", groups.deferred.synchronize_sched)  # type: ignore[method-assign]
        machine.rcu.rcu_barrier = watched("barrier", machine.rcu.rcu_barrier)  # type: ignore[method-assign]
        for number in range(cgroups):
            assert await groups.rmdir(f"c{number}") == 0
        await until(machine, "memcgs_freed", cgroups)
        await until(machine, "memcg_caches_destroyed", cgroups * CACHES)

    machine = told(body, release=release)
    assert machine.violations == []
    assert machine.counters["memcg_caches_created"] == cgroups * CACHES
    return machine, waits


def test_up_to_4_9_each_cache_costs_a_grace_period_with_both_mutexes_held() -> None:
    assert removal("v4.9")[1] == [("grace period", True, True)] * CACHES


def test_4_10_waits_once_and_without_slab_mutex() -> None:
    assert removal("v4.10")[1] == [("grace period", True, False)]


@pytest.mark.parametrize("release", ["v4.11", "v4.18", "v5.3", "v5.8"])
def test_from_4_11_on_nobody_waits(release: str) -> None:
    machine, waits = removal(release)
    assert waits == []
    assert machine.counters["memcg_caches_deactivated"] == CACHES


def test_up_to_4_10_each_removed_cgroup_pays_one_barrier_with_cgroup_mutex_held() -> None:
    for release in ("v4.9", "v4.10"):
        barriers = [wait for wait in removal(release, flags=SLAB_TYPESAFE_BY_RCU, cgroups=4)[1] if wait[0] == "barrier"]
        assert barriers == [("barrier", True, False)] * 4


def test_from_4_11_on_a_work_item_pays_for_many_of_them_and_holds_no_cgroup_mutex() -> None:
    machine, waits = removal("v4.11", flags=SLAB_TYPESAFE_BY_RCU, cgroups=4)
    assert 1 <= len(waits) < 4 * CACHES
    assert machine.counters["largest_destroy_batch"] > 1


@pytest.mark.parametrize(("release", "queue"), [("v4.9", SYSTEM), ("v4.10", MEMCG_KMEM_CACHE)])
def test_caches_are_created_on_the_systems_queue_and_from_4_10_on_their_own(release: str, queue: str) -> None:
    queues: list[str] = []

    async def body(machine: Machine) -> None:
        machine.tracepoints.workqueue_queue_work.attach(lambda record: queues.append(record[7]))
        cache = await accounted(machine, "x")
        await machine.cgroups.attach("g")  # type: ignore[union-attr]
        await with_child(machine, cache)

    told(body, release=release)
    assert queue in queues
    assert ({SYSTEM, MEMCG_KMEM_CACHE} - {queue}).isdisjoint(queues)


@pytest.mark.parametrize("release", ["v5.3", "v5.8"])
def test_from_5_3_on_the_parent_inherits_the_caches_and_the_cgroup_is_freed_with_objects_in_them(release: str) -> None:
    async def body(machine: Machine) -> None:
        groups, slub = machine.cgroups, machine.slab
        assert groups is not None
        cache = await accounted(machine, "x", 1000)
        await groups.mkdir("g/a")
        await groups.attach("g/a")
        first = await with_child(machine, cache)
        second = await kmem_cache_alloc(slub, cache)
        g = memcg_of(machine, "g")
        (child,) = memcg_of(machine, "g/a").kmem_caches
        order = child.geometry.order
        await groups.attach("/")
        await groups.rmdir("g/a")
        await until(machine, "memcgs_freed", 1)
        assert list(g.kmem_caches) == [child]
        params = child.memcg_params
        assert params is not None
        assert params.memcg is g
        assert (g.memory.usage, g.css.references) == (1 << order, 1 + 1)
        await until(machine, "memcg_caches_deactivated", 1)
        await machine.rcu.rcu_barrier()
        assert params.refcnt is not None
        assert params.refcnt.references == 1 << order  # a page holds it, and nothing else does
        await kmem_cache_free(slub, cache, second or 0)
        await until(machine, "memcg_caches_destroyed", 1)
        assert (g.memory.usage, g.css.references) == (0, 1)
        await kmem_cache_free(slub, cache, first)

    machine = told(body, release=release)
    assert machine.violations == []
    assert machine.counters["memcg_caches_reparented"] == 1


def test_an_allocation_in_progress_keeps_its_cgroup() -> None:
    async def body(machine: Machine) -> None:
        kmem = machine.slab.memcg
        groups = machine.cgroups
        assert groups is not None
        cache = await accounted(machine, "x")
        await groups.attach("g")
        await with_child(machine, cache)
        memcg = memcg_of(machine, "g")
        child = await kmem.get_cache(cache)  # type: ignore[union-attr]
        before = memcg.css.references
        await kmem.put_cache(child)  # type: ignore[union-attr]
        assert memcg.css.references == before - 1

    told(body, release="v4.14")
