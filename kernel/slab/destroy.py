"""Destroying caches.

Mirrors kmem_cache_destroy() of mm/slab_common.c and __kmem_cache_shutdown(), free_partial() of mm/slub.c (6.1).  What
follows when the last slab has gone is in cache_release.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..stack import kernel_name, part_of_caller
from .debug_validate import list_slab_objects
from .node import dec_slabs_node, free_slab, remove_partial

if TYPE_CHECKING:
    from .cache import KmemCache
    from .slub import Slub


async def kmem_cache_destroy(slub: Slub, cache: KmemCache) -> bool:
    """Destroy `cache`, which nobody uses any more; false where objects were left in it, and then it stays as it is.

    May sleep.  The caller guarantees that nobody allocates from the cache concurrently, and does not touch it again:
    from 4.11 to 6.11 a TYPESAFE_BY_RCU cache is still there when this returns.
    """
    await slub.cache_release.before()
    return await (destroy_cache(slub, cache) if slub.memcg is None else slub.memcg.destroy(cache))


@part_of_caller
async def destroy_cache(slub: Slub, cache: KmemCache) -> bool:
    """Destroy a cache that no cgroup has caches of."""
    machine = slub.machine
    ours: list[KmemCache] = []
    async with slub.variants.slab_locks.destroying(slub), slub.slab_mutex:
        cache.refcount -= 1
        if cache.refcount:
            return True
        listed: list[str] = []
        if await retire_cache(slub, cache, ours, listed):
            cache.refcount += 1
            message = f"kmem_cache_destroy {cache.name}: Slab cache still has objects"
            machine.printk("warning", message)
            machine.remaining_objects(cache.name, listed)
            return False
    if ours:
        await slub.cache_release.release(ours)
    return True


@kernel_name("shutdown_cache")
async def retire_cache(slub: Slub, cache: KmemCache, ours: list[KmemCache], listed: list[str]) -> bool:
    """Shut a cache down and take it off the list, under ``slab_mutex``; whether it has objects, and then it stays.

    What the caller is to release, once it holds no lock, is added to `ours`.
    """
    if slub.quarantine is not None:
        await slub.quarantine.remove_cache(cache)
    if await shutdown_cache(slub, cache, listed):
        return True
    slub.delist(cache)
    if await slub.cache_release.retire(cache):
        ours.append(cache)
    return False


@kernel_name("__kmem_cache_shutdown")
async def shutdown_cache(slub: Slub, cache: KmemCache, listed: list[str]) -> bool:
    """Give back every slab; whether some could not be.  What is left in partial slabs is told in `listed`."""
    if (fire := slub.machine.tracepoints.kmem_cache_shutdown.fire) is not None:
        fire(cache.name, cache.address)
    await slub.cpu_flush.flush_for_shutdown(cache)
    for node in sorted(slub.machine.nodes):
        await cache.read_node
        n = slub.get_node(cache, node)
        if not n:
            continue
        async with n.list_lock.irqsave():
            empty = [slab for slab in n.partial if not slab.inuse]
            for slab in n.partial:
                if slab.inuse:
                    listed += list_slab_objects(slub, cache, slab)
            for slab in empty:
                remove_partial(n, slab)
        for slab in empty:
            await dec_slabs_node(cache, n, slab.objects)
            await free_slab(slub, cache, slab)
        await cache.read_nr_partial
        if n.nr_partial or n.nr_slabs:
            return True
    return False
