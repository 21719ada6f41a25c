"""Random programs of many tasks that make, use and remove cgroups: nothing is reported, and nothing stays behind."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest
import trio
from slubloom.actors import BareInterleaver, Interleaver, Outcome, RunLimits
from slubloom.actors.strategies import Pos, RandomWalk
from slubloom.actors.strategies.timed import Timed
from slubloom.kernel import boot
from slubloom.kernel.memcg.percpu_ref import PercpuRef
from slubloom.kernel.sanitizers.footprint import audited
from slubloom.topology import loads

from slubloom.explore.subject import ScenarioSubject

from .story import EVERY_ERA, OBJECTS

if TYPE_CHECKING:
    from slubloom.actors.strategies import Strategy
    from slubloom.kernel import Machine

PROGRAM = """
[[machine.node]]
id = 0
cpus = "0-2"
memory = "128M"
[kernel]
preempt = "PREEMPT"
kmalloc = true
sanitizers = ["kasan", "lockdep", "leak", "workqueue"]
[[cache]]
name = "typesafe"
size = 300
flags = ["SLAB_TYPESAFE_BY_RCU", "SLAB_ACCOUNT"]
[[cache]]
name = "plain"
size = 5000
flags = ["SLAB_ACCOUNT"]
[[memcg]]
path = "top"
[[memcg]]
path = "top/fixed"
limit = "64K"
[[task]]
name = "churn"
instances = 3
cpu = [0, 1, 2]
program = [{op = "repeat", count = ROUNDS, program = [
 {op = "cgroup_mkdir", path = "top/c{task}_{i}"},
 {op = "cgroup_attach", path = "top/c{task}_{i}"},
 {op = "kmem_cache_alloc", cache = "typesafe", count = 2, bag = "t"},
 {op = "kmem_cache_alloc", cache = "plain", count = 2, bag = "p{task}"},
 {op = "kmalloc", size = 100, count = 2, account = true},
 {op = "sleep", ns = 300},
 {op = "kmem_cache_alloc", cache = "typesafe", count = 3, bag = "t"},
 {op = "kmem_cache_alloc_bulk", cache = "plain", count = 2, bag = "p{task}"},
 {op = "cgroup_mkdir", path = "top/c{task}_{i}/below"},
 {op = "cgroup_attach", path = "top/c{task}_{i}/below"},
 {op = "kmem_cache_alloc", cache = "typesafe", count = 2, bag = "t"},
 {op = "kmem_cache_free", cache = "plain", bag = "p{task}"},
 {op = "kmem_cache_free", cache = "typesafe", bag = "t", count = 3},
 {op = "cgroup_attach", path = "/"},
 {op = "cgroup_rmdir", path = "top/c{task}_{i}/below"},
 {op = "cgroup_rmdir", path = "top/c{task}_{i}"},
 {op = "kmem_cache_free_bulk", cache = "typesafe", bag = "t", count = 2},
 {op = "kfree"},
]}, {op = "kmem_cache_free", cache = "typesafe", bag = "t"}, {op = "kfree"}]
[[task]]
name = "limited"
cpu = 1
memcg = "top/fixed"
program = [{op = "repeat", count = ROUNDS, program = [
 {op = "kmem_cache_alloc", cache = "plain", count = 9, bag = "l"},
 {op = "read", path = "/sys/fs/cgroup/top/memory.stat"},
 {op = "kmem_cache_shrink", cache = "plain"},
 {op = "kmem_cache_free", cache = "plain", bag = "l"},
]}]
[[task]]
name = "last"
cpu = 2
program = [{op = "sleep", ns = 1000000}, {op = "kmem_cache_free", cache = "typesafe", bag = "t"}, {op = "kfree"}]
"""


def text(preempt: str = "full", rounds: int = 3) -> str:
    return PROGRAM.replace("PREEMPT", preempt).replace("ROUNDS", str(rounds))


def ran(release: str, strategy: Strategy, preempt: str = "full") -> Machine:
    interleaver = Interleaver(strategy)
    machine = boot(loads(text(preempt), release=release), interleaver).machine
    assert trio.run(interleaver.run) is Outcome.FINISHED
    assert machine.violations == [], machine.violations[0].report
    return machine


def check_nothing_is_left(machine: Machine, release: str) -> None:
    """Every cgroup of the churn was freed, every charge taken back, every child of them destroyed."""
    counters, slub, groups = machine.counters, machine.slab, machine.cgroups
    assert groups is not None
    assert counters["memcgs_removed"] == counters["memcgs_freed"] == 3 * 3 * 2
    living = list(groups.root.memcg.descendants())
    assert [memcg.name for memcg in living] == ["top", "fixed"]
    if release in OBJECTS:
        kmem: Any = slub.memcg
        stocked = [stock.cached_objcg for stock in kmem.stocks.values() if stock.cached_objcg is not None]
        assert sum(memcg.memory.usage for memcg in living[1:]) <= len(stocked)
        assert living[0].memory.usage <= len(stocked)
        assert counters["objcgs_created"] - counters["objcgs_freed"] <= 2 + len(stocked)
        return
    left = [cache for cache in slub.slab_caches if cache.memcg_params is not None]
    owners = [cache.memcg_params.memcg for cache in left if cache.memcg_params is not None]
    assert all(owner is living[1] for owner in owners)
    assert len(left) == counters["memcg_caches_created"] - counters["memcg_caches_destroyed"]
    pages = sum(slab.cache in left for slab in slub.slabs.values())
    assert living[1].memory.usage == living[0].memory.usage == living[1].kmem.usage == pages


@pytest.mark.parametrize("release", EVERY_ERA)
def test_random_programs_are_silent_and_leave_nothing(release: str) -> None:
    for seed in range(8):
        machine = ran(release, RandomWalk(seed), ("full", "voluntary", "none")[seed % 3])
        check_nothing_is_left(machine, release)


@pytest.mark.parametrize("release", EVERY_ERA)
def test_the_same_in_virtual_time(release: str) -> None:
    machine = ran(release, Timed(1))
    check_nothing_is_left(machine, release)
    assert (machine.counters.get("memcg_caches_created", 0) > 0) is (release not in OBJECTS)


# --- footprints


def audit(release: str, strategy: Strategy) -> list[str]:
    scenario = loads(re.sub("sanitizers = .*", "", text(rounds=1)), release=release)
    interleaver = BareInterleaver(strategy, limits=RunLimits(100_000))
    with audited(interleaver) as footprints:
        ScenarioSubject(scenario).begin(interleaver)
        assert interleaver.run_bare() is Outcome.FINISHED
    return list(footprints.errors)


@pytest.mark.parametrize("release", EVERY_ERA)
def test_every_step_declares_what_it_touches(release: str) -> None:
    for strategy in (RandomWalk(1), Pos(1)):
        assert audit(release, strategy) == []


@pytest.mark.parametrize("release", ["v5.4", "v6.1"])
def test_a_reference_that_is_counted_silently_shows(monkeypatch: pytest.MonkeyPatch, release: str) -> None:
    monkeypatch.setattr(PercpuRef, "_declare", lambda _: None)
    runs = (audit(release, RandomWalk(seed)) for seed in range(6))
    assert any(error.startswith("PercpuRef.") for errors in runs for error in errors)
