"""Everything about shrinkers on one machine: what boot makes, cgroups call and tasks use.

Mirrors, beside what its parts mirror, mount and umount as far as a shrinker sees them: alloc_super(), sget_fc(),
deactivate_locked_super() of fs/super.c (6.1), and the calls of mem_cgroup_css_online(), mem_cgroup_css_offline() and
mem_cgroup_css_free() of mm/memcontrol.c.

``sb_lock`` protects the table of what is mounted, and who uses it; ``list_lrus_mutex`` the list of memcg-aware LRUs,
walked when a cgroup goes offline.
"""

from __future__ import annotations

from dataclasses import dataclass
from errno import EBUSY, ENOENT, ENOMEM
from typing import TYPE_CHECKING

from ..locks import Mutex, Spinlock
from ..memory import free_structure
from ..slab.create import kmem_cache_create
from ..slab.destroy import kmem_cache_destroy
from ..slab.flags import SLAB_ACCOUNT, SLAB_RECLAIM_ACCOUNT
from ..stack import kernel_name, part_of_caller
from .list_lru import ListLru
from .lru_memcg import inherit_number, memcg_reparent_list_lru
from .registry import Registry
from .shrinker import SHRINKER_MEMCG_AWARE, Shrinker
from .superblock import Superblock

if TYPE_CHECKING:
    from ..fault import FailSlab
    from ..machine import Machine
    from ..memcg import Cgroups, MemCgroup
    from ..releases import Kernel


@dataclass(frozen=True, slots=True)
class Kind:
    """What is mounted: a ``[[shrinker]]`` of the topology.

    ``late_ns`` is how long after it can be used the shrinker is registered, as drivers may do; None: before.
    """

    object_size: int
    flags: int
    seeks: int
    batch: int
    scan_ns: int
    by_task: bool
    late_ns: int | None


