"""What tests of /proc and /sys start from: one task on a small machine, and a cache with some objects."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from slubloom.actors import Outcome
from slubloom.kernel.pages import GFP_KERNEL
from slubloom.kernel.slab.allocate import kmem_cache_alloc_node
from slubloom.kernel.slab.create import kmem_cache_create

from ..helpers import TWO_NODES, booted, run, start

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from slubloom.kernel import Machine

STATS = "\n[kernel]\nslub_stats = true\n"


def story(function: Callable[[Machine], Awaitable[None]], more: str = "", *, cpu: int = 0, **options: Any) -> Machine:
    """Run `function` on processor `cpu` of a machine with two nodes and four processors, to the end."""
    machine = booted(text=TWO_NODES + more, **options)
    start(machine, cpu, "story", lambda: function(machine))
    assert run(machine) is Outcome.FINISHED
    return machine


async def some_objects(machine: Machine) -> tuple[Any, list[int]]:
    """A cache of 16 objects a slab, 40 of them allocated on processor 0: two full slabs, and its own with 8 in use."""
    cache = await kmem_cache_create(machine.slab, "x", 256)
    assert cache is not None
    return cache, [await kmem_cache_alloc_node(machine.slab, cache, GFP_KERNEL, 0) or 0 for _ in range(40)]
