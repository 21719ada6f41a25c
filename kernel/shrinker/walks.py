"""What all protocols of shrinkers share: asking one shrinker, and asking it for a cgroup.

Mirrors do_shrink_slab() of mm/vmscan.c (6.1) and the part of shrink_slab_memcg() around one bit.  A protocol says how
shrinkers are found and kept alive; see the package.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Protocol, TypeVar

from ...actors import COND_RESCHED
from ..existence import KeptBy
from ..stack import kernel_name, part_of_caller
from .arithmetic import SHRINK_EMPTY, SHRINK_STOP, next_deferred, next_scan, plan
from .info import BITS_PER_LONG
from .shrinker import SHRINKER_MEMCG_AWARE, SHRINKER_NONSLAB, SHRINKER_NUMA_AWARE, ShrinkControl, Shrinker

if TYPE_CHECKING:
    from ..locks import Mutex, RwSemaphore, Together
    from ..machine import Machine
    from ..memcg import Cgroups, MemCgroup
    from .info import ShrinkerInfoUnit
    from .maps import CopiedMaps
    from .registry import Registry

T = TypeVar("T")


class ShrinkerProtocol(Protocol):
    """Seam: how shrinkers come, are asked, and go."""

    uses_maps: ClassVar[bool]

    @property
    def lock(self) -> Mutex | RwSemaphore:
        """The writers' lock."""
        ...

    @property
    def kept_by(self) -> KeptBy:
        """What keeps a shrinker."""
        ...

    async def alloc(self, shrinker: Shrinker) -> bool:
        """Give a new shrinker its id, or its own deferred counts; false where memory ran out.  Nobody asks it yet."""
        ...

    async def register(self, shrinker: Shrinker) -> None:
        """Have it asked from now on."""
        ...

    async def free(self, shrinker: Shrinker) -> None:
        """No callback runs any more when this returns, and the shrinker is not to be touched again; may sleep."""
        ...

    async def shrink_slab(self, gfp: int, nid: int, memcg: MemCgroup | None, priority: int) -> int:
        """Ask all shrinkers about a node, for one cgroup (None: there are none); how many objects were freed."""
        ...

    def asking(self) -> Together:
        """What who asks one shrinker through its debugfs file holds, beyond that file."""
        ...

    def reparenting(self) -> Together:
        """What is held while deferred counts go to a parent."""
        ...


