"""Shrinking: empty slabs go back, the rest is sorted so that the fullest are used first.

Mirrors kmem_cache_shrink(), __kmem_cache_do_shrink() of mm/slub.c (6.1).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...actors import Access
from ..stack import kernel_name
from .node import dec_slabs_node, free_slab, remove_partial

if TYPE_CHECKING:
    from .cache import KmemCache, Slab
    from .slub import Slub

SHRINK_PROMOTE_MAX = 32


async def kmem_cache_shrink(slub: Slub, cache: KmemCache) -> bool:
    """Flush every processor and shrink; whether slabs remain."""
    async with slub.variants.slab_locks.shrinking(slub):
        if slub.quarantine is not None:
            await slub.quarantine.remove_cache(cache)
        return await _kmem_cache_shrink(slub, cache)


@kernel_name("__kmem_cache_shrink")
async def _kmem_cache_shrink(slub: Slub, cache: KmemCache) -> bool:
    await slub.cpu_flush.flush_all(cache)
    return await do_shrink(slub, cache)


@kernel_name("__kmem_cache_do_shrink")
async def do_shrink(slub: Slub, cache: KmemCache) -> bool:
    """Discard empty slabs and sort the partial list of each node; whether slabs remain."""
    remain = False
    for node in sorted(slub.machine.nodes):
        await cache.read_node
        n = slub.get_node(cache, node)
        if not n:
            continue
        discard: list[Slab] = []
        async with n.list_lock.irqsave():
            promoted: list[list[Slab]] = [[] for _ in range(SHRINK_PROMOTE_MAX)]
            rest: list[Slab] = []
            for slab in n.partial:
                cache.freelist_touched(Access.READ)
                free = slab.objects - slab.inuse
                slub.machine.bug_on(free <= 0, f"full slab on the partial list of {cache.name}")
                if free == slab.objects:
                    discard.append(slab)
                elif free <= SHRINK_PROMOTE_MAX:
                    promoted[free - 1].insert(0, slab)
                else:
                    rest.append(slab)
            for slab in discard:
                remove_partial(n, slab)
            n.partial.reorder([slab for same in promoted for slab in same] + rest)
            for slab in discard:
                await dec_slabs_node(cache, n, slab.objects)
        for slab in discard:
            await free_slab(slub, cache, slab)
        await cache.read_nr_partial
        remain = remain or n.nr_slabs > 0
    return remain
