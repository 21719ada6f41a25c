"""Allocating objects.

Mirrors slab_alloc_node(), ___slab_alloc(), get_freelist(), kmem_cache_alloc_bulk() and slab_out_of_memory() of
mm/slub.c (6.1).

The fast path is no operation of its own: it touches only what belongs to the processor, and that something comes in
between cannot be seen (fast_path.py says why, and has the variants of which that is not true).  For the same reason
its transaction number (``tid``) never finds that something has come between; it is counted for those who look at it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..locks.base import might_alloc
from ..pages import GFP_KERNEL, GFP_NOWARN, NUMA_NO_NODE
from ..stack import kernel_name
from .cache import NIL
from .cpu_slab import deactivate_slab, this_cpu_slab
from .debug import set_alloc_track
from .flags import SLAB_ACCOUNT, SLAB_STORE_USER
from .geometry import get_order
from .new_slab import alloc_single_from_new_slab, new_slab
from .node import inc_slabs_node
from .partial import get_partial, take_freelist
from .statistics import StatItem, stat

if TYPE_CHECKING:
    from .cache import KmemCache, KmemCacheCpu, Slab
    from .slub import Detour, Slub

FAST_PATH_NS = 8


# The fast paths are the hottest code of the product: a function of its own for each of the two, attributes looked up
# once, no call that can be done without.


async def kmem_cache_alloc(slub: Slub, cache: KmemCache, gfp: int = GFP_KERNEL) -> int | None:
    """Allocate an object of `cache`, from any node; its address, or None where there is no memory."""
    if slub.detour is not None and (cache.flags & SLAB_ACCOUNT or gfp & slub.detour_gfp):
        return await slub.detour.kmem_cache_alloc(cache, gfp, NUMA_NO_NODE)
    interleaver = slub.interleaver
    if slub.trace_sleep.fire is not None and interleaver.running.in_atomic():
        might_alloc(slub.machine, gfp, "slab_pre_alloc_hook")
    c = cache.cpu_slab.get(interleaver.running.cpu_id)
    if c is not None and (index := c.freelist) != NIL:
        slab: Slab = c.slab  # type: ignore[assignment]  # a free list is a slab's
        c.freelist = slab.links[index]
        slab.live |= 1 << index
        c.tid += 1
        address: int | None = slab.base + index * cache.size
        if interleaver.costed:
            interleaver.running.clock.ns += FAST_PATH_NS
        if c.stat is not None:
            c.stat[StatItem.ALLOC_FASTPATH] += 1
    else:
        address = await slab_alloc_slow(slub, cache, gfp, NUMA_NO_NODE)
        if address is None:
            return None
    fire = slub.trace_alloc.fire
    if fire is not None:
        fire(0, address, cache.object_size, cache.size, gfp, NUMA_NO_NODE, 0)
    return address


async def kmem_cache_alloc_node(slub: Slub, cache: KmemCache, gfp: int, node: int) -> int | None:
    """Allocate an object of `cache`, from `node` if it is there; its address, or None where there is no memory."""
    if node == NUMA_NO_NODE:
        return await kmem_cache_alloc(slub, cache, gfp)
    if (detour := _detour(slub, cache, gfp)) is not None:
        return await detour.kmem_cache_alloc(cache, gfp, node)
    return await slab_alloc_node(slub, cache, gfp, node)


def _detour(slub: Slub, cache: KmemCache, gfp: int) -> Detour | None:
    """Who allocates instead, with more to do than just that; see `Slub.detour`."""
    return slub.detour if cache.flags & SLAB_ACCOUNT or gfp & slub.detour_gfp else None


async def slab_alloc_node(slub: Slub, cache: KmemCache, gfp: int, node: int) -> int | None:
    """Allocate from just this cache, whoever it is for."""
    might_alloc(slub.machine, gfp, "slab_pre_alloc_hook")
    address = await slub.variants.fast_path.alloc_node(slub, cache, gfp, node)
    if address is None:
        return None
    if (fire := slub.trace_alloc.fire) is not None:
        fire(0, address, cache.object_size, cache.size, gfp, node, 0)
    return address


@kernel_name("___slab_alloc")
async def slab_alloc_slow(slub: Slub, cache: KmemCache, gfp: int, node: int) -> int | None:
    """The slow path: from the processor's slab, its partial slabs, a node's partial slabs, or new pages."""
    thread = slub.machine.running
    thread.preempt_disable()
    try:
        stat(this_cpu_slab(slub, cache), StatItem.ALLOC_SLOWPATH)
        while True:
            c = this_cpu_slab(slub, cache)
            # A node without slabs of this cache, or without memory, is as good as any other.
            if (
                node != NUMA_NO_NODE
                and (c.slab is None or c.slab.node != node)
                and not await slub.variants.node_tracking.has_cache_nodes(slub, node)
            ):
                node = NUMA_NO_NODE
            slab = c.slab
            if slab is not None and node in (NUMA_NO_NODE, slab.node):
                if c.freelist == NIL:
                    await cache.update_freelist
                    if c.slab is not slab:
                        continue  # an interrupt has been here
                    if c.freelist == NIL and not _get_freelist(c, slab):
                        continue
                c.tid += 1
                return _take_first(cache, c, slab)
            if slab is not None:
                stat(c, StatItem.ALLOC_NODE_MISMATCH)
                _, freelist = c.detach()
                await deactivate_slab(slub, cache, slab, freelist)
                if c.slab is not None:
                    continue
            if c.partial is not None:
                c.slab, c.partial = c.partial, c.partial.next
                c.slab.next = None
                stat(c, StatItem.CPU_PARTIAL_ALLOC)
                continue
            found = await get_partial(slub, cache, node)
            if found is None:
                thread.preempt_enable()  # pages may have to be waited for, and the thread may sleep
                try:
                    slab = await new_slab(slub, cache, gfp, node)
                finally:
                    thread.preempt_disable()
                if slab is None:
                    await slab_out_of_memory(slub, cache, gfp, node)
                    return None
                stat(this_cpu_slab(slub, cache), StatItem.ALLOC_SLAB)
                if cache.debug:
                    index = await alloc_single_from_new_slab(slub, cache, slab)
                    if index is None:
                        continue
                    return _hand_out(slub, cache, slab, index)
                freelist = take_freelist(slab)
                slab.frozen = True
                await cache.read_node
                await inc_slabs_node(cache, slub.get_node(cache, slab.node), slab.objects)
                found = slab, freelist
            slab, freelist = found
            if cache.debug:
                return _hand_out(slub, cache, slab, freelist)
            c = this_cpu_slab(slub, cache)
            while c.slab is not None:
                # Another context of this processor installed a slab while this one searched or waited.
                old, flushed = c.slab, c.detach()[1]
                await deactivate_slab(slub, cache, old, flushed)
                stat(c, StatItem.CPUSLAB_FLUSH)
            c.slab = slab
            c.freelist = freelist
            c.tid += 1
            return _take_first(cache, c, slab)
    finally:
        thread.preempt_enable()


def _take_first(cache: KmemCache, c: KmemCacheCpu, slab: Slab) -> int:
    """Take the first object of the processor's free list, which is not empty."""
    index = c.freelist
    c.freelist = slab.links[index]
    slab.live |= 1 << index
    return slab.base + index * cache.size


