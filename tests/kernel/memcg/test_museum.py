"""Bugs of history: found by random schedules where they are, and not where they were fixed."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import trio
from slubloom.actors import Interleaver, Outcome
from slubloom.actors.profile import Profile
from slubloom.actors.strategies import RandomWalk
from slubloom.actors.strategies.pct import Pct
from slubloom.kernel import boot as kernel_boot
from slubloom.kernel import releases
from slubloom.kernel.locks import Completion
from slubloom.kernel.memcg.deactivation import ShrinkAtOnce, ShrinkLater
from slubloom.kernel.slab.allocate import kmem_cache_alloc
from slubloom.kernel.slab.free import kmem_cache_free
from slubloom.topology import loads

from slubloom.run import RunOptions, run_scenario

from ..helpers import start
from .story import NODE, accounted, with_child

if TYPE_CHECKING:
    from slubloom.kernel import Machine
    from slubloom.kernel.slab.cache import KmemCache

# --- M23: dying set on an aliased root

ALIASED = """
[[machine.node]]
id = 0
cpus = "0-1"
memory = "64M"
[[cache]]
name = "a"
size = 200
flags = ["SLAB_ACCOUNT"]
[[cache]]
name = "b"
size = 200
flags = ["SLAB_ACCOUNT"]
[[memcg]]
path = "g"
[[task]]
name = "user"
cpu = 0
memcg = "g"
program = [
 {op = "repeat", count = 3, program = [{op = "kmem_cache_alloc", cache = "a", count = 2}, {op = "sleep", ns = 100}]},
 {op = "kmem_cache_free", cache = "a"},
 {op = "cgroup_attach", path = "/"},
 {op = "cgroup_rmdir", path = "g"},
]
[[task]]
name = "unloader"
cpu = 1
program = [{op = "sleep", ns = 200}, {op = "kmem_cache_destroy", cache = "b"}]
"""


def kinds_of_m23(release: str, *, seeds: int = 25, **options: Any) -> dict[str, int]:
    found: dict[str, int] = {}
    for seed in range(seeds):
        result = run_scenario(loads(ALIASED, release=release, **options), RunOptions(strategy="random", seed=seed))
        assert result.outcome in {Outcome.FINISHED, Outcome.STOPPED}
        for violation in result.violations:
            found[violation.kind] = found.get(violation.kind, 0) + 1
    return found


@pytest.mark.parametrize("release", ["v4.18", "v5.2", "v5.3", "v5.7"])
def test_m23_a_cache_that_lives_on_as_another_ones_alias_keeps_children_for_ever(release: str) -> None:
    assert kinds_of_m23(release).keys() == {"leak"}


@pytest.mark.parametrize("release", ["v4.14", "v5.8", "v5.9"])
def test_m23_is_not_there_before_and_after(release: str) -> None:
    assert kinds_of_m23(release) == {}


def test_m23_is_fixed_by_the_patch_and_comes_back_without_it() -> None:
    assert kinds_of_m23("v5.7", apply=["d38a2b7a9c93"]) == {}
    assert kinds_of_m23("v5.8", revert=["memcg-root-dying-when-unused"]).keys() == {"leak"}


# --- M58: deactivation against the lockless look at cpu_partial


def run_m58(interleaver: Interleaver) -> Machine:
    """A cgroup is removed while its last objects are freed by another processor."""
    machine = kernel_boot(loads(NODE, release="v4.14"), interleaver).machine
    last: list[tuple[KmemCache, int]] = []
    removed = Completion(machine, "removed")

    async def remove() -> None:
        groups: Any = machine.cgroups
        await groups.attach("g")
        for number in range(6):
            # An object is a slab: freed by another processor it goes to that one's list, empty.
            cache = await accounted(machine, f"x{number}", 30_000)
            await with_child(machine, cache)
            first, second = [await kmem_cache_alloc(machine.slab, cache) or 0 for _ in range(2)]
            await kmem_cache_free(machine.slab, cache, second)
            last.append((cache, first))
        await groups.attach("/")
        await groups.rmdir("g")
        await removed.complete()

    async def free() -> None:
        await removed.wait()
        await machine.rcu.synchronize_sched()  # the removal waits for one too, before it goes on
        for cache, address in last:
            await kmem_cache_free(machine.slab, cache, address)

    start(machine, 0, "remove", remove)
    start(machine, 1, "free", free)
    trio.run(machine.interleaver.run)
    assert all(violation.kind == "leak" for violation in machine.violations), machine.violations[0].report
    return machine


def pinned_by_m58(kmem: Any, monkeypatch: pytest.MonkeyPatch) -> int:
    """In how many of many schedules a removed cgroup stays although nothing of it is in use."""

    def checkout(*args: Any, **options: Any) -> releases.Kernel:
        return replace(releases.checkout(*args, **options), kmem_memcg=kmem)

    monkeypatch.setitem(kernel_boot.__globals__, "checkout", checkout)
    first = Interleaver(RandomWalk(0))
    profile = Profile(first)
    first.observe(profile)
    run_m58(first)
    return sum(bool(run_m58(Interleaver(Pct(seed, profile))).violations) for seed in range(150))


def test_m58_without_the_grace_period_a_slab_comes_too_late_to_be_shrunk(monkeypatch: pytest.MonkeyPatch) -> None:
    assert pinned_by_m58(ShrinkAtOnce, monkeypatch) > 0


def test_m58_the_grace_period_waits_for_whoever_has_seen_the_old_value(monkeypatch: pytest.MonkeyPatch) -> None:
    assert pinned_by_m58(ShrinkLater, monkeypatch) == 0
