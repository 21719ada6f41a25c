"""Searching the nodes' partial lists for a slab to allocate from.

Mirrors get_partial(), get_any_partial(), get_partial_node(), acquire_slab() and alloc_single_from_partial() of
mm/slub.c (6.1).  What is found is a slab and the first object of its free list, with the whole list if the slab
becomes this processor's; caches under debugging take one object and leave the slab where it is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...actors import Access
from .cache import NIL
from .cpu_partial import publish
from .cpu_slab import this_cpu_slab
from .debug import alloc_debug_processing
from .node import add_full, remove_partial
from .statistics import StatItem, stat

if TYPE_CHECKING:
    from .cache import KmemCache, KmemCacheNode, Slab
    from .slub import Slub

NUMA_NO_NODE = -1
COIN_SIDES = 1024

Found = tuple["Slab", int]
"""A slab, and the number of the first object of what was taken from it."""


async def get_partial(slub: Slub, cache: KmemCache, node: int) -> Found | None:
    """Objects from the wanted node's partial slabs, or from any node's where that does not matter."""
    wanted = slub.machine.this_cpu.node if node == NUMA_NO_NODE else node
    await cache.read_node
    found = await get_partial_node(slub, cache, slub.get_node(cache, wanted))
    if found is not None or node != NUMA_NO_NODE:
        return found
    return await get_any_partial(slub, cache, wanted)


def looks_at_other_nodes(slub: Slub, cache: KmemCache) -> bool:
    """Whether a search that found nothing at home goes on: a coin whose bias is ``remote_node_defrag_ratio`` in 1024.

    The kernel tosses the clock-cycle counter; here it is a decision, and none where both answers are the same.
    """
    ratio = cache.remote_node_defrag_ratio
    if not ratio or len(slub.machine.nodes) == 1:
        return False
    return ratio >= COIN_SIDES - 1 or not slub.machine.interleaver.choose("remote node defrag coin", 2)


async def get_any_partial(slub: Slub, cache: KmemCache, home: int) -> Found | None:
    """Objects from a node that has more partial slabs than it needs, the nearest first."""
    machine = slub.machine
    if not looks_at_other_nodes(slub, cache):
        return None
    await machine.pages.read_zonelists
    for node in list(machine.pages.zonelists[home]):
        await cache.read_node
        n = slub.get_node(cache, node)
        if n:
            await cache.read_nr_partial
            if n.nr_partial > cache.min_partial:
                found = await get_partial_node(slub, cache, n)
                if found is not None:
                    return found
    return None


async def get_partial_node(slub: Slub, cache: KmemCache, n: KmemCacheNode) -> Found | None:
    """Objects from a node's partial slabs: the first slab becomes ours, some more go to this processor's list."""
    # Racy on purpose: at worst a new slab is made although there is a partial one.
    if not n:
        return None
    await cache.read_nr_partial
    if not n.nr_partial:
        return None
    async with n.list_lock.irqsave():
        if cache.debug:
            return _single_object(slub, cache, n)
        return _take_slabs(slub, cache, n)


def _take_slabs(slub: Slub, cache: KmemCache, n: KmemCacheNode) -> Found | None:
    c = this_cpu_slab(slub, cache)
    found: Found | None = None
    more = free_objects = 0
    for slab in n.partial:
        cache.freelist_touched(Access.WRITE)
        slub.machine.bug_on(slab.frozen, f"frozen slab on the partial list of {cache.name}")
        free = slab.objects - slab.inuse
        free_objects += free
        remove_partial(n, slab)
        slab.frozen = True
        if found is None:
            found = slab, take_freelist(slab)
            stat(c, StatItem.ALLOC_FROM_PARTIAL)
        else:
            publish(c, slab, free)
            stat(c, StatItem.CPU_PARTIAL_NODE)
            more += 1
        if slub.variants.cpu_partial.taken_enough(cache, more, free_objects):
            break
    return found


def take_freelist(slab: Slab) -> int:
    """Take all that is free in a slab: its objects count as in use from now on."""
    freelist = slab.freelist
    slab.freelist = NIL
    slab.inuse = slab.objects
    return freelist


def _single_object(slub: Slub, cache: KmemCache, n: KmemCacheNode) -> Found | None:
    """One object of the first slab that passes its checks; a slab that does not is never used again."""
    for slab in n.partial:
        cache.freelist_touched(Access.WRITE)
        index = slab.freelist
        if index == NIL:
            slub.machine.null_dereference("next free object", write=False)  # the list was cut off, nobody noticed
        slab.freelist = slab.links[index]
        slab.inuse += 1
        if not alloc_debug_processing(slub, cache, slab, index):
            remove_partial(n, slab)
            continue
        if slab.inuse == slab.objects:
            remove_partial(n, slab)
            add_full(n, slab)
        return slab, index
    return None
