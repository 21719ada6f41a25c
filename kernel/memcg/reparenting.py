"""Caches of cgroups that outlive their cgroup (5.3 to 5.8).

Mirrors memcg_kmem_get_cache() of mm/memcontrol.c, memcg_charge_slab() of mm/slab.h, memcg_deactivate_kmem_caches(),
kmemcg_cache_deactivate(), kmemcg_cache_shutdown() and kmemcg_workfn() of mm/slab_common.c (5.4).

A child has references of its own: one for each page of its slabs, one for each allocation in progress, and one it was
made with.  It holds its cgroup once, whatever it has; so when a cgroup goes offline its children are simply given to
the parent, and the cgroup can be freed.  Its child is deactivated as before, but after that its first reference is
put: when the last page has gone, an item shuts it down.

============ =====================================================================================================
in use       found through the array; `tryget` while looking under RCU
deactivated  not found; ``cpu_partial`` and ``min_partial`` are 0, a callback is on its way
killed       shrunk; a grace period later its references count to zero
shut down    by an item that the last reference has queued; or with the root cache, if that is dying
============ =====================================================================================================

``memcg_kmem_wq_lock`` protects ``dying`` against those who queue callbacks and items; it is taken inside of
``slab_mutex``, and in any context.  Who a child belongs to changes under ``slab_mutex`` and is looked at under RCU: a
cgroup found so is held with `tryget_live`, or its parent is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...actors import KernelThread
from ..locks import Spinlock, Together
from ..slab.sysfs_directory import sysfs_slab_unlink
from ..stack import kernel_name
from .deactivation import Deactivating, keep_no_empty_slabs, shrink
from .deferred import MEMCG_KMEM_CACHE
from .memcg import NO_ID
from .percpu_ref import PercpuRef

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from ..rcu.api import Reader
    from ..slab.cache import KmemCache
    from ..slab.slub import Slub
    from .cgroup import Cgroups
    from .memcg import MemCgroup
    from .params import ChildParams, RootParams


class ReparentedCaches(Deactivating):
    """5.3 to 5.8."""

    waits_for_references = True

    def __init__(self, cgroups: Cgroups, slub: Slub) -> None:
        super().__init__(cgroups, slub)
        self.memcg_kmem_wq_lock = Spinlock(slub.machine, "memcg_kmem_wq_lock")

    def rcu_reader(self) -> Reader | Together:
        """A read-side critical section; a soft interrupt is one already."""
        return self.machine.rcu.reader() if isinstance(self.machine.running, KernelThread) else Together()

    # --- allocating

    @kernel_name("memcg_kmem_get_cache")
    async def get_cache(self, cache: KmemCache) -> KmemCache:
        """The running cgroup's child of `cache`, with a reference to the child; `cache` itself if there is none yet."""
        memcg = self.current_memcg()
        params = cache.memcg_root
        if memcg is None or params is None:
            return cache
        async with self.machine.rcu.reader():
            await memcg.read_kmem
            if memcg.kmemcg_id == NO_ID:
                return cache
            child = await self.look_up(params, memcg.kmemcg_id)
            if child is None:
                if await memcg.css.tryget_live():
                    await self.schedule_create(memcg, cache)
            elif await _params(child)[1].tryget():
                return child
        return cache

    async def put_cache(self, child: KmemCache) -> None:
        """``memcg_kmem_put_cache``."""
        await _params(child)[1].put()

    # --- creating

    def link_child(self, cache: KmemCache, child: ChildParams, params: RootParams) -> None:
        """The child holds its cgroup."""
        child.refcnt = PercpuRef(self.machine, f"{cache.name}.refcnt", lambda: self._kmemcg_cache_shutdown(cache))
        child.memcg.css.get()
        super().link_child(cache, child, params)

    async def release_child(self, params: ChildParams) -> None:
        """``mem_cgroup_put``."""
        await params.memcg.css.put()

    # --- charging

    async def charge_slab(self, cache: KmemCache, gfp: int, pages: int) -> bool:
        """Each page holds the child; charged is the cgroup it belongs to now, or the nearest above that lives."""
        params, refcnt = _params(cache)
        async with self.rcu_reader():
            memcg = await self._owner(params)
            while memcg.parent is not None and not await memcg.css.tryget_live():
                memcg = memcg.parent
        if memcg.parent is not None:
            charged = await self.charging.try_charge(memcg, gfp, pages)
            await memcg.css.put()
            if not charged:
                return False
        refcnt.get(pages)
        return True

    async def uncharge_slab(self, cache: KmemCache, pages: int) -> None:
        """The last page may be the last reference."""
        params, refcnt = _params(cache)
        async with self.rcu_reader():
            memcg = await self._owner(params)
            if memcg.parent is not None:  # the root's counter, which nobody sees, stays too high
                await self.charging.uncharge(memcg, pages)
        await refcnt.put(pages)

    async def _owner(self, params: ChildParams) -> MemCgroup:
        """Who a child belongs to; under RCU."""
        root = params.root_cache.memcg_root
        assert root is not None
        await root.read
        return params.memcg

    # --- deactivating

    @kernel_name("memcg_deactivate_kmem_caches")
    async def deactivate_caches(self, memcg: MemCgroup, parent: MemCgroup) -> None:
        """Nobody waits; all caches of the cgroup, those it inherited included, go to its parent."""
        slub = self.slub
        async with slub.variants.slab_locks.destroying(slub), slub.slab_mutex:
            for root, child in await self.in_use(memcg):
                await self._kmemcg_cache_deactivate(child)
                await self.forget(memcg, root)
            children = list(memcg.kmem_caches)
            parent.css.get(len(children))
            for child in children:
                params, _ = _params(child)
                root_params = params.root_cache.memcg_root
                if root_params is not None:
                    await root_params.write
                params.memcg = parent
                del memcg.kmem_caches[child]
                parent.kmem_caches[child] = None
            await memcg.css.put(len(children))
        self.machine.count("memcg_caches_reparented", len(children))

    @kernel_name("kmemcg_cache_deactivate")
    async def _kmemcg_cache_deactivate(self, child: KmemCache) -> None:
        await keep_no_empty_slabs(child)
        async with self.memcg_kmem_wq_lock.irqsave():
            if await self.dying.may_deactivate(child):

                async def kmemcg_rcufn() -> None:
                    await self._queue(child, self._kmemcg_cache_deactivate_after_rcu)

                await self.deferred.call_rcu(kmemcg_rcufn)

    async def _queue(self, child: KmemCache, work_fn: Callable[[KmemCache], Awaitable[None]]) -> None:
        async def kmemcg_workfn() -> None:
            await work_fn(child)

        await self.deferred.queue(MEMCG_KMEM_CACHE, "kmemcg_workfn", kmemcg_workfn)

    @kernel_name("kmemcg_cache_deactivate_after_rcu")
    async def _kmemcg_cache_deactivate_after_rcu(self, child: KmemCache) -> None:
        slub = self.slub
        async with slub.variants.slab_locks.destroying(slub), slub.slab_mutex:
            if not await shrink(slub, child):
                await sysfs_slab_unlink(slub, child)
            await _params(child)[1].kill(self.deferred)
        self.machine.count("memcg_caches_deactivated")

    @kernel_name("kmemcg_cache_shutdown")
    async def _kmemcg_cache_shutdown(self, child: KmemCache) -> None:
        """The last reference was put; any context."""
        async with self.memcg_kmem_wq_lock.irqsave():
            if await self.dying.may_deactivate(child):
                await self._queue(child, self._kmemcg_cache_shutdown_fn)

    @kernel_name("kmemcg_cache_shutdown_fn")
    async def _kmemcg_cache_shutdown_fn(self, child: KmemCache) -> None:
        slub = self.slub
        ours: list[KmemCache] = []
        async with slub.variants.slab_locks.destroying(slub), slub.slab_mutex:
            busy = await self.shutdown_child(child, ours)
            self.machine.bug_on(busy, f"cache {child.name} without references is not empty")
        await slub.cache_release.release(ours)

    # --- destroying

    async def set_dying(self, cache: KmemCache, *, dying: bool) -> None:
        """Mark a root cache, or take the mark away, so that those see it who hold the spinlock only."""
        async with self.memcg_kmem_wq_lock.irqsave():
            await super().set_dying(cache, dying=dying)

    async def free(self, memcg: MemCgroup) -> None:
        """It has no caches any more."""
        self.machine.bug_on(bool(memcg.kmem_caches), "a cgroup that is freed has caches")


def _params(child: KmemCache) -> tuple[ChildParams, PercpuRef]:
    """What accounting has hung on a child."""
    params = child.memcg_params
    assert params is not None
    assert params.refcnt is not None
    return params, params.refcnt
