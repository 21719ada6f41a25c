"""Which nodes have a ``kmem_cache_node``, and how long it lives: the variants of seeds 000 and 002.

Seed 000 (node tracking): up to 5.11 a new cache gets a structure on every node of ``N_NORMAL_MEMORY``, which memory
hotplug changes *after* its MEM_GOING_ONLINE callbacks have run; from 5.12 (7e1fa93deff4) on every node of
``slab_nodes``, which the callback itself changes under ``slab_mutex``, in the section in which it walked the caches.

Seed 002 (lifetime): up to 5.11 MEM_OFFLINE frees the structures; from 5.12 (666716fd267d) they stay, and the next
MEM_GOING_ONLINE of the node finds them.
"""

from __future__ import annotations

from errno import ENOMEM
from typing import TYPE_CHECKING, Protocol

from ..fault import fails
from ..pages import GFP_KERNEL
from ..stack import kernel_name
from .allocate import kmem_cache_alloc
from .free import kmem_cache_free
from .node import init_kmem_cache_node

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .slub import Slub


class NodeTracking(Protocol):
    """Seam: who knows on which nodes caches have structures."""

    async def nodes_of_new_cache(self, slub: Slub) -> Iterable[int]:
        """Nodes on which a cache being created gets a structure; under ``slab_mutex``."""
        ...

    async def has_cache_nodes(self, slub: Slub, node: int) -> bool:
        """Whether an allocation may insist on `node`; looked at without a lock."""
        ...

    async def covered(self, slub: Slub, node: int) -> None:
        """Every cache has a structure on `node` now; under ``slab_mutex``."""
        ...

    async def uncovered(self, slub: Slub, node: int) -> None:
        """`node` has gone, or did not come; under ``slab_mutex``."""
        ...


class NormalMemoryNodes:
    """Up to 5.11: ``for_each_node_state(node, N_NORMAL_MEMORY)``."""

    async def nodes_of_new_cache(self, slub: Slub) -> Iterable[int]:
        """Nodes that have normal memory at this moment."""
        await slub.machine.pages.states.read
        return slub.machine.pages.states.normal_memory

    async def has_cache_nodes(self, slub: Slub, node: int) -> bool:
        """Whether the node has normal memory at this moment."""
        await slub.machine.pages.states.read
        return node in slub.machine.pages.states.normal_memory

    async def covered(self, slub: Slub, node: int) -> None:
        """Nothing to note: memory hotplug will change the mask, later."""

    async def uncovered(self, slub: Slub, node: int) -> None:
        """Nothing to note."""


class SlabNodes:
    """From 5.12: ``slab_nodes``, SLUB's own mask."""

    async def nodes_of_new_cache(self, slub: Slub) -> Iterable[int]:
        """Nodes on which every existing cache has a structure."""
        return slub.slab_nodes

    async def has_cache_nodes(self, slub: Slub, node: int) -> bool:
        """A stale answer only changes placement."""
        await slub.read_slab_nodes
        return node in slub.slab_nodes

    async def covered(self, slub: Slub, node: int) -> None:
        """Set the bit in the section that has walked the caches."""
        await slub.write_slab_nodes
        slub.slab_nodes.set(node)

    async def uncovered(self, slub: Slub, node: int) -> None:
        """Clear the bit."""
        await slub.write_slab_nodes
        slub.slab_nodes.clear(node)


class NodeLifetime(Protocol):
    """Seam: what memory hotplug does to the structures."""

    async def going_online(self, slub: Slub, node: int) -> int:
        """Give every cache a structure on `node`; 0 or a negative errno."""
        ...

    async def offline(self, slub: Slub, node: int) -> None:
        """The last memory of `node` is gone."""
        ...


async def _give_every_cache_a_node(slub: Slub, node: int, *, keep_existing: bool) -> int:
    for cache in slub.newest_first():
        if keep_existing and slub.get_node(cache, node):
            continue
        # From any node: the one that is coming has no memory yet.
        address = None
        if not fails(slub.machine):
            address = await kmem_cache_alloc(slub, slub.kmem_cache_node, GFP_KERNEL)
        if address is None:
            return -ENOMEM
        n = init_kmem_cache_node(slub, cache, node, address)
        await cache.write_node
        cache.node[node] = n
    await slub.variants.node_tracking.covered(slub, node)
    return 0


class FreedWhenOffline:
    """Up to 5.11."""

    @kernel_name("slab_mem_going_online_callback")
    async def going_online(self, slub: Slub, node: int) -> int:
        """A new structure for every cache."""
        async with slub.slab_mutex:
            return await _give_every_cache_a_node(slub, node, keep_existing=False)

    @kernel_name("slab_mem_offline_callback")
    async def offline(self, slub: Slub, node: int) -> None:
        """Free every cache's structure.  Readers that found it before are not waited for."""
        async with slub.slab_mutex:
            await slub.variants.node_tracking.uncovered(slub, node)
            for cache in slub.newest_first():
                n = slub.get_node(cache, node)
                if n:
                    await cache.read_nr_partial
                    slub.machine.bug_on(n.nr_slabs > 0, f"slabs of {cache.name} left on node {node} that went offline")
                    await cache.write_node
                    del cache.node[node]
                    if (fire := slub.machine.tracepoints.kmem_cache_node_free.fire) is not None:
                        fire(cache.name, node, n.list_lock.address)
                    await kmem_cache_free(slub, slub.kmem_cache_node, n.list_lock.address)


class KeptForever:
    """From 5.12: a bounded leak instead of a lock in every reader."""

    @kernel_name("slab_mem_going_online_callback")
    async def going_online(self, slub: Slub, node: int) -> int:
        """A structure for every cache that has none from last time."""
        async with slub.slab_mutex:
            return await _give_every_cache_a_node(slub, node, keep_existing=True)

    @kernel_name("slab_mem_offline_callback")
    async def offline(self, slub: Slub, node: int) -> None:
        """Only stop new slabs from going there."""
        async with slub.slab_mutex:
            await slub.variants.node_tracking.uncovered(slub, node)
