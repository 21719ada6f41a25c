"""The state of SLUB on one machine, and which variant of each of its protocols the running release has."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from ...actors import Access, Op, OpKind
from ..gfp import GFP_ACCOUNT
from ..locks import Mutex
from ..memory import null_of
from ..node_states import NodeMask
from .cache import KmemCache, KmemCacheNode

if TYPE_CHECKING:
    from ...topology.slabinfo import SlabinfoRow
    from ..kernfs import KernfsDirectory
    from ..machine import Machine
    from ..memcg import KmemMemcg
    from ..releases import Kernel
    from .cache import Slab
    from .geometry import Tunables
    from .quarantine import QuarantineWithIrqsOn


class Detour(Protocol):
    """Who allocates where there is more to do than allocating from the cache."""

    async def kmem_cache_alloc(self, cache: KmemCache, gfp: int, node: int) -> int | None:
        """Allocate an object."""
        ...

    async def kmem_cache_alloc_bulk(self, cache: KmemCache, gfp: int, count: int) -> list[int]:
        """Allocate many, or none."""
        ...


class Slub:
    """All caches of a machine.

    ``slab_mutex`` protects ``slab_caches``, ``slab_nodes`` and every cache's ``node`` array for writing.
    ``slabs`` finds the slab of an object by page frame number.
    """

    def __init__(self, machine: Machine, kernel: Kernel, tunables: Tunables) -> None:
        self.machine = machine
        self.interleaver = machine.interleaver
        self.kasan = machine.kasan
        self.trace_alloc = machine.tracepoints.kmem_cache_alloc
        self.trace_free = machine.tracepoints.kmem_cache_free
        self.trace_sleep = machine.tracepoints.might_sleep
        self.variants = kernel
        self.tunables = tunables
        self.slab_mutex = Mutex(machine, "slab_mutex")
        self.flush_lock = Mutex(machine, "flush_lock")
        # Of the configuration and the command line.
        self.statistics = False  # CONFIG_SLUB_STATS
        self.freelist_random = False  # CONFIG_SLAB_FREELIST_RANDOM
        self.kmem_accounting = True
        self.memcg: KmemMemcg | None = None  # accounting for cgroups, once there may be any
        self.quarantine: QuarantineWithIrqsOn | None = None  # CONFIG_KASAN_GENERIC
        # Who allocates from SLAB_ACCOUNT caches, and what a bit of `detour_gfp` is asked of: one test in the fast path.
        self.detour: Detour | None = None
        self.detour_gfp = 0
        self.recorded: dict[str, SlabinfoRow] = {}  # while booting: caches whose geometry a dump prescribes
        self.kmalloc_caches: dict[tuple[int, int], KmemCache] = {}  # by type and index
        self.slab_caches: dict[KmemCache, None] = {}  # oldest first
        self.mergeable: dict[int, dict[KmemCache, None]] = {}  # those others may join, by size, oldest first
        self.names: dict[str, KmemCache] = {}  # /sys/kernel/slab: directories and links
        self.directories: dict[KmemCache, KernfsDirectory] = {}  # those of which a file was used
        self.list_resource = machine.interleaver.resource("slab_caches")
        self.read_list = Op(OpKind.READ, self.list_resource)
        self.slab_nodes = NodeMask()
        nodes = machine.interleaver.resource("slab_nodes")
        self.read_slab_nodes = Op(OpKind.READ, nodes)
        self.write_slab_nodes = Op(OpKind.WRITE, nodes)
        self.slabs: dict[int, Slab] = {}
        self.large: dict[int, tuple[int, int]] = {}  # kmalloc()ed pages: first page frame → node, order
        self.structures: dict[int, KmemCache | KmemCacheNode] = {}  # living ones by address
        # Which processors have a slab of a cache, looked at by others: the steps of each of them count.
        self.read_cpu_slabs = Op(OpKind.READ, machine.interleaver.resource("cpu_slab of every cpu"))
        self.cpu_flush = kernel.cpu_flush(self)
        self.cache_release = kernel.cache_release(self)
        # The boot caches, set by kmem_cache_init.
        self.kmem_cache_node: KmemCache
        self.kmem_cache: KmemCache

    def find_detour(self) -> None:
        """Set `detour`, when `memcg` or `quarantine` has been set: the quarantine looks at every allocation."""
        self.detour = self.memcg if self.quarantine is None else self.quarantine
        self.detour_gfp = GFP_ACCOUNT if self.quarantine is None else -1

    def list_changes(self) -> None:
        """Declare, under ``slab_mutex``, what those will see who find a cache by name without it."""
        touch = self.machine.interleaver.touch
        if touch is not None:
            touch(self.list_resource, Access.WRITE)

    async def look_up(self, name: str) -> KmemCache | None:
        """The cache called `name`, as /sys/kernel/slab finds it: without ``slab_mutex``."""
        await self.read_list
        return self.find(name)

    def find(self, name: str) -> KmemCache | None:
        """The cache called `name`, or merged under that name with another; under ``slab_mutex``."""
        return self.names.get(name)

    def newest_first(self) -> list[KmemCache]:
        """All caches in the order of the kernel's list, to which new ones are added at the head."""
        return list(reversed(self.slab_caches))

    def delist(self, cache: KmemCache) -> None:
        """Take a cache off the list: nobody will allocate from it or merge with it; under ``slab_mutex``."""
        self.list_changes()
        del self.slab_caches[cache]
        self.mergeable.get(cache.size, {}).pop(cache, None)

    def forget_names(self, cache: KmemCache) -> None:
        """Nobody finds a cache by name from here on, and its names are free."""
        self.list_changes()
        for name in (cache.name, *cache.aliases):
            if self.names.get(name) is cache:
                del self.names[name]

    def get_node(self, cache: KmemCache, node: int) -> KmemCacheNode:
        """``get_node()``: what `cache` has on `node`, or the null pointer.  A plain read: no lock, no check."""
        found = cache.node.get(node)
        return null_of(self.machine, KmemCacheNode) if found is None else found
