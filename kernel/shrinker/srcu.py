"""Shrinkers under SRCU (6.4-rc, reverted).

Mirrors what f95bdb700bc6 (the walk over all) and caa05325c912 (the walk over a cgroup's map) made of mm/vmscan.c, from
their description in the catalogue and from memory: reclaimers are readers of ``shrinker_srcu``, so they never fail for
a writer's sake; who unregisters waits for a grace period of that domain, which takes jiffies (M32).  Walks end early
for such a waiter, by a generation counter (475733dda5ae, part of the series).  Maps are copied as before, and freed by
call_srcu(): a deferred count that is put into an old map while it is copied is lost.  (When call_srcu() came is not
known here; the first step needs it too, for the walk over all looks at the root's map.)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from ...actors import COND_RESCHED, Op, OpKind
from ..existence import claim
from ..locks import Together
from ..memory import free_structure
from ..rcu import RcuHead
from ..stack import kernel_name, part_of_caller
from .arithmetic import SHRINK_EMPTY
from .rwsem import RwsemShrinkers
from .shrinker import ShrinkControl, Shrinker

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..machine import Machine
    from ..memcg import Cgroups, MemCgroup
    from .info import ShrinkerInfo
    from .maps import CopiedMaps
    from .registry import Registry

T = TypeVar("T")


class SrcuGlobalWalk(RwsemShrinkers):
    """f95bdb700bc6: the walk over all."""

    readers = ("shrinker_srcu",)
    map_readers = ("rcu", "shrinker_srcu")

    def __init__(self, machine: Machine, registry: Registry, cgroups: Cgroups | None, maps: CopiedMaps | None) -> None:
        super().__init__(machine, registry, cgroups, maps)
        self.srcu = machine.rcu.srcu_struct("shrinker_srcu")
        self.generation = 0
        resource = machine.interleaver.resource("shrinker_srcu_generation")
        self._look_at_generation = Op(OpKind.READ, resource)
        self._next_generation = Op(OpKind.UPDATE, resource)
        if maps is not None:
            maps.free_later = self._call_srcu

    async def _call_srcu(self, address: int, free: Callable[[], None]) -> None:
        async def shrinker_info_srcu_cb() -> None:
            # Who sets bits is a reader of RCU, not of this domain.
            await self.machine.rcu.call_rcu(RcuHead(kvfree, address))

        async def kvfree() -> None:
            free()

        await self.srcu.call(RcuHead(shrinker_info_srcu_cb, address))

    @part_of_caller
    def in_map(self, pointer: T) -> T:
        """As a reader (``srcu_dereference``), or under the lock."""
        return self.srcu.dereference(pointer, held=self.machine.running in self.lock.holders())

    @kernel_name("unregister_shrinker")
    async def free(self, shrinker: Shrinker) -> None:
        """Take it off, and wait until no reclaimer can be at it."""
        claim(self.machine, shrinker)
        async with self.lock:
            await self.unlink(shrinker)
        await self.registry.debugfs_remove(shrinker)
        await self._next_generation
        self.generation += 1
        await self.srcu.synchronize()
        free_structure(shrinker)

    @kernel_name("shrink_slab")
    async def shrink_slab(self, gfp: int, nid: int, memcg: MemCgroup | None, priority: int) -> int:
        """Ask all as a reader; a cgroup's as the variant has it."""
        if memcg is not None and memcg.parent is not None:
            return await self.shrink_slab_memcg(gfp, nid, memcg, priority)
        freed, generation = 0, await self.begin()
        index = await self.srcu.read_lock()
        shrinker = await self.registry.next_of(None, self.srcu.dereference)
        while shrinker is not None:
            answer = await self.do_shrink_slab(ShrinkControl(gfp, nid, memcg), shrinker, priority)
            freed += 0 if answer == SHRINK_EMPTY else answer
            if await self.begin() != generation:
                freed = freed or 1
                break
            shrinker = await self.registry.next_of(shrinker, self.srcu.dereference)
        await self.srcu.read_unlock(index)
        await COND_RESCHED
        return freed

    async def begin(self) -> int:
        """The present generation."""
        await self._look_at_generation
        return self.generation


class SrcuWalks(SrcuGlobalWalk):
    """caa05325c912: the walk over a map too."""

    def reparenting(self) -> Together:
        """Nobody else changes maps meanwhile."""
        return Together((self.lock.down_read, self.lock.up_read))

    @kernel_name("shrink_slab_memcg")
    async def shrink_slab_memcg(self, gfp: int, nid: int, memcg: MemCgroup, priority: int) -> int:
        """Those whose bits are set, as a reader."""
        maps = self.maps
        if maps is None or not await self.is_online(memcg):
            return 0
        index = await self.srcu.read_lock()
        info = await maps.dereference(memcg, nid, self.in_map)
        freed = 0
        if info is not None:
            freed = await self.walk_map(info, ShrinkControl(gfp, nid, memcg), priority)
        await self.srcu.read_unlock(index)
        return freed

    def map_end(self, info: ShrinkerInfo) -> int:
        """The map says itself how large it is (42c9db397048)."""
        return info.map_nr_max

    async def must_stop(self) -> bool:
        """Not for the sake of the lock, which is not held."""
        return False
