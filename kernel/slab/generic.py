"""Allocating without naming a cache: kmalloc() and kfree().

Mirrors __kmalloc(), kmalloc_large(), kfree(), free_large_kmalloc() and ksize() of mm/slab_common.c (6.1).  What no
cache of the array serves is a block of pages of its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..pages import GFP_COMP, GFP_KERNEL, NUMA_NO_NODE, page_address, page_frame
from .allocate import kmem_cache_alloc_node
from .debug import keep_requested_size
from .free import kmem_cache_free
from .geometry import get_order
from .kmalloc import kmalloc_index, kmalloc_type
from .sizing import PAGE_SIZE

if TYPE_CHECKING:
    from .cache import KmemCache
    from .slub import Slub

ZERO_SIZE_PTR = 16
"""What kmalloc(0) gives: it may be freed, and nothing else."""


def kmalloc_slab(slub: Slub, size: int, gfp: int) -> KmemCache | None:
    """The cache that serves requests of `size` bytes with `gfp`; None where it is pages that do."""
    index = kmalloc_index(size)
    if index is None:
        return None
    return slub.kmalloc_caches[kmalloc_type(gfp, accounting=slub.kmem_accounting), index]


async def kmalloc(slub: Slub, size: int, gfp: int = GFP_KERNEL, node: int = NUMA_NO_NODE) -> int | None:
    """Allocate `size` bytes; the address, or None where there is no memory."""
    if not size:
        return ZERO_SIZE_PTR
    cache = kmalloc_slab(slub, size, gfp)
    if cache is not None:
        address = await kmem_cache_alloc_node(slub, cache, gfp, node)
        if cache.debug and address is not None:
            keep_requested_size(slub, address, size)
        return address
    order = get_order(size)
    got = await slub.machine.pages.alloc_pages_node(node, gfp | GFP_COMP, order)
    if got is None:
        return None
    pfn, page_node = got
    slub.large[pfn] = (page_node, order)
    return page_address(pfn)


async def kfree(slub: Slub, address: int) -> None:
    """Give back what `kmalloc` returned."""
    if address in (0, ZERO_SIZE_PTR):
        return
    pfn = page_frame(address)
    slab = slub.slabs.get(pfn)
    if slab is not None:
        await kmem_cache_free(slub, slab.cache, address)
        return
    block = slub.large.pop(pfn, None)
    if block is None or address != page_address(pfn):
        slub.machine.kernel_bug(f"kfree of {address:#x}, which nobody has allocated")
    await slub.machine.pages.free_pages(block[0], pfn, block[1])


def ksize(slub: Slub, address: int) -> int:
    """The bytes that may be used at an address `kmalloc` returned; 0 for that of nothing."""
    slab = slub.slabs.get(page_frame(address))
    if slab is not None:
        return slab.cache.object_size
    block = slub.large.get(page_frame(address))
    return PAGE_SIZE << block[1] if block is not None else 0
