"""Museum M04: memory hotplug took the lock against CPU hotplug inside of its own, and slab code outside."""

from __future__ import annotations

import pytest
from slubloom.actors import BareInterleaver
from slubloom.actors.strategies import RandomWalk
from slubloom.kernel import boot
from slubloom.topology import gallery_path, load, loads

from slubloom.run import RunOptions, run_scenario

from ..helpers import start
from .machines import TWO_BLOCKS, done, machine


@pytest.mark.parametrize("release", ["v3.16", "v4.10", "v4.11", "v4.12"])
def test_lockdep_sees_the_circle_of_the_two_locks_in_any_schedule(release: str) -> None:
    scenario = load(gallery_path("memory-lock-first"), release=release)
    for seed in range(10):
        result = run_scenario(scenario, RunOptions(strategy="random" if seed else "timed", seed=seed))
        assert result.kinds() == ("lockdep-circular",)
        assert result.violations[0].bug == "cycle of cpu_hotplug_lock, mem_hotplug.lock"


@pytest.mark.parametrize("release", ["v3.15", "v4.13", "v5.11", "v5.12", "v6.1"])
def test_there_is_no_circle_before_and_none_where_processors_come_first(release: str) -> None:
    scenario = load(gallery_path("memory-lock-first"), release=release)
    for seed in range(10):
        assert run_scenario(scenario, RunOptions(strategy="random" if seed else "timed", seed=seed)).violations == ()


def test_the_one_patch_breaks_the_circle() -> None:
    fixed = load(gallery_path("memory-lock-first"), release="v4.12", apply=["3f906ba23689"])
    broken = load(gallery_path("memory-lock-first"), release="v4.13", revert=["mem-hotplug-percpu-rwsem"])
    assert run_scenario(fixed, RunOptions()).violations == ()
    assert run_scenario(broken, RunOptions()).kinds() == ("lockdep-circular",)


def test_with_a_processor_on_its_way_out_the_circle_is_a_deadlock_in_some_schedules() -> None:
    # A writer of the CPU-hotplug lock is what turns two readers of it against each other.
    found = []
    for seed in range(150):
        scenario = loads(TWO_BLOCKS + '[kernel]\nsanitizers = []\n[[cache]]\nname = "c"\nsize = 64\n', release="v4.12")
        it = boot(scenario, BareInterleaver(RandomWalk(seed))).machine

        async def shrinker(it: object = it) -> None:
            async with it.slab.variants.slab_locks.creating(it.slab):  # type: ignore[attr-defined]
                pass

        async def hotplug(it: object = it) -> None:
            await it.memory_hotplug.request(True, 1)  # type: ignore[attr-defined]

        async def cpu_down(it: object = it) -> None:
            async with it.cpu_hotplug.lock:  # type: ignore[attr-defined]
                pass

        start(it, 0, "creator", shrinker)
        start(it, 1, "udevd", hotplug)
        start(it, 0, "cpu_down", cpu_down)
        it.interleaver.run_bare()
        found.append(tuple(violation.kind for violation in it.violations))
    assert set(found) == {(), ("deadlock",)}


def test_readers_of_the_counted_lock_do_not_queue_behind_a_writer_that_waits() -> None:
    it = machine(release="v4.12")
    lock = it.memory_hotplug.mem_hotplug_lock
    order: list[str] = []

    async def reader(it: object) -> None:
        await lock.down_read()
        order.append("in")
        await it.current.sleep(1000)  # type: ignore[attr-defined]
        await lock.down_read()  # again, while a writer waits
        order.append("in again")
        await lock.up_read()
        await lock.up_read()

    async def writer(it: object) -> None:
        await it.current.sleep(100)  # type: ignore[attr-defined]
        await lock.down_write()
        order.append("writer")
        await lock.down_read()  # it may itself
        await lock.up_read()
        await lock.up_write()

    done(it, reader, writer)
    assert order == ["in", "in again", "writer"]
    assert lock.holders() == []
