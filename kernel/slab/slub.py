"""The state of SLUB on one machine, and which variant of each of its protocols the running release has."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...actors import Access, Op, OpKind
from ..locks import Mutex
from ..memory import null_of
from ..node_states import NodeMask
from .cache import KmemCache, KmemCacheNode

if TYPE_CHECKING:
    from ..machine import Machine
    from ..releases import Kernel
    from .cache import Slab
    from .geometry import Tunables


class Slub:
    """All caches of a machine.

    ``slab_mutex`` protects ``slab_caches`` (newest first), ``slab_nodes`` and every cache's ``node`` array for writing.
    ``slabs`` finds the slab of an object by page frame number.
    """

    def __init__(self, machine: Machine, kernel: Kernel, tunables: Tunables) -> None:
        self.machine = machine
        self.variants = kernel
        self.tunables = tunables
        self.slab_mutex = Mutex(machine, "slab_mutex")
        self.flush_lock = Mutex(machine, "flush_lock")
        self.slab_caches: list[KmemCache] = []
        self.list_resource = machine.interleaver.resource("slab_caches")
        self.read_list = Op(OpKind.READ, self.list_resource)
        self.slab_nodes = NodeMask()
        nodes = machine.interleaver.resource("slab_nodes")
        self.read_slab_nodes = Op(OpKind.READ, nodes)
        self.write_slab_nodes = Op(OpKind.WRITE, nodes)
        self.slabs: dict[int, Slab] = {}
        self.structures: dict[int, KmemCache | KmemCacheNode] = {}  # living ones by address
        # Which processors have a slab of a cache, looked at by others: the steps of each of them count.
        self.read_cpu_slabs = Op(OpKind.READ, machine.interleaver.resource("cpu_slab of every cpu"))
        self.cpu_flush = kernel.cpu_flush(self)
        # The boot caches, set by kmem_cache_init.
        self.kmem_cache_node: KmemCache
        self.kmem_cache: KmemCache

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
        """The cache called `name`; under ``slab_mutex``."""
        return next((cache for cache in self.slab_caches if cache.name == name), None)

    def get_node(self, cache: KmemCache, node: int) -> KmemCacheNode:
        """``get_node()``: what `cache` has on `node`, or the null pointer.  A plain read: no lock, no check."""
        found = cache.node.get(node)
        return null_of(self.machine, KmemCacheNode) if found is None else found
