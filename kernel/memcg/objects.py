"""An owner for each object, and one cache for everybody (from 5.9).

Mirrors memcg_slab_pre_alloc_hook(), memcg_slab_post_alloc_hook(), memcg_slab_free_hook() of mm/slab.h,
get_obj_cgroup_from_current(), get_mem_cgroup_from_objcg(), obj_cgroup_charge(), obj_cgroup_release(),
memcg_reparent_objcgs() and drain_all_stock() of mm/memcontrol.c (6.1).

Who meets: tasks that allocate, anybody who frees, the cgroup that goes offline, and items that drain stocks.

An object is charged with its size and that of a pointer: a slab with charged objects has a vector with the owner of
each.  A place of the vector belongs to whoever owns the object; the vector itself is put there by one exchange, and
who comes too late with another one throws it away.  A cgroup that goes offline gives its `ObjCgroup` to the parent and
puts the first reference: nothing is moved, created or destroyed, no item is queued, nobody waits.  It ends with its
last object.

``objcg_lock`` is a leaf, taken with interrupts off: it protects whose an `ObjCgroup` is, for writing, and the lists of
inherited ones.  Readers look under RCU, and hold the cgroup they find with `tryget`, or look again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...actors import Access, KernelThread, Op, OpKind
from ..cpu_hotplug import CpuhpState
from ..locks import Mutex, Spinlock, Together
from ..machine import FunctionThread
from ..memory import allocated, free_structure
from ..pages import page_frame
from ..slab.allocate import kmem_cache_alloc_bulk, slab_alloc_node
from ..slab.destroy import destroy_cache
from ..slab.flags import SLAB_RECLAIM_ACCOUNT
from ..slab.sizing import PAGE_SHIFT, PAGE_SIZE
from ..stack import kernel_name, part_of_caller
from .charge import Charging
from .deferred import SYSTEM
from .objcg import STRUCT_SIZE, ObjCgroup
from .stock import ObjStock

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..rcu.api import Reader
    from ..slab.cache import KmemCache, Slab
    from ..slab.slub import Slub
    from .cgroup import Cgroups
    from .memcg import MemCgroup

POINTER = 8


class ObjectOwners:
    """From 5.9."""

    def __init__(self, cgroups: Cgroups, slub: Slub) -> None:
        self.slub = slub
        self.machine = slub.machine
        self.deferred = cgroups.deferred
        self.charging = Charging(self.machine, self.drain_all_stock)
        self.objcg_lock = Spinlock(self.machine, "objcg_lock")
        self.percpu_charge_mutex = Mutex(self.machine, "percpu_charge_mutex")
        self.stocks = {cpu: ObjStock() for cpu in self.machine.cpus}
        self._look_at_stocks = Op(OpKind.READ, self.machine.interleaver.resource("memcg_stock of every cpu"))
        self._install = Op(OpKind.UPDATE, self.machine.interleaver.resource("slab->memcg_data"))

    async def mem_cgroup_init(self) -> None:
        """A dead processor's stock is given up by who has taken it down."""
        await self.machine.cpu_hotplug.setup_state_nocalls(
            CpuhpState.MM_MEMCQ_DEAD, "mm/memctrl:dead", None, self.memcg_hotplug_cpu_dead
        )

    async def memcg_hotplug_cpu_dead(self, cpu: int) -> None:
        """Give up the stock of processor `cpu`, which will use it no more."""
        await self._look_at_stocks
        if (touch := self.machine.interleaver.touch) is not None:
            touch(self.machine.cpus[cpu].host, Access.WRITE)
        stock = self.stocks[cpu]
        old, pages = stock.drain()
        stock.flushing = False
        await self._give_up(old, pages)

    def rcu_reader(self) -> Reader | Together:
        """A read-side critical section; a soft interrupt is one already."""
        return self.machine.rcu.reader() if isinstance(self.machine.running, KernelThread) else Together()

    # --- cgroups

    async def online(self, memcg: MemCgroup) -> bool:
        """Give the cgroup something that objects can be charged to."""
        machine = self.machine
        objcg = ObjCgroup(machine, memcg, self._obj_cgroup_release)
        address = machine.static_address(STRUCT_SIZE)
        allocated(machine, objcg, "struct obj_cgroup", "kmalloc-64", address, STRUCT_SIZE)
        await memcg.write_kmem
        memcg.objcg = objcg
        memcg.kmemcg_id = memcg.serial
        machine.count("objcgs_created")
        return True

    @kernel_name("memcg_offline_kmem")
    async def offline(self, memcg: MemCgroup) -> None:
        """What was charged is the parent's from here on."""
        if memcg.parent is None or memcg.objcg is None:
            return
        await self.memcg_reparent_objcgs(memcg, memcg.parent)
        await self.drain_all_stock(memcg)

    @kernel_name("memcg_reparent_objcgs")
    async def memcg_reparent_objcgs(self, memcg: MemCgroup, parent: MemCgroup) -> None:
        """Give what the cgroup has, its own and inherited ones, to its parent."""
        objcg = memcg.objcg
        assert objcg is not None
        await memcg.write_kmem
        memcg.objcg = None
        async with self.objcg_lock.irqsave():
            for each in (objcg, *memcg.objcg_list):
                each.belongs_to(parent)
                parent.objcg_list[each] = None
            memcg.objcg_list.clear()
        self.machine.count("objcgs_reparented")
        await objcg.refcnt.kill(self.deferred)

    async def free(self, memcg: MemCgroup) -> None:
        """Nothing is left of it."""
        self.machine.bug_on(bool(memcg.objcg_list), "a cgroup that is freed has inherited objects")

    @kernel_name("obj_cgroup_release")
    async def _obj_cgroup_release(self, objcg: ObjCgroup) -> None:
        """The last reference was put: what bytes are left in it are whole pages.  Any context."""
        left = objcg.take_bytes()
        self.machine.bug_on(left % PAGE_SIZE != 0, f"{left} bytes are left charged to nobody")
        if left:
            await self.uncharge_pages(objcg, left >> PAGE_SHIFT)
        async with self.objcg_lock.irqsave():
            del objcg.memcg.objcg_list[objcg]

        async def kfree_objcg() -> None:
            free_structure(objcg)
            self.machine.count("objcgs_freed")

        await self.deferred.call_rcu(kfree_objcg)

    # --- whose

    @kernel_name("get_obj_cgroup_from_current")
    async def get_obj_cgroup_from_current(self) -> ObjCgroup | None:
        """What the running task's objects are charged to, with a reference: its cgroup's, or that of the nearest above.

        Nothing in interrupts, kernel threads and the root.
        """
        running = self.machine.running
        cgroup = running.cgroup if isinstance(running, FunctionThread) else None
        if cgroup is None:
            return None
        memcg = cgroup.memcg
        async with self.machine.rcu.reader():
            while memcg.parent is not None:
                await memcg.read_kmem
                objcg = memcg.objcg
                if objcg is not None and await objcg.refcnt.tryget():
                    return objcg
                memcg = memcg.parent
        return None

    async def get_mem_cgroup_from_objcg(self, objcg: ObjCgroup) -> MemCgroup:
        """The cgroup that something is charged to at present, with a reference."""
        async with self.rcu_reader():
            while True:
                await objcg.read_owner
                memcg = objcg.memcg
                if await memcg.css.tryget():
                    return memcg

    # --- bytes

    def _this_stock(self) -> ObjStock:
        return self.stocks[self.machine.smp_processor_id()]

    async def charge(self, objcg: ObjCgroup, gfp: int, size: int) -> bool:
        """Charge bytes: from the stock, or whole pages of which the rest goes to the stock (``obj_cgroup_charge``)."""
        if self._this_stock().consume(objcg, size):
            return True
        pages = -(-size >> PAGE_SHIFT)
        memcg = await self.get_mem_cgroup_from_objcg(objcg)
        charged = await self.charging.try_charge(memcg, gfp, pages)
        await memcg.css.put()
        rest = (pages << PAGE_SHIFT) - size
        if charged and rest:
            await self._refill(objcg, rest, uncharge=False)
        return charged

    async def _refill(self, objcg: ObjCgroup, size: int, *, uncharge: bool) -> None:
        old, old_pages, pages = self._this_stock().refill(objcg, size, uncharge=uncharge)
        await self._give_up(old, old_pages)
        if pages:
            await self.uncharge_pages(objcg, pages)

    async def _give_up(self, old: ObjCgroup | None, pages: int) -> None:
        """Finish what draining a stock has begun."""
        if old is not None:
            if pages:
                await self.uncharge_pages(old, pages)
            await old.refcnt.put()

    async def uncharge_pages(self, objcg: ObjCgroup, pages: int) -> None:
        """Take the charge of whole pages back, from whoever it belongs to now."""
        memcg = await self.get_mem_cgroup_from_objcg(objcg)
        await self.charging.uncharge(memcg, pages)
        await memcg.css.put()

    @kernel_name("drain_all_stock")
    async def drain_all_stock(self, memcg: MemCgroup) -> None:
        """Have every processor give up its stock, if it is charged to `memcg` or below; nobody waits for them."""
        if not await self.percpu_charge_mutex.trylock():
            return
        machine = self.machine
        await self._look_at_stocks
        here = machine.smp_processor_id()
        touch = machine.interleaver.touch
        wanted: list[int] = []
        for cpu in machine.online_cpus():
            if touch is not None:
                touch(cpu.host, Access.WRITE)
            stock = self.stocks[cpu.cpu_id]
            if stock.cached_objcg is not None and not stock.flushing and self._is_below(stock.cached_objcg, memcg):
                stock.flushing = True
                wanted.append(cpu.cpu_id)
        for cpu_id in wanted:
            if cpu_id == here:
                await self.drain_local_stock()
            else:
                await self.deferred.queue_on(cpu_id, SYSTEM, "drain_local_stock", self.drain_local_stock)
        await self.percpu_charge_mutex.unlock()

    def _is_below(self, objcg: ObjCgroup, memcg: MemCgroup) -> bool:
        touch = self.machine.interleaver.touch
        if touch is not None:
            touch(objcg.read_owner.resource, Access.READ)
        return objcg.memcg.is_below(memcg)

    @kernel_name("drain_local_stock")
    async def drain_local_stock(self) -> None:
        """Give up this processor's stock."""
        stock = self._this_stock()
        old, pages = stock.drain()
        stock.flushing = False
        await self._give_up(old, pages)

    # --- objects

    @part_of_caller
    async def kmem_cache_alloc(self, cache: KmemCache, gfp: int, node: int) -> int | None:
        """Charge, allocate, write down whose it is."""
        objcg = await self.get_obj_cgroup_from_current()
        if objcg is None:
            return await slab_alloc_node(self.slub, cache, gfp, node)
        if not await self.charge(objcg, gfp, cache.size + POINTER):
            await objcg.refcnt.put()
            return None
        address = await slab_alloc_node(self.slub, cache, gfp, node)
        await self._post_alloc_hook(objcg, cache, (address,))
        return address

    @part_of_caller
    async def kmem_cache_alloc_bulk(self, cache: KmemCache, gfp: int, count: int) -> list[int]:
        """All are charged first."""
        objcg = await self.get_obj_cgroup_from_current()
        if objcg is None:
            return await kmem_cache_alloc_bulk(self.slub, cache, gfp, count, accounted=False)
        if not await self.charge(objcg, gfp, count * (cache.size + POINTER)):
            await objcg.refcnt.put()
            return []
        addresses = await kmem_cache_alloc_bulk(self.slub, cache, gfp, count, accounted=False)
        await self._post_alloc_hook(objcg, cache, addresses or (None,) * count)
        return addresses

    async def _post_alloc_hook(self, objcg: ObjCgroup, cache: KmemCache, addresses: Sequence[int | None]) -> None:
        for address in addresses:
            if address is None:
                await self._refill(objcg, cache.size + POINTER, uncharge=True)
                continue
            slab = self.slub.slabs[page_frame(address)]
            if slab.objcgs is None:
                await self._install
                if slab.objcgs is None:
                    slab.objcgs = [None] * slab.objects
            objcg.refcnt.get()
            slab.objcgs[(address - slab.base) // cache.size] = objcg
        await objcg.refcnt.put()

    async def free_hook(self, slab: Slab, index: int) -> None:
        """Take the charge of an object back: its bytes go to this processor's stock."""
        vector = slab.objcgs
        objcg = vector[index] if vector is not None else None
        if vector is None or objcg is None:
            return
        vector[index] = None
        await self._refill(objcg, slab.cache.size + POINTER, uncharge=True)
        await objcg.refcnt.put()

    async def slab_bytes(self, memcg: MemCgroup) -> tuple[int, int]:
        """Objects, each with the pointer to its owner; who owns what is up to every processor's steps."""
        await self._look_at_stocks
        touch = self.machine.interleaver.touch
        if touch is not None:
            for cpu in self.machine.cpus.values():
                touch(cpu.host, Access.READ)
        found = [0, 0]
        slabs = dict.fromkeys(slab for slab in self.slub.slabs.values() if slab.objcgs is not None)
        for slab in slabs:
            owners = [objcg for objcg in slab.objcgs or () if objcg is not None and self._is_below(objcg, memcg)]
            unreclaimable = not slab.cache.flags & SLAB_RECLAIM_ACCOUNT
            found[unreclaimable] += len(owners) * (slab.cache.size + POINTER)
        return found[0], found[1]

    # --- what only caches of cgroups need

    async def charge_slab(self, cache: KmemCache, gfp: int, pages: int) -> bool:
        """Pages of slabs are nobody's."""
        return True

    async def uncharge_slab(self, cache: KmemCache, pages: int) -> None:
        """The same."""

    def creating(self, locks: Together) -> Together:
        """Nothing more."""
        return locks

    def link(self, cache: KmemCache) -> None:
        """A cache is a cache."""

    @part_of_caller
    async def destroy(self, cache: KmemCache) -> bool:
        """As if there were no cgroups."""
        return await destroy_cache(self.slub, cache)

    async def release(self, cache: KmemCache) -> None:
        """Nothing was put there."""
