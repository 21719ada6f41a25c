"""The invariants of SLUB: silent while it keeps them, told with their number where something broke one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from slubloom.actors import BareInterleaver, Op, OpKind, Outcome
from slubloom.actors.strategies import RandomWalk
from slubloom.kernel import boot
from slubloom.kernel.slab.allocate import kmem_cache_alloc
from slubloom.kernel.slab.cache import Slab
from slubloom.kernel.slab.create import kmem_cache_create
from slubloom.kernel.slab.destroy import kmem_cache_destroy
from slubloom.kernel.slab.flags import SLAB_TYPESAFE_BY_RCU
from slubloom.kernel.slab.free import kmem_cache_free
from slubloom.kernel.slab.shrink import kmem_cache_shrink
from slubloom.topology import loads

from .helpers import start
from .slab.story import slab_of, told
from .test_silence import MIXED

if TYPE_CHECKING:
    from collections.abc import Callable

    from slubloom.kernel import Machine

STEP = Op(OpKind.LOCAL, "step")


@pytest.mark.parametrize("release", ["v5.11", "v5.15", "v6.1"])
def test_a_mixed_load_keeps_them_after_every_step(release: str) -> None:
    text = MIXED.replace("PREEMPT", "full").replace("[kernel]", '[kernel]\nsanitizers=["slab-invariants"]')
    assert "slab-invariants" in text
    for seed in range(3):
        interleaver = BareInterleaver(RandomWalk(seed))
        machine = boot(loads(text, release=release), interleaver).machine
        assert interleaver.run_bare() is Outcome.FINISHED
        assert machine.violations == []


# Each puts something wrong that the invariant of that number is about.


def two_places(machine: Machine, cache: Any, slab: Any) -> None:
    cache.node[0].partial.add(slab)
    cache.node[0].nr_partial += 1


def a_slab_nobody_counted(machine: Machine, cache: Any, slab: Any) -> None:
    cache.node[0].nr_slabs -= 1


def a_wrong_length(machine: Machine, cache: Any, slab: Any) -> None:
    cache.node[0].nr_partial += 1


def an_object_lost(machine: Machine, cache: Any, slab: Any) -> None:
    slab.inuse -= 1


def an_object_free_and_in_use(machine: Machine, cache: Any, slab: Any) -> None:
    slab.live |= 1 << cache.cpu_slab[0].freelist


def a_full_slab_on_the_list(machine: Machine, cache: Any, slab: Any) -> None:
    cache.cpu_slab[0].detach()
    slab.frozen = False
    cache.node[0].partial.add(slab)
    cache.node[0].nr_partial += 1


def many_empty_slabs(machine: Machine, cache: Any, slab: Any) -> None:
    for number in range(8):
        other = Slab(cache, 0x7000 + number, 0, 0, 0, 16)
        machine.slab.slabs[other.pfn] = other
        cache.node[0].partial.add(other)
        cache.node[0].nr_partial += 1
        cache.node[0].nr_slabs += 1
        cache.node[0].total_objects += 16


def time_turned_back(machine: Machine, cache: Any, slab: Any) -> None:
    cache.cpu_slab[0].tid = 0


@pytest.mark.parametrize(
    ("number", "damage"),
    [
        ("I1", two_places),
        ("I2", a_slab_nobody_counted),
        ("I3", a_wrong_length),
        ("I4", an_object_lost),
        ("I5", an_object_free_and_in_use),
        ("I6", a_full_slab_on_the_list),
        ("I7", time_turned_back),
        ("I8", many_empty_slabs),
    ],
)
def test_what_breaks_one_is_told_with_its_number(number: str, damage: Callable[[Machine, Any, Any], None]) -> None:
    async def body(machine: Machine) -> None:
        cache = await kmem_cache_create(machine.slab, "x", 256)
        assert cache is not None
        address = await kmem_cache_alloc(machine.slab, cache)
        assert address is not None
        await machine.current.sleep(10)
        damage(machine, cache, slab_of(machine, address))
        await machine.current.sleep(10)

    found = told(body, stop=False).violations
    assert found
    assert {violation.kind for violation in found} == {"invariant"}
    assert f"BUG: slab invariant {number} of x broken" in [violation.title for violation in found]


def test_a_cache_released_before_its_slabs_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """I9: without the barrier the cache goes while callbacks that free its slabs are still waiting."""

    async def body(machine: Machine) -> None:
        async def no_barrier() -> None:
            """In the place of rcu_barrier()."""

        monkeypatch.setattr(machine.rcu, "rcu_barrier", no_barrier)
        cache = await kmem_cache_create(machine.slab, "x", 256, flags=SLAB_TYPESAFE_BY_RCU)
        assert cache is not None
        await kmem_cache_free(machine.slab, cache, await kmem_cache_alloc(machine.slab, cache) or 0)
        inside: list[int] = []

        async def reader() -> None:
            await machine.rcu.read_lock()
            inside.append(1)
            while not machine.violations:
                await STEP

        start(machine, 1, "reader", reader)
        while not inside:
            await STEP
        await kmem_cache_shrink(machine.slab, cache)
        await kmem_cache_destroy(machine.slab, cache)

    first = told(body).violations[0]
    assert (first.kind, first.title) == ("invariant", "BUG: slab invariant I9 of x broken")
