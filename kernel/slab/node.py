"""The per-node half of a cache: structures, counters, partial lists.

Mirrors init_kmem_cache_nodes(), inc_slabs_node(), add_partial(), deactivate_slab(), discard_slab() and
rcu_free_slab() of mm/slub.c (6.1).  Nothing here checks whether `n` is null unless the kernel does: a missing
structure is an oops.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...actors import Access
from ..memory import allocated
from ..rcu import RcuHead
from .cache import KMEM_CACHE_NODE_SIZE, KmemCacheNode
from .geometry import SLAB_TYPESAFE_BY_RCU

if TYPE_CHECKING:
    from .cache import KmemCache, Slab
    from .slub import Slub


async def inc_slabs_node(cache: KmemCache, n: KmemCacheNode, objects: int) -> None:
    """Count a new slab.  While a node's own structure is being made there is none to count in: the kernel checks."""
    if n:
        await cache.count_slabs
        n.nr_slabs += 1
        n.total_objects += objects


async def dec_slabs_node(cache: KmemCache, n: KmemCacheNode, objects: int) -> None:
    """Count a slab less."""
    await cache.count_slabs
    n.nr_slabs -= 1
    n.total_objects -= objects


def add_partial(n: KmemCacheNode, slab: Slab, *, tail: bool) -> None:
    """Put a slab on the partial list, under ``list_lock``."""
    slab.on_partial = True
    if tail:
        n.partial[slab] = None
    else:
        n.partial = {slab: None, **n.partial}
    n.nr_partial += 1
    n.nr_partial_changes()


def remove_partial(n: KmemCacheNode, slab: Slab) -> None:
    """Take a slab off the partial list, under ``list_lock``."""
    slab.on_partial = False
    del n.partial[slab]
    n.nr_partial -= 1
    n.nr_partial_changes()


def init_kmem_cache_node(slub: Slub, cache: KmemCache, node: int, address: int) -> KmemCacheNode:
    """``init_kmem_cache_node``: an empty structure at `address`, an object of the boot cache of that name."""
    n = KmemCacheNode(slub.machine, node, address, cache.counters)
    allocated(slub.machine, n, "struct kmem_cache_node", "kmem_cache_node", address, KMEM_CACHE_NODE_SIZE)
    slub.structures[address] = n
    if (fire := slub.machine.tracepoints.kmem_cache_node_alloc.fire) is not None:
        fire(cache.name, node, address)
    return n


async def deactivate_slab(slub: Slub, cache: KmemCache, slab: Slab, freelist: int) -> None:
    """A processor gives up its slab and free list: to the partial list, to nobody, or back as pages."""
    await cache.read_node
    n = slub.get_node(cache, slab.node)
    if (fire := slub.machine.tracepoints.slab_deactivate.fire) is not None:
        fire(cache.name, slab.pfn, slab.node, slab.inuse)
    cache.freelist_touched(Access.READ)
    remote_frees = bool(slab.free_mask)
    empty = False
    if freelist or slab.free_mask:
        async with n.list_lock.irqsave():
            _splice(slab, freelist)
            empty = not slab.inuse and n.nr_partial >= cache.min_partial
            if not empty:
                # Slabs into which others free go to the tail: they are less likely to be in our processor's cache.
                add_partial(n, slab, tail=remote_frees)
    else:
        await cache.update_freelist
        if slab.free_mask:  # somebody freed into it just now
            await deactivate_slab(slub, cache, slab, freelist)
            return
        _splice(slab, freelist)
    if empty:
        await discard_slab(slub, cache, slab)


def _splice(slab: Slab, freelist: int) -> None:
    slab.cache.freelist_touched(Access.WRITE)
    slab.free_mask |= freelist
    slab.inuse -= freelist.bit_count()
    slab.frozen = False


async def discard_slab(slub: Slub, cache: KmemCache, slab: Slab) -> None:
    """Give an empty slab's pages back; after a grace period where its objects may still be looked at."""
    await cache.read_node
    await dec_slabs_node(cache, slub.get_node(cache, slab.node), slab.objects)
    await free_slab(slub, cache, slab)


async def free_slab(slub: Slub, cache: KmemCache, slab: Slab) -> None:
    """Free the pages of a slab that is on no list and not counted any more."""
    if (fire := slub.machine.tracepoints.slab_discard.fire) is not None:
        fire(cache.name, slab.pfn, slab.order, slab.node)
    if cache.flags & SLAB_TYPESAFE_BY_RCU:
        await slub.machine.rcu.call_rcu(RcuHead(lambda: rcu_free_slab(slub, slab), slab.base))
    else:
        await _free_pages_of(slub, slab)


async def rcu_free_slab(slub: Slub, slab: Slab) -> None:
    """The callback: no reader can see an object of this slab any more.  Uses ``slab->slab_cache``, as there."""
    slub.machine.count("rcu_freed_slabs")
    _ = slab.cache.name
    await _free_pages_of(slub, slab)


async def _free_pages_of(slub: Slub, slab: Slab) -> None:
    for page in range(1 << slab.order):
        del slub.slabs[slab.pfn + page]
    await slub.machine.pages.free_pages(slab.node, slab.pfn, slab.order)
