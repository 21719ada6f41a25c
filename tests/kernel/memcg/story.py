"""Stories about cgroups: one thread on a small machine, with every sanitizer, which may move between cgroups."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import trio
from slubloom.actors import Interleaver
from slubloom.actors.strategies import RandomWalk
from slubloom.kernel import boot
from slubloom.kernel.memcg.deferred import CGROUP_DESTROY, MEMCG_KMEM_CACHE, SYSTEM
from slubloom.kernel.slab.allocate import kmem_cache_alloc
from slubloom.kernel.slab.create import kmem_cache_create
from slubloom.kernel.slab.flags import SLAB_ACCOUNT
from slubloom.topology import loads

from ..helpers import start

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from slubloom.kernel import Machine
    from slubloom.kernel.memcg import MemCgroup
    from slubloom.kernel.slab.cache import KmemCache

CHILD_CACHES = ("v4.9", "v4.10", "v4.11", "v4.18", "v5.3", "v5.8")
PINNED_BY_PAGES = ("v4.9", "v4.10", "v4.11", "v4.18")
OBJECTS = ("v5.9", "v6.1")
EVERY_ERA = (*CHILD_CACHES, *OBJECTS)
NODE = """
[[machine.node]]
id = 0
cpus = "0-1"
memory = "64M"
[[memcg]]
path = "g"
"""
KERNEL = """
[kernel]
sanitizers = ["kasan", "lockdep", "leak", "workqueue", "slab-invariants"]
"""


def told(
    body: Callable[[Any], Awaitable[None]], *, release: str, seed: int = 0, stop: bool = True, kernel: str = ""
) -> Machine:
    """The machine after `body` ran on processor 0; there is a cgroup ``g``.  `kernel` is more of ``[kernel]``."""
    scenario = loads(NODE + KERNEL + kernel, release=release)
    booted = boot(scenario, Interleaver(RandomWalk(seed)), stop_at_violation=stop).machine
    start(booted, 0, "story", lambda: body(booted))
    trio.run(booted.interleaver.run)
    return booted


def memcg_of(machine: Machine, path: str) -> MemCgroup:
    """The memory controller's half of the cgroup at `path`, which exists."""
    assert machine.cgroups is not None
    return machine.cgroups.paths[path].memcg


async def accounted(machine: Machine, name: str, size: int = 256, flags: int = 0) -> KmemCache:
    """A new cache whose objects are accounted."""
    cache = await kmem_cache_create(machine.slab, name, size, flags=SLAB_ACCOUNT | flags, ctor=_nothing)
    assert cache is not None
    return cache


def _nothing(_: int) -> None:
    """A constructor: caches with one are not merged."""


async def works_done(machine: Machine) -> None:
    """Wait for everything on the queues of cgroups."""
    for queue in (SYSTEM, MEMCG_KMEM_CACHE, CGROUP_DESTROY):
        await machine.workqueues.flush_workqueue(queue)


async def with_child(machine: Machine, cache: KmemCache) -> int:
    """Have the running cgroup get its own child of `cache`; what was allocated for that, of the root cache."""
    address = await kmem_cache_alloc(machine.slab, cache)
    assert address is not None
    await works_done(machine)
    return address


async def until(machine: Machine, counter: str, value: int) -> None:
    """Wait until a counter of the machine has reached `value`."""
    for _ in range(10_000):
        if machine.counters.get(counter, 0) >= value:
            return
        await machine.current.sleep(1_000)
    raise AssertionError(f"{counter} is {machine.counters.get(counter, 0)}, not {value}")