class Shrinkers:
    """Shrinkers, their maps and lists, and what is mounted."""

    def __init__(self, machine: Machine, kernel: Kernel, cgroups: Cgroups | None, failslab: FailSlab) -> None:
        self.machine = machine
        self.cgroups = cgroups
        self.failslab = failslab
        self.registry = Registry(machine, failslab)
        if kernel.shrinker_debugfs is not None:
            self.registry.debugfs = kernel.shrinker_debugfs(machine, self.registry, cgroups)
        self.maps = None if cgroups is None else kernel.shrinker_maps(machine, cgroups, failslab)
        self.protocol = kernel.shrinkers(machine, self.registry, cgroups, self.maps)
        self.reparenting = kernel.lru_reparenting
        self.owner = kernel.lru_owner
        self.list_lrus_mutex = Mutex(machine, "list_lrus_mutex")
        self.list_lrus: dict[ListLru, None] = {}
        self.sb_lock = Spinlock(machine, "sb_lock")
        self.supers: dict[str, Superblock] = {}

    # --- cgroups

    def css_alloc(self, memcg: MemCgroup) -> None:
        """A cgroup is allocated."""
        if self.maps is not None:
            self.maps.prepare(memcg)

    @part_of_caller
    async def css_online(self, memcg: MemCgroup) -> bool:
        """Give a cgroup its maps, under ``cgroup_mutex``; false where memory ran out."""
        assert self.maps is not None  # there is a cgroup
        if not await self.maps.alloc(memcg, self.protocol.lock):
            return False
        await memcg.write_kmem
        memcg.online = True
        if self.machine.reclaim is not None:
            self.machine.reclaim.memcgs[memcg.memory] = memcg
        return True

    @kernel_name("mem_cgroup_css_offline")
    async def css_offline(self, memcg: MemCgroup, number: int) -> None:
        """What is on the lists of a cgroup, whose number was `number`, and what was deferred for it, is its parent's.

        Under ``cgroup_mutex``.
        """
        maps, parent = self.maps, memcg.parent
        assert maps is not None and parent is not None  # the root does not go
        await memcg.write_kmem
        memcg.online = False
        if self.cgroups is not None and self.cgroups.kmem is not None and number >= 0:
            await inherit_number(memcg, parent)
            async with self.list_lrus_mutex:
                for lru in self.list_lrus:
                    await memcg_reparent_list_lru(lru, number, parent, self.reparenting, maps)
        async with self.protocol.reparenting():
            await maps.reparent_deferred(memcg, parent)

    @part_of_caller
    async def css_free(self, memcg: MemCgroup) -> None:
        """A cgroup ends, a grace period after its last reference was put."""
        if self.maps is not None:
            self.maps.nobody_finds(memcg)
            await self.maps.free(memcg)
        if self.machine.reclaim is not None:
            self.machine.reclaim.memcgs.pop(memcg.memory, None)

    # --- mounting

    @kernel_name("sget_fc")
    async def mount(self, name: str, kind: Kind) -> int:
        """Mount something of a kind; 0 or a negative errno."""
        async with self.sb_lock:
            if name in self.supers:
                return -EBUSY
        sb = await self._alloc_super(name, kind)
        if sb is None:
            return -ENOMEM
        if kind.late_ns is None:
            await self.protocol.register(sb.shrinker)
        flags = SLAB_RECLAIM_ACCOUNT | (0 if kind.by_task else SLAB_ACCOUNT)
        cache = await kmem_cache_create(self.machine.slab, name, kind.object_size, flags=flags, ctor=_init_once)
        if cache is None:
            await self._kill(sb, None)
            return -ENOMEM
        sb.cache = cache
        await sb.step
        sb.born = True
        async with self.sb_lock:
            taken = name in self.supers
            if not taken:
                self.supers[name] = sb
                sb.active += kind.late_ns is not None
        if taken:
            await self._kill(sb, cache)
            return -EBUSY
        if kind.late_ns is not None:
            if kind.late_ns:
                await self.machine.current.sleep(kind.late_ns)
            await self.protocol.register(sb.shrinker)
            await self.put_super(sb)
        self.machine.count("mounts")
        return 0

    @kernel_name("alloc_super")
    async def _alloc_super(self, name: str, kind: Kind) -> Superblock | None:
        machine = self.machine
        sb = Superblock(machine, name, self.owner, by_task=kind.by_task, scan_ns=kind.scan_ns)
        sb.shrinker = Shrinker(
            machine,
            f"sb-{name}",
            sb.super_cache_count,
            sb.super_cache_scan,
            flags=kind.flags,
            seeks=kind.seeks,
            batch=kind.batch,
            private_data=sb,
            kept_by=self.protocol.kept_by,
        )
        if not await self.protocol.alloc(sb.shrinker):
            free_structure(sb.shrinker)
            free_structure(sb)
            return None
        aware = sb.shrinker.flags & SHRINKER_MEMCG_AWARE
        sb.lru = lru = ListLru(machine, self.maps if aware else None, sb.shrinker.id, self.failslab)
        if lru.memcg_aware:
            async with self.list_lrus_mutex:
                self.list_lrus[lru] = None
        return sb

    @kernel_name("deactivate_locked_super")
    async def _kill(self, sb: Superblock, cache: object) -> None:
        """Nobody finds it any more: the shrinker goes first, then the objects, the lists and their cache."""
        async with sb.s_umount:
            await self.protocol.free(sb.shrinker)
            if cache is not None:
                await sb.evict_all()
            await self._destroy_lru(sb.lru)
            if cache is not None:
                await kmem_cache_destroy(self.machine.slab, sb.cache)
        free_structure(sb)

    @kernel_name("list_lru_destroy")
    async def _destroy_lru(self, lru: ListLru) -> None:
        if lru.memcg_aware:
            async with self.list_lrus_mutex:
                del self.list_lrus[lru]
            for index in list(lru.xa):
                lists = await lru.take_lists(index)
                if lists is not None:
                    lists.claim(self.machine)
                    lists.free()

    @kernel_name("path_umount")
    async def umount(self, name: str) -> int:
        """Unmount; 0 or a negative errno: -EBUSY while somebody uses it."""
        async with self.sb_lock:
            sb = self.supers.get(name)
            if sb is None:
                return -ENOENT
            if sb.active:
                return -EBUSY
            del self.supers[name]
        await self._kill(sb, sb.cache)
        self.machine.count("umounts")
        return 0

    # --- using what is mounted

    async def get_super(self, name: str) -> Superblock | None:
        """What is mounted as `name`, and cannot be umounted until `put_super`."""
        async with self.sb_lock:
            sb = self.supers.get(name)
            if sb is not None:
                sb.active += 1
        return sb

    async def put_super(self, sb: Superblock) -> None:
        """Use it no more."""
        async with self.sb_lock:
            sb.active -= 1


def _init_once(_: int) -> None:
    """A constructor: caches with one are not merged."""
