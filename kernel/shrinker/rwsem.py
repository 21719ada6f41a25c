"""Shrinkers under ``shrinker_rwsem`` (up to 6.6).

Mirrors prealloc_shrinker(), register_shrinker_prepared(), unregister_shrinker(), shrink_slab() and shrink_slab_memcg()
of mm/vmscan.c (6.1).

A reclaimer takes the read side by trylock: memory may be short while somebody holds the write side and allocates.  So
one that waits to write, behind a reclaimer whose callbacks take long, has all others reclaim nothing (M33); that is
counted as ``shrink_slab_refused``.  To let a writer in soon, a walk ends after a shrinker when somebody waits.

Up to 4.18 (`AskAll`) there are no maps: for a cgroup every memcg-aware shrinker is asked, and deferred counts are the
shrinker's own (shrink_slab() of that time, from memory).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from ...actors import COND_RESCHED, Op, OpKind
from ..existence import claim
from ..locks import RwSemaphore, Together
from ..memory import free_structure
from ..stack import kernel_name, part_of_caller
from .arithmetic import SHRINK_EMPTY
from .info import BITS_PER_LONG
from .shrinker import SHRINKER_MEMCG_AWARE, SHRINKER_REGISTERED, ShrinkControl, Shrinker
from .walks import Walks

if TYPE_CHECKING:
    from ..machine import Machine
    from ..memcg import Cgroups, MemCgroup
    from .info import ShrinkerInfo
    from .maps import CopiedMaps
    from .registry import Registry

T = TypeVar("T")


class RwsemShrinkers(Walks):
    """Up to 6.6."""

    def __init__(self, machine: Machine, registry: Registry, cgroups: Cgroups | None, maps: CopiedMaps | None) -> None:
        super().__init__(machine, registry, cgroups, maps)
        self.lock: RwSemaphore = RwSemaphore(machine, "shrinker_rwsem")
        self._look_at_lock = Op(OpKind.READ, self.lock.resource)

    @part_of_caller
    def in_map(self, pointer: T) -> T:
        """Under the lock (``shrinker_info_protected``)."""
        return self.locked(pointer)

    def map_section(self) -> Together:
        """The walk holds the lock."""
        return Together()

    def reparenting(self) -> Together:
        """The read side: nobody grows maps meanwhile."""
        return Together((self.lock.down_read, self.lock.up_read))

    def asking(self) -> Together:
        """The read side."""
        return Together((self.lock.down_read, self.lock.up_read))

    # --- coming and going

    @kernel_name("prealloc_shrinker")
    async def alloc(self, shrinker: Shrinker) -> bool:
        """Give it an id, under the write side."""
        self.registry.adopt(shrinker)
        self.without_cgroups(shrinker)
        if shrinker.flags & SHRINKER_MEMCG_AWARE:
            async with self.lock:
                return await self.alloc_id(shrinker)
        return not self.registry.failslab.should_fail()

    @kernel_name("register_shrinker_prepared")
    async def register(self, shrinker: Shrinker) -> None:
        """Put it on the list."""
        async with self.lock:
            await self.registry.list_add_tail(shrinker)
            shrinker.changes()
            shrinker.flags |= SHRINKER_REGISTERED

    @kernel_name("unregister_shrinker")
    async def free(self, shrinker: Shrinker) -> None:
        """Take it off, when no reclaimer is at it; one that was never registered too."""
        claim(self.machine, shrinker)
        async with self.lock:
            await self.unlink(shrinker)
        await self.registry.debugfs_remove(shrinker)
        free_structure(shrinker)

    @part_of_caller
    async def unlink(self, shrinker: Shrinker) -> None:
        """Off the list and out of the idr, under the write side."""
        if shrinker.flags & SHRINKER_REGISTERED:
            await self.registry.list_del(shrinker)
            shrinker.changes()
            shrinker.flags &= ~SHRINKER_REGISTERED
        if shrinker.flags & SHRINKER_MEMCG_AWARE:
            await self.registry.idr_remove(shrinker.id)

    # --- asking

    async def may_walk(self) -> bool:
        """The read side, unless somebody writes or waits for that."""
        if await self.lock.down_read_trylock():
            return True
        self.machine.count("shrink_slab_refused")
        return False

    async def is_contended(self) -> bool:
        """Whether somebody waits for the lock."""
        await self._look_at_lock
        return self.lock.is_contended

    @kernel_name("shrink_slab")
    async def shrink_slab(self, gfp: int, nid: int, memcg: MemCgroup | None, priority: int) -> int:
        """Ask all, or those whose bits are set for a cgroup below the root."""
        if memcg is not None and memcg.parent is not None:
            return await self.shrink_slab_memcg(gfp, nid, memcg, priority)
        freed = 0
        if await self.may_walk():
            shrinker = await self.registry.next_of(None, self.machine.rcu.loaded)
            while shrinker is not None:
                answer = await self.do_shrink_slab(ShrinkControl(gfp, nid, memcg), shrinker, priority)
                freed += 0 if answer == SHRINK_EMPTY else answer
                if await self.is_contended():
                    freed = freed or 1
                    break
                shrinker = await self.registry.next_of(shrinker, self.machine.rcu.loaded)
            await self.lock.up_read()
        await COND_RESCHED
        return freed

    @kernel_name("shrink_slab_memcg")
    async def shrink_slab_memcg(self, gfp: int, nid: int, memcg: MemCgroup, priority: int) -> int:
        """Those whose bits are set."""
        maps = self.maps
        if maps is None or not await self.is_online(memcg) or not await self.may_walk():
            return 0
        info = await maps.dereference(memcg, nid, self.in_map)
        freed = 0 if info is None else await self.walk_map(info, ShrinkControl(gfp, nid, memcg), priority)
        await self.lock.up_read()
        return freed

    @part_of_caller
    async def walk_map(self, info: ShrinkerInfo, sc: ShrinkControl, priority: int) -> int:
        """Ask whose bit is set, unless it is only preallocated; a bit of nobody is cleared."""
        freed, start, end = 0, 0, self.map_end(info)
        while start < end:
            unit = self.machine.rcu.loaded(info.units[start // BITS_PER_LONG])
            offset = await unit.next_bit(start % BITS_PER_LONG)
            if offset is None:
                start = (start // BITS_PER_LONG + 1) * BITS_PER_LONG
                continue
            number = start // BITS_PER_LONG * BITS_PER_LONG + offset
            if number >= end:
                break
            start = number + 1
            shrinker = await self.registry.idr_find(number)
            if shrinker is None:
                await unit.clear_bit(offset)
                continue
            await shrinker.read_state
            if not shrinker.flags & SHRINKER_REGISTERED or self.skips(shrinker):
                continue
            control = ShrinkControl(sc.gfp_mask, sc.nid, sc.memcg)
            freed += await self.shrink_bit(control, shrinker, unit, number, priority)
            if await self.must_stop():
                return freed or 1
        return freed

    def map_end(self, info: ShrinkerInfo) -> int:
        """Behind the last id that may have a bit."""
        assert self.maps is not None
        return min(self.maps.shrinker_nr_max, info.map_nr_max)

    async def must_stop(self) -> bool:
        """Whether a walk is to end after a shrinker."""
        return await self.is_contended()


class ClearWithoutRecount(RwsemShrinkers):
    """Never sent: a shrinker that had nothing is not asked again after its bit was cleared (M30)."""

    @part_of_caller
    async def recount(self, sc: ShrinkControl, shrinker: Shrinker, priority: int) -> int:
        """Take it that nothing was added meanwhile."""
        return SHRINK_EMPTY


class AskAll(RwsemShrinkers):
    """Up to 4.18."""

    uses_maps = False

    @kernel_name("shrink_slab")
    async def shrink_slab_memcg(self, gfp: int, nid: int, memcg: MemCgroup, priority: int) -> int:
        """Every memcg-aware one, whether it has anything for the cgroup or not."""
        if self.cgroups is None or self.cgroups.kmem is None or not await self.is_online(memcg):
            return 0
        freed = 0
        if await self.may_walk():
            shrinker = await self.registry.next_of(None, self.machine.rcu.loaded)
            while shrinker is not None:
                if shrinker.flags & SHRINKER_MEMCG_AWARE:
                    answer = await self.do_shrink_slab(ShrinkControl(gfp, nid, memcg), shrinker, priority)
                    freed += 0 if answer == SHRINK_EMPTY else answer
                if await self.is_contended():
                    freed = freed or 1
                    break
                shrinker = await self.registry.next_of(shrinker, self.machine.rcu.loaded)
            await self.lock.up_read()
        return freed
