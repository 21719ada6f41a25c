"""Coming, being asked and going, under every protocol: what must hold in each schedule."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from slubloom.actors.strategies import RandomWalk
from slubloom.actors.strategies.timed import Timed
from slubloom.kernel.gfp import GFP_KERNEL
from slubloom.kernel.kthread import kthread_run
from slubloom.kernel.shrinker import ShrinkControl, Shrinker
from slubloom.kernel.shrinker.arithmetic import SHRINK_EMPTY, SHRINK_STOP
from slubloom.kernel.shrinker.info import ALL_BITS
from slubloom.kernel.shrinker.refcounted import Refcounted
from slubloom.kernel.shrinker.shrinker import SHRINKER_MEMCG_AWARE, SHRINKER_NUMA_AWARE, SHRINKER_REGISTERED

from .story import (
    GROUPS,
    ONE_NODE,
    SANITIZERS,
    VARIANTS,
    bit,
    deferred,
    in_schedules,
    memcg_of,
    shrinker,
    together,
    told,
)

if TYPE_CHECKING:
    from slubloom.kernel import Machine
    from slubloom.kernel.shrinker import Shrinkers

TEXT = ONE_NODE + SANITIZERS + GROUPS + shrinker("fs")
every_protocol = pytest.mark.parametrize(("release", "apply"), VARIANTS)


class Counted:
    """A cache of a number of objects; ``asked`` has what it was asked to scan."""

    def __init__(self, machine: Machine, objects: int, *, name: str = "mine", flags: int = 0, **options: Any) -> None:
        self.objects = objects
        self.asked: list[int] = []
        self.answers: list[int] = []  # instead of what it would answer
        self.pause_ns = 0
        self.inside = 0
        self.machine = machine
        self.shrinker = Shrinker(machine, name, self.count, self.scan, flags=flags, **options)

    async def count(self, _: Shrinker, __: ShrinkControl) -> int:
        return self.objects or SHRINK_EMPTY

    async def scan(self, _: Shrinker, sc: ShrinkControl) -> int:
        self.asked.append(sc.nr_to_scan)
        self.inside += 1
        if self.pause_ns:
            await self.machine.current.sleep(self.pause_ns)
        self.inside -= 1
        if self.answers:
            return self.answers.pop(0)
        freed = min(self.objects, sc.nr_to_scan)
        self.objects -= freed
        return freed

    async def come(self, shrinkers: Shrinkers) -> None:
        assert await shrinkers.protocol.alloc(self.shrinker)
        await shrinkers.protocol.register(self.shrinker)


def events(machine: Machine) -> dict[str, list[tuple[Any, ...]]]:
    """The records of the two tracepoints, as they come."""
    found: dict[str, list[tuple[Any, ...]]] = {"start": [], "end": []}
    machine.tracepoints.mm_shrink_slab_start.attach(lambda record: found["start"].append(record[5:]))
    machine.tracepoints.mm_shrink_slab_end.attach(lambda record: found["end"].append(record[5:]))
    return found


@every_protocol
def test_a_shrinker_is_asked_in_batches_and_keeps_what_was_not_done(release: str, apply: list[str]) -> None:
    async def body(machine: Machine, shrinkers: Shrinkers) -> None:
        mine = Counted(machine, 10_000)
        await mine.come(shrinkers)
        found = events(machine)
        root = memcg_of(machine, "")
        assert await shrinkers.protocol.shrink_slab(GFP_KERNEL, 0, root, 5) == 512
        assert mine.asked == [128] * 4  # of 312 * 2 = 624
        assert mine.shrinker.nr_deferred == {0: 112}
        # The second round: (9488 >> 5) * 2 = 592, and 112 >> 5 = 3 of what was deferred.
        assert await shrinkers.protocol.shrink_slab(GFP_KERNEL, 0, root, 5) == 512
        assert mine.shrinker.nr_deferred == {0: 112 + 592 - 512}
        address, scan = mine.shrinker.address, mine.shrinker.scan_address
        assert found["start"] == [
            (address, scan, 0, 0, GFP_KERNEL, 10_000, 624, 624, 5),
            (address, scan, 0, 112, GFP_KERNEL, 9_488, 592, 595, 5),
        ]
        assert found["end"] == [(address, 0, scan, 0, 112, 512, 112), (address, 0, scan, 112, 192, 512, 83)]
        assert machine.counters["slabs_scanned"] == 1024
        await shrinkers.protocol.free(mine.shrinker)

    assert told(TEXT, body, release=release, apply=apply).violations == []


@every_protocol
def test_shrink_stop_ends_a_round_and_its_work_is_kept_for_later(release: str, apply: list[str]) -> None:
    async def body(machine: Machine, shrinkers: Shrinkers) -> None:
        mine = Counted(machine, 1000)
        mine.answers = [100, SHRINK_STOP]
        await mine.come(shrinkers)
        assert await shrinkers.protocol.shrink_slab(GFP_KERNEL, 0, memcg_of(machine, ""), 0) == 100
        assert mine.asked == [128, 128]
        assert mine.shrinker.nr_deferred == {0: 2000 - 128}  # what the refused call had to do is not done
        await shrinkers.protocol.free(mine.shrinker)

    assert told(TEXT, body, release=release, apply=apply).violations == []


@every_protocol
def test_counts_are_kept_for_each_node_only_by_those_that_know_nodes(release: str, apply: list[str]) -> None:
    async def body(machine: Machine, shrinkers: Shrinkers) -> None:
        for flags, left in ((SHRINKER_NUMA_AWARE, {0: 16, 1: 16}), (0, {0: 32})):
            mine = Counted(machine, 0x8000, flags=flags)
            await mine.come(shrinkers)
            for nid in (0, 1):
                await shrinkers.protocol.shrink_slab(GFP_KERNEL, nid, memcg_of(machine, ""), 12)
            assert mine.shrinker.nr_deferred == left  # (0x8000 >> 12) * 2 each time
            await shrinkers.protocol.free(mine.shrinker)

    text = TEXT + '[[machine.node]]\nid = 1\ncpus = ""\nmemory = "64M"\n'
    assert told(text, body, release=release, apply=apply).violations == []


@every_protocol
def test_two_reclaimers_at_once_do_deferred_work_once(release: str, apply: list[str]) -> None:
    async def body(machine: Machine, shrinkers: Shrinkers) -> None:
        mine = Counted(machine, 100_000, batch=10_000)
        mine.answers = [0] * 1000  # nothing is freed: what there is stays the same
        await mine.come(shrinkers)
        mine.shrinker.nr_deferred[0] = 50_000

        async def reclaim() -> None:
            await shrinkers.protocol.shrink_slab(GFP_KERNEL, 0, memcg_of(machine, ""), 1)

        await together(machine, reclaim, reclaim)
        # Each has 50000 * 2 new ones to do; what was deferred is in the sum once, however much of it each has seen.
        assert sum(mine.asked) + mine.shrinker.nr_deferred[0] == 2 * 100_000 + 50_000
        await shrinkers.protocol.free(mine.shrinker)

    in_schedules(TEXT, body, 12, release=release, apply=apply)


# --- free-while-scanning


@every_protocol
def test_freeing_waits_until_nobody_is_inside(release: str, apply: list[str]) -> None:
    async def body(machine: Machine, shrinkers: Shrinkers) -> None:
        mine = Counted(machine, 300, flags=SHRINKER_MEMCG_AWARE)
        mine.pause_ns = 1000
        await mine.come(shrinkers)
        assert shrinkers.maps is not None
        g = memcg_of(machine, "top/g")
        await shrinkers.maps.set_bit(g, 0, mine.shrinker.id)
        asked: list[int] = []

        async def reclaim() -> None:
            for memcg in (memcg_of(machine, ""), g, memcg_of(machine, ""), g):
                await shrinkers.protocol.shrink_slab(GFP_KERNEL, 0, memcg, 1)

        async def unregister() -> None:
            await machine.current.sleep(machine.interleaver.choose("when", 4) * 500)
            await shrinkers.protocol.free(mine.shrinker)
            assert mine.inside == 0
            asked.append(len(mine.asked))

        await together(machine, reclaim, unregister)
        assert asked == [len(mine.asked)]  # nobody has asked it since

    in_schedules(TEXT, body, 15, release=release, apply=apply)


# --- walk-over-deleted


@every_protocol
def test_who_stands_at_a_shrinker_that_goes_still_reaches_those_behind_it(release: str, apply: list[str]) -> None:
    async def body(machine: Machine, shrinkers: Shrinkers) -> None:
        going = [Counted(machine, 5, name=f"going{number}") for number in range(3)]
        last = Counted(machine, 1 << 40, name="last")
        last.answers = [SHRINK_STOP] * 100
        for each in (*going, last):
            await each.come(shrinkers)

        async def walk() -> None:
            await shrinkers.protocol.shrink_slab(GFP_KERNEL, 0, memcg_of(machine, ""), 0)

        async def unregister() -> None:
            for each in going:
                await shrinkers.protocol.free(each.shrinker)

        await together(machine, walk, unregister, walk)
        # A writer may send reclaimers away under the rwsem, and end their walks early there and under SRCU.
        if isinstance(shrinkers.protocol, Refcounted):
            assert len(last.asked) == 2
        await shrinkers.protocol.free(last.shrinker)

    in_schedules(TEXT, body, 15, release=release, apply=apply)


# --- expand-vs-set


@every_protocol
def test_a_bit_that_is_set_while_maps_grow_is_not_lost(release: str, apply: list[str]) -> None:
    async def body(machine: Machine, shrinkers: Shrinkers) -> None:
        maps, g = shrinkers.maps, memcg_of(machine, "top/g")
        assert maps is not None

        async def grow() -> None:
            async with shrinkers.protocol.lock:
                assert await maps.expand(64)

        async def set_bit() -> None:
            await maps.set_bit(g, 0, 0)

        await together(machine, grow, set_bit)
        info = g.nodeinfo[0].shrinker_info
        assert info is not None
        assert bit(shrinkers, g, 0)
        assert (info.map_nr_max, len(info.units)) == (128, 2)

    in_schedules(TEXT, body, 20, release=release, apply=apply)


def test_growing_a_copied_map_sets_all_old_bits_and_keeps_counts_growing_a_shared_one_changes_none() -> None:
    for release, old_bits in (("v6.1", ALL_BITS), ("v6.7", 0)):

        async def body(machine: Machine, shrinkers: Shrinkers, old_bits: int = old_bits) -> None:
            maps, g = shrinkers.maps, memcg_of(machine, "top/g")
            assert maps is not None
            before = g.nodeinfo[0].shrinker_info
            assert before is not None
            unit = before.units[0]
            await deferred(shrinkers, g, add=7)
            async with shrinkers.protocol.lock:
                assert await maps.expand(64)
            after = g.nodeinfo[0].shrinker_info
            assert after is not None
            assert [unit.map for unit in after.units] == [old_bits, 0]
            assert (after.units[0] is unit) is (old_bits == 0)
            assert await deferred(shrinkers, g) == 7

        assert told(TEXT, body, release=release).violations == []


@pytest.mark.parametrize(
    ("release", "apply", "lost"), [("v6.1", [], False), ("v6.3", ["caa05325c912"], True), ("v6.7", [], False)]
)
def test_what_is_deferred_while_maps_grow_is_kept_but_under_srcu(release: str, apply: list[str], *, lost: bool) -> None:
    losses = 0

    async def body(machine: Machine, shrinkers: Shrinkers) -> None:
        nonlocal losses
        maps, g = shrinkers.maps, memcg_of(machine, "top/g")
        assert maps is not None
        mine = Counted(machine, 10_000, flags=SHRINKER_MEMCG_AWARE)
        mine.answers = [SHRINK_STOP]
        await mine.come(shrinkers)
        await maps.set_bit(g, 0, mine.shrinker.id)

        async def grow() -> None:
            async with shrinkers.protocol.lock:
                assert await maps.expand(64)

        async def reclaim() -> None:
            await shrinkers.protocol.shrink_slab(GFP_KERNEL, 0, g, 0)

        await together(machine, grow, reclaim)
        # Refused, it has done nothing of the 20000 it was to do; it may also not have been asked, for the lock.
        left = await deferred(shrinkers, g, mine.shrinker.id)
        losses += left != 20_000 * len(mine.asked)
        await shrinkers.protocol.free(mine.shrinker)

    in_schedules(TEXT, body, 60, release=release, apply=apply)
    assert bool(losses) is lost


# --- empty-vs-add


@every_protocol
def test_what_is_added_while_a_shrinker_says_that_it_is_empty_is_found_later(release: str, apply: list[str]) -> None:
    async def body(machine: Machine, shrinkers: Shrinkers) -> None:
        mine, g = Counted(machine, 0, flags=SHRINKER_MEMCG_AWARE), memcg_of(machine, "top/g")
        mine.answers = [SHRINK_STOP] * 10
        await mine.come(shrinkers)
        maps = shrinkers.maps
        assert maps is not None
        await maps.set_bit(g, 0, mine.shrinker.id)

        async def reclaim() -> None:
            await shrinkers.protocol.shrink_slab(GFP_KERNEL, 0, g, 0)

        async def add() -> None:
            mine.objects += 1
            await maps.set_bit(g, 0, mine.shrinker.id)

        await together(machine, reclaim, add)
        assert bit(shrinkers, g, mine.shrinker.id)
        await shrinkers.protocol.free(mine.shrinker)

    in_schedules(TEXT, body, 30, release=release, apply=apply)


def test_an_empty_shrinkers_bit_is_cleared_and_nobody_asks_it_again() -> None:
    async def body(machine: Machine, shrinkers: Shrinkers) -> None:
        mine = Counted(machine, 0, flags=SHRINKER_MEMCG_AWARE)
        await mine.come(shrinkers)
        g = memcg_of(machine, "top/g")
        assert shrinkers.maps is not None
        await shrinkers.maps.set_bit(g, 0, mine.shrinker.id)
        assert await shrinkers.protocol.shrink_slab(GFP_KERNEL, 0, g, 0) == 0
        assert not bit(shrinkers, g, mine.shrinker.id)
        mine.objects = 1000
        assert await shrinkers.protocol.shrink_slab(GFP_KERNEL, 0, g, 0) == 0
        assert mine.asked == []
        assert await shrinkers.protocol.shrink_slab(GFP_KERNEL, 0, memcg_of(machine, ""), 0) == 1000

    for release in ("v6.1", "v6.7"):
        assert told(TEXT, body, release=release).violations == []


# --- ids and registration


@every_protocol
def test_ids_are_the_smallest_that_are_free_and_a_bit_of_nobody_is_cleared(release: str, apply: list[str]) -> None:
    async def body(machine: Machine, shrinkers: Shrinkers) -> None:
        g = memcg_of(machine, "top/g")
        some = [Counted(machine, 1000, name=f"s{number}", flags=SHRINKER_MEMCG_AWARE) for number in range(3)]
        for each in some:
            await each.come(shrinkers)
        assert [each.shrinker.id for each in some] == [1, 2, 3]  # 0 is that of fs
        assert shrinkers.maps is not None
        await shrinkers.maps.set_bit(g, 0, 2)
        await shrinkers.protocol.free(some[1].shrinker)
        assert bit(shrinkers, g, 2)
        assert await shrinkers.protocol.shrink_slab(GFP_KERNEL, 0, g, 0) == 0
        assert not bit(shrinkers, g, 2)
        another = Counted(machine, 1000, name="another", flags=SHRINKER_MEMCG_AWARE)
        await another.come(shrinkers)
        assert another.shrinker.id == 2
        for each in (another, some[0], some[2]):
            await shrinkers.protocol.free(each.shrinker)

    assert told(TEXT, body, release=release, apply=apply).violations == []


@pytest.mark.parametrize(("release", "keeps"), [("v6.1", True), ("v6.6", True), ("v6.7", False), ("v6.12", False)])
def test_the_bit_of_one_that_is_not_registered_yet_is_kept_until_6_6_and_cleared_since(
    release: str, keeps: bool
) -> None:
    async def body(machine: Machine, shrinkers: Shrinkers) -> None:
        mine = Counted(machine, 1000, flags=SHRINKER_MEMCG_AWARE)
        g = memcg_of(machine, "top/g")
        assert await shrinkers.protocol.alloc(mine.shrinker)
        assert shrinkers.maps is not None
        await shrinkers.maps.set_bit(g, 0, mine.shrinker.id)
        assert await shrinkers.protocol.shrink_slab(GFP_KERNEL, 0, g, 0) == 0
        assert bit(shrinkers, g, mine.shrinker.id) is keeps
        assert not mine.shrinker.flags & SHRINKER_REGISTERED
        await shrinkers.protocol.free(mine.shrinker)  # without ever having been registered

    assert told(TEXT, body, release=release).violations == []


@every_protocol
def test_without_cgroups_a_memcg_aware_shrinker_is_one_like_any_other(release: str, apply: list[str]) -> None:
    async def body(machine: Machine, shrinkers: Shrinkers) -> None:
        mine = Counted(machine, 100, flags=SHRINKER_MEMCG_AWARE)
        await mine.come(shrinkers)
        assert (mine.shrinker.id, mine.shrinker.flags) == (-1, SHRINKER_REGISTERED)
        assert await shrinkers.protocol.shrink_slab(GFP_KERNEL, 0, None, 0) == 100
        await shrinkers.protocol.free(mine.shrinker)

    assert told(ONE_NODE + SANITIZERS + shrinker("fs"), body, release=release, apply=apply).violations == []


@every_protocol
def test_the_same_seed_makes_the_same_run(release: str, apply: list[str]) -> None:
    def run(seed: int) -> tuple[int, dict[str, int], list[tuple[Any, ...]]]:
        found: list[tuple[Any, ...]] = []

        async def body(machine: Machine, shrinkers: Shrinkers) -> None:
            for point in (machine.tracepoints.mm_shrink_slab_end, machine.tracepoints.lock_acquire):
                point.attach(found.append)
            some = [Counted(machine, 300, name=f"s{number}", flags=SHRINKER_MEMCG_AWARE) for number in range(2)]

            async def churn() -> None:
                for each in some:
                    await each.come(shrinkers)
                    await shrinkers.protocol.free(each.shrinker)

            async def reclaim() -> None:
                await shrinkers.protocol.shrink_slab(GFP_KERNEL, 0, memcg_of(machine, ""), 0)

            await together(machine, churn, reclaim, reclaim)

        machine = told(TEXT, body, release=release, apply=apply, strategy=RandomWalk(seed))
        return machine.interleaver.steps, machine.counters, found

    assert run(3) == run(3)
    assert run(3)[2] != run(4)[2]


# --- what waiting for the lock costs


def test_a_writer_that_waits_has_everybody_else_reclaim_nothing_under_the_rwsem_and_bothers_nobody_since() -> None:
    for release, apply, refused in (("v6.6", [], True), ("v6.3", ["f95bdb700bc6"], False), ("v6.7", [], False)):

        async def body(machine: Machine, shrinkers: Shrinkers, refused: bool = refused) -> None:
            slow, root = Counted(machine, 1000, name="slow"), memcg_of(machine, "")
            slow.pause_ns = 1_000_000
            await slow.come(shrinkers)

            async def reclaim() -> None:
                await shrinkers.protocol.shrink_slab(GFP_KERNEL, 0, root, 0)

            async def mount() -> None:
                await Counted(machine, 1).come(shrinkers)

            first = kthread_run(machine, reclaim, cpu=1, name="first")
            await machine.current.sleep(100_000)
            writer = kthread_run(machine, mount, cpu=2, name="mount")
            await machine.current.sleep(100_000)
            slow.pause_ns = 0
            asked = len(slow.asked)
            slow.objects = 1 << 20
            await shrinkers.protocol.shrink_slab(GFP_KERNEL, 0, root, 0)
            assert (len(slow.asked) == asked) is refused
            assert bool(machine.counters.get("shrink_slab_refused")) is refused
            await first.join()
            await writer.join()

        assert told(TEXT, body, release=release, apply=apply, strategy=Timed(0)).violations == []
