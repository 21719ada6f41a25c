"""LRU lists: whose list an object is on, how it is walked, and what a cgroup leaves to its parent."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from slubloom.kernel.gfp import GFP_KERNEL
from slubloom.kernel.shrinker import ShrinkControl
from slubloom.kernel.shrinker.list_lru import LruStatus

from .story import (
    GROUPS,
    ONE_NODE,
    SANITIZERS,
    TWO_NODES,
    add,
    bit,
    deferred,
    enter,
    in_schedules,
    memcg_of,
    remove,
    shrinker,
    together,
    told,
)

if TYPE_CHECKING:
    from slubloom.kernel import Machine
    from slubloom.kernel.shrinker import Shrinkers
    from slubloom.kernel.shrinker.list_lru import ListLru, ListLruNode, ListLruOne

TEXT = ONE_NODE + SANITIZERS + GROUPS + shrinker("fs")
RELEASES = ("v5.9", "v5.10", "v6.1", "v6.7", "v6.8", "v6.12")
every_release = pytest.mark.parametrize("release", RELEASES)


def counted(lru: ListLru, nid: int = 0) -> tuple[int, int]:
    """Items on the root's list of a node, and on all lists of it."""
    return lru.node[nid].lru.nr_items, lru.node[nid].nr_items


@every_release
def test_objects_are_on_the_list_of_the_cgroup_they_are_charged_to(release: str) -> None:
    async def body(machine: Machine, shrinkers: Shrinkers) -> None:
        sb = shrinkers.supers["fs"]
        top, g, root = (memcg_of(machine, path) for path in ("top", "top/g", ""))
        await add(sb, 1)
        await enter(machine, "top/g")
        objects = await add(sb, 3)
        await enter(machine, "top")
        await add(sb, 2)
        assert [await sb.lru.count_one(0, memcg) for memcg in (root, top, g)] == [1, 2, 3]
        assert counted(sb.lru) == (1, 6)
        assert bit(shrinkers, top, 0)
        assert bit(shrinkers, g, 0)
        # Whoever takes it off: what counts is whose it is.
        assert await sb.owner.delete(sb.lru, objects[1], 0)
        assert not await sb.owner.delete(sb.lru, objects[1], 0)
        assert await sb.lru.count_one(0, g) == 2
        assert not await sb.owner.add(sb.lru, objects[0], 0)  # it is there already
        assert await sb.owner.add(sb.lru, objects[1], 0)
        assert list(sb.lru.xa[g.kmemcg_id].node[0].items) == [objects[0], objects[2], objects[1]]
        await enter(machine, "/")

    assert told(TEXT, body, release=release).violations == []


def test_each_node_has_lists_of_its_own() -> None:
    async def body(machine: Machine, shrinkers: Shrinkers) -> None:
        sb, g = shrinkers.supers["fs"], memcg_of(machine, "top/g")
        await enter(machine, "top/g")
        await add(sb, 2, node=0)
        await add(sb, 5, node=1)
        assert [await sb.lru.count_one(nid, g) for nid in (0, 1)] == [2, 5]
        assert await shrinkers.protocol.shrink_slab(GFP_KERNEL, 1, g, 0) == 5
        assert [await sb.lru.count_one(nid, g) for nid in (0, 1)] == [2, 0]
        await enter(machine, "/")

    assert told(TWO_NODES + SANITIZERS + GROUPS + shrinker("fs"), body, release="v6.1").violations == []


def test_a_shrinker_that_knows_no_cgroups_has_all_objects_on_one_list() -> None:
    async def body(machine: Machine, shrinkers: Shrinkers) -> None:
        sb = shrinkers.supers["fs"]
        await enter(machine, "top/g")
        await add(sb, 4)
        assert counted(sb.lru) == (4, 4)
        assert await shrinkers.protocol.shrink_slab(GFP_KERNEL, 0, memcg_of(machine, "top/g"), 0) == 0
        assert await shrinkers.protocol.shrink_slab(GFP_KERNEL, 0, memcg_of(machine, ""), 0) == 4
        await enter(machine, "/")

    text = ONE_NODE + SANITIZERS + GROUPS + shrinker("fs", flags='["SHRINKER_NUMA_AWARE"]')
    assert told(text, body, release="v6.1").violations == []


# --- walking


async def walk(lru: ListLru, answers: dict[int, LruStatus], number: int) -> tuple[int, list[int]]:
    """What a walk over the root's list of node 0 has taken off, and shown."""
    shown: list[int] = []

    async def isolate(one: ListLruOne, nlru: ListLruNode, address: int) -> LruStatus:
        shown.append(address)
        status = answers.get(address, LruStatus.REMOVED)
        if status in (LruStatus.RETRY, LruStatus.REMOVED_RETRY):
            answers.pop(address)
            await nlru.lock.unlock()
            await nlru.lock.lock()
        if status in (LruStatus.REMOVED, LruStatus.REMOVED_RETRY):
            lru.isolate(one, nlru, address)
        return status

    return await lru.walk_one(0, None, isolate, number), shown


