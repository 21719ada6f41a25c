"""Creating caches, and the boot caches that must exist first.

Mirrors kmem_cache_create_usercopy() and create_cache() of mm/slab_common.c, kmem_cache_open(), init_kmem_cache_nodes(),
early_kmem_cache_node_alloc() and kmem_cache_init() of mm/slub.c (6.1).  Merging comes with the allocator issue.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..memory import allocated
from ..pages import GFP_KERNEL
from .allocate import kmem_cache_alloc, kmem_cache_alloc_node, new_slab
from .cache import KMEM_CACHE_NODE_SIZE, KMEM_CACHE_SIZE, KmemCache
from .free import kmem_cache_free
from .geometry import SLAB_HWCACHE_ALIGN, SLAB_PANIC, calculate_sizes
from .node import add_partial, init_kmem_cache_node

if TYPE_CHECKING:
    from .slub import Slub


async def kmem_cache_create(
    slub: Slub, name: str, size: int, align: int = 0, flags: int = 0, *, ctor: bool = False
) -> KmemCache | None:
    """Create a cache of objects of `size` bytes; None (and a message) where that fails.

    A second cache of the same name is refused, as the duplicate sysfs directory would be.
    """
    machine = slub.machine
    async with slub.variants.slab_locks.creating(slub), slub.slab_mutex:
        cache = await _create_cache(slub, name, size, align, flags, ctor=ctor)
    if cache is None:
        message = f"kmem_cache_create({name}) failed"
        machine.printk("warning", message)
        if flags & SLAB_PANIC:
            machine.kernel_bug(f"{message} and SLAB_PANIC is set")
    return cache


async def _create_cache(slub: Slub, name: str, size: int, align: int, flags: int, *, ctor: bool) -> KmemCache | None:
    machine = slub.machine
    if slub.find(name) is not None:
        machine.printk("warning", f"sysfs: cannot create duplicate filename '/kernel/slab/{name}'")
        return None
    try:
        geometry = calculate_sizes(size, align, flags, ctor=ctor, tunables=slub.tunables)
    except ValueError as error:
        machine.printk("warning", f"{name}: {error}")
        return None
    address = await kmem_cache_alloc(slub, slub.kmem_cache, GFP_KERNEL)
    if address is None:
        return None
    cache = KmemCache(machine.interleaver, name, geometry, flags, ctor=ctor, address=address)
    allocated(machine, cache, "struct kmem_cache", "kmem_cache", address, KMEM_CACHE_SIZE)
    slub.structures[address] = cache
    if not await init_kmem_cache_nodes(slub, cache):
        await kmem_cache_free(slub, slub.kmem_cache, address)
        return None
    slub.list_changes()
    slub.slab_caches.insert(0, cache)
    machine.count("caches_created")
    if (fire := machine.tracepoints.kmem_cache_create.fire) is not None:
        fire(name, address, cache.object_size, cache.size, geometry.align, flags, geometry.order, geometry.objects)
    return cache


async def init_kmem_cache_nodes(slub: Slub, cache: KmemCache) -> bool:
    """Give a new cache its structure on every node that has one; false where memory ran out."""
    for node in list(await slub.variants.node_tracking.nodes_of_new_cache(slub)):
        address = await kmem_cache_alloc_node(slub, slub.kmem_cache_node, GFP_KERNEL, node)
        if address is None:
            await free_kmem_cache_nodes(slub, cache)
            return False
        n = init_kmem_cache_node(slub, cache, node, address)
        await cache.write_node
        cache.node[node] = n
    return True


async def free_kmem_cache_nodes(slub: Slub, cache: KmemCache) -> None:
    """Free the structures of a cache that is on no list."""
    for node in list(cache.node):
        n = cache.node.pop(node)
        await kmem_cache_free(slub, slub.kmem_cache_node, n.list_lock.address)


async def kmem_cache_init(slub: Slub) -> None:
    """The boot caches: ``kmem_cache_node``, whose own structures are among its objects, and ``kmem_cache``."""
    for node in slub.machine.pages.states.normal_memory:
        slub.slab_nodes.set(node)
    slub.kmem_cache_node = await _boot_cache(slub, "kmem_cache_node", KMEM_CACHE_NODE_SIZE)
    slub.kmem_cache = await _boot_cache(slub, "kmem_cache", KMEM_CACHE_SIZE)


async def _boot_cache(slub: Slub, name: str, size: int) -> KmemCache:
    machine = slub.machine
    geometry = calculate_sizes(size, 0, SLAB_HWCACHE_ALIGN, ctor=False, tunables=slub.tunables)
    cache = KmemCache(
        machine.interleaver,
        name,
        geometry,
        SLAB_HWCACHE_ALIGN,
        ctor=False,
        address=machine.static_address(KMEM_CACHE_SIZE),
    )
    if name == "kmem_cache_node":
        for node in machine.pages.states.normal_memory:
            await early_kmem_cache_node_alloc(slub, cache, node)
    else:
        await init_kmem_cache_nodes(slub, cache)
    slub.list_changes()
    slub.slab_caches.insert(0, cache)
    return cache


async def early_kmem_cache_node_alloc(slub: Slub, cache: KmemCache, node: int) -> None:
    """The structure of ``kmem_cache_node`` itself on `node`: the first object of a slab that nobody could count yet."""
    slub.machine.running.preempt_disable()
    slab = await new_slab(slub, cache, GFP_KERNEL, node)
    slub.machine.running.preempt_enable()
    if slab is None:
        slub.machine.kernel_bug("no memory for the first kmem_cache_node")
    slab.free_mask &= ~1
    slab.inuse = 1
    n = init_kmem_cache_node(slub, cache, slab.node, slab.base)
    cache.node[node] = n
    n.nr_slabs = 1
    n.total_objects = slab.objects
    add_partial(n, slab, tail=False)
