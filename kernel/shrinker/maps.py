"""``memcg->nodeinfo[nid]->shrinker_info``: how the map of a cgroup is made, grown, used and given back.

Mirrors alloc_shrinker_info(), expand_shrinker_info(), free_shrinker_info(), set_shrinker_bit(),
xchg_nr_deferred_memcg(), add_nr_deferred_memcg() and reparent_shrinker_deferred() of mm/vmscan.c (6.1) and
mm/shrinker.c (6.8; what of that stands in the catalogue).

Infos are replaced under the writers' lock and freed after a grace period.  Seam ``shrinker_maps``:

======================= ==================================================================================
`CopiedMaps`            up to 6.6: the larger info has units of its own.  All old bits are set in them, for
                        one may be set in the old map after it was copied; deferred counts are copied: who
                        adds to the old ones at that moment must be kept away, by the lock
`SharedUnits`           6.7 (307bececcd12): the larger info points to the same units, and to new ones.
                        A cgroup that fails to come online frees what it has published, and only that (M37),
                        after it has left the lock (M59)
`SharedUnitsNoLeak`     6.12 (15e8156713cc): and what it has not published
`SerialisedTeardown`    June 2026 (M59): both, before it leaves the lock
======================= ==================================================================================

Where an allocation may fail is up to `FailSlab`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..existence import claim, publish
from ..memory import free_structure
from ..rcu import RcuHead
from ..stack import kernel_name, part_of_caller
from .info import ALL_BITS, BITS_PER_LONG, MemcgPerNode, ShrinkerInfo, ShrinkerInfoUnit, make_unit
from .iterate import mem_cgroup_iter, mem_cgroup_iter_break

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from ...actors import Resource
    from ..fault import FailSlab
    from ..locks import Mutex, RwSemaphore
    from ..machine import Machine
    from ..memcg import Cgroups, MemCgroup
    from .walks import Walks

    Load = Callable[[ShrinkerInfo | None], ShrinkerInfo | None]
    """How a pointer to an info is loaded: what keeps it, or is to."""


def round_up(number: int) -> int:
    """To a whole number of units."""
    return -(-number // BITS_PER_LONG) * BITS_PER_LONG


class CopiedMaps:
    """Up to 6.6.  ``protocol`` is that of the walks, which says what keeps an info."""

    protocol: Walks

    def __init__(self, machine: Machine, cgroups: Cgroups, failslab: FailSlab) -> None:
        self.machine = machine
        self.cgroups = cgroups
        self.failslab = failslab
        self.shrinker_nr_max = 0  # the writers' lock
        # kmemleak's: every info that was allocated and not freed, by address.
        self.infos: dict[int, ShrinkerInfo] = {}
        self.free_later: Callable[[int, Callable[[], None]], Awaitable[None]] = self.kvfree_rcu

    # --- memory

    async def kvfree_rcu(self, address: int, free: Callable[[], None]) -> None:
        """Free an info, which is at `address`, after a grace period."""

        async def kvfree_rcu_cb() -> None:
            free()

        await self.machine.rcu.call_rcu(RcuHead(kvfree_rcu_cb, address))

    @part_of_caller
    async def replaced(self, old: ShrinkerInfo, free: Callable[[ShrinkerInfo], None]) -> None:
        """Nobody new will find an info: have it freed when nobody can be at it any more."""
        address = old.address
        self.infos.pop(address, None)
        await self.free_later(address, lambda: free(old))

    @part_of_caller
    def make_info(
        self, memcg: MemCgroup, map_nr_max: int, units: list[ShrinkerInfoUnit], resource: Resource
    ) -> ShrinkerInfo | None:
        """``kvzalloc_node`` of an info; None where that fails."""
        if self.failslab.should_fail():
            return None
        info = ShrinkerInfo(self.machine, map_nr_max, units, resource, self.protocol.info_kept_by(memcg))
        self.infos[info.address] = info
        return info

    @part_of_caller
    def free_info(self, info: ShrinkerInfo) -> None:
        """``kvfree``, of the array alone."""
        self.infos.pop(object.__getattribute__(info, "address"), None)
        free_structure(info)

    @part_of_caller
    def free_with_units(self, info: ShrinkerInfo) -> None:
        """The whole of a map that shares nothing."""
        units = info.units
        self.free_info(info)
        for unit in units:
            free_structure(unit)

    # --- a cgroup comes

    def prepare(self, memcg: MemCgroup) -> None:
        """A cgroup is allocated: it has no maps yet."""
        memcg.nodeinfo = {node: MemcgPerNode(self.machine) for node in sorted(self.machine.nodes)}

    @kernel_name("alloc_shrinker_info")
    async def alloc(self, memcg: MemCgroup, lock: Mutex | RwSemaphore) -> bool:
        """Give a cgroup its maps; false, and it has none, where memory ran out."""
        async with lock:
            for node in memcg.nodeinfo.values():
                info = self._new(memcg, node)
                if info is None:
                    await self.free(memcg)
                    return False
                await self._publish(node, info)
        return True

    @part_of_caller
    def _new(self, memcg: MemCgroup, node: MemcgPerNode) -> ShrinkerInfo | None:
        size = round_up(self.shrinker_nr_max)
        info = self.make_info(memcg, size, [], node.resource)
        if info is not None:
            info.units.extend(make_unit(self.machine, info) for _ in range(size // BITS_PER_LONG))
        return info

    @part_of_caller
    async def _publish(self, node: MemcgPerNode, info: ShrinkerInfo) -> None:
        units = info.units
        await node.write
        node.shrinker_info = info
        publish(self.machine, info, *units)

    # --- an id comes

    def largest(self, new_id: int) -> int:
        """``shrinker_nr_max`` when `new_id` is the highest id."""
        return new_id + 1

    @kernel_name("expand_shrinker_info")
    async def expand(self, new_id: int) -> bool:
        """Have room for `new_id` in the maps of all cgroups; false where memory ran out.  Under the writers' lock."""
        if new_id < self.shrinker_nr_max:
            return True
        if round_up(new_id + 1) > round_up(self.shrinker_nr_max):
            memcg = await mem_cgroup_iter(self.cgroups, None, None)
            while memcg is not None:
                if not await self.expand_one(memcg, round_up(new_id + 1)):
                    await mem_cgroup_iter_break(self.cgroups, None, memcg)
                    return False
                memcg = await mem_cgroup_iter(self.cgroups, None, memcg)
        self.shrinker_nr_max = self.largest(new_id)
        return True

    @kernel_name("expand_one_shrinker_info")
    async def expand_one(self, memcg: MemCgroup, new_nr_max: int) -> bool:
        """Replace the maps of a cgroup by larger ones."""
        for node in memcg.nodeinfo.values():
            await node.read
            old = self.protocol.locked(node.shrinker_info)
            if old is None:
                return True  # not online yet
            new = self.make_info(memcg, new_nr_max, [], node.resource)
            if new is None:
                return False
            for index in range(new_nr_max // BITS_PER_LONG):
                unit = make_unit(self.machine, new)
                if index < len(old.units):
                    theirs = self.machine.rcu.loaded(old.units[index])
                    unit.map = ALL_BITS
                    await theirs.look
                    unit.nr_deferred[:] = theirs.nr_deferred
                new.units.append(unit)
            await self._publish(node, new)
            await self.replaced(old, self.free_with_units)
        return True

    # --- a cgroup goes

    @kernel_name("reparent_shrinker_deferred")
    async def reparent_deferred(self, memcg: MemCgroup, parent: MemCgroup) -> None:
        """What was deferred for a cgroup is its parent's; under the writers' lock, or its read side."""
        for number in memcg.nodeinfo:
            info = await self.dereference(memcg, number, self.protocol.locked)
            above = await self.dereference(parent, number, self.protocol.locked)
            if info is None or above is None:
                continue
            for each, of_parent in zip(info.units, above.units, strict=False):
                unit, theirs = self.machine.rcu.loaded(each), self.machine.rcu.loaded(of_parent)
                await unit.look
                for offset, nr in enumerate(unit.nr_deferred):
                    if nr:
                        await theirs.add_deferred(nr, offset)

    @kernel_name("free_shrinker_info")
    async def free(self, memcg: MemCgroup) -> None:
        """A cgroup ends, or has not come online: free its maps."""
        for node in memcg.nodeinfo.values():
            await node.read
            info = self.machine.rcu.loaded(node.shrinker_info)
            if info is not None:
                self.free_with_units(info)
                await node.write
                node.shrinker_info = None

    @part_of_caller
    def nobody_finds(self, memcg: MemCgroup) -> None:
        """A cgroup has ended: its maps belong to who ends it."""
        for node in memcg.nodeinfo.values():
            info = node.shrinker_info
            if info is not None:
                claim(self.machine, info)
                claim(self.machine, *info.units)

    # --- using them

    @part_of_caller
    async def dereference(self, memcg: MemCgroup, nid: int, load: Load) -> ShrinkerInfo | None:
        """The present info, as `load` may find it."""
        node: MemcgPerNode = memcg.nodeinfo[nid]
        await node.read
        return load(node.shrinker_info)

    @part_of_caller
    def _unit(self, info: ShrinkerInfo, shrinker_id: int) -> ShrinkerInfoUnit:
        return self.machine.rcu.loaded(info.units[shrinker_id // BITS_PER_LONG])

    @kernel_name("set_shrinker_bit")
    async def set_bit(self, memcg: MemCgroup | None, nid: int, shrinker_id: int) -> None:
        """Say that a shrinker may have something for `memcg` on a node; any context that may be an RCU reader."""
        if shrinker_id < 0 or memcg is None or memcg.parent is None:
            return
        async with self.machine.rcu.reader():
            info = await self.dereference(memcg, nid, self.machine.rcu.dereference)
            if info is None:
                self.machine.null_dereference("map_nr_max", write=False)
            if shrinker_id >= info.map_nr_max:
                self.machine.printk("warning", f"WARNING: set_shrinker_bit: id {shrinker_id} is beyond the map")
                return
            await self._unit(info, shrinker_id).set_bit(shrinker_id % BITS_PER_LONG)

    @kernel_name("xchg_nr_deferred_memcg")
    async def xchg_nr_deferred(self, memcg: MemCgroup, nid: int, shrinker_id: int) -> int:
        """Take what was deferred for a cgroup."""
        info = await self.dereference(memcg, nid, self.protocol.in_map)
        if info is None:
            return 0
        return await self._unit(info, shrinker_id).xchg_deferred(shrinker_id % BITS_PER_LONG)

    @kernel_name("add_nr_deferred_memcg")
    async def add_nr_deferred(self, nr: int, memcg: MemCgroup, nid: int, shrinker_id: int) -> int:
        """Put back what was not done for it; what there is now."""
        info = await self.dereference(memcg, nid, self.protocol.in_map)
        if info is None:
            return nr
        return await self._unit(info, shrinker_id).add_deferred(nr, shrinker_id % BITS_PER_LONG)


class SharedUnits(CopiedMaps):
    """From 6.7."""

    def largest(self, new_id: int) -> int:
        """All bits of the last unit are looked at."""
        return round_up(new_id + 1)

    @part_of_caller
    def free_with_units(self, info: ShrinkerInfo) -> None:
        """The info of a cgroup that ends: with it go the units."""
        for unit in info.units:
            free_structure(unit)
        self.free_info(info)

    @part_of_caller
    def _fill(self, memcg: MemCgroup, info: ShrinkerInfo) -> bool:
        """Add the units that are missing (``shrinker_unit_alloc``); false, and none added, where memory ran out."""
        first = len(info.units)
        for _ in range(first, info.map_nr_max // BITS_PER_LONG):
            if self.failslab.should_fail():
                for unit in info.units[first:]:
                    free_structure(unit)
                del info.units[first:]
                return False
            info.units.append(make_unit(self.machine, memcg))
        return True

    @kernel_name("alloc_shrinker_info")
    async def alloc(self, memcg: MemCgroup, lock: Mutex | RwSemaphore) -> bool:
        """Give a cgroup its maps; what it has published is freed without the lock where memory ran out."""
        async with lock:
            done = await self._publish_all(memcg)
        if not done:
            await self.free(memcg)
        return done

    @part_of_caller
    async def _publish_all(self, memcg: MemCgroup) -> bool:
        for node in memcg.nodeinfo.values():
            info = self.make_info(memcg, self.shrinker_nr_max, [], node.resource)
            if info is None:
                return False
            if not self._fill(memcg, info):
                self.not_published(info)
                return False
            await self._publish(node, info)
        return True

    def not_published(self, info: ShrinkerInfo) -> None:
        """An info that nobody will ever see: it is forgotten (M37)."""

    @kernel_name("expand_one_shrinker_info")
    async def expand_one(self, memcg: MemCgroup, new_nr_max: int) -> bool:
        """Replace the arrays of a cgroup by larger ones that point to the same units."""
        for node in memcg.nodeinfo.values():
            await node.read
            old = self.protocol.locked(node.shrinker_info)
            if old is None:
                return True  # not online yet
            if new_nr_max <= old.map_nr_max:
                continue  # by an attempt that failed later
            new = self.make_info(memcg, new_nr_max, list(old.units), node.resource)
            if new is None:
                return False
            if not self._fill(memcg, new):
                self.free_info(new)
                return False
            await self._publish(node, new)
            await self.replaced(old, self.free_info)
        return True

    @kernel_name("free_shrinker_info")
    async def free(self, memcg: MemCgroup) -> None:
        """Units, array, and only then the pointer to it."""
        for node in memcg.nodeinfo.values():
            await node.read
            info = self.machine.rcu.loaded(node.shrinker_info)
            if info is not None:
                self.free_with_units(info)
            await node.write
            node.shrinker_info = None


class SharedUnitsNoLeak(SharedUnits):
    """From 6.12: M37 is fixed."""

    def not_published(self, info: ShrinkerInfo) -> None:
        """Free it."""
        self.free_info(info)


class SerialisedTeardown(SharedUnitsNoLeak):
    """M59 is fixed: nobody grows what is being torn down."""

    @kernel_name("alloc_shrinker_info")
    async def alloc(self, memcg: MemCgroup, lock: Mutex | RwSemaphore) -> bool:
        """Give a cgroup its maps, or free under the lock what it has."""
        async with lock:
            done = await self._publish_all(memcg)
            if not done:
                await self.free(memcg)
        return done