def test_a_walk_does_what_the_callback_says() -> None:
    async def body(_: Machine, shrinkers: Shrinkers) -> None:
        sb = shrinkers.supers["fs"]
        lru = sb.lru
        a, b, c, d = await add(sb, 4)
        items = lru.node[0].lru.items
        assert await walk(lru, {a: LruStatus.ROTATE, b: LruStatus.SKIP, d: LruStatus.SKIP}, 10) == (1, [a, b, c, d])
        assert list(items) == [b, d, a]
        assert counted(lru) == (3, 3)
        # The lock was left: the walk begins again, and has less to go.
        assert await walk(lru, {d: LruStatus.RETRY, b: LruStatus.SKIP, a: LruStatus.SKIP}, 4) == (1, [b, d, b, d])
        assert list(items) == [b, a]
        assert await walk(lru, {a: LruStatus.SKIP, b: LruStatus.REMOVED_RETRY}, 5) == (1, [b, a])
        assert (list(items), counted(lru)) == ([a], (1, 1))
        assert await walk(lru, {}, 0) == (0, [])
        for address in (b, c, d):
            await lru.add(address, 0, None)

    assert told(TEXT, body, release="v6.1").violations == []


def test_a_used_object_gets_another_round_and_one_in_use_leaves_the_list_until_it_is_put() -> None:
    async def body(machine: Machine, shrinkers: Shrinkers) -> None:
        sb, root = shrinkers.supers["fs"], memcg_of(machine, "")
        first, second, third = await add(sb, 3)
        assert await sb.get_object(0) == first
        assert await sb.get_object(1) == second
        await sb.put_object(second)  # unused again, and used since the last scan
        sc = ShrinkControl(GFP_KERNEL, 0, root)
        sc.nr_to_scan = 3
        assert await sb.super_cache_scan(sb.shrinker, sc) == 1
        assert third not in sb.objects
        assert list(sb.lru.node[0].lru.items) == [second]
        await sb.put_object(first)
        assert list(sb.lru.node[0].lru.items) == [second, first]
        assert await shrinkers.protocol.shrink_slab(GFP_KERNEL, 0, root, 0) == 2

    assert told(TEXT, body, release="v6.1").violations == []


# --- a cgroup goes


@every_release
def test_a_cgroup_that_goes_leaves_its_lists_and_its_deferred_work_to_its_parent(release: str) -> None:
    async def body(machine: Machine, shrinkers: Shrinkers) -> None:
        sb, top, g = shrinkers.supers["fs"], memcg_of(machine, "top"), memcg_of(machine, "top/g")
        number = g.kmemcg_id
        await enter(machine, "top/g")
        objects = await add(sb, 3)
        await enter(machine, "top")
        await add(sb, 1)
        await enter(machine, "/")
        await deferred(shrinkers, g, add=100)
        await deferred(shrinkers, top, add=10)
        await remove(machine, "top/g")
        assert await sb.lru.count_one(0, top) == 4
        assert number not in sb.lru.xa
        assert await deferred(shrinkers, top) == 110
        assert bit(shrinkers, top, 0)
        # What was its child's can be taken off and put back as the parent's.
        assert await sb.owner.delete(sb.lru, objects[0], 0)
        assert await sb.owner.add(sb.lru, objects[0], 0)
        await remove(machine, "top", 2)
        assert counted(sb.lru) == (4, 4)
        assert await shrinkers.protocol.shrink_slab(GFP_KERNEL, 0, memcg_of(machine, ""), 0) == 4

    assert told(TEXT, body, release=release).violations == []


@pytest.mark.parametrize(("release", "found"), [("v5.9", False), ("v5.10", True), ("v6.12", True)])
def test_m28_a_parent_that_has_objects_but_no_bit_gets_one_with_its_childs_objects_since_5_10(
    release: str, *, found: bool
) -> None:
    async def body(machine: Machine, shrinkers: Shrinkers) -> None:
        sb, top = shrinkers.supers["fs"], memcg_of(machine, "top")
        await enter(machine, "top")
        await add(sb, 1)
        await enter(machine, "top/g")
        await add(sb, 2)
        await enter(machine, "/")
        info = top.nodeinfo[0].shrinker_info
        assert info is not None
        await info.units[0].clear_bit(0)
        await remove(machine, "top/g")
        assert bit(shrinkers, top, 0) is found

    machine = told(TEXT, body, release=release)
    assert [violation.kind for violation in machine.violations] == ([] if found else ["invariant"])


@every_release
def test_adding_in_a_cgroup_below_one_that_goes_finds_the_lists_of_both(release: str) -> None:
    async def body(machine: Machine, shrinkers: Shrinkers) -> None:
        sb = shrinkers.supers["fs"]
        assert machine.cgroups is not None

        async def churn() -> None:
            assert machine.cgroups is not None
            for number in range(2):
                path = f"top/g/{machine.current.name}{number}"
                assert await machine.cgroups.mkdir(path) == 0
                await enter(machine, path)
                await add(sb, 2)
                await enter(machine, "/")
                assert await machine.cgroups.rmdir(path) == 0

        async def reclaim() -> None:
            for path in ("top", "top/g", "top", "top/g"):
                await shrinkers.protocol.shrink_slab(GFP_KERNEL, 0, memcg_of(machine, path), 0)

        await together(machine, churn, churn, reclaim)
        while machine.counters.get("memcgs_freed", 0) < 4:
            await machine.current.sleep(1000)
        assert machine.reclaim is not None
        await machine.reclaim.drop_slab()
        assert counted(sb.lru) == (0, 0)

    in_schedules(TEXT, body, 6, release=release, apply=[])
