"""The per-node half of a cache: structures, counters, partial lists.

Mirrors init_kmem_cache_node(), inc_slabs_node(), add_partial(), add_full(), discard_slab(), __free_slab() and
rcu_free_slab() of mm/slub.c (6.1).  Nothing here checks whether `n` is null unless the kernel does: a missing
structure is an oops.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..memory import allocated
from ..rcu import RcuHead
from .cache import KMEM_CACHE_NODE_SIZE, KmemCacheNode
from .debug import check_slab_before_free
from .flags import SLAB_CONSISTENCY_CHECKS, SLAB_STORE_USER, SLAB_TYPESAFE_BY_RCU

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
    if tail:
        n.partial.add_tail(slab)
    else:
        n.partial.add(slab)
    n.nr_partial += 1
    n.nr_partial_changes()


def remove_partial(n: KmemCacheNode, slab: Slab) -> None:
    """Take a slab off the partial list, under ``list_lock``."""
    n.partial.remove(slab)
    n.nr_partial -= 1
    n.nr_partial_changes()


def add_full(n: KmemCacheNode, slab: Slab) -> None:
    """Put a full slab on the list that caches under SLAB_STORE_USER have for them, under ``list_lock``."""
    if n.full is not None:
        n.full.add(slab)


def remove_full(n: KmemCacheNode, slab: Slab) -> None:
    """Take a slab that was full off the list of full ones, if there is one; under ``list_lock``."""
    if n.full is not None:
        n.full.remove(slab)


def init_kmem_cache_node(slub: Slub, cache: KmemCache, node: int, address: int) -> KmemCacheNode:
    """``init_kmem_cache_node``: an empty structure at `address`, an object of the boot cache of that name."""
    lists_full = bool(cache.flags & SLAB_STORE_USER)
    n = KmemCacheNode(slub.machine, node, address, cache.counters, lists_full=lists_full)
    allocated(slub.machine, n, "struct kmem_cache_node", "kmem_cache_node", address, KMEM_CACHE_NODE_SIZE)
    slub.structures[address] = n
    if (fire := slub.machine.tracepoints.kmem_cache_node_alloc.fire) is not None:
        fire(cache.name, node, address)
    return n


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
        await _free_slab(slub, cache, slab)


async def rcu_free_slab(slub: Slub, slab: Slab) -> None:
    """The callback: no reader can see an object of this slab any more.  Uses ``slab->slab_cache``, as there."""
    slub.machine.count("rcu_freed_slabs")
    await _free_slab(slub, slab.cache, slab)


async def _free_slab(slub: Slub, cache: KmemCache, slab: Slab) -> None:
    """``__free_slab``: the pages go back to their node."""
    if cache.flags & SLAB_CONSISTENCY_CHECKS:
        check_slab_before_free(slub, cache, slab)
    for page in range(1 << slab.order):
        del slub.slabs[slab.pfn + page]
    if cache.memcg_params is not None and slub.memcg is not None:
        await slub.memcg.uncharge_slab(cache, 1 << slab.order)
    await slub.machine.pages.free_pages(slab.node, slab.pfn, slab.order)
