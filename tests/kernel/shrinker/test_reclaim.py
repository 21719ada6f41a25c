"""Who reclaims and when, and mounting and unmounting what has a shrinker."""

from __future__ import annotations

from errno import EBUSY, ENOENT, ENOMEM
from typing import TYPE_CHECKING

import pytest
import trio
from slubloom.actors import Outcome
from slubloom.actors.strategies import RandomWalk
from slubloom.kernel.files import write_file
from slubloom.kernel.gfp import GFP_KERNEL, GFP_NOFS
from slubloom.kernel.pages import GFP_NOWAIT
from slubloom.kernel.shrinker import ShrinkControl
from slubloom.kernel.shrinker.arithmetic import SHRINK_EMPTY, SHRINK_STOP
from slubloom.kernel.shrinker.shrinkers import Kind
from slubloom.kernel.slab.allocate import kmem_cache_alloc

from ..helpers import start
from .story import (
    GROUPS,
    ONE_NODE,
    SANITIZERS,
    TWO_NODES,
    VARIANTS,
    add,
    bit,
    deferred,
    enter,
    in_schedules,
    machine_of,
    memcg_of,
    shrinker,
    together,
    told,
)

if TYPE_CHECKING:
    from slubloom.kernel import Machine
    from slubloom.kernel.shrinker import Shrinkers

TEXT = ONE_NODE + SANITIZERS + GROUPS + shrinker("fs")
PLAIN = Kind(object_size=192, flags=6, seeks=2, batch=0, scan_ns=0, by_task=False, late_ns=None)
every_protocol = pytest.mark.parametrize(("release", "apply"), VARIANTS)


# --- who reclaims


def test_writing_2_to_drop_caches_frees_all_that_nobody_uses_everywhere() -> None:
    async def body(machine: Machine, shrinkers: Shrinkers) -> None:
        sb = shrinkers.supers["fs"]
        for path, count in (("/", 3), ("top", 4), ("top/g", 500)):
            await enter(machine, path)
            await add(sb, count, node=1)
        await enter(machine, "/")
        kept = await sb.add_object(0)
        assert kept is not None
        for value in ("1", "4"):
            assert await write_file(machine, "/proc/sys/vm/drop_caches", value) == 0
        assert len(sb.objects) == 508
        for value in ("5", "", "two"):
            assert await write_file(machine, "/proc/sys/vm/drop_caches", value) == -22
        assert await write_file(machine, "/proc/sys/vm/drop_caches", "3\n") == 0
        assert list(sb.objects) == [kept]
        await sb.put_object(kept)

    assert told(TWO_NODES + SANITIZERS + GROUPS + shrinker("fs"), body, release="v6.7").violations == []


@pytest.mark.parametrize("release", ["v5.9", "v6.6", "v6.7"])
def test_a_cgroup_at_its_limit_has_its_own_objects_freed_and_nobody_elses(release: str) -> None:
    async def body(machine: Machine, shrinkers: Shrinkers) -> None:
        sb = shrinkers.supers["fs"]
        await enter(machine, "top")
        await add(sb, 8)
        await enter(machine, "top/g")
        assert machine.cgroups is not None
        await machine.cgroups.set_limit("top/g", 16 * 4096)
        for _ in range(40):  # of 2000 bytes each: more than 16 pages
            await add(sb, 1)
        g = memcg_of(machine, "top/g")
        assert g.memory.usage <= 16
        assert await sb.lru.count_one(0, memcg_of(machine, "top")) == 8
        assert machine.counters["direct_reclaims"] >= 1
        assert "charge_failures" not in machine.counters
        await enter(machine, "/")

    text = ONE_NODE + SANITIZERS + GROUPS + shrinker("fs", size="2000")
    assert told(text, body, release=release).violations == []


SMALL = """
[[machine.node]]
id = 0
cpus = "0-2"
memory = "4M"
"""


@pytest.mark.parametrize(("release", "apply"), [("v6.1", []), ("v6.7", [])])
def test_allocations_go_on_where_memory_is_full_of_what_can_be_freed(release: str, apply: list[str]) -> None:
    async def body(machine: Machine, shrinkers: Shrinkers) -> None:
        sb = shrinkers.supers["fs"]
        for _ in range(1500):  # of 4000 bytes each: 6 MB, or half as much again as there is
            (address,) = await add(sb, 1)
            assert address
        assert machine.counters["kswapd_wakeups"] >= 1
        assert machine.counters["kswapd_reclaimed"] >= 1
        assert len(sb.objects) < 1024

    machine = told(SMALL + SANITIZERS + shrinker("fs", size="4000"), body, release=release, apply=apply)
    assert machine.violations == []


