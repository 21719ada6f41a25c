"""Making a slab of fresh pages.

Mirrors new_slab(), allocate_slab(), shuffle_freelist(), setup_object() and alloc_single_from_new_slab() of mm/slub.c
(6.1).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..gfp import (
    GFP_COMP,
    GFP_DIRECT_RECLAIM,
    GFP_FS,
    GFP_HARDWALL,
    GFP_HIGH,
    GFP_MAY_DIP,
    GFP_MEMALLOC,
    GFP_NOFAIL,
    GFP_NOFS,
    GFP_NOMEMALLOC,
    GFP_NORETRY,
    GFP_NOWARN,
    GFP_RECLAIM,
    GFP_RETRY_MAYFAIL,
    GFP_THISNODE,
)
from ..pages import page_address
from .cache import NIL, Slab
from .cpu_slab import this_cpu_slab
from .debug import alloc_debug_processing, setup_slab_debug
from .flags import SLAB_RED_ZONE
from .node import add_full, add_partial, inc_slabs_node
from .statistics import StatItem, stat

if TYPE_CHECKING:
    from .cache import KmemCache
    from .slub import Slub


RECLAIM_AND_PLACE = (
    GFP_NOFS
    | GFP_FS
    | GFP_HIGH
    | GFP_MAY_DIP
    | GFP_NOWARN
    | GFP_RETRY_MAYFAIL
    | GFP_NOFAIL
    | GFP_NORETRY
    | GFP_MEMALLOC
    | GFP_NOMEMALLOC
    | GFP_HARDWALL
    | GFP_THISNODE
)
"""What of a request for an object is passed on to the request for its pages."""


async def new_slab(slub: Slub, cache: KmemCache, gfp: int, node: int) -> Slab | None:
    """A slab of fresh pages, not counted yet: of the preferred order, or of the smallest that holds an object.

    May sleep where `gfp` allows it; the slab may be from another node than the wanted one.
    """
    pages = slub.machine.pages
    geometry = cache.geometry
    order, objects = geometry.order, geometry.objects
    gfp = gfp & RECLAIM_AND_PLACE | geometry.allocflags
    # A large order is not worth an effort while a smaller one would do.
    first = (gfp | GFP_NOWARN | GFP_NORETRY) & ~GFP_NOFAIL
    if first & GFP_DIRECT_RECLAIM and order > geometry.min_order:
        first = (first | GFP_NOMEMALLOC) & ~GFP_RECLAIM
    got = await pages.alloc_pages_node(node, first, order)
    if got is not None and cache.memcg_params is not None:
        got = await _charged(slub, cache, first, got, order)
    if got is None:
        order, objects = geometry.min_order, geometry.min_objects
        got = await pages.alloc_pages_node(node, gfp if order else gfp & ~GFP_COMP, order)
        if got is not None and cache.memcg_params is not None:
            got = await _charged(slub, cache, gfp, got, order)
        if got is not None:
            stat(this_cpu_slab(slub, cache), StatItem.ORDER_FALLBACK)
    if got is None:
        return None
    pfn, page_node = got
    left = geometry.red_left_pad if cache.flags & SLAB_RED_ZONE else 0
    slab = Slab(cache, pfn, page_address(pfn) + left, page_node, order, objects)
    for page in range(1 << order):
        slub.slabs[pfn + page] = slab
    if cache.random_seq is not None and objects > 1:
        shuffle_freelist(slub, slab, cache.random_seq)
    if cache.debug:
        setup_slab_debug(slub, cache, slab)
    if cache.ctor is not None:
        for index in range(objects):
            cache.ctor(slab.base + index * cache.size)
    if (fire := slub.machine.tracepoints.slab_new.fire) is not None:
        fire(cache.name, pfn, order, objects, page_node)
    return slab


async def _charged(slub: Slub, cache: KmemCache, gfp: int, got: tuple[int, int], order: int) -> tuple[int, int] | None:
    """Charge the pages of a cgroup's own cache; they go back where its limit forbids them."""
    if slub.memcg is None or await slub.memcg.charge_slab(cache, gfp, 1 << order):
        return got
    pfn, node = got
    await slub.machine.pages.free_pages(node, pfn, order)
    return None


def shuffle_freelist(slub: Slub, slab: Slab, sequence: tuple[int, ...]) -> None:
    """Chain a new slab's objects in the order of the cache's permutation, from a random place in it on."""
    start = slub.machine.interleaver.choose("freelist start", len(sequence))
    order = [index for index in (*sequence[start:], *sequence[:start]) if index < slab.objects]
    slab.freelist = order[0]
    for index, following in zip(order, (*order[1:], NIL), strict=True):
        slab.links[index] = following


async def alloc_single_from_new_slab(slub: Slub, cache: KmemCache, slab: Slab) -> int | None:
    """The first object of a new slab of a cache under debugging; the slab goes to its node's lists at once."""
    index = slab.freelist
    slab.freelist = slab.links[index]
    slab.inuse = 1
    if not alloc_debug_processing(slub, cache, slab, index):
        return None
    await cache.read_node
    n = slub.get_node(cache, slab.node)
    async with n.list_lock.irqsave():
        if slab.inuse == slab.objects:
            add_full(n, slab)
        else:
            add_partial(n, slab, tail=False)
        await inc_slabs_node(cache, n, slab.objects)
    return index
