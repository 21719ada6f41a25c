"""What a processor has of a cache: giving it up.

Mirrors deactivate_slab(), flush_slab(), unfreeze_partials(), __unfreeze_partials() and __flush_cpu_slab() of mm/slub.c
(6.1).  A slab given up is spliced with the processor's free list and goes to its node's partial list, to nobody if it
is full, or back as pages if it is empty and the node has partial slabs enough.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...actors import Access
from .cache import NIL, KmemCacheCpu
from .flags import SLAB_STORE_USER
from .node import add_full, add_partial, discard_slab
from .statistics import StatItem, stat

if TYPE_CHECKING:
    from .cache import KmemCache, KmemCacheNode, Slab
    from .slub import Slub


def this_cpu_slab(slub: Slub, cache: KmemCache) -> KmemCacheCpu:
    """``this_cpu_ptr(s->cpu_slab)``, made on first use."""
    cpu = slub.machine.interleaver.running.cpu_id
    c = cache.cpu_slab.get(cpu)
    if c is None:
        c = cache.cpu_slab[cpu] = KmemCacheCpu(cpu, statistics=slub.statistics)
    return c


async def deactivate_slab(slub: Slub, cache: KmemCache, slab: Slab, freelist: int) -> None:
    """Give up `slab`, which nobody else can find any more, with what is left of the processor's free list."""
    c = this_cpu_slab(slub, cache)
    await cache.read_node
    n = slub.get_node(cache, slab.node)
    if (fire := slub.machine.tracepoints.slab_deactivate.fire) is not None:
        fire(cache.name, slab.pfn, slab.node, slab.inuse)
    cache.freelist_touched(Access.READ)
    remote_frees = slab.freelist != NIL
    if remote_frees:
        stat(c, StatItem.DEACTIVATE_REMOTE_FREES)
    last, count = _end_of(slub, slab, freelist)
    while True:
        await cache.update_freelist
        seen, inuse = slab.freelist, slab.inuse - count
        slub.machine.bug_on(not slab.frozen, f"slab of {cache.name} deactivated that no processor had")
        if not inuse:
            await cache.read_nr_partial  # without the lock: a few more or less do not matter
            enough = n.nr_partial >= cache.min_partial
            if enough:
                await cache.update_freelist
                if slab.freelist == seen and slab.inuse == inuse + count:
                    _splice(slab, freelist, last, count)
                    stat(c, StatItem.DEACTIVATE_EMPTY)
                    await discard_slab(slub, cache, slab)
                    stat(c, StatItem.FREE_SLAB)
                    return
                continue  # an object was freed into it meanwhile
        if freelist != NIL or seen != NIL or cache.flags & SLAB_STORE_USER:
            # The lock comes first: nobody finds the slab on a list before it is unfrozen.
            async with n.list_lock.irqsave():
                cache.freelist_touched(Access.READ)
                if slab.freelist != seen or slab.inuse != inuse + count:
                    continue
                _splice(slab, freelist, last, count)
                if slab.freelist == NIL:
                    add_full(n, slab)
                    stat(c, StatItem.DEACTIVATE_FULL)
                else:
                    # Slabs that others free into go to the tail: they are less likely to be in our memory cache.
                    add_partial(n, slab, tail=remote_frees)
                    stat(c, StatItem.DEACTIVATE_TO_TAIL if remote_frees else StatItem.DEACTIVATE_TO_HEAD)
            return
        _splice(slab, freelist, last, count)
        stat(c, StatItem.DEACTIVATE_FULL)
        return


def _end_of(slub: Slub, slab: Slab, freelist: int) -> tuple[int, int]:
    """The last object of a free list, and how many there are."""
    last, count = NIL, 0
    links = slab.links
    while freelist != NIL:
        last = freelist
        count += 1
        if count > slab.objects:
            slub.machine.kernel_bug(f"free list of a slab of {slab.cache.name} is circular")
        freelist = links[freelist]
    return last, count


def _splice(slab: Slab, freelist: int, last: int, count: int) -> None:
    """Put a processor's free list before the slab's own, and let go of it."""
    slab.cache.freelist_touched(Access.WRITE)
    if last != NIL:
        slab.links[last] = slab.freelist
        slab.freelist = freelist
        slab.inuse -= count
    slab.frozen = False


async def unfreeze_slabs(slub: Slub, cache: KmemCache, partial: Slab | None) -> None:
    """Move a processor's partial slabs, from `partial` on, to their nodes' lists (``__unfreeze_partials``)."""
    c = this_cpu_slab(slub, cache)
    discard: list[Slab] = []
    while partial is not None:
        await cache.read_node
        n = slub.get_node(cache, partial.node)
        # The lock is kept while the slabs are of one node.
        async with n.list_lock.irqsave():
            partial = _unfreeze_slabs_of(slub, cache, n, partial, discard)
    for slab in reversed(discard):
        stat(c, StatItem.DEACTIVATE_EMPTY)
        await discard_slab(slub, cache, slab)
        stat(c, StatItem.FREE_SLAB)


def _unfreeze_slabs_of(
    slub: Slub, cache: KmemCache, n: KmemCacheNode, partial: Slab | None, discard: list[Slab]
) -> Slab | None:
    """The slabs of one node, as far as they follow each other; under its ``list_lock``.  The first other one."""
    c = this_cpu_slab(slub, cache)
    cache.freelist_touched(Access.WRITE)
    while partial is not None and partial.node == n.node:
        slab, partial = partial, partial.next
        slub.machine.bug_on(not slab.frozen, f"slab of {cache.name} on a processor's list is not frozen")
        slab.frozen = False
        slab.next = None
        if not slab.inuse and n.nr_partial >= cache.min_partial:
            discard.append(slab)
        else:
            add_partial(n, slab, tail=True)
            stat(c, StatItem.FREE_ADD_PARTIAL)
    return partial


async def unfreeze_partials(slub: Slub, cache: KmemCache, c: KmemCacheCpu) -> None:
    """Give up all partial slabs of a processor: this one, or one that is dead."""
    partial, c.partial = c.partial, None
    if partial is not None:
        await unfreeze_slabs(slub, cache, partial)


async def flush_cpu_slab(slub: Slub, cache: KmemCache, cpu: int) -> None:
    """Give up everything processor `cpu` has of `cache`: on that processor, or when it is dead."""
    c = cache.cpu_slab.get(cpu)
    if c is None:
        return
    machine = slub.machine
    if (fire := machine.tracepoints.cpu_slab_flush.fire) is not None:
        fire(cache.name, cpu)
    machine.count("cpu_slab_flushes")
    if c.slab is not None:
        slab, freelist = c.detach()
        if slab is not None:
            await deactivate_slab(slub, cache, slab, freelist)
            stat(c, StatItem.CPUSLAB_FLUSH)
    await unfreeze_partials(slub, cache, c)
