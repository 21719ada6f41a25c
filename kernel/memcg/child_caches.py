"""Caches of their own for each cgroup (3.8 to 5.8): finding, creating, charging and destroying them.

Mirrors memcg_kmem_get_cache(), memcg_schedule_kmem_cache_create(), memcg_online_kmem(), memcg_offline_kmem() of
mm/memcontrol.c, memcg_create_kmem_cache(), memcg_destroy_kmem_caches(), shutdown_memcg_caches(), kmem_cache_destroy()
of mm/slab_common.c and memcg_charge_slab() of mm/slab.h (4.14).

Who meets: tasks that allocate, items that create caches, the cgroup that goes offline and the item that frees it, those
who destroy the root cache, and whoever frees the last page.

The life of a child, and what leads on:

============ =====================================================================================================
wanted       the first allocation finds nothing: it uses the root cache, and queues an item that holds the cgroup
in use       the item has created it, under ``slab_mutex``, unless it was there by then or the cgroup is offline
deactivated  the cgroup went offline: nobody finds it any more, and it keeps no empty slab (`deactivation`)
shut down    the cgroup is freed, which needs the last page to be given back; or the root cache is destroyed
============ =====================================================================================================

Every page of a slab, every allocation in progress and every queued item holds a reference to the cgroup.  Going
offline sets ``kmem_state`` first and takes ``slab_mutex`` then: whoever creates a cache looks under that mutex, so
none is created after its deactivation.  Order: ``cgroup_mutex`` → the hotplug locks → ``slab_mutex``.

Up to 5.8 a cgroup's caches are destroyed with ``cgroup_mutex`` held: that is where waiting for each of them hurts.
"""

from __future__ import annotations

from errno import EBUSY
from typing import TYPE_CHECKING

from ...actors import Access
from ..machine import FunctionThread
from ..memory import free_structure
from ..slab.allocate import kmem_cache_alloc_bulk, slab_alloc_node
from ..slab.create import NEVER_MERGED, make_cache
from ..slab.destroy import retire_cache
from ..slab.flags import SLAB_RECLAIM_ACCOUNT
from ..slab.sizing import PAGE_SIZE
from ..stack import kernel_name, part_of_caller
from .cache_ids import CacheIds
from .charge import Charging
from .memcg import NO_ID, KmemState
from .params import ChildParams, RootParams

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..locks import Together
    from ..slab.cache import KmemCache, Slab
    from ..slab.slub import Slub
    from .cgroup import Cgroups
    from .memcg import MemCgroup


class RootCaches:
    """``slab_root_caches``: all root caches, under ``slab_mutex``."""

    def __init__(self) -> None:
        self.caches: dict[KmemCache, RootParams] = {}

    def newest_first(self) -> Iterator[RootParams]:
        """What accounting has hung on each, the newest first."""
        return reversed(self.caches.values())


