"""The invariants of SLUB, looked at after every step (``sanitizers = ["slab-invariants"]``) and at the end of a run.

====  ================================================================================================================
I1    A slab is in one place at most: a processor's slab, its partial list, its node's partial or full list; it is
      frozen if a processor has it, and not if a node lists it.
I2    At the end: each node counts the slabs and objects it has.
I3    ``nr_partial`` is the length of the node's partial list.
I4    ``inuse`` counts the objects that are not on the slab's own free list.
I5    No object is on two free lists, or on one while somebody uses it.
I6    A slab on a node's partial list has free objects.
I7    A processor's transaction number never goes back.
I8    At the end: a node's partial list has no more empty slabs than ``min_partial`` ever was, and one for each
      processor, for it is looked at without a lock.
I9    A cache that was released has left no slab behind, not even one that waits for RCU.
====  ================================================================================================================

A slab in flight (private to one code path) is in no place, and full ones are on no list: I1 only says what excludes
what.  Counters (I2) are behind while a slab is in flight, so they are compared when nothing is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ...traces.event import FIRST_FIELD
from ..slab.cache import NIL
from ..slab.placement import placement_of
from .layout import identity, join

if TYPE_CHECKING:
    from ..machine import Machine
    from ..slab.cache import KmemCache, Slab
    from ..slab.placement import Placement


class SlabInvariants:
    """Checks one machine; reports each broken invariant of a cache once."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._tids: dict[tuple[KmemCache, int], int] = {}
        self._min_partial: dict[KmemCache, int] = {}  # the most it ever was
        self._reported: dict[tuple[str, str], None] = {}

    def after_step(self) -> None:
        """Check every cache; between two steps of the interleaver only."""
        machine = self._machine
        if machine.booting or machine.interleaver.outcome is not None:
            return
        by_cache: dict[KmemCache, dict[Slab, None]] = {cache: {} for cache in machine.slab.slab_caches}
        for slab in machine.slab.slabs.values():
            if slab.cache in by_cache:
                by_cache[slab.cache][slab] = None
        for cache, slabs in by_cache.items():
            self._check(cache, slabs)

    def released(self, record: tuple[Any, ...]) -> None:
        """A cache was released (a record of ``slab:kmem_cache_destroy``): I9."""
        name, address = record[FIRST_FIELD], record[FIRST_FIELD + 1]
        for slab in self._machine.slab.slabs.values():
            # Not as the kernel looks at it: the cache has been freed.
            shadow = object.__getattribute__(slab.cache, "shadow")
            if shadow is not None and shadow.address == address and shadow.freed_by:
                self._broken("I9", name, f"slab {slab.pfn:#x} of it is still there")
                return

    def at_end(self) -> None:
        """Check what is only right while nothing is in flight: I2 and I8."""
        slub = self._machine.slab
        for cache in slub.slab_caches:
            slabs = list(dict.fromkeys(slab for slab in slub.slabs.values() if slab.cache is cache))
            most = self._min_partial.get(cache, cache.min_partial) + len(self._machine.cpus)
            for number, n in sorted(cache.node.items()):
                empty = sum(not slab.inuse for slab in n.partial)
                if empty > most:
                    self._broken("I8", cache.name, f"{empty} empty slabs on the partial list of node {number}")
                here = [slab for slab in slabs if slab.node == number]
                waiting = [slab for slab in here if self._is_discarded(slab)]
                counted = (n.nr_slabs, n.total_objects)
                kept = [slab for slab in here if slab not in waiting]
                found = (len(kept), sum(slab.objects for slab in kept))
                if counted != found:
                    self._broken("I2", cache.name, f"node {number} counts {counted} slabs and objects, has {found}")

    def _is_discarded(self, slab: Slab) -> bool:
        """Whether a slab only waits for RCU: it is empty and in no place."""
        if slab.inuse or slab.frozen:
            return False
        n = slab.cache.node.get(slab.node)
        return n is not None and all(other is not slab for other in n.partial)

    def _check(self, cache: KmemCache, slabs: dict[Slab, None]) -> None:
        where = placement_of(cache)
        self._min_partial[cache] = max(cache.min_partial, self._min_partial.get(cache, 0))
        self._check_places(cache, where)
        on_processor = {c.slab: set_of(c.freelist) for c in where.cpus.values() if c.slab is not None}
        for slab in slabs:
            free = slab.free_objects(slab.freelist)
            if slab.inuse != slab.objects - len(free):
                detail = f"slab {slab.pfn:#x}: inuse {slab.inuse}, {len(free)} of {slab.objects} on its free list"
                self._broken("I4", cache.name, detail)
            held = on_processor.get(slab, 0)
            own = set_of(free)
            if own & held or (own | held) & slab.live or own.bit_count() != len(free):
                self._broken("I5", cache.name, f"slab {slab.pfn:#x}: an object is free twice, or free and in use")
        for number, c in cache.cpu_slab.items():
            before = self._tids.get((cache, number), -1)
            if c.tid < before:
                self._broken("I7", cache.name, f"tid of processor {number} went from {before} to {c.tid}")
            self._tids[cache, number] = c.tid

    def _check_places(self, cache: KmemCache, where: Placement) -> None:
        places: dict[Slab, str] = {}

        def put(slab: Slab, place: str, *, frozen: bool) -> None:
            if slab in places:
                self._broken("I1", cache.name, f"slab {slab.pfn:#x} is {places[slab]} and {place}")
            places[slab] = place
            if slab.frozen is not frozen:
                self._broken("I1", cache.name, f"slab {slab.pfn:#x}, {place}, is {'not ' if frozen else ''}frozen")

        for cpu, c in where.cpus.items():
            if c.slab is not None:
                put(c.slab, f"the slab of processor {cpu}", frozen=True)
            for slab in c.partial:
                put(slab, f"on the list of processor {cpu}", frozen=True)
        for node, n in where.nodes.items():
            for slab in n.partial:
                put(slab, f"on the partial list of node {node}", frozen=False)
                if slab.freelist == NIL:
                    self._broken("I6", cache.name, f"full slab {slab.pfn:#x} on the partial list of node {node}")
            for slab in n.full:
                put(slab, f"on the full list of node {node}", frozen=False)
            if n.nr_partial != len(n.partial):
                detail = f"nr_partial of node {node} is {n.nr_partial}, its list has {len(n.partial)}"
                self._broken("I3", cache.name, detail)

    def _broken(self, number: str, cache: str, detail: str) -> None:
        if (number, cache) in self._reported:
            return
        self._reported[number, cache] = None
        machine = self._machine
        title = f"BUG: slab invariant {number} of {cache} broken"
        machine.violate("invariant", title, join([title, detail, identity(machine)]), bug=f"{number} {cache}")


def set_of(numbers: list[int] | tuple[int, ...]) -> int:
    """Object numbers as a bit mask."""
    mask = 0
    for number in numbers:
        mask |= 1 << number
    return mask
