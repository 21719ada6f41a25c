"""The structures of SLUB, fields grouped by who may change them.

Mirrors struct kmem_cache, kmem_cache_cpu, kmem_cache_node and slab of include/linux/slub_def.h and mm/slab.h (6.1).

A free list is a chain of object numbers: the number of the first, and for each object of the slab the number of the
next (``links``), as the kernel keeps it in the free objects themselves.  Whoever has the first number has the list.
"""

from __future__ import annotations

from array import array
from functools import lru_cache
from typing import TYPE_CHECKING

from ...actors import Access, Op, OpKind
from ..locks import Spinlock
from ..memory import Structure
from .flags import SLAB_DEBUG_FLAGS
from .slab_list import SlabList
from .statistics import new_counters

if TYPE_CHECKING:
    from collections.abc import Callable

    from ...actors import Interleaver, Resource
    from ..machine import Machine
    from ..memcg.objcg import ObjCgroup
    from ..memcg.params import ChildParams, RootParams
    from .debug_memory import DebugMemory
    from .geometry import Geometry

    Constructor = Callable[[int], object]
    """Called with the address of each object of a new slab, once in the life of that object."""

NIL = 0xFFFF
"""The end of a free list; numbers of objects are below ``MAX_OBJS_PER_PAGE``."""

KMEM_CACHE_NODE_SIZE = 64
KMEM_CACHE_HEAD = 216
"""Bytes of ``struct kmem_cache`` before its array of node structures (6.1, the recorded configuration)."""


def kmem_cache_size(machine: Machine) -> int:
    """``sizeof(struct kmem_cache)``: it ends with a pointer for each possible node."""
    return KMEM_CACHE_HEAD + 8 * (max(machine.nodes) + 1)


@lru_cache(maxsize=256)
def _in_order(objects: int) -> array[int]:
    return array("H", [*range(1, objects), NIL])


class Slab(Structure):
    """``struct slab``: the pages of one slab."""

    __slots__ = (
        "base",
        "cache",
        "freelist",
        "frozen",
        "inuse",
        "links",
        "live",
        "memory",
        "next",
        "node",
        "objcgs",
        "objects",
        "order",
        "pfn",
        "pobjects",
        "previous",
        "slabs",
    )

    def __init__(self, cache: KmemCache, pfn: int, base: int, node: int, order: int, objects: int) -> None:
        # Constant.
        self.shadow = None
        self.cache = cache
        self.pfn = pfn
        self.base = base
        self.node = node
        self.order = order
        self.objects = objects
        # What is written in the objects, kept for caches under debugging only.
        self.memory: DebugMemory | None = None
        # A link belongs to whoever owns its object or the list it is on.
        self.links = _in_order(objects)[:]
        # What KASAN's shadow memory would say: a bit for each object that somebody has allocated.
        self.live = 0
        # One compare-and-exchange changes these together.
        self.freelist = 0
        self.inuse = 0
        self.frozen = False
        # n->list_lock while on a list of the node; the processor's while on its list.
        self.next: Slab | None = None
        self.previous: Slab | None = None
        # Who each object is charged to, from 5.9; a place belongs to whoever owns its object.
        self.objcgs: list[ObjCgroup | None] | None = None
        # Head of a processor's list: how many slabs, and (up to 5.15) free objects, are on it.
        self.slabs = 0
        self.pobjects = 0

    def free_objects(self, first: int) -> list[int]:
        """The numbers of the objects on the free list that begins with `first`; no more than there are objects."""
        numbers: list[int] = []
        while first != NIL and len(numbers) <= self.objects:
            numbers.append(first)
            first = self.links[first]
        return numbers


class KmemCacheCpu:
    """``struct kmem_cache_cpu``: its processor's alone, apart from the peeks that decide about flushing.

    ``local_lock_irqsave(&s->cpu_slab->lock)`` is no lock here: sections under it contain no operation, so no other
    context of the processor can come in between.
    """

    __slots__ = ("freelist", "partial", "slab", "stat", "tid")

    def __init__(self, cpu: int, *, statistics: bool = False) -> None:
        self.freelist = NIL
        self.slab: Slab | None = None
        self.partial: Slab | None = None  # frozen slabs, linked by ``next``
        self.tid = cpu
        self.stat: list[int] | None = new_counters() if statistics else None

    def detach(self) -> tuple[Slab | None, int]:
        """Take slab and free list away from the processor."""
        slab, freelist = self.slab, self.freelist
        self.slab = None
        self.freelist = NIL
        self.tid += 1
        return slab, freelist

    def partial_slabs(self) -> list[Slab]:
        """The processor's partial slabs, head first."""
        slabs: list[Slab] = []
        slab = self.partial
        while slab is not None:
            slabs.append(slab)
            slab = slab.next
        return slabs


