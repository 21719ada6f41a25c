"""Where the slabs of a cache are at one moment: for sanitizers and for comparison with recordings, never for SLUB.

Looking takes no lock and is no operation: it is the emulator's own view between two steps.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .cache import KmemCache, Slab


@dataclass(frozen=True, slots=True)
class NodePlacement:
    """What a ``kmem_cache_node`` counts and lists, head first."""

    nr_slabs: int
    total_objects: int
    nr_partial: int
    partial: tuple[Slab, ...]
    full: tuple[Slab, ...]


@dataclass(frozen=True, slots=True)
class CpuPlacement:
    """What a processor has: its slab, the objects on its own free list, its partial slabs, head first."""

    slab: Slab | None
    freelist: tuple[int, ...]
    partial: tuple[Slab, ...]


@dataclass(frozen=True, slots=True)
class Placement:
    """All of one cache; full slabs that no list shows are missing."""

    nodes: dict[int, NodePlacement]
    cpus: dict[int, CpuPlacement]


def placement_of(cache: KmemCache) -> Placement:
    """Where the slabs of `cache` are; nodes and processors by number, those without anything left out."""
    nodes = {
        number: NodePlacement(
            n.nr_slabs,
            n.total_objects,
            n.nr_partial,
            tuple(n.partial),
            tuple(n.full) if n.full is not None else (),
        )
        for number, n in sorted(cache.node.items())
    }
    cpus = {
        number: CpuPlacement(
            c.slab,
            tuple(c.slab.free_objects(c.freelist)) if c.slab is not None else (),
            tuple(c.partial_slabs()),
        )
        for number, c in sorted(cache.cpu_slab.items())
    }
    return Placement(nodes, cpus)
