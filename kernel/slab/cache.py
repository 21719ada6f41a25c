"""The structures of SLUB, fields grouped by who may change them.

Mirrors struct kmem_cache, kmem_cache_cpu, kmem_cache_node and slab of include/linux/slub_def.h and mm/slab.h (6.1).
Their per-CPU partial lists come with the allocator issue.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...actors import Access, Op, OpKind
from ..locks import Spinlock
from ..memory import Structure

if TYPE_CHECKING:
    from ...actors import Interleaver, Resource
    from ..machine import Machine
    from .geometry import Geometry

KMEM_CACHE_NODE_SIZE = 64
KMEM_CACHE_SIZE = 256


class Slab(Structure):
    """``struct slab``: the pages of one slab."""

    __slots__ = ("base", "cache", "free_mask", "frozen", "inuse", "node", "objects", "on_partial", "order", "pfn")

    def __init__(self, cache: KmemCache, pfn: int, base: int, node: int, order: int, objects: int) -> None:
        # Constant.
        self.shadow = None
        self.cache = cache
        self.pfn = pfn
        self.base = base
        self.node = node
        self.order = order
        self.objects = objects
        # One compare-and-exchange changes these together.
        self.free_mask = (1 << objects) - 1
        self.inuse = 0
        self.frozen = False
        # n->list_lock:
        self.on_partial = False


class KmemCacheCpu:
    """``struct kmem_cache_cpu``: its processor's alone, apart from the peek at ``slab`` that decides about flushing."""

    __slots__ = ("base", "freelist", "slab", "tid")

    def __init__(self, cpu: int) -> None:
        self.freelist = 0  # bit mask of objects of ``slab``
        self.slab: Slab | None = None
        self.base = 0  # of ``slab``, kept here for the fast path
        self.tid = cpu


class KmemCacheNode(Structure):
    """``struct kmem_cache_node``: what a cache has on one node.  Lives in the boot cache of that name."""

    __slots__ = ("counters", "list_lock", "node", "nr_partial", "nr_slabs", "partial", "total_objects")

    embedded = ("list_lock",)

    def __init__(self, machine: Machine, node: int, address: int, counters: Resource) -> None:
        self.shadow = None
        self.node = node
        self.counters = counters
        self.list_lock = Spinlock(machine, "&n->list_lock", address=address)
        # list_lock (nr_partial is also read without):
        self.partial: dict[Slab, None] = {}  # head first
        self.nr_partial = 0
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
        "count_slabs",
        "counters",
        "cpu_slab",
        "ctor",
        "flags",
        "freelists",
        "geometry",
        "interleaver",
        "min_partial",
        "name",
        "node",
        "object_size",
        "read_node",
        "read_nr_partial",
        "refcount",
        "size",
        "update_freelist",
        "write_node",
    )

    def __init__(
        self, interleaver: Interleaver, name: str, geometry: Geometry, flags: int, *, ctor: bool, address: int
    ) -> None:
        # Constant after creation.
        self.shadow = None
        self.name = name
        self.geometry = geometry
        self.object_size = geometry.object_size
        self.size = geometry.size
        self.min_partial = geometry.min_partial
        self.flags = flags
        self.ctor = ctor
        self.address = address
        # slab_mutex:
        self.refcount = 1
        # Written under slab_mutex, read without: each access is an operation.
        self.node: dict[int, KmemCacheNode] = {}
        # Per processor, made on first use.
        self.cpu_slab: dict[int, KmemCacheCpu] = {}
        nodes = interleaver.resource(f"{name}.node[]")
        self.read_node = Op(OpKind.READ, nodes)
        self.write_node = Op(OpKind.WRITE, nodes)
        # Counters are changed under a node's list_lock or atomically, and read without a lock.
        self.counters = interleaver.resource(f"{name}.node[].nr_partial")
        self.read_nr_partial = Op(OpKind.READ, self.counters)
        self.count_slabs = Op(OpKind.COMMUTE, self.counters)
        # The free list, count and frozen bit of a slab: changed by one instruction, with or without the list_lock.
        self.freelists = interleaver.resource(f"{name}.slab.freelist")
        self.update_freelist = Op(OpKind.UPDATE, self.freelists)
        self.interleaver = interleaver

    def freelist_touched(self, access: Access) -> None:
        """Declare that the step being made looks at a slab's free list, or changes it, without an operation for it."""
        touch = self.interleaver.touch
        if touch is not None:
            touch(self.freelists, access)