class Walks:
    """Asking.

    ``readers`` are the flavours of RCU whose readers keep a shrinker, ``map_readers`` those whose readers keep an info.
    """

    uses_maps: ClassVar[bool] = True
    """Whether it is looked up in a map who may have something for a cgroup."""
    readers: ClassVar[tuple[str, ...]] = ()
    map_readers: ClassVar[tuple[str, ...]] = ("rcu",)

    lock: Mutex | RwSemaphore

    def __init__(self, machine: Machine, registry: Registry, cgroups: Cgroups | None, maps: CopiedMaps | None) -> None:
        self.machine = machine
        self.registry = registry
        self.cgroups = cgroups
        self.maps = maps
        if maps is not None:
            maps.protocol = self

    # --- what keeps what

    @property
    def kept_by(self) -> KeptBy:
        """A shrinker: a walk that may be at it, and the lock, which is needed to take it away."""
        return KeptBy(readers=self.readers, locks=(self.lock.name,))

    def info_kept_by(self, memcg: MemCgroup) -> KeptBy:
        """An info: the same, against being replaced; it ends with its cgroup, whoever is a reader or has the lock."""
        return KeptBy(readers=self.map_readers, locks=(self.lock.name,), inside=lambda: (memcg,))

    @part_of_caller
    def locked(self, pointer: T) -> T:
        """`pointer`, loaded under the writers' lock (``rcu_dereference_protected``)."""
        held = self.machine.running in self.lock.holders()
        return self.machine.rcu.dereference_protected(pointer, held=held)

    @part_of_caller
    def in_map(self, pointer: T) -> T:
        """`pointer` to an info, loaded by a walk."""
        raise NotImplementedError

    # --- one shrinker

    @kernel_name("do_shrink_slab")
    async def do_shrink_slab(self, sc: ShrinkControl, shrinker: Shrinker, priority: int) -> int:
        """Have one shrinker give objects back; how many it did, or SHRINK_EMPTY."""
        machine = self.machine
        freeable = await shrinker.count_objects(shrinker, sc)
        if freeable in (0, SHRINK_EMPTY):
            return freeable
        # Who comes at the same moment finds nothing deferred: that work is done once.
        nr = await self.xchg_nr_deferred(shrinker, sc)
        wanted = plan(freeable, nr, priority, shrinker.seeks, shrinker.batch)
        if (fire := machine.tracepoints.mm_shrink_slab_start.fire) is not None:
            address, scan = shrinker.address, shrinker.scan_address
            fire(address, scan, sc.nid, nr, sc.gfp_mask, freeable, wanted.delta, wanted.total_scan, priority)
        total_scan, scanned, freed = wanted.total_scan, 0, 0
        while (nr_to_scan := next_scan(wanted, total_scan)) is not None:
            sc.nr_to_scan = sc.nr_scanned = nr_to_scan
            answer = await shrinker.scan_objects(shrinker, sc)
            if answer == SHRINK_STOP:
                break
            freed += answer
            machine.count("slabs_scanned", sc.nr_scanned)
            total_scan -= sc.nr_scanned
            scanned += sc.nr_scanned
            await COND_RESCHED
        new_nr = await self.add_nr_deferred(next_deferred(wanted, scanned), shrinker, sc)
        if (fire := machine.tracepoints.mm_shrink_slab_end.fire) is not None:
            fire(shrinker.address, sc.nid, shrinker.scan_address, nr, new_nr, freed, total_scan)
        return freed

    def _deferred_in_map(self, shrinker: Shrinker, sc: ShrinkControl) -> tuple[int, CopiedMaps | None]:
        """The node that counts are kept for, and the maps they are in, if they are in maps."""
        nid = sc.nid if shrinker.flags & SHRINKER_NUMA_AWARE else 0
        in_map = self.uses_maps and sc.memcg is not None and shrinker.flags & SHRINKER_MEMCG_AWARE
        return nid, self.maps if in_map else None

    @part_of_caller
    async def xchg_nr_deferred(self, shrinker: Shrinker, sc: ShrinkControl) -> int:
        """Take what was deferred."""
        nid, maps = self._deferred_in_map(shrinker, sc)
        if maps is None or sc.memcg is None:
            return await shrinker.xchg_nr_deferred(nid)
        async with self.map_section():
            return await maps.xchg_nr_deferred(sc.memcg, nid, shrinker.id)

    @part_of_caller
    async def add_nr_deferred(self, nr: int, shrinker: Shrinker, sc: ShrinkControl) -> int:
        """Put it back."""
        nid, maps = self._deferred_in_map(shrinker, sc)
        if maps is None or sc.memcg is None:
            return await shrinker.add_nr_deferred(nr, nid)
        async with self.map_section():
            return await maps.add_nr_deferred(nr, sc.memcg, nid, shrinker.id)

    def map_section(self) -> Together:
        """What keeps an info while deferred counts are changed, beyond what the walk holds."""
        raise NotImplementedError

    # --- for a cgroup

    def skips(self, shrinker: Shrinker) -> bool:
        """Whether a shrinker of slab objects is not asked, as kernel memory is not accounted."""
        return (self.cgroups is None or self.cgroups.kmem is None) and not shrinker.flags & SHRINKER_NONSLAB

    async def is_online(self, memcg: MemCgroup) -> bool:
        """``mem_cgroup_online``."""
        await memcg.read_kmem
        return memcg.online

    @part_of_caller
    async def shrink_bit(
        self, sc: ShrinkControl, shrinker: Shrinker, unit: ShrinkerInfoUnit, number: int, priority: int
    ) -> int:
        """Ask a shrinker whose bit is set; clear the bit if it has nothing, and look again."""
        maps = self.maps
        assert maps is not None  # it is of a map
        freed = await self.do_shrink_slab(sc, shrinker, priority)
        if freed == SHRINK_EMPTY:
            await unit.clear_bit(number % BITS_PER_LONG)
            freed = await self.recount(sc, shrinker, priority)
            if freed == SHRINK_EMPTY:
                return 0
            await maps.set_bit(sc.memcg, sc.nid, number)
        return freed

    @part_of_caller
    async def recount(self, sc: ShrinkControl, shrinker: Shrinker, priority: int) -> int:
        """Ask again, the bit being clear now: whoever added an object before that found it set, and left it so."""
        return await self.do_shrink_slab(sc, shrinker, priority)

    # --- coming and going

    @part_of_caller
    async def alloc_id(self, shrinker: Shrinker) -> bool:
        """An id and room for it in all maps, under the writers' lock; false where memory ran out."""
        maps = self.maps
        assert maps is not None  # there are cgroups
        number = await self.registry.idr_alloc(shrinker)
        if not await maps.expand(number):
            await self.registry.idr_remove(number)
            return False
        shrinker.changes()
        shrinker.id = number
        return True

    def without_cgroups(self, shrinker: Shrinker) -> None:
        """Where there are no cgroups a memcg-aware shrinker is one like any other."""
        if self.maps is None and shrinker.flags & SHRINKER_MEMCG_AWARE:
            shrinker.changes()
            shrinker.flags &= ~SHRINKER_MEMCG_AWARE
