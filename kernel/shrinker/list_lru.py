"""``struct list_lru``: lists of objects that may be given back, one for each node and cgroup.

Mirrors list_lru_add(), list_lru_del(), list_lru_count_one(), list_lru_walk_one(), list_lru_isolate(),
memcg_list_lru_alloc(), __list_lru_init() and list_lru_destroy() of mm/list_lru.c (6.1).

All lists of a node, and the numbers of their items, are under ``nlru->lock``; numbers are also read without.  Which
list an object is counted for is computed under the lock, from the number of its cgroup at that moment: while a cgroup
hands its lists over, an object may be counted off its parent's list although it is still linked into the child's, so a
number can be below zero for a while.  The lists of a cgroup are made before its first object, for it and all above it;
``xa`` finds them by the cgroup's number.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

from ...actors import Access, Op, OpKind
from ..existence import KeptBy, claim, publish
from ..locks import Spinlock
from ..memcg.memcg import NO_ID
from ..memory import Structure, allocated, free_structure
from ..stack import kernel_name, part_of_caller

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from ...actors import Resource
    from ..fault import FailSlab
    from ..machine import Machine
    from ..memcg import MemCgroup
    from .maps import CopiedMaps

    Isolate = Callable[["ListLruOne", "ListLruNode", int], Awaitable["LruStatus"]]
    """Of an item of a list, under the lock of its node: what is to become of it."""


NODE_LOCK = "&nlru->lock"


class LruStatus(Enum):
    """``enum lru_status``."""

    REMOVED = 0  # taken off
    REMOVED_RETRY = 1  # taken off; the lock was left meanwhile
    ROTATE = 2  # to the end of the list
    SKIP = 3
    RETRY = 4  # not taken off; the lock was left meanwhile


class ListLruOne(Structure):
    """A list: ``items`` by address, the first added first; ``nr_items`` as counted, see the module."""

    __slots__ = ("_resource", "items", "nr_items")
    emulated = ("_resource",)

    def __init__(self, resource: Resource) -> None:
        self.shadow = None
        self._resource = resource
        self.items: dict[int, None] = {}
        self.nr_items = 0

    def resources(self) -> tuple[Resource, ...]:
        """What those declare who look at the number."""
        return (self._resource,)


class ListLruMemcg(Structure):
    """``struct list_lru_memcg``: a cgroup's lists, by node."""

    __slots__ = ("address", "node")
    emulated = ("address",)

    def __init__(self, machine: Machine, nodes: dict[int, ListLruNode]) -> None:
        self.shadow = None
        self.node = {nid: ListLruOne(node.resource) for nid, node in nodes.items()}
        size = 24 * len(nodes) + 16
        self.address = address = machine.static_address(size)
        # Who takes them away empties them under the lock first, and waits for readers then.
        kept_by = KeptBy(readers=("rcu",), locks=(NODE_LOCK,))
        ones = list(self.node.values())
        allocated(machine, self, "struct list_lru_memcg", "kmalloc", address, size, kept_by=kept_by)
        for number, one in enumerate(ones):
            part_of = KeptBy(owners=lambda: (self,))
            where = address + 16 + 24 * number
            allocated(machine, one, "struct list_lru_one", "kmalloc", where, 24, kept_by=part_of)

    @part_of_caller
    def publish(self, machine: Machine) -> None:
        """Others find it from here on."""
        publish(machine, *self.node.values(), self)

    @part_of_caller
    def claim(self, machine: Machine) -> None:
        """Nobody finds it any more who is not at it already."""
        claim(machine, self)
        claim(machine, *self.node.values())

    @part_of_caller
    def free(self) -> None:
        """``kfree``."""
        for structure in (*self.node.values(), self):
            free_structure(structure)


class ListLruNode:
    """``struct list_lru_node``: the lock of a node, and the list of what belongs to no cgroup, or to the root."""

    __slots__ = ("lock", "lru", "nr_items", "on", "resource")

    def __init__(self, machine: Machine) -> None:
        self.lock = Spinlock(machine, NODE_LOCK)
        self.resource = machine.interleaver.resource("nlru->nr_items")
        self.lru = ListLruOne(self.resource)
        self.nr_items = 0
        self.on: dict[int, ListLruOne] = {}  # which list an item is linked into: its own list_head


