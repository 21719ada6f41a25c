"""From the last slab of a cache to the end of the cache itself: the variants of seed 001.

A slab of a SLAB_TYPESAFE_BY_RCU cache is given back by an RCU callback that still looks at the cache.  The cache must
outlive every such callback, and only rcu_barrier() waits for callbacks that are queued already:

========== ======================================================================================= ============
from       who waits                                                                               commit
========== ======================================================================================= ============
--         the destroyer, once for all caches that it destroys together
v4.11      a work item, once for all caches that anybody has queued meanwhile                       657dc2f97220
v4.18      the same, but the destroyer takes the cache out of sysfs, under ``slab_mutex``            d50d82faa0c9
v6.0       the same, and the work item takes the cache out of sysfs again, without that lock         0495e337b703
v6.12      the destroyer again: caches are not destroyed in bulk any more; and before it takes
           any lock it waits for what kfree_rcu() was given, which may be objects of the cache       2eb14c1c2717,
                                                                                                     6c6c47b063b5
========== ======================================================================================= ============

As long as it is in sysfs a cache keeps its name, though it is on no list.  Taking it out waits for those who are in a
function of one of its files, so what is held meanwhile decides what such a function may take: ``slab_mutex`` from 4.18
to 5.19, and with it the hotplug locks of the destroyer (`lock_variants`; museum M03, M08, M56).  After ``slab_mutex``
the destroyer must not touch a cache that it has left to the work item.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Protocol

from ..stack import kernel_name, part_of_caller
from .create import free_kmem_cache_nodes
from .flags import SLAB_TYPESAFE_BY_RCU
from .free import kmem_cache_free
from .sysfs_directory import sysfs_slab_unlink

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ...actors.worker_pool import WorkItem
    from .cache import KmemCache
    from .slub import Slub


class CacheRelease(Protocol):
    """Seam: how caches end that have no slab and are on no list any more."""

    async def before(self) -> None:
        """Without locks: wait for what may still be freed into a cache that is to be destroyed."""
        ...

    async def retire(self, cache: KmemCache) -> bool:
        """Under ``slab_mutex``, when `cache` was just taken off the list: whether the caller is to release it."""
        ...

    async def release(self, caches: Sequence[KmemCache]) -> None:
        """Without locks: release caches that the caller has destroyed together."""
        ...


@kernel_name("slab_kmem_cache_release")
async def release_cache(slub: Slub, cache: KmemCache) -> None:
    """Give back what `cache` itself is made of; nobody knows it any more."""
    machine = slub.machine
    name, address = cache.name, cache.address
    await free_kmem_cache_nodes(slub, cache)
    if slub.memcg is not None:
        await slub.memcg.release(cache)
    await kmem_cache_free(slub, slub.kmem_cache, address)
    machine.count("caches_destroyed")
    if (fire := machine.tracepoints.kmem_cache_destroy.fire) is not None:
        fire(name, address)


class WaitOncePerCaller:
    """Up to 4.10."""

    def __init__(self, slub: Slub) -> None:
        self._slub = slub

    async def before(self) -> None:
        """Nobody waits."""

    async def retire(self, cache: KmemCache) -> bool:
        """The caller keeps it on a list of its own."""
        return True

    async def release(self, caches: Sequence[KmemCache]) -> None:
        """One barrier if any of them needs it (``release_caches``)."""
        slub = self._slub
        if any(cache.flags & SLAB_TYPESAFE_BY_RCU for cache in caches):
            await slub.machine.rcu.rcu_barrier()
        for cache in caches:
            await sysfs_slab_unlink(slub, cache)
            await release_cache(slub, cache)


class WaitInWorkItem:
    """4.11 to 4.17, and 6.0 to 6.11.

    ``slab_caches_to_rcu_destroy`` is protected by ``slab_mutex``.  The work item is pending no more when it begins:
    what is queued while its barrier runs is the business of the next run, and one run at a time there is.
    """

    unlinks_at_once: ClassVar[bool] = False

    def __init__(self, slub: Slub) -> None:
        self._slub = slub
        self._to_destroy: list[KmemCache] = []
        self._work: WorkItem | None = None

    async def before(self) -> None:
        """Nobody waits."""

    @part_of_caller
    async def retire(self, cache: KmemCache) -> bool:
        """Leave it to the work item if callbacks may still look at it."""
        if self.unlinks_at_once:
            await sysfs_slab_unlink(self._slub, cache)
        if not cache.flags & SLAB_TYPESAFE_BY_RCU:
            return True
        self._to_destroy.append(cache)
        workqueues = self._slub.machine.workqueues
        if self._work is None:
            self._work = workqueues.make_work("slab_caches_to_rcu_destroy_workfn", self._destroy)
        await workqueues.queue_work_on(self._slub.machine.smp_processor_id(), self._work)
        return False

    async def release(self, caches: Sequence[KmemCache]) -> None:
        """At once: nobody can look at them any more."""
        for cache in caches:
            if not self.unlinks_at_once:
                await sysfs_slab_unlink(self._slub, cache)
            await release_cache(self._slub, cache)

    @kernel_name("slab_caches_to_rcu_destroy_workfn")
    async def _destroy(self, _: WorkItem) -> None:
        slub = self._slub
        async with slub.slab_mutex:
            caches, self._to_destroy = self._to_destroy, []
        if not caches:
            return
        await slub.machine.rcu.rcu_barrier()
        slub.machine.counters["largest_destroy_batch"] = max(
            len(caches), slub.machine.counters.get("largest_destroy_batch", 0)
        )
        await self.release(caches)


class UnlinkThenWaitInWorkItem(WaitInWorkItem):
    """4.18 to 5.19: the name is free when the destroyer returns."""

    unlinks_at_once: ClassVar[bool] = True


class WaitEachTime:
    """From 6.12."""

    last_step = staticmethod(release_cache)

    def __init__(self, slub: Slub) -> None:
        self._slub = slub

    async def before(self) -> None:
        """Nobody waits."""

    async def retire(self, cache: KmemCache) -> bool:
        """It stays the caller's."""
        return True

    async def release(self, caches: Sequence[KmemCache]) -> None:
        """Out of sysfs first, then a barrier for each that needs one."""
        slub = self._slub
        for cache in caches:
            await sysfs_slab_unlink(slub, cache)
            if cache.flags & SLAB_TYPESAFE_BY_RCU:
                await slub.machine.rcu.rcu_barrier()
            await self.last_step(slub, cache)


class WaitForKvfreeFirst:
    """From 6.12 (6c6c47b063b5): something before, whatever follows."""

    def __init__(self, slub: Slub, then: CacheRelease) -> None:
        self._slub = slub
        self.retire = then.retire
        self.release = then.release

    async def before(self) -> None:
        """Objects that were given to kfree_rcu() before this are back in their caches."""
        await self._slub.machine.rcu.kvfree.kvfree_rcu_barrier()


def kvfree_first(then: Callable[[Slub], CacheRelease]) -> Callable[[Slub], CacheRelease]:
    """Wait for kfree_rcu() first, then end caches as `then` does."""
    return lambda slub: WaitForKvfreeFirst(slub, then(slub))


class NeverPutKobject(WaitEachTime):
    """4ec10268ed98, as it first was: the release that knows no sysfs is taken, and the cache itself is never freed.

    Nothing puts the last reference of its kobject (77ced98f0f03 before 6.12).
    """

    last_step = staticmethod(free_kmem_cache_nodes)
