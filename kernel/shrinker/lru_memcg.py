"""List LRUs and cgroups: whose an object is, and what becomes of the lists of a cgroup that goes.

Mirrors memcg_reparent_list_lrus(), memcg_reparent_list_lru_node(), list_lru_register() of mm/list_lru.c (6.1),
mem_cgroup_from_slab_obj() of mm/memcontrol.c, and list_lru_add_obj() of mm/list_lru.c as the catalogue tells of it.

Going offline: the number of the cgroup, and of all below it, becomes its parent's; then, under ``list_lrus_mutex`` and
lock by lock, its lists are spliced to the parent's.  An addition computes its list under the same lock, so it is either
spliced or has seen the new number.  That is true of the object, not of its bit: who has looked up the owner before it
changed, and the number after that, puts the object on the parent's list and sets the bit for the child (so it is in
6.1; the sanitizer `shrinker_state` finds it).  Two seams:

======================= =====================================================================================
``lru_reparenting``     when the parent's bit is set
`SetIfEmpty`            up to 5.9: if the parent's list was empty; but that it is not empty does not mean that
                        its bit is set (M28)
`SetIfMoved`            5.10 (8199be001a47): if anything was moved
``lru_owner``           when it is looked up whose an object is
`UnderNodeLock`         up to 6.7: under ``nlru->lock``, which is a reader of RCU too, with preemption off
`BeforeLock`            6.8 (0a97c01cd20b): before; the cgroup may have ended when it is used (M29)
`UnderRcu`              6.11 (5161b48712dc): before, in a reader that lasts as long as the cgroup is used
======================= =====================================================================================
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from ...actors import Op, OpKind
from ..memcg.memcg import NO_ID
from ..pages import page_frame
from ..rcu import RcuHead
from ..stack import kernel_name, part_of_caller

if TYPE_CHECKING:
    from ..machine import Machine
    from ..memcg import MemCgroup
    from .list_lru import ListLru, ListLruNode, ListLruOne
    from .maps import CopiedMaps


@kernel_name("mem_cgroup_from_slab_obj")
async def mem_cgroup_from_slab_obj(machine: Machine, address: int) -> MemCgroup | None:
    """What cgroup an object is charged to at present; under RCU, or it may have ended when it is used."""
    slab = machine.slab.slabs[page_frame(address)]
    if slab.objcgs is not None:
        objcg = slab.objcgs[(address - slab.base) // slab.cache.size]
        if objcg is None:
            return None
        await objcg.read_owner
        return objcg.memcg
    params = slab.cache.memcg_params
    return None if params is None else params.memcg


class LruOwner(Protocol):
    """Seam: adding and removing an object that is charged for."""

    async def add(self, lru: ListLru, address: int, nid: int) -> bool:
        """Put an object on the list of its cgroup."""
        ...

    async def delete(self, lru: ListLru, address: int, nid: int) -> bool:
        """Take it off."""
        ...


class UnderNodeLock:
    """Up to 6.7."""

    @kernel_name("list_lru_add")
    async def add(self, lru: ListLru, address: int, nid: int) -> bool:
        """Look up under the lock."""
        nlru = lru.node[nid]
        async with nlru.lock:
            return await lru.add_locked(nlru, address, nid, await self._owner(lru, nlru, address, on=False))

    @kernel_name("list_lru_del")
    async def delete(self, lru: ListLru, address: int, nid: int) -> bool:
        """The same."""
        nlru = lru.node[nid]
        async with nlru.lock:
            return await lru.delete_locked(nlru, address, nid, await self._owner(lru, nlru, address, on=True))

    @part_of_caller
    async def _owner(self, lru: ListLru, nlru: ListLruNode, address: int, *, on: bool) -> MemCgroup | None:
        if not lru.memcg_aware or (address in nlru.on) is not on:
            return None
        return await mem_cgroup_from_slab_obj(lru.machine, address)


HAS_LOOKED = Op(OpKind.LOCAL, "cgroup of an object")
"""Nothing is done in this step: preemption may come between looking a cgroup up and using it."""


class BeforeLock:
    """6.8 to 6.10."""

    @kernel_name("list_lru_add_obj")
    async def add(self, lru: ListLru, address: int, nid: int) -> bool:
        """Look up, then lock."""
        memcg = await self._owner(lru, address)
        return await lru.add(address, nid, memcg)

    @kernel_name("list_lru_del_obj")
    async def delete(self, lru: ListLru, address: int, nid: int) -> bool:
        """The same."""
        memcg = await self._owner(lru, address)
        return await lru.delete(address, nid, memcg)

    @part_of_caller
    async def _owner(self, lru: ListLru, address: int) -> MemCgroup | None:
        if not lru.memcg_aware:
            return None
        memcg = await mem_cgroup_from_slab_obj(lru.machine, address)
        await HAS_LOOKED
        return memcg


class UnderRcu(BeforeLock):
    """From 6.11."""

    @kernel_name("list_lru_add_obj")
    async def add(self, lru: ListLru, address: int, nid: int) -> bool:
        """Look up and add in one reader."""
        async with lru.machine.rcu.reader():
            return await super().add(lru, address, nid)

    @kernel_name("list_lru_del_obj")
    async def delete(self, lru: ListLru, address: int, nid: int) -> bool:
        """The same."""
        async with lru.machine.rcu.reader():
            return await super().delete(lru, address, nid)


class LruReparenting(Protocol):
    """Seam: the bit of a parent that inherits items."""

    def wants_bit(self, src: ListLruOne, dst: ListLruOne) -> bool:
        """Whether the parent's bit is to be set; asked under the lock, before the items are counted over."""
        ...