def _hand_out(slub: Slub, cache: KmemCache, slab: Slab, index: int) -> int:
    """An object of a cache under debugging, which was taken alone."""
    slab.live |= 1 << index
    if cache.flags & SLAB_STORE_USER:
        set_alloc_track(slub, cache, slab, index)
    return slab.base + index * cache.size


def _get_freelist(c: KmemCacheCpu, slab: Slab) -> bool:
    """Take what other processors freed into our slab; a slab with nothing left is full and not ours any more."""
    c.freelist = take_freelist(slab)
    if c.freelist != NIL:
        stat(c, StatItem.ALLOC_REFILL)
        return True
    slab.frozen = False
    c.slab = None
    c.tid += 1
    stat(c, StatItem.DEACTIVATE_BYPASS)
    return False


async def kmem_cache_alloc_bulk(
    slub: Slub, cache: KmemCache, gfp: int, count: int, *, accounted: bool = True
) -> list[int]:
    """Allocate `count` objects of any node; their addresses, or none at all where memory does not suffice.

    Interrupts are off while objects come from the processor's free list.  Unless `accounted` they are from just this
    cache, whoever it is for.
    """
    if accounted and (detour := _detour(slub, cache, gfp)) is not None:
        return await detour.kmem_cache_alloc_bulk(cache, gfp, count)
    from .free import kmem_cache_free_bulk  # freeing builds on allocating

    machine = slub.machine
    might_alloc(machine, gfp, "slab_pre_alloc_hook")
    thread = machine.running
    addresses: list[int] = []
    thread.preempt_disable()
    try:
        c = this_cpu_slab(slub, cache)
        for _ in range(count):
            if c.freelist != NIL and c.slab is not None:
                addresses.append(_take_first(cache, c, c.slab))
                continue
            # What was taken so far must not be taken for untouched by whoever was interrupted.
            c.tid += 1
            thread.preempt_enable()  # the slow path keeps the processor itself, but for where it may sleep
            try:
                address = await slab_alloc_slow(slub, cache, gfp, NUMA_NO_NODE)
            finally:
                thread.preempt_disable()
            if address is None:
                break
            addresses.append(address)
            c = this_cpu_slab(slub, cache)
        c.tid += 1
    finally:
        thread.preempt_enable()
    if len(addresses) < count:
        await kmem_cache_free_bulk(slub, cache, addresses)
        return []
    return addresses


async def slab_out_of_memory(slub: Slub, cache: KmemCache, gfp: int, node: int) -> None:
    """Say that there were no pages for a slab, and what the cache has on each node."""
    if gfp & GFP_NOWARN:
        return
    machine, geometry = slub.machine, cache.geometry
    machine.printk("warning", f"SLUB: Unable to allocate memory on node {node}, gfp={gfp:#x}")
    machine.printk(
        "warning",
        f"  cache: {cache.name}, object size: {cache.object_size}, buffer size: {cache.size}, "
        f"default order: {geometry.order}, min order: {geometry.min_order}",
    )
    if geometry.min_order > get_order(cache.object_size):
        machine.printk("warning", f"  {cache.name} debugging increased min order, use slub_debug=O to disable.")
    for number, n in sorted(cache.node.items()):
        await cache.read_nr_partial
        async with n.list_lock.irqsave():
            free = sum(slab.objects - slab.inuse for slab in n.partial)
        machine.printk("warning", f"  node {number}: slabs: {n.nr_slabs}, objs: {n.total_objects}, free: {free}")
