"""Allocating objects.

Mirrors slab_alloc_node(), ___slab_alloc(), get_freelist(), get_partial(), get_any_partial(), get_partial_node(),
acquire_slab(), new_slab() and allocate_slab() of mm/slub.c (6.1).  Left out until the allocator issue: per-CPU
partial lists, bulk, debugging.

The fast path is no operation of its own: it touches only what belongs to the processor, and nothing else runs in
between.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...actors import Access
from ..pages import GFP_COMP, GFP_KERNEL, GFP_NORETRY, GFP_NOWARN, NUMA_NO_NODE, page_address
from ..stack import kernel_name
from .cache import KmemCacheCpu, Slab
from .node import deactivate_slab, inc_slabs_node

if TYPE_CHECKING:
    from .cache import KmemCache, KmemCacheNode
    from .slub import Slub

FAST_PATH_NS = 8


async def kmem_cache_alloc(slub: Slub, cache: KmemCache, gfp: int = GFP_KERNEL) -> int | None:
    """Allocate an object of `cache`, from any node; its address, or None where there is no memory."""
    return await kmem_cache_alloc_node(slub, cache, gfp, NUMA_NO_NODE)


async def kmem_cache_alloc_node(slub: Slub, cache: KmemCache, gfp: int, node: int) -> int | None:
    """Allocate an object of `cache`, from `node` if it is there; its address, or None where there is no memory."""
    machine = slub.machine
    cpu = machine.interleaver.running.cpu_id
    c = cache.cpu_slab.get(cpu)
    freelist = c.freelist if c is not None else 0
    if c is not None and freelist and (node == NUMA_NO_NODE or (c.slab is not None and c.slab.node == node)):
        bit = freelist & -freelist
        c.freelist = freelist ^ bit
        c.tid += 1
        address: int | None = c.base + (bit.bit_length() - 1) * cache.size
        if machine.interleaver.costed:
            machine.running.clock.ns += FAST_PATH_NS
    else:
        address = await slab_alloc_slow(slub, cache, gfp, node)
        if address is None:
            return None
    fire = machine.tracepoints.kmem_cache_alloc.fire
    if fire is not None:
        fire(0, address, cache.object_size, cache.size, gfp, node, 0)
    return address


@kernel_name("___slab_alloc")
async def slab_alloc_slow(slub: Slub, cache: KmemCache, gfp: int, node: int) -> int | None:
    """The slow path: refill the processor's slab, from its own remote frees, a partial slab or new pages."""
    machine = slub.machine
    thread = machine.running
    thread.preempt_disable()
    try:
        while True:
            cpu = machine.smp_processor_id()
            c = cache.cpu_slab.get(cpu)
            if c is None:
                c = cache.cpu_slab[cpu] = KmemCacheCpu(cpu)
            if node != NUMA_NO_NODE and not await slub.variants.node_tracking.has_cache_nodes(slub, node):
                node = NUMA_NO_NODE
            slab = c.slab
            if slab is not None:
                if node not in (NUMA_NO_NODE, slab.node):
                    freelist, c.slab, c.freelist = c.freelist, None, 0
                    c.tid += 1
                    await deactivate_slab(slub, cache, slab, freelist)
                    continue
                if not c.freelist:
                    await cache.update_freelist
                    if c.slab is not slab:
                        continue
                    _get_freelist(c, slab)
                if c.freelist:
                    return _take(cache, c)
                continue
            slab = await get_partial(slub, cache, node)
            if slab is None:
                slab = await new_slab(slub, cache, gfp, node)
                if slab is None:
                    _slab_out_of_memory(slub, cache, gfp, node)
                    return None
            if c.slab is not None:
                # Another context of this processor installed a slab while this one waited for pages.
                old, freelist, c.slab, c.freelist = c.slab, c.freelist, None, 0
                c.tid += 1
                await deactivate_slab(slub, cache, old, freelist)
                if c.slab is not None:
                    await deactivate_slab(slub, cache, slab, _detach(slab))
                    continue
            _install(c, slab)
            return _take(cache, c)
    finally:
        thread.preempt_enable()


def _take(cache: KmemCache, c: KmemCacheCpu) -> int:
    bit = c.freelist & -c.freelist
    c.freelist ^= bit
    c.tid += 1
    return c.base + (bit.bit_length() - 1) * cache.size