def test_kswapd_stops_above_the_high_watermark() -> None:
    async def body(machine: Machine, shrinkers: Shrinkers) -> None:
        sb = shrinkers.supers["fs"]
        node = machine.nodes[0]
        while "kswapd_wakeups" not in machine.counters:
            await add(sb, 1)
        while (
            not node.balanced(0, 3)
            or machine.reclaim is None
            or machine.reclaim.kswapd[0].pending.kind.name != "RECEIVE"
        ):
            await machine.current.sleep(1000)
        assert node.balanced(0, 3)
        assert len(sb.objects) > 300  # and not everything was freed

    assert told(SMALL + SANITIZERS + shrinker("fs", size="4000"), body, release="v6.1").violations == []


def test_who_may_not_call_file_systems_frees_nothing_and_what_it_would_have_is_deferred() -> None:
    async def body(machine: Machine, shrinkers: Shrinkers) -> None:
        sb, root = shrinkers.supers["fs"], memcg_of(machine, "")
        await add(sb, 200)
        assert await shrinkers.protocol.shrink_slab(GFP_NOFS, 0, root, 0) == 0
        assert shrinkers.maps is not None
        assert await deferred(shrinkers, root) == 400
        await deferred(shrinkers, root, add=400)  # for the check of what is there at the end
        assert len(sb.objects) == 200
        assert await sb.super_cache_scan(sb.shrinker, ShrinkControl(GFP_NOFS, 0, root)) == SHRINK_STOP

    assert told(TEXT, body, release="v6.1").violations == []


def test_a_reclaimer_that_needs_memory_itself_does_not_reclaim_again() -> None:
    async def body(machine: Machine, shrinkers: Shrinkers) -> None:
        reclaim = machine.reclaim
        assert reclaim is not None
        depth: list[int] = []

        async def scan(*_: object) -> int:
            depth.append(await reclaim.try_to_free_pages(GFP_KERNEL, 0, [0]))
            return 0

        sb = shrinkers.supers["fs"]
        await add(sb, 3)
        sb.shrinker.scan_objects = scan
        await reclaim.try_to_free_pages(GFP_KERNEL, 0, [0])
        assert depth
        assert depth == [0] * len(depth)
        assert machine.counters["direct_reclaims"] == 1

    assert told(TEXT, body, release="v6.1").violations == []


def test_memory_that_cannot_be_reclaimed_is_not_found_and_that_is_said() -> None:
    async def body(machine: Machine, shrinkers: Shrinkers) -> None:
        sb = shrinkers.supers["fs"]
        while await sb.add_object(0) is not None:
            pass
        assert await kmem_cache_alloc(machine.slab, sb.cache, GFP_NOWAIT) is None

    machine = told(SMALL + SANITIZERS + shrinker("fs", size="4000"), body, release="v6.7")
    assert machine.counters["page_allocation_failures"] >= 1
    assert machine.counters["direct_reclaims"] >= 1


# --- mounting


@every_protocol
def test_what_is_unmounted_has_given_everything_back(release: str, apply: list[str]) -> None:
    async def body(machine: Machine, shrinkers: Shrinkers) -> None:
        assert await shrinkers.mount("m", PLAIN) == 0
        assert await shrinkers.mount("m", PLAIN) == -EBUSY
        sb = await shrinkers.get_super("m")
        assert sb is not None
        await enter(machine, "top/g")
        await add(sb, 20)
        await enter(machine, "/")
        assert await shrinkers.umount("m") == -EBUSY
        await shrinkers.put_super(sb)
        assert await shrinkers.umount("m") == 0
        assert await shrinkers.umount("m") == -ENOENT
        assert await shrinkers.get_super("m") is None
        assert list(shrinkers.registry.idr) == [0]
        assert list(shrinkers.list_lrus) == [shrinkers.supers["fs"].lru]

    machine = told(TEXT, body, release=release, apply=apply)
    assert machine.violations == []
    assert machine.interleaver.outcome is Outcome.FINISHED