class ListLru:
    """The lists of one cache.  ``maps`` is None where there are no cgroups: all is on the nodes' own lists then."""

    def __init__(self, machine: Machine, maps: CopiedMaps | None, shrinker_id: int, failslab: FailSlab) -> None:
        self.machine = machine
        self.maps = maps
        self.shrinker_id = shrinker_id
        self.failslab = failslab
        self.memcg_aware = maps is not None and shrinker_id >= 0
        self.node = {nid: ListLruNode(machine) for nid in sorted(machine.nodes)}
        self.xa_resource = machine.interleaver.resource("list_lru->xa")
        self.read_xa = Op(OpKind.READ, self.xa_resource)
        self.write_xa = Op(OpKind.UPDATE, self.xa_resource)
        self.xa: dict[int, ListLruMemcg] = {}  # by kmemcg_id, under xa_lock

    # --- which list

    @part_of_caller
    async def from_memcg(self, nid: int, memcg: MemCgroup | None) -> ListLruOne | None:
        """The list of a cgroup on a node, as its number is now; None where there is none."""
        if not self.memcg_aware or memcg is None:
            return self.node[nid].lru
        await memcg.read_kmem
        return await self.from_index(nid, memcg.kmemcg_id)

    @kernel_name("list_lru_from_memcg_idx")
    async def from_index(self, nid: int, index: int) -> ListLruOne | None:
        """``list_lru_from_memcg_idx``."""
        if not self.memcg_aware or index == NO_ID:
            return self.node[nid].lru
        await self.read_xa
        lists = self.machine.rcu.loaded(self.xa.get(index))
        return None if lists is None else self.machine.rcu.loaded(lists.node[nid])

    def declare_change(self, nlru: ListLruNode) -> None:
        """Declare that numbers of a node change in the step being made."""
        touch = self.machine.interleaver.touch
        if touch is not None:
            touch(nlru.resource, Access.WRITE)

    # --- items

    @kernel_name("list_lru_add")
    async def add(self, address: int, nid: int, memcg: MemCgroup | None) -> bool:
        """Put an object that belongs to `memcg` on its list, unless it is on one; whether it was put there."""
        nlru = self.node[nid]
        async with nlru.lock:
            return await self.add_locked(nlru, address, nid, memcg)

    @part_of_caller
    async def add_locked(self, nlru: ListLruNode, address: int, nid: int, memcg: MemCgroup | None) -> bool:
        """The same, under the lock."""
        if address in nlru.on:
            return False
        one = await self.from_memcg(nid, memcg)
        if one is None:
            self.machine.null_dereference("list", write=True)
        self.declare_change(nlru)
        one.items[address] = None
        nlru.on[address] = one
        first = not one.nr_items
        one.nr_items += 1
        nlru.nr_items += 1
        if first and self.maps is not None:
            await self.maps.set_bit(memcg, nid, self.shrinker_id)
        return True

    @kernel_name("list_lru_del")
    async def delete(self, address: int, nid: int, memcg: MemCgroup | None) -> bool:
        """Take an object off its list, if it is on one; whether it was."""
        nlru = self.node[nid]
        async with nlru.lock:
            return await self.delete_locked(nlru, address, nid, memcg)

    @part_of_caller
    async def delete_locked(self, nlru: ListLruNode, address: int, nid: int, memcg: MemCgroup | None) -> bool:
        """The same, under the lock."""
        if address not in nlru.on:
            return False
        one = await self.from_memcg(nid, memcg)
        if one is None:
            self.machine.null_dereference("nr_items", write=True)
        self.declare_change(nlru)
        del nlru.on.pop(address).items[address]
        one.nr_items -= 1
        nlru.nr_items -= 1
        return True

    def isolate(self, one: ListLruOne, nlru: ListLruNode, address: int) -> None:
        """Take an item off the list that is being walked (``list_lru_isolate``)."""
        self.declare_change(nlru)
        del one.items[address], nlru.on[address]
        one.nr_items -= 1

    # --- counting and walking

    @kernel_name("list_lru_count_one")
    async def count_one(self, nid: int, memcg: MemCgroup | None) -> int:
        """How many items there are for a cgroup on a node, or were just now."""
        async with self.machine.rcu.reader():
            one = await self.from_memcg(nid, memcg)
            if one is None:
                return 0
            await Op(OpKind.READ, self.node[nid].resource)
            return max(0, one.nr_items)

    @kernel_name("list_lru_walk_one")
    async def walk_one(self, nid: int, memcg: MemCgroup | None, isolate: Isolate, nr_to_walk: int) -> int:
        """Show up to `nr_to_walk` items to `isolate`, the first added first; how many were taken off."""
        nlru = self.node[nid]
        isolated = 0
        async with nlru.lock:
            again = True
            while again:
                again = False
                one = await self.from_memcg(nid, memcg)
                for address in () if one is None else list(one.items):
                    if not nr_to_walk:
                        break
                    nr_to_walk -= 1
                    assert one is not None  # it has items
                    status = await isolate(one, nlru, address)
                    if status in (LruStatus.REMOVED, LruStatus.REMOVED_RETRY):
                        isolated += 1
                        nlru.nr_items -= 1
                    elif status is LruStatus.ROTATE:
                        del one.items[address]
                        one.items[address] = None
                    if status in (LruStatus.REMOVED_RETRY, LruStatus.RETRY):
                        again = True
                        break
        return isolated

    # --- lists of cgroups

    @kernel_name("memcg_list_lru_alloc")
    async def memcg_list_lru_alloc(self, memcg: MemCgroup | None) -> bool:
        """Have lists for a cgroup and all above it; false where memory ran out."""
        if not self.memcg_aware:
            return True
        table: list[tuple[MemCgroup, ListLruMemcg]] = []
        while memcg is not None and await self.lacks(memcg):
            if self.failslab.should_fail():
                for _, lists in table:
                    lists.free()
                return False
            table.append((memcg, ListLruMemcg(self.machine, self.node)))
            memcg = memcg.parent
        if table:
            await self.write_xa
            for owner, lists in reversed(table):
                owner.look_at_kmem()
                # A cgroup that has gone offline meanwhile has its parent's number.
                if owner.kmemcg_id == NO_ID or owner.kmemcg_id in self.xa:
                    lists.free()
                else:
                    self.xa[owner.kmemcg_id] = lists
                    lists.publish(self.machine)
        return True

    async def lacks(self, memcg: MemCgroup) -> bool:
        """Whether there are no lists for a cgroup that needs some."""
        await memcg.read_kmem
        index = memcg.kmemcg_id
        if index == NO_ID:
            return False
        await self.read_xa
        return index not in self.xa

    async def take_lists(self, index: int) -> ListLruMemcg | None:
        """Forget the lists of a number (``xa_erase_irq``)."""
        await self.write_xa
        return self.xa.pop(index, None)