class PerMemcgCaches:
    """What all eras of such caches share; a subclass says how a child is deactivated, and who holds what."""

    def __init__(self, cgroups: Cgroups, slub: Slub) -> None:
        self.cgroups = cgroups
        self.slub = slub
        self.machine = slub.machine
        self.deferred = cgroups.deferred
        self.charging = Charging(self.machine)
        self.roots = RootCaches()
        self.ids = CacheIds(slub, self.roots, self.deferred)
        self.dying = slub.variants.memcg_dying(self)
        for cache in slub.slab_caches:
            self.link(cache)

    waits_for_references = False
    """Whether a deactivated child ends only when its references have been counted, a grace period later."""

    async def set_dying(self, cache: KmemCache, *, dying: bool) -> None:
        """Mark a root cache, or take the mark away; under ``slab_mutex``."""
        if cache.memcg_root is not None:
            cache.memcg_root.dying = dying

    # --- cgroups

    async def mem_cgroup_init(self) -> None:
        """Whole pages are charged one by one here: processors have nothing of it."""

    async def online(self, memcg: MemCgroup) -> bool:
        """Give the cgroup a number, with room for it in every array, and let caches be created for it."""
        number = await self.ids.allocate()
        if number < 0:
            return False
        await memcg.write_kmem
        memcg.kmemcg_id = number
        memcg.kmem_state = KmemState.ONLINE
        return True

    @kernel_name("memcg_offline_kmem")
    async def offline(self, memcg: MemCgroup) -> None:
        """No cache is created for it from here on; deactivate those it has, and give its number back."""
        parent = memcg.parent
        if memcg.kmem_state is not KmemState.ONLINE or parent is None:
            return
        await memcg.write_kmem
        memcg.kmem_state = KmemState.ALLOCATED
        number = memcg.kmemcg_id
        await self.deactivate_caches(memcg, parent)
        # What those below may still add to lists is the parent's.
        for below in (memcg, *memcg.descendants()):
            await below.write_kmem
            below.kmemcg_id = parent.kmemcg_id
        self.ids.release(number)

    async def free(self, memcg: MemCgroup) -> None:
        """Destroy the caches it had: they are empty, for it has no charge left."""
        async with self.cgroups.cgroup_mutex:
            await self._memcg_destroy_kmem_caches(memcg)

    @kernel_name("memcg_destroy_kmem_caches")
    async def _memcg_destroy_kmem_caches(self, memcg: MemCgroup) -> None:
        slub = self.slub
        ours: list[KmemCache] = []
        async with slub.variants.slab_locks.destroying(slub), slub.slab_mutex:
            for child in reversed(list(memcg.kmem_caches)):
                busy = await self.shutdown_child(child, ours)
                self.machine.bug_on(busy, f"cache {child.name} of a cgroup that is freed is not empty")
        await slub.cache_release.release(ours)

    # --- allocating

    @part_of_caller
    async def kmem_cache_alloc(self, cache: KmemCache, gfp: int, node: int) -> int | None:
        """From the cgroup's own cache, if it is there."""
        child = await self.get_cache(cache)
        address = await slab_alloc_node(self.slub, child, gfp, node)
        if child is not cache:
            await self.put_cache(child)
        return address

    @part_of_caller
    async def kmem_cache_alloc_bulk(self, cache: KmemCache, gfp: int, count: int) -> list[int]:
        """All from one cache."""
        child = await self.get_cache(cache)
        addresses = await kmem_cache_alloc_bulk(self.slub, child, gfp, count, accounted=False)
        if child is not cache:
            await self.put_cache(child)
        return addresses

    def current_memcg(self) -> MemCgroup | None:
        """Whose memory is allocated: the running task's cgroup's; nobody's in interrupts, kernel threads, the root."""
        running = self.machine.running
        cgroup = running.cgroup if isinstance(running, FunctionThread) else None
        return None if cgroup is None else cgroup.memcg

    @kernel_name("memcg_kmem_get_cache")
    async def get_cache(self, cache: KmemCache) -> KmemCache:
        """The running cgroup's child of `cache`, with a reference to the cgroup; `cache` itself where there is none."""
        memcg = self.current_memcg()
        if memcg is None or cache.memcg_root is None or not await memcg.css.tryget_live():
            return cache
        memcg.look_at_kmem()
        number = memcg.kmemcg_id
        child = None
        if number != NO_ID:
            child = await self.look_up(cache.memcg_root, number)
            if child is not None:
                return child
            memcg.css.get()
            await self.schedule_create(memcg, cache)
        await memcg.css.put()
        return cache

    async def look_up(self, params: RootParams, number: int) -> KmemCache | None:
        """``cache_from_memcg_idx``: what an array has at a number."""
        async with self.machine.rcu.reader():
            await params.read
            array = params.memcg_caches
            if array is None or number >= len(array.entries):
                self.machine.kernel_bug(f"memcg_caches[] is read at {number}, beyond its end")
            await params.read
            return array.entries[number]

    async def put_cache(self, child: KmemCache) -> None:
        """``memcg_kmem_put_cache``."""
        params = child.memcg_params
        assert params is not None
        await params.memcg.css.put()

    # --- creating

    async def schedule_create(self, memcg: MemCgroup, root: KmemCache) -> None:
        """Queue an item that creates the child; the item takes over a reference to the cgroup."""

        async def memcg_kmem_cache_create_func() -> None:
            await self.create_child(memcg, root)
            await memcg.css.put()

        self.machine.count("memcg_cache_works")
        await self.deferred.queue(
            self.slub.variants.memcg_creation_queue, "memcg_kmem_cache_create_func", memcg_kmem_cache_create_func
        )

    @kernel_name("memcg_create_kmem_cache")
    async def create_child(self, memcg: MemCgroup, root: KmemCache) -> None:
        """Create the child, unless somebody has, or the cgroup went offline meanwhile."""
        slub = self.slub
        async with slub.variants.slab_locks.creating(slub), slub.slab_mutex:
            await memcg.read_kmem
            params = root.memcg_root
            if memcg.kmem_state is not KmemState.ONLINE or params is None or not self.dying.may_create(params):
                return
            array, number = params.memcg_caches, memcg.kmemcg_id
            if array is None or array.entries[number] is not None:
                return
            name = f"{root.name}({memcg.serial}:{memcg.name})"
            child = ChildParams(root, memcg)
            cache, _ = await make_cache(
                slub,
                name,
                root.geometry,
                ctor=root.ctor,
                useroffset=root.useroffset,
                usersize=root.usersize,
                refcount=NEVER_MERGED,
                memcg_params=child,
            )
            if cache is None:
                return  # not critical: there is the root cache
            self.link_child(cache, child, params)
            await params.write
            array.entries[number] = cache
        self.machine.count("memcg_caches_created")

    def link_child(self, cache: KmemCache, child: ChildParams, params: RootParams) -> None:
        """``memcg_link_cache`` of a child, under ``slab_mutex``."""
        params.children_change()
        params.children[cache] = None
        child.memcg.kmem_caches[cache] = None

    def link(self, cache: KmemCache) -> None:
        """``memcg_link_cache`` of a root cache, and its array."""
        if cache.memcg_params is None and cache.memcg_root is None:
            cache.memcg_root = params = RootParams(self.machine.interleaver, cache.name)
            self.roots.caches[cache] = params
            if self.ids.nr_cache_ids:
                params.memcg_caches = self.ids.new_array(params, self.ids.nr_cache_ids)

    def creating(self, locks: Together) -> Together:
        """The hotplug locks, then ``memcg_get_cache_ids``."""
        sem = self.ids.cache_ids_sem
        return locks.then(sem.down_read, sem.up_read)

    # --- charging

    async def charge_slab(self, cache: KmemCache, gfp: int, pages: int) -> bool:
        """Each page holds the cgroup."""
        params = cache.memcg_params
        assert params is not None
        if not await self.charging.try_charge(params.memcg, gfp, pages):
            return False
        params.memcg.css.get(pages)
        return True

    async def uncharge_slab(self, cache: KmemCache, pages: int) -> None:
        """The last page may be the last reference."""
        params = cache.memcg_params
        assert params is not None
        await self.charging.uncharge(params.memcg, pages)
        await params.memcg.css.put(pages)

    async def free_hook(self, slab: Slab, index: int) -> None:
        """Objects have no owners of their own."""

    async def slab_bytes(self, memcg: MemCgroup) -> tuple[int, int]:
        """Whole slabs of the cgroup's own caches."""
        slub = self.slub
        await slub.read_list
        touch = self.machine.interleaver.touch
        if touch is not None:
            for cache, params in self.roots.caches.items():
                for child in (cache, *params.children):
                    touch(child.counters, Access.READ)
                touch(params.caches, Access.READ)
                touch(params.children_resource, Access.READ)
        found = [0, 0]
        for slab in slub.slabs.values():  # an entry for each page
            params_of = slab.cache.memcg_params
            if params_of is not None and params_of.memcg.is_below(memcg):
                found[not slab.cache.flags & SLAB_RECLAIM_ACCOUNT] += PAGE_SIZE
        return found[0], found[1]

    async def drain_all_stock(self, memcg: MemCgroup) -> None:
        """Nothing is kept."""

    # --- deactivating and destroying

    async def deactivate_caches(self, memcg: MemCgroup, parent: MemCgroup) -> None:
        """No child is found any more, and none keeps empty slabs."""
        raise NotImplementedError

    async def shutdown_child(self, child: KmemCache, ours: list[KmemCache]) -> bool:
        """Take a child off all lists, under ``slab_mutex``; whether it has objects, and then it stays."""
        listed: list[str] = []
        params = child.memcg_params
        assert params is not None
        if await retire_cache(self.slub, child, ours, listed):
            return True
        root = params.root_cache.memcg_root
        assert root is not None
        root.children_change()
        del root.children[child], params.memcg.kmem_caches[child]
        return False

    @kernel_name("shutdown_memcg_caches")
    async def shutdown_children(self, params: RootParams, ours: list[KmemCache]) -> int:
        """Shut every child of a root cache down, those in use first; EBUSY where one has objects."""
        array = params.memcg_caches
        in_use = [] if array is None else [child for child in array.entries if child is not None]
        for child in in_use:
            child_params = child.memcg_params
            number = child_params.memcg.kmemcg_id if child_params is not None else NO_ID
            if not await self.shutdown_child(child, ours) and array is not None:
                await params.write
                array.entries[number] = None
        for child in [child for child in params.children if child not in in_use]:
            await self.shutdown_child(child, ours)
        return EBUSY if params.children else 0

    @part_of_caller
    async def destroy(self, cache: KmemCache) -> bool:
        """Destroy a root cache and its children."""
        return await self.dying.destroy(cache)

    @part_of_caller
    async def destroy_locked(self, cache: KmemCache, ours: list[KmemCache]) -> bool:
        """The part under ``slab_mutex``, once nobody refers to the cache; false where objects were left."""
        listed: list[str] = []
        params = cache.memcg_root
        assert params is not None
        busy = await self.shutdown_children(params, ours)
        if busy or await retire_cache(self.slub, cache, ours, listed):
            cache.refcount += 1
            message = f"kmem_cache_destroy {cache.name}: Slab cache still has objects"
            self.machine.printk("warning", message)
            self.machine.remaining_objects(cache.name, listed)
            return False
        del self.roots.caches[cache]
        return True

    async def release(self, cache: KmemCache) -> None:
        """``destroy_memcg_params``."""
        params = cache.memcg_root
        if params is not None and params.memcg_caches is not None:
            free_structure(params.memcg_caches)
        if cache.memcg_params is not None:
            await self.release_child(cache.memcg_params)
            self.machine.count("memcg_caches_destroyed")

    async def release_child(self, params: ChildParams) -> None:
        """What a child itself holds."""