@every_protocol
def test_mounting_and_unmounting_goes_on_while_others_reclaim(release: str, apply: list[str]) -> None:
    async def body(machine: Machine, shrinkers: Shrinkers) -> None:
        async def churn() -> None:
            name = machine.current.name
            for _ in range(2):
                assert await shrinkers.mount(name, PLAIN) == 0
                sb = await shrinkers.get_super(name)
                assert sb is not None
                await enter(machine, "top/g")
                await add(sb, 2)
                await enter(machine, "/")
                await shrinkers.put_super(sb)
                assert await shrinkers.umount(name) == 0

        async def reclaim() -> None:
            for path in ("top/g", "", "top/g", ""):
                await shrinkers.protocol.shrink_slab(GFP_KERNEL, 0, memcg_of(machine, path), 0)

        await together(machine, churn, churn, reclaim, reclaim)
        assert list(shrinkers.registry.idr) == [0]
        assert shrinkers.registry.first is shrinkers.supers["fs"].shrinker

    in_schedules(TEXT, body, 6, release=release, apply=apply)


def test_what_is_being_mounted_is_not_counted_yet_and_what_is_being_unmounted_not_scanned() -> None:
    async def body(machine: Machine, shrinkers: Shrinkers) -> None:
        sb, root = shrinkers.supers["fs"], memcg_of(machine, "")
        await add(sb, 3)
        sc = ShrinkControl(GFP_KERNEL, 0, root)
        assert await sb.super_cache_count(sb.shrinker, sc) == 3
        sb.born = False
        assert await sb.super_cache_count(sb.shrinker, sc) == 0
        sb.born = True
        await sb.s_umount.down_write()
        sc.nr_to_scan = 3
        assert await sb.super_cache_scan(sb.shrinker, sc) == SHRINK_STOP
        await sb.s_umount.up_write()
        assert await sb.super_cache_scan(sb.shrinker, sc) == 3
        assert await sb.super_cache_count(sb.shrinker, sc) == SHRINK_EMPTY

    assert told(TEXT, body, release="v6.1").violations == []


@every_protocol
def test_a_mount_for_which_there_is_no_memory_leaves_nothing_behind(release: str, apply: list[str]) -> None:
    failed = 0
    for seed in range(12):
        text = (ONE_NODE + SANITIZERS + GROUPS).replace("[kernel]", "[kernel]\nfailslab = 1") + shrinker(
            "t", mounted="false"
        )
        machine = machine_of(text, release=release, apply=apply, strategy=RandomWalk(seed))
        shrinkers = machine.shrinkers
        assert shrinkers is not None
        answers: list[int] = []

        async def story(shrinkers: Shrinkers = shrinkers, answers: list[int] = answers) -> None:
            answers.append(await shrinkers.mount("m", PLAIN))
            answers.append(await shrinkers.mount("m", PLAIN))

        start(machine, 0, "story", story)
        assert trio.run(machine.interleaver.run) is Outcome.FINISHED
        assert machine.violations == []
        assert answers in ([0, -EBUSY], [-ENOMEM, 0], [0, -ENOMEM])
        failed += -ENOMEM in answers
        assert len(shrinkers.supers) == len(shrinkers.registry.idr) == 1
    assert failed


@pytest.mark.parametrize("release", ["v6.1", "v6.12"])
def test_a_cgroup_for_which_there_is_no_memory_is_not_made_and_another_one_is(release: str) -> None:
    failed = 0
    for seed in range(8):
        machine = machine_of(
            (TWO_NODES + SANITIZERS + GROUPS).replace("[kernel]", "[kernel]\nfailslab = 1") + shrinker("fs"),
            release=release,
            apply=[] if release == "v6.1" else ["serialised-shrinker-info-teardown"],
            strategy=RandomWalk(seed),
        )
        answers: list[int] = []

        async def story(machine: Machine = machine, answers: list[int] = answers) -> None:
            assert machine.cgroups is not None
            answers.append(await machine.cgroups.mkdir("top/new"))
            answers.append(await machine.cgroups.mkdir("top/new"))

        start(machine, 0, "story", story)
        assert trio.run(machine.interleaver.run) is Outcome.FINISHED
        assert machine.violations == []
        assert answers in ([0, -17], [-ENOMEM, 0])
        failed += answers[0] == -ENOMEM
        assert machine.counters.get("memcgs_freed", 0) == (answers[0] == -ENOMEM)
        assert machine.shrinkers is not None
        assert bit(machine.shrinkers, memcg_of(machine, "top/new"), 0) is False
    assert failed