class KmemCacheNode(Structure):
    """``struct kmem_cache_node``: what a cache has on one node.  Lives in the boot cache of that name."""

    __slots__ = ("counters", "full", "list_lock", "node", "nr_partial", "nr_slabs", "partial", "total_objects")

    embedded = ("list_lock",)

    def __init__(self, machine: Machine, node: int, address: int, counters: Resource, *, lists_full: bool) -> None:
        self.shadow = None
        self.node = node
        self.counters = counters
        self.list_lock = Spinlock(machine, "&n->list_lock", address=address)
        # list_lock (nr_partial is also read without):
        self.partial = SlabList()
        self.nr_partial = 0
        self.full = SlabList() if lists_full else None  # with SLAB_STORE_USER only
        # Atomic, no lock:
        self.nr_slabs = 0
        self.total_objects = 0

    def nr_partial_changes(self) -> None:
        """Declare, under ``list_lock``, what those who look without it will see."""
        touch = self.list_lock.interleaver.touch
        if touch is not None:
            touch(self.counters, Access.WRITE)

    def resources(self) -> tuple[Resource, ...]:
        """The lock, and what those declare who look without it."""
        return self.list_lock.resource, self.counters


class KmemCache(Structure):
    """``struct kmem_cache``.  Lives in the boot cache of that name."""

    __slots__ = (
        "address",
        "aliases",
        "counters",
        "cpu_partial",
        "cpu_partial_slabs",
        "cpu_slab",
        "ctor",
        "debug",
        "flags",
        "freelists",
        "geometry",
        "holds_structures",
        "interleaver",
        "inuse",
        "memcg_params",
        "memcg_root",
        "min_partial",
        "name",
        "node",
        "object_size",
        "random_seq",
        "read_node",
        "read_nr_partial",
        "refcount",
        "remote_node_defrag_ratio",
        "size",
        "update_freelist",
        "useroffset",
        "usersize",
    )

    def __init__(
        self,
        interleaver: Interleaver,
        name: str,
        geometry: Geometry,
        *,
        address: int,
        ctor: Constructor | None = None,
        useroffset: int = 0,
        usersize: int = 0,
    ) -> None:
        # Constant after creation.
        self.shadow = None
        self.name = name
        self.geometry = geometry
        self.size = geometry.size
        self.flags = geometry.flags
        self.debug = bool(geometry.flags & SLAB_DEBUG_FLAGS)  # kmem_cache_debug()
        self.ctor = ctor
        self.useroffset = useroffset
        self.usersize = usersize
        self.address = address
        self.holds_structures = False  # the boot caches: their objects are kept as Python objects too
        self.random_seq: tuple[int, ...] | None = None  # the order in which new slabs hand out their objects
        # Accounting's, up to 5.8: of a cgroup's own cache, of one that cgroups have caches of.
        self.memcg_params: ChildParams | None = None
        self.memcg_root: RootParams | None = None
        # slab_mutex; an alias raises the sizes:
        self.refcount = 1
        self.aliases: tuple[str, ...] = ()  # other names it was merged under
        self.object_size = geometry.object_size
        self.inuse = geometry.inuse
        # Written through sysfs, whenever somebody likes:
        self.min_partial = geometry.min_partial
        self.cpu_partial = geometry.cpu_partial  # objects
        self.cpu_partial_slabs = geometry.cpu_partial_slabs
        self.remote_node_defrag_ratio = 1000
        # Written under slab_mutex, read without: each access is an operation.
        self.node: dict[int, KmemCacheNode] = {}
        # Per processor, made on first use.
        self.cpu_slab: dict[int, KmemCacheCpu] = {}
        nodes = interleaver.resource(f"{name}.node[]")
        self.read_node = Op(OpKind.READ, nodes)
        # Counters are changed under a node's list_lock or atomically, and read without a lock.
        self.counters = interleaver.resource(f"{name}.node[].nr_partial")
        self.read_nr_partial = Op(OpKind.READ, self.counters)
        # The free list, count and frozen bit of a slab: changed by one instruction, with or without the list_lock.
        self.freelists = interleaver.resource(f"{name}.slab.freelist")
        self.update_freelist = Op(OpKind.UPDATE, self.freelists)
        self.interleaver = interleaver

    # Operations that are rare are made when wanted: there are caches in the hundred thousands.

    @property
    def write_node(self) -> Op:
        """A change of ``node[]``."""
        return Op(OpKind.WRITE, self.read_node.resource)

    @property
    def count_slabs(self) -> Op:
        """An addition to the counters of a node."""
        return Op(OpKind.COMMUTE, self.counters)

    @property
    def read_cpu_partial(self) -> Op:
        """A look at ``cpu_partial`` by who goes by it some time later; `counters` is declared where it changes."""
        return Op(OpKind.READ, self.counters)

    def freelist_touched(self, access: Access) -> None:
        """Declare that the step being made looks at a slab's free list, or changes it, without an operation for it."""
        touch = self.interleaver.touch
        if touch is not None:
            touch(self.freelists, access)
