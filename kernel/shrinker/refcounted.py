"""Shrinkers with references, found under RCU (from 6.7).

Mirrors shrinker_alloc(), shrinker_register(), shrinker_free(), shrinker_try_get(), shrinker_put(), shrink_slab() and
shrink_slab_memcg() of mm/shrinker.c (6.8, which stands for 6.7 as merged), as the catalogue has them.

============================ =============== ======================================================================
class                        from            what
============================ =============== ======================================================================
`RefcountedGlobalWalk`       ca1d36b82394    the walk over all; the walk over a map is still under the rwsem
`Refcounted`                 50d09da8e119    both; the lock, a mutex now, is for writers only
`RefcountedPutAlways`        7.2             and a shrinker that is skipped because kernel memory is not accounted
                                             has its bit cleared and its reference put (M36)
`PutBeforeNext`              never sent      what the order of RCU and putting is good for
`DeferredWithoutRcu`         never sent      what the RCU readers inside of do_shrink_slab() are good for
============================ =============== ======================================================================
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from ...actors import COND_RESCHED
from ..existence import claim
from ..locks import Mutex, Together
from ..memory import free_structure
from ..rcu import RcuHead
from ..stack import kernel_name, part_of_caller
from .arithmetic import SHRINK_EMPTY
from .info import BITS_PER_LONG
from .rwsem import RwsemShrinkers
from .shrinker import SHRINKER_MEMCG_AWARE, SHRINKER_REGISTERED, ShrinkControl, Shrinker
from .walks import Walks

if TYPE_CHECKING:
    from ..machine import Machine
    from ..memcg import Cgroups, MemCgroup
    from .info import ShrinkerInfoUnit
    from .maps import CopiedMaps
    from .registry import Registry

T = TypeVar("T")


class _References(Walks):
    """What the two steps of the series share."""

    readers = ("rcu",)

    def map_section(self) -> Together:
        """RCU keeps the array that leads to the unit; the unit stays with the cgroup."""
        rcu = self.machine.rcu
        return Together((rcu.read_lock, rcu.read_unlock))

    @kernel_name("shrinker_alloc")
    async def alloc(self, shrinker: Shrinker) -> bool:
        """Give it an id; it has no reference yet, so nobody gets at it."""
        self.registry.adopt(shrinker)
        self.without_cgroups(shrinker)
        if shrinker.flags & SHRINKER_MEMCG_AWARE:
            async with self.lock:
                return await self.alloc_id(shrinker)
        return not self.registry.failslab.should_fail()

    @kernel_name("shrinker_register")
    async def register(self, shrinker: Shrinker) -> None:
        """Put it on the list, then let references be taken."""
        async with self.lock:
            await self.registry.list_add_tail(shrinker)
            shrinker.changes()
            shrinker.flags |= SHRINKER_REGISTERED
        await shrinker.refcount_set(1)

    @kernel_name("shrinker_free")
    async def free(self, shrinker: Shrinker) -> None:
        """Wait until nobody asks it, take it off, and free it when nobody can stand at it any more."""
        claim(self.machine, shrinker)
        if shrinker.flags & SHRINKER_REGISTERED:
            await shrinker.put()
            await shrinker.done.wait()
            claim(self.machine, shrinker)  # who has put the last reference is done with it
        async with self.lock:
            if shrinker.flags & SHRINKER_REGISTERED:
                await self.registry.list_del(shrinker)
                shrinker.changes()
                shrinker.flags &= ~SHRINKER_REGISTERED
            if shrinker.flags & SHRINKER_MEMCG_AWARE:
                await self.registry.idr_remove(shrinker.id)
        await self.registry.debugfs_remove(shrinker)

        async def shrinker_free_rcu_cb() -> None:
            free_structure(shrinker)

        await self.machine.rcu.call_rcu(RcuHead(shrinker_free_rcu_cb, shrinker.address))

    @part_of_caller
    async def walk_all(self, gfp: int, nid: int, memcg: MemCgroup | None, priority: int) -> int:
        """The walk over all: a reference for as long as one is asked, RCU for as long as its next is read."""
        rcu, registry, freed = self.machine.rcu, self.registry, 0
        await rcu.read_lock()
        shrinker = await registry.next_of(None, rcu.dereference)
        while shrinker is not None:
            if await shrinker.try_get():
                await rcu.read_unlock()
                answer = await self.do_shrink_slab(ShrinkControl(gfp, nid, memcg), shrinker, priority)
                freed += 0 if answer == SHRINK_EMPTY else answer
                await self.to_next(shrinker)
            shrinker = await registry.next_of(shrinker, rcu.dereference)
        await rcu.read_unlock()
        await COND_RESCHED
        return freed

    @part_of_caller
    async def to_next(self, shrinker: Shrinker) -> None:
        """Be an RCU reader again while the reference is still there: what is next is read afterwards."""
        await self.machine.rcu.read_lock()
        await shrinker.put()


class RefcountedGlobalWalk(_References, RwsemShrinkers):
    """One commit of the series.

    The walk over all has no lock any more, and looks up the deferred counts of the root's map: under RCU, as after the
    next commit.  (How it was in between is not known here.)
    """

    @part_of_caller
    def in_map(self, pointer: T) -> T:
        """Under RCU, or under the lock."""
        return self.machine.rcu.dereference(pointer, held=self.machine.running in self.lock.holders())

    @kernel_name("shrink_slab")
    async def shrink_slab(self, gfp: int, nid: int, memcg: MemCgroup | None, priority: int) -> int:
        """Ask all without a lock, or those of a cgroup under the rwsem."""
        if memcg is not None and memcg.parent is not None:
            return await self.shrink_slab_memcg(gfp, nid, memcg, priority)
        return await self.walk_all(gfp, nid, memcg, priority)


class Refcounted(_References):
    """6.7."""

    def __init__(self, machine: Machine, registry: Registry, cgroups: Cgroups | None, maps: CopiedMaps | None) -> None:
        super().__init__(machine, registry, cgroups, maps)
        self.lock: Mutex = Mutex(machine, "shrinker_mutex")

    @part_of_caller
    def in_map(self, pointer: T) -> T:
        """Under RCU."""
        return self.machine.rcu.dereference(pointer)

    def reparenting(self) -> Together:
        """The mutex (604b8b655020)."""
        return Together((self.lock.lock, self.lock.unlock))

    def asking(self) -> Together:
        """Nothing: the file keeps the shrinker."""
        return Together()

    @kernel_name("shrink_slab")
    async def shrink_slab(self, gfp: int, nid: int, memcg: MemCgroup | None, priority: int) -> int:
        """Ask all, or those whose bits are set for a cgroup below the root."""
        if memcg is not None and memcg.parent is not None:
            return await self.shrink_slab_memcg(gfp, nid, memcg, priority)
        return await self.walk_all(gfp, nid, memcg, priority)

    @kernel_name("shrink_slab_memcg")
    async def shrink_slab_memcg(self, gfp: int, nid: int, memcg: MemCgroup, priority: int) -> int:
        """Unit by unit, each found through the info of the moment."""
        maps, rcu = self.maps, self.machine.rcu
        if maps is None or not await self.is_online(memcg):
            return 0
        freed = index = 0
        while True:
            await rcu.read_lock()
            info = await maps.dereference(memcg, nid, self.in_map)
            unit = None
            if info is not None and index < info.map_nr_max // BITS_PER_LONG:
                unit = rcu.loaded(info.units[index])
            await rcu.read_unlock()
            if unit is None:
                return freed
            offset = await unit.next_bit(0)
            while offset is not None:
                freed += await self.ask(ShrinkControl(gfp, nid, memcg), unit, index * BITS_PER_LONG + offset, priority)
                offset = await unit.next_bit(offset + 1)
            index += 1

    @part_of_caller
    async def ask(self, sc: ShrinkControl, unit: ShrinkerInfoUnit, number: int, priority: int) -> int:
        """One whose bit is set; the bit of one that gives no reference, whatever the reason, is cleared (M38)."""
        rcu = self.machine.rcu
        await rcu.read_lock()
        shrinker = await self.registry.idr_find(number)
        if shrinker is None or not await shrinker.try_get():
            await unit.clear_bit(number % BITS_PER_LONG)
            await rcu.read_unlock()
            return 0
        await rcu.read_unlock()
        if self.skips(shrinker):
            await self.skipped(shrinker, unit, number)
            return 0
        freed = await self.shrink_bit(sc, shrinker, unit, number, priority)
        await shrinker.put()
        return freed

    @part_of_caller
    async def skipped(self, shrinker: Shrinker, unit: ShrinkerInfoUnit, number: int) -> None:
        """A shrinker was found that is not to be asked: go on to the next, with the reference (M36)."""


class PutBeforeNext(Refcounted):
    """Never sent: the walk over all puts its reference before it is an RCU reader again."""

    @part_of_caller
    async def to_next(self, shrinker: Shrinker) -> None:
        """Between the two nothing keeps the shrinker, and so its next is anything."""
        await shrinker.put()
        await self.machine.rcu.read_lock()


class DeferredWithoutRcu(Refcounted):
    """Never sent: deferred counts are looked up without RCU, since the walk holds a cgroup."""

    def map_section(self) -> Together:
        """Nothing keeps the array that leads to the unit."""
        return Together()


class RefcountedPutAlways(Refcounted):
    """7.2."""

    @part_of_caller
    async def skipped(self, shrinker: Shrinker, unit: ShrinkerInfoUnit, number: int) -> None:
        """Its bit is of no use; give the reference back."""
        await unit.clear_bit(number % BITS_PER_LONG)
        await shrinker.put()