class SetIfEmpty:
    """Up to 5.9."""

    def wants_bit(self, src: ListLruOne, dst: ListLruOne) -> bool:
        """If the first items come."""
        return not dst.nr_items and bool(src.nr_items)


class SetIfMoved:
    """From 5.10."""

    def wants_bit(self, src: ListLruOne, dst: ListLruOne) -> bool:
        """If items come."""
        return bool(src.nr_items)


@kernel_name("memcg_reparent_list_lru_node")
async def memcg_reparent_list_lru_node(
    lru: ListLru, nid: int, index: int, parent: MemCgroup, variant: LruReparenting, maps: CopiedMaps
) -> None:
    """Splice the list of number `index` on a node to the parent's."""
    nlru = lru.node[nid]
    async with nlru.lock.irqsave():
        src = await lru.from_index(nid, index)
        if src is None:
            return
        dst = await lru.from_memcg(nid, parent)
        if dst is None:
            lru.machine.null_dereference("list", write=True)
        lru.declare_change(nlru)
        wanted = variant.wants_bit(src, dst)
        dst.items.update(src.items)
        nlru.on.update(dict.fromkeys(src.items, dst))
        src.items.clear()
        dst.nr_items += src.nr_items
        src.nr_items = 0
        if wanted:
            await maps.set_bit(parent, nid, lru.shrinker_id)


@kernel_name("memcg_reparent_list_lru")
async def memcg_reparent_list_lru(
    lru: ListLru, index: int, parent: MemCgroup, variant: LruReparenting, maps: CopiedMaps
) -> None:
    """All lists of a number, which end a grace period later."""
    for nid in lru.node:
        await memcg_reparent_list_lru_node(lru, nid, index, parent, variant, maps)
    lists = await lru.take_lists(index)
    if lists is not None:
        lists.claim(lru.machine)

        async def kvfree_rcu_cb() -> None:
            lists.free()

        await lru.machine.rcu.call_rcu(RcuHead(kvfree_rcu_cb, lists.address))


async def inherit_number(memcg: MemCgroup, parent: MemCgroup) -> None:
    """The cgroup and all below it have the parent's number from here on."""
    for below in (memcg, *memcg.descendants()):
        if below.kmemcg_id != NO_ID:
            await below.write_kmem
            below.kmemcg_id = parent.kmemcg_id
