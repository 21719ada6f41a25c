"""Partial slabs that a processor keeps for itself, without any lock: the variants.

A slab that was full and gets its first free goes to the processor that freed (``put_cpu_partial``); the search of a
node's list takes some more along.  What fills the list up is counted differently:

========== ================================================================= ============
from       full, and drained to the nodes' lists                             commit
========== ================================================================= ============
--         when a slab is put on it while it has more free objects than
           ``cpu_partial``, counted when each slab was put there
v5.16      when it has ``cpu_partial_slabs`` slabs                           b47291ef02b0
========== ================================================================= ============

The counts are kept in the slab at the head of the list.  Nobody corrects them when objects are freed into a slab that
is on the list already: slabs that came with one free object each may all be empty before ``cpu_partial`` is reached,
which is why slabs are counted now (museum M50).  The counter ``longest_cpu_partial_list`` tells how far that goes.

The list is a processor's own, and its interrupts' (RCU callbacks free objects): it is changed by one instruction, or
with interrupts off.  Where ``this_cpu_cmpxchg()`` is no instruction but made of several (not on x86), interrupts were
on in between until 3.2 (museum M52, `CpuPartialInterruptible`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from ...actors import Op, OpKind
from ..stack import part_of_caller
from .cpu_slab import this_cpu_slab, unfreeze_partials, unfreeze_slabs
from .statistics import StatItem, stat

if TYPE_CHECKING:
    from .cache import KmemCache, KmemCacheCpu, Slab
    from .slub import Slub


CPU_PARTIAL_LIST = Op(OpKind.LOCAL, "c->partial")


class CpuPartial(Protocol):
    """Seam: how many slabs a processor keeps."""

    async def put(self, slub: Slub, cache: KmemCache, slab: Slab) -> None:
        """Put a slab that was just frozen on this processor's list, draining it first if it is full."""
        ...

    def taken_enough(self, cache: KmemCache, slabs: int, free_objects: int) -> bool:
        """Whether a search of a node's list stops, with `slabs` taken beyond the first, `free_objects` in all."""
        ...


def publish(c: KmemCacheCpu, slab: Slab, free_objects: int) -> None:
    """Put a frozen slab at the head of a processor's list."""
    publish_before(c, c.partial, slab, free_objects)


def publish_before(c: KmemCacheCpu, old: Slab | None, slab: Slab, free_objects: int) -> None:
    """Make a frozen slab the head of a processor's list, with `old` behind it."""
    slab.slabs = old.slabs + 1 if old is not None else 1
    slab.pobjects = old.pobjects + free_objects if old is not None else free_objects
    slab.next = old
    c.partial = slab


def _note_length(slub: Slub, slabs: int) -> None:
    counters = slub.machine.counters
    if slabs > counters.get("longest_cpu_partial_list", 0):
        counters["longest_cpu_partial_list"] = slabs


class CpuPartialBySlabs:
    """From 5.16."""

    async def put(self, slub: Slub, cache: KmemCache, slab: Slab) -> None:
        """The drained slabs are unfrozen after the new one is on the list."""
        c = this_cpu_slab(slub, cache)
        drained = c.partial
        if drained is not None and drained.slabs >= cache.cpu_partial_slabs:
            c.partial = None
        else:
            drained = None
        publish(c, slab, slab.objects - slab.inuse)
        _note_length(slub, slab.slabs)
        if drained is not None:
            await unfreeze_slabs(slub, cache, drained)
            stat(c, StatItem.CPU_PARTIAL_DRAIN)

    def taken_enough(self, cache: KmemCache, slabs: int, free_objects: int) -> bool:
        """More than half of what may be kept."""
        return slabs > cache.cpu_partial_slabs // 2


class CpuPartialByObjects:
    """Up to 5.15."""

    async def put(self, slub: Slub, cache: KmemCache, slab: Slab) -> None:
        """The old slabs are unfrozen before the new one is on the list; nothing stays where nothing may be kept."""
        if cache.memcg_params is not None:
            await self._put_while_deactivated(slub, cache, slab)
        else:
            await self._put(slub, cache, slab, cache.cpu_partial)

    async def _put_while_deactivated(self, slub: Slub, cache: KmemCache, slab: Slab) -> None:
        """Of a cgroup's cache: ``cpu_partial`` may become 0 between the look and the list, but preemption is off."""
        running = slub.machine.running
        running.preempt_disable()
        try:
            await cache.read_cpu_partial
            keeps = cache.cpu_partial
            await CPU_PARTIAL_LIST
            await self._put(slub, cache, slab, keeps)
        finally:
            running.preempt_enable()

    @part_of_caller
    async def _put(self, slub: Slub, cache: KmemCache, slab: Slab, keeps: int) -> None:
        c = this_cpu_slab(slub, cache)
        while c.partial is not None and c.partial.pobjects > keeps:
            await unfreeze_partials(slub, cache, c)
            stat(c, StatItem.CPU_PARTIAL_DRAIN)
            c = this_cpu_slab(slub, cache)  # the processor may be another one by now
        publish(c, slab, slab.objects - slab.inuse)
        _note_length(slub, slab.slabs)
        if not keeps:
            await unfreeze_partials(slub, cache, c)

    def taken_enough(self, cache: KmemCache, slabs: int, free_objects: int) -> bool:
        """More free objects than half of what may be kept, those of the first slab included."""
        return free_objects > cache.cpu_partial // 2


class CpuPartialInterruptible(CpuPartialByObjects):
    """No release emulated here: the exchange of the list's head is a comparison and a store, with interrupts on."""

    async def put(self, slub: Slub, cache: KmemCache, slab: Slab) -> None:
        """What an interrupt puts on the list between the two is lost: frozen, and nobody's."""
        while (old := this_cpu_slab(slub, cache).partial) is not None and old.pobjects > cache.cpu_partial:
            await unfreeze_partials(slub, cache, this_cpu_slab(slub, cache))
        running = slub.machine.running
        running.preempt_disable()
        try:
            c = this_cpu_slab(slub, cache)
            old = c.partial
            await CPU_PARTIAL_LIST
            publish_before(c, old, slab, slab.objects - slab.inuse)
            _note_length(slub, slab.slabs)
        finally:
            running.preempt_enable()
