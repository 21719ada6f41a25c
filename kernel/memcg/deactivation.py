"""Deactivating the caches of a cgroup that goes offline: the variants.

A deactivated cache must not keep an empty slab, neither on a processor's list nor on a node's: each of its pages pins
the cgroup.  So ``cpu_partial`` and ``min_partial`` become 0, and the cache is shrunk.  But who frees an object looks
at ``cpu_partial`` without a lock, with preemption off, and may put a slab on its processor's list by what it has seen:
the shrinking must come after everybody who can have seen the old value is done.

========== ======================================================================================= ============
from       who waits for that                                                                      commit
========== ======================================================================================= ============
--         the one who removes, once for each cache, under ``slab_mutex``
v4.10      the one who removes, once, under the hotplug locks only                                 89e364db71fb
v4.11      an RCU callback, which queues a work item for each cache, and that holds the cgroup     01fb58bcba63
--         nobody: no release, but what a change would be that forgets why anybody waits
========== ======================================================================================= ============

All of it happens under ``cgroup_mutex``, but the callbacks and items of the last.

Mirrors memcg_deactivate_kmem_caches() of mm/slab_common.c, __kmem_cache_shrink(), __kmemcg_cache_deactivate() and
kmemcg_cache_deact_after_rcu() of mm/slub.c, 4.9, 4.10 and 4.14.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..slab.shrink import do_shrink
from ..slab.sysfs_directory import sysfs_slab_unlink
from ..slab.sysfs_writes import about_to_change
from ..stack import kernel_name
from .child_caches import PerMemcgCaches
from .deferred import MEMCG_KMEM_CACHE

if TYPE_CHECKING:
    from ..slab.cache import KmemCache
    from ..slab.slub import Slub
    from .memcg import MemCgroup


async def keep_no_empty_slabs(cache: KmemCache) -> None:
    """Whoever looks from here on keeps no empty slab."""
    await about_to_change(cache, "cpu_partial")
    cache.cpu_partial = cache.cpu_partial_slabs = 0
    cache.min_partial = 0


@kernel_name("__kmem_cache_shrink")
async def shrink(slub: Slub, cache: KmemCache) -> bool:
    """Flush every processor and give empty slabs back, under the locks of destroying; whether any remain."""
    if cache.memcg_params is not None:
        cache.memcg_params.shrunk = True
    await slub.cpu_flush.flush_all_cpus_locked(cache)
    return await do_shrink(slub, cache)


class Deactivating(PerMemcgCaches):
    """The walk over a cgroup's caches in use, which all variants make."""

    async def in_use(self, memcg: MemCgroup) -> list[tuple[KmemCache, KmemCache]]:
        """The cgroup's children in use and their roots, under ``slab_mutex``."""
        number = memcg.kmemcg_id
        found: list[tuple[KmemCache, KmemCache]] = []
        for root, params in reversed(self.roots.caches.items()):
            array = params.memcg_caches
            child = array.entries[number] if array is not None else None
            if child is not None:
                found.append((root, child))
        return found

    async def forget(self, memcg: MemCgroup, root: KmemCache) -> None:
        """Let nobody find the cgroup's child of `root` any more."""
        params = root.memcg_root
        assert params is not None
        await params.write
        if params.memcg_caches is not None:
            params.memcg_caches.entries[memcg.kmemcg_id] = None


class WaitForEachCache(Deactivating):
    """Up to 4.9."""

    @kernel_name("memcg_deactivate_kmem_caches")
    async def deactivate_caches(self, memcg: MemCgroup, parent: MemCgroup) -> None:
        """A grace period for each cache, with ``cgroup_mutex``, the hotplug locks and ``slab_mutex`` held."""
        slub = self.slub
        async with slub.variants.slab_locks.destroying(slub), slub.slab_mutex:
            for root, child in await self.in_use(memcg):
                await keep_no_empty_slabs(child)
                await self.deferred.synchronize_sched()
                await shrink(slub, child)
                await self.forget(memcg, root)


class WaitOnce(Deactivating):
    """4.10."""

    @kernel_name("memcg_deactivate_kmem_caches")
    async def deactivate_caches(self, memcg: MemCgroup, parent: MemCgroup) -> None:
        """One grace period for all caches of the cgroup, without ``slab_mutex``."""
        slub = self.slub
        async with slub.variants.slab_locks.destroying(slub):
            async with slub.slab_mutex:
                for _, child in await self.in_use(memcg):
                    await keep_no_empty_slabs(child)
            await self.deferred.synchronize_sched()
            async with slub.slab_mutex:
                for root, child in await self.in_use(memcg):
                    await shrink(slub, child)
                    await self.forget(memcg, root)


class ShrinkLater(Deactivating):
    """4.11 to 5.2."""

    @kernel_name("memcg_deactivate_kmem_caches")
    async def deactivate_caches(self, memcg: MemCgroup, parent: MemCgroup) -> None:
        """Nobody waits."""
        slub = self.slub
        async with slub.variants.slab_locks.destroying(slub), slub.slab_mutex:
            for root, child in await self.in_use(memcg):
                await keep_no_empty_slabs(child)
                if await self.dying.may_deactivate(child):
                    await self.after_grace_period(memcg, child)
                await self.forget(memcg, root)

    async def after_grace_period(self, memcg: MemCgroup, child: KmemCache) -> None:
        """``slab_deactivate_memcg_cache_rcu_sched``: the cgroup, and so the cache, stays until the item is done."""
        memcg.css.get()

        async def kmemcg_deactivate_rcufn() -> None:
            await self.deferred.queue(MEMCG_KMEM_CACHE, "kmemcg_deactivate_workfn", kmemcg_deactivate_workfn)

        async def kmemcg_deactivate_workfn() -> None:
            await self.deactivate_after_rcu(child)
            await memcg.css.put()

        await self.deferred.call_rcu_sched(kmemcg_deactivate_rcufn)

    @kernel_name("kmemcg_cache_deact_after_rcu")
    async def deactivate_after_rcu(self, child: KmemCache) -> None:
        """Shrink; an empty cache leaves sysfs, but an allocation in progress may still use it."""
        slub = self.slub
        async with slub.variants.slab_locks.destroying(slub), slub.slab_mutex:
            if not await shrink(slub, child):
                await sysfs_slab_unlink(slub, child)
        self.machine.count("memcg_caches_deactivated")


class ShrinkAtOnce(ShrinkLater):
    """No release: the item of 01fb58bcba63, queued without a grace period before it."""

    async def after_grace_period(self, memcg: MemCgroup, child: KmemCache) -> None:
        """Who has seen the old ``cpu_partial`` may put an empty slab on a processor's list behind the item's back."""
        memcg.css.get()

        async def kmemcg_deactivate_workfn() -> None:
            await self.deactivate_after_rcu(child)
            await memcg.css.put()

        await self.deferred.queue(MEMCG_KMEM_CACHE, "kmemcg_deactivate_workfn", kmemcg_deactivate_workfn)
