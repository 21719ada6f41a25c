"""The state of SLUB on one machine, and which variant of each of its protocols the running release has."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...actors import Access, Op, OpKind
from ..locks import Mutex
from ..memory import null_of
from ..node_states import NodeMask
from .cache import KmemCache, KmemCacheNode

if TYPE_CHECKING:
    from ...actors import Actor
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
        self.slab_nodes = NodeMask()
        nodes = machine.interleaver.resource("slab_nodes")
        self.read_slab_nodes = Op(OpKind.READ, nodes)
        self.write_slab_nodes = Op(OpKind.WRITE, nodes)
        self.slabs: dict[int, Slab] = {}
        self.structures: dict[int, KmemCache | KmemCacheNode] = {}  # living ones by address
        # Which processors have a slab of a cache, looked at by others: the steps of each of them count.
        self.read_cpu_slabs = Op(OpKind.READ, machine.interleaver.resource("cpu_slab of every cpu"), perform=self._peek)
        self.cpu_flush = kernel.cpu_flush(self)
        # The boot caches, set by kmem_cache_init.
        self.kmem_cache_node: KmemCache
        self.kmem_cache: KmemCache

    def _peek(self, _: Actor) -> None:
        touch = self.machine.interleaver.touch
        if touch is not None:
            for cpu in self.machine.cpus.values():
                touch(cpu.host, Access.READ)

    def find(self, name: str) -> KmemCache | None:
        """The cache called `name`, as /sys/kernel/slab finds it."""
        return next((cache for cache in self.slab_caches if cache.name == name), None)

    def get_node(self, cache: KmemCache, node: int) -> KmemCacheNode:
        """``get_node()``: what `cache` has on `node`, or the null pointer.  A plain read: no lock, no check."""
        found = cache.node.get(node)
        return null_of(self.machine, KmemCacheNode) if found is None else found
