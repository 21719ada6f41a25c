"""What keeps creating and deactivating children away from a root cache that is being destroyed: the variants.

An item that creates a child, a callback or an item that deactivates one: all of them use the root cache or a child of
it, and only the cgroup is held for them, not the cache.

========== ======================================================================================= ============
from       the destroyer                                                                           commit
========== ======================================================================================= ============
--         does not know of them
v4.18      marks the root cache *dying*, so that no new ones come, and waits for the old ones;
           then it looks whether anybody else uses the cache: the mark stays although it lives on  92ee383f6daa
v5.8       looks first, marks only what nobody uses, and takes the mark away if it is used again   d38a2b7a9c93
========== ======================================================================================= ============

The mark is written under ``slab_mutex``, from 5.3 on under ``memcg_kmem_wq_lock`` too (see `reparenting`).  From 5.8 on
nothing is merged with a dying cache.

Mirrors kmem_cache_destroy() and flush_memcg_workqueue() of mm/slab_common.c, 4.14, 4.19 and 5.8.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from ...actors import Access
from ..stack import kernel_name, part_of_caller
from .deferred import MEMCG_KMEM_CACHE

if TYPE_CHECKING:
    from ..slab.cache import KmemCache
    from .child_caches import PerMemcgCaches
    from .params import RootParams


class Dying(Protocol):
    """Seam: how a root cache is destroyed."""

    def may_create(self, params: RootParams) -> bool:
        """Under ``slab_mutex``: whether a child of this cache may be created."""
        ...

    async def may_deactivate(self, child: KmemCache) -> bool:
        """Under ``slab_mutex``: whether the deactivation of a child may go on later."""
        ...

    async def destroy(self, cache: KmemCache) -> bool:
        """Destroy a root cache; false where objects were left."""
        ...


class NotMarked:
    """Up to 4.17."""

    def __init__(self, kmem: PerMemcgCaches) -> None:
        self.kmem = kmem

    def may_create(self, params: RootParams) -> bool:
        """Always."""
        return True

    async def may_deactivate(self, child: KmemCache) -> bool:
        """Always."""
        return True

    @part_of_caller
    async def destroy(self, cache: KmemCache) -> bool:
        """At once."""
        slub = self.kmem.slub
        ours: list[KmemCache] = []
        async with slub.variants.slab_locks.destroying(slub), slub.slab_mutex:
            cache.refcount -= 1
            if cache.refcount:
                return True
            clean = await self.kmem.destroy_locked(cache, ours)
        await slub.cache_release.release(ours)
        return clean


class MarkedFirst(NotMarked):
    """4.18 to 5.7."""

    def may_create(self, params: RootParams) -> bool:
        """Not of a dying cache."""
        return not params.dying

    async def may_deactivate(self, child: KmemCache) -> bool:
        """Not of a dying cache: it goes with it."""
        assert child.memcg_params is not None
        root = child.memcg_params.root_cache.memcg_root
        return root is None or not root.dying

    @part_of_caller
    async def destroy(self, cache: KmemCache) -> bool:
        """Mark, wait, and only then look whether the cache has other users."""
        await self.mark(cache)
        await self.flush(cache)
        return await super().destroy(cache)

    @kernel_name("memcg_set_kmem_cache_dying")
    async def mark(self, cache: KmemCache) -> None:
        """Let nothing new begin."""
        async with self.kmem.slub.slab_mutex:
            await self.kmem.set_dying(cache, dying=True)

    @kernel_name("flush_memcg_workqueue")
    async def flush(self, cache: KmemCache) -> None:
        """``flush_memcg_workqueue``: wait for every callback and item that may use the cache."""
        kmem = self.kmem
        await kmem.deferred.rcu_barrier()
        await kmem.deferred.flush(MEMCG_KMEM_CACHE)
        params = cache.memcg_root
        if params is None:
            return
        touch = kmem.machine.interleaver.touch
        if touch is not None:
            touch(params.children_resource, Access.READ)
        if kmem.waits_for_references and params.children:
            await kmem.deferred.rcu_barrier()


class MarkedWhenUnused(MarkedFirst):
    """5.8."""

    @part_of_caller
    async def destroy(self, cache: KmemCache) -> bool:
        """Look, mark and wait without locks, look again."""
        slub = self.kmem.slub
        locks = slub.variants.slab_locks
        async with locks.destroying(slub), slub.slab_mutex:
            cache.refcount -= 1
            if cache.refcount:
                return True
            await self.kmem.set_dying(cache, dying=True)
            slub.mergeable.get(cache.size, {}).pop(cache, None)
        await self.flush(cache)
        ours: list[KmemCache] = []
        async with locks.destroying(slub), slub.slab_mutex:
            if cache.refcount:
                await self.kmem.set_dying(cache, dying=False)
                return True
            clean = await self.kmem.destroy_locked(cache, ours)
        await slub.cache_release.release(ours)
        return clean