def _get_freelist(c: KmemCacheCpu, slab: Slab) -> None:
    """Take what other processors freed into our slab; a slab with nothing left is full and not ours any more."""
    freelist, slab.free_mask = slab.free_mask, 0
    slab.inuse = slab.objects
    slab.frozen = bool(freelist)
    c.freelist = freelist
    if not freelist:
        c.slab = None
        c.tid += 1


def _detach(slab: Slab) -> int:
    slab.cache.freelist_touched(Access.WRITE)
    freelist, slab.free_mask = slab.free_mask, 0
    slab.inuse = slab.objects
    slab.frozen = True
    return freelist


def _install(c: KmemCacheCpu, slab: Slab) -> None:
    """Make `slab`, which is private to us, this processor's (``acquire_slab`` has frozen it or it is new)."""
    c.freelist = _detach(slab)
    c.slab = slab
    c.base = slab.base
    c.tid += 1


async def get_partial(slub: Slub, cache: KmemCache, node: int) -> Slab | None:
    """A partial slab from the wanted node's list, or from any where that does not matter; frozen, off its list."""
    wanted = slub.machine.this_cpu.node if node == NUMA_NO_NODE else node
    await cache.read_node
    slab = await get_partial_node(cache, slub.get_node(cache, wanted))
    if slab is not None or node != NUMA_NO_NODE:
        return slab
    return await get_any_partial(slub, cache, wanted)


async def get_any_partial(slub: Slub, cache: KmemCache, home: int) -> Slab | None:
    """A partial slab from another node that has more than it needs, the nearest first.

    The kernel looks at other nodes only when a clock-cycle coin says so (``remote_node_defrag_ratio``, in most cases it
    does): a decision here, and none on a machine of one node.
    """
    machine = slub.machine
    if len(machine.nodes) > 1 and machine.interleaver.choose("remote node defrag coin", 2):
        return None
    await machine.pages.read_zonelists
    for node in list(machine.pages.zonelists[home]):
        await cache.read_node
        n = slub.get_node(cache, node)
        if n:
            await cache.read_nr_partial
            if n.nr_partial > cache.min_partial:
                slab = await get_partial_node(cache, n)
                if slab is not None:
                    return slab
    return None


async def get_partial_node(cache: KmemCache, n: KmemCacheNode) -> Slab | None:
    """The first slab of a node's partial list, frozen and taken off."""
    # Racy on purpose: at worst a new slab is made although there is a partial one.
    if not n:
        return None
    await cache.read_nr_partial
    if not n.nr_partial:
        return None
    async with n.list_lock.irqsave():
        for slab in n.partial:
            cache.freelist_touched(Access.WRITE)
            slab.frozen = True
            slab.on_partial = False
            del n.partial[slab]
            n.nr_partial -= 1
            n.nr_partial_changes()
            return slab
    return None


async def new_slab(slub: Slub, cache: KmemCache, gfp: int, node: int) -> Slab | None:
    """A slab of fresh pages: of the preferred order, or of the smallest that holds an object."""
    machine = slub.machine
    geometry = cache.geometry
    thread = machine.running
    thread.preempt_enable()  # pages may have to be waited for, and the thread may sleep
    try:
        order, objects = geometry.order, geometry.objects
        got = await machine.pages.alloc_pages_node(
            node,
            gfp | (GFP_NOWARN | GFP_NORETRY if geometry.min_order < order else 0) | (GFP_COMP if order else 0),
            order,
        )
        if got is None and geometry.min_order < order:
            order, objects = geometry.min_order, geometry.min_objects
            got = await machine.pages.alloc_pages_node(node, gfp | (GFP_COMP if order else 0), order)
    finally:
        thread.preempt_disable()
    if got is None:
        return None
    pfn, page_node = got
    slab = Slab(cache, pfn, page_address(pfn), page_node, order, objects)
    for page in range(1 << order):
        slub.slabs[pfn + page] = slab
    await cache.read_node
    await inc_slabs_node(cache, slub.get_node(cache, page_node), objects)
    if (fire := machine.tracepoints.slab_new.fire) is not None:
        fire(cache.name, pfn, order, objects, page_node)
    return slab


def _slab_out_of_memory(slub: Slub, cache: KmemCache, gfp: int, node: int) -> None:
    machine = slub.machine
    machine.printk("warning", f"SLUB: Unable to allocate memory on node {node}, gfp={gfp:#x}")
    machine.printk(
        "warning",
        f"  cache: {cache.name}, object size: {cache.object_size}, buffer size: {cache.size}, "
        f"default order: {cache.geometry.order}, min order: {cache.geometry.min_order}",
    )
