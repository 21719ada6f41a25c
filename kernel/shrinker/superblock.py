"""A cache with an LRU and a shrinker of its own, which is mounted, used and umounted: what a file system has.

Mirrors alloc_super(), super_cache_count(), super_cache_scan(), trylock_super() and deactivate_locked_super() of
fs/super.c, dentry_lru_isolate() of fs/dcache.c (6.1), with one kind of object.

An object is *in use* (a count), or *unused* and on the LRU.  ``d_lock`` of the objects is here one atomic step on
``objects``: a user takes an object only while it is there; a scan gives one back only while nobody uses it, which it
decides, and takes it out, in one such step.  An object that was used since it was last looked at gets a second round.

While an object is put on the LRU its ``d_lock`` is held: a scan that meets it then passes it over.

``s_umount`` is held for writing from the beginning of an umount to its end; a scan takes it by trylock for reading, or
does nothing.  Users hold ``active``, without which an umount is refused.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...actors import Access, Op, OpKind
from ..gfp import GFP_FS
from ..locks import RwSemaphore
from ..memory import Structure, allocated
from ..pages import GFP_KERNEL, page_frame
from ..slab.allocate import kmem_cache_alloc_node
from ..slab.free import kmem_cache_free
from ..stack import kernel_name
from .arithmetic import SHRINK_EMPTY, SHRINK_STOP
from .list_lru import LruStatus
from .shrinker import SHRINKER_NUMA_AWARE

if TYPE_CHECKING:
    from ...actors import Resource
    from ..machine import Machine
    from ..memcg import MemCgroup
    from ..slab.cache import KmemCache
    from .list_lru import ListLru, ListLruNode, ListLruOne
    from .lru_memcg import LruOwner
    from .shrinker import ShrinkControl, Shrinker

STRUCT_SIZE = 1088


class Superblock(Structure):
    """One mounted file system.

    ``by_task`` says whose list an object goes to: that of the cgroup of the task that added it, as an owner names it
    explicitly (zswap), or that of the cgroup it is charged to (dentries and inodes).
    """

    __slots__ = (
        "_machine",
        "active",
        "born",
        "by_task",
        "cache",
        "locked",
        "lru",
        "name",
        "objects",
        "owner",
        "owners",
        "referenced",
        "resource",
        "s_umount",
        "scan_ns",
        "shrinker",
    )

    embedded = ("s_umount",)

    def __init__(self, machine: Machine, name: str, owner: LruOwner, *, by_task: bool, scan_ns: int) -> None:
        self.shadow = None
        # Constant.
        self._machine = machine
        self.name = name
        self.owner = owner
        self.by_task = by_task
        self.scan_ns = scan_ns  # how long each scan waits for somebody else: a server, a disk
        self.cache: KmemCache
        self.lru: ListLru
        self.shrinker: Shrinker
        # sb_lock:
        self.active = 0
        # Set once.
        self.born = False
        self.s_umount = RwSemaphore(machine, "&type->s_umount_key")
        # Each access is an atomic step.
        self.resource = machine.interleaver.resource(f"objects of {name}")
        self.objects: dict[int, int] = {}  # how many use each
        self.referenced: dict[int, None] = {}
        self.locked: dict[int, None] = {}  # those whose d_lock is held for longer than a step
        self.owners: dict[int, MemCgroup] = {}  # who named itself the owner; each holds the cgroup
        allocated(machine, self, "struct super_block", "kmalloc-2k", machine.static_address(STRUCT_SIZE), STRUCT_SIZE)

    def resources(self) -> tuple[Resource, ...]:
        """What those declare who use it."""
        return (self.resource,)

    @property
    def step(self) -> Op:
        """An atomic step on its objects."""
        return Op(OpKind.UPDATE, self.resource)

    # --- users

    def node_of(self, address: int) -> int:
        """The node an object is on."""
        return self._machine.slab.slabs[page_frame(address)].node

    @kernel_name("d_alloc")
    async def add_object(self, node: int) -> int | None:
        """Allocate an object, which the caller uses; None where memory ran out."""
        machine = self._machine
        memcg = machine.cgroups.of_task(machine.current).memcg if machine.cgroups is not None else None
        if not await self.lru.memcg_list_lru_alloc(memcg):
            return None
        address = await kmem_cache_alloc_node(machine.slab, self.cache, GFP_KERNEL, node)
        if address is None:
            return None
        await self.step
        self.objects[address] = 1
        if self.by_task and memcg is not None and memcg.parent is not None:
            memcg.css.get()
            self.owners[address] = memcg
        return address

    @kernel_name("dget")
    async def get_object(self, number: int) -> int | None:
        """Use one of the objects there are; None where there are none."""
        await self.step
        addresses = list(self.objects)
        if not addresses:
            return None
        address = addresses[number % len(addresses)]
        self.objects[address] += 1
        return address

    @kernel_name("dput")
    async def put_object(self, address: int) -> None:
        """Use it no more: unused, it is on the LRU."""
        await self.step
        if self.objects[address] > 1:
            self.objects[address] -= 1
            self.referenced[address] = None
            return
        self.locked[address] = None
        nid = self.node_of(address)
        memcg = self.owners.get(address)
        if self.by_task:
            added = await self.lru.add(address, nid, memcg)
        else:
            added = await self.owner.add(self.lru, address, nid)
        await self.step
        del self.locked[address]
        self.objects[address] -= 1
        if not added:
            self.referenced[address] = None

    # --- the shrinker

    @kernel_name("super_cache_count")
    async def super_cache_count(self, _: Shrinker, sc: ShrinkControl) -> int:
        """How many objects may be given back, at present."""
        await Op(OpKind.READ, self.resource)
        if not self.born:
            return 0
        total = 0
        for nid in self._nodes(sc):
            total += await self.lru.count_one(nid, sc.memcg)
        return total or SHRINK_EMPTY

    def _nodes(self, sc: ShrinkControl) -> tuple[int, ...]:
        """The node that is asked about, or all where the shrinker does not tell them apart."""
        return (sc.nid,) if self.shrinker.flags & SHRINKER_NUMA_AWARE else tuple(self.lru.node)

    @kernel_name("super_cache_scan")
    async def super_cache_scan(self, _: Shrinker, sc: ShrinkControl) -> int:
        """Look at objects, and give back those that nobody uses."""
        if not sc.gfp_mask & GFP_FS or not await self.s_umount.down_read_trylock():
            return SHRINK_STOP
        freed = await self.prune_dcache_sb(sc)
        await self.s_umount.up_read()
        return freed

    @kernel_name("prune_dcache_sb")
    async def prune_dcache_sb(self, sc: ShrinkControl) -> int:
        """Take objects off the LRU, then free them."""
        dispose: list[int] = []

        async def isolate(one: ListLruOne, nlru: ListLruNode, address: int) -> LruStatus:
            self._touch()
            if address in self.locked:
                return LruStatus.SKIP
            if self.objects[address]:
                self.lru.isolate(one, nlru, address)
                return LruStatus.REMOVED
            if address in self.referenced:
                del self.referenced[address]
                return LruStatus.ROTATE
            self.lru.isolate(one, nlru, address)
            del self.objects[address]
            dispose.append(address)
            return LruStatus.REMOVED

        for nid in self._nodes(sc):
            await self.lru.walk_one(nid, sc.memcg, isolate, sc.nr_to_scan)
        if self.scan_ns:
            await self._machine.current.sleep(self.scan_ns)
        for address in dispose:
            await self._free_object(address)
        return len(dispose)

    def _touch(self) -> None:
        touch = self._machine.interleaver.touch
        if touch is not None:
            touch(self.resource, Access.WRITE)

    async def _free_object(self, address: int) -> None:
        self._touch()
        memcg = self.owners.pop(address, None)
        await kmem_cache_free(self._machine.slab, self.cache, address)
        if memcg is not None:
            await memcg.css.put()

    # --- the end

    @kernel_name("generic_shutdown_super")
    async def evict_all(self) -> None:
        """Nobody uses it any more: give every object back."""
        await self.step
        for address in list(self.objects):
            nid = self.node_of(address)
            if self.by_task:
                await self.lru.delete(address, nid, self.owners.get(address))
            else:
                await self.owner.delete(self.lru, address, nid)
            await self.step
            del self.objects[address]
            self.referenced.pop(address, None)
            await self._free_object(address)
