"""Sizes, orders and limits of a cache.

Mirrors calculate_sizes() and the rest of kmem_cache_open() that is arithmetic, of mm/slub.c, and
calculate_alignment() of mm/slab_common.c (6.1; sizing.py has what other releases do differently).  No machine in
sight.

One object in a slab, from its start, where the cache has the flags for it:

    left red zone (red_left_pad) | object | right red zone, up to inuse | free pointer, if outside
                                 | alloc and free track | requested size, kmalloc only | red zone word | padding
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from ..gfp import GFP_COMP, GFP_DMA, GFP_DMA32, GFP_RECLAIMABLE
from .flags import (
    CMPXCHG_DOUBLE,
    DEBUG_METADATA_FLAGS,
    FLAGS,
    OBJECT_POISON,
    SLAB_CACHE_DMA,
    SLAB_CACHE_DMA32,
    SLAB_DEBUG_FLAGS,
    SLAB_HWCACHE_ALIGN,
    SLAB_KMALLOC,
    SLAB_NO_CMPXCHG,
    SLAB_PANIC,
    SLAB_POISON,
    SLAB_RECLAIM_ACCOUNT,
    SLAB_RED_ZONE,
    SLAB_STORE_USER,
    SLAB_TYPESAFE_BY_RCU,
)
from .sizing import (
    MAX_OBJS_PER_PAGE,
    MAX_ORDER,
    PAGE_SIZE,
    WORD,
    Sizing,
    Tunables,
    align_up,
    get_order,
    order_objects,
)

__all__ = [
    "FLAGS",
    "KMALLOC_MAX_SIZE",
    "MAX_OBJS_PER_PAGE",
    "MAX_ORDER",
    "PAGE_SIZE",
    "SLAB_HWCACHE_ALIGN",
    "SLAB_PANIC",
    "SLAB_TYPESAFE_BY_RCU",
    "Geometry",
    "Tunables",
    "calculate_alignment",
    "calculate_sizes",
    "get_order",
    "order_objects",
]

CACHE_LINE = 64
ARCH_MINALIGN = 8
MIN_PARTIAL, MAX_PARTIAL = 5, 10
KMALLOC_MAX_SIZE = PAGE_SIZE << (MAX_ORDER - 1)
"""No object is larger: 4 MiB."""
REQUESTED_SIZE = 4
"""``unsigned int``: what a kmalloc cache with STORE_USER keeps of the request."""
CACHED_RESULTS = 4096


@dataclass(frozen=True, slots=True)
class Geometry:
    """What follows from size, alignment and flags: bytes, except orders and counts.

    `offset` is that of the free pointer, from the start of the object; at least `inuse` where it lies outside.
    `red_left_pad` is left behind where `slub_debug=O` took the red zone away: it counts only with ``SLAB_RED_ZONE``.
    """

    object_size: int
    size: int
    align: int
    inuse: int
    offset: int
    red_left_pad: int
    order: int
    objects: int
    min_order: int
    min_objects: int
    min_partial: int
    cpu_partial: int
    cpu_partial_slabs: int
    flags: int
    allocflags: int


def calculate_alignment(flags: int, align: int, size: int) -> int:
    """The alignment a cache of objects of `size` bytes gets that asks for `align`."""
    if flags & SLAB_HWCACHE_ALIGN:
        line = CACHE_LINE
        while size <= line // 2:
            line //= 2
        align = max(align, line)
    return align_up(max(align, ARCH_MINALIGN), WORD)


def calculate_sizes(
    object_size: int, align: int, flags: int, *, ctor: bool, tunables: Tunables, sizing: Sizing
) -> Geometry:
    """The geometry of a cache; `align` as asked for, `flags` with those that `SlubDebug.cache_flags` adds.

    Equal arguments give the same object.

    Raises:
        ValueError: no slab holds such an object: kmem_cache_create() returns NULL then.
    """
    if object_size < 1:
        raise ValueError(f"an object of {object_size} bytes is none")
    return _open(object_size, calculate_alignment(flags, align, object_size), flags, ctor, tunables, sizing)


@lru_cache(maxsize=CACHED_RESULTS)
def _open(object_size: int, align: int, flags: int, ctor: bool, tunables: Tunables, sizing: Sizing) -> Geometry:
    layout = _lay_out(object_size, align, flags, ctor, sizing)
    order = sizing.order(layout.size, tunables)
    red_left_pad = layout.red_left_pad
    if tunables.debug.disable_higher_order_debug and get_order(layout.size) > get_order(object_size):
        flags &= ~DEBUG_METADATA_FLAGS
        layout = _lay_out(object_size, align, flags, ctor, sizing)  # the pad stays as it was
        order = sizing.order(layout.size, tunables)
    size = layout.size
    objects = order_objects(order, size)
    if objects > MAX_OBJS_PER_PAGE:
        raise ValueError(f"{objects} objects are more than a slab counts: {MAX_OBJS_PER_PAGE}")
    smallest = get_order(size)
    cpu_partial = 0 if flags & SLAB_DEBUG_FLAGS else sizing.cpu_partial(size)
    if flags & SLAB_POISON and not flags & SLAB_TYPESAFE_BY_RCU and not ctor:
        flags |= OBJECT_POISON
    if not flags & SLAB_NO_CMPXCHG:
        flags |= CMPXCHG_DOUBLE
    return Geometry(
        object_size=object_size,
        size=size,
        align=align,
        inuse=layout.inuse,
        offset=layout.offset,
        red_left_pad=red_left_pad,
        order=order,
        objects=objects,
        min_order=smallest,
        min_objects=order_objects(smallest, size),
        min_partial=max(MIN_PARTIAL, min(MAX_PARTIAL, (size.bit_length() - 1) // 2)),
        cpu_partial=cpu_partial,
        cpu_partial_slabs=sizing.cpu_partial_slabs(cpu_partial, objects),
        flags=flags,
        allocflags=_allocflags(order, flags),
    )


@dataclass(frozen=True, slots=True)
class _Layout:
    """One object and what lies around it."""

    size: int
    inuse: int
    offset: int
    red_left_pad: int


def _lay_out(object_size: int, align: int, flags: int, ctor: bool, sizing: Sizing) -> _Layout:
    """Put the parts of the module's picture one behind the other."""
    size = align_up(object_size, WORD)
    if flags & SLAB_RED_ZONE and size == object_size:
        size += WORD  # no gap that could serve as the right red zone
    inuse = size
    offset = sizing.free_pointer(object_size, flags, ctor=ctor)
    if sizing.red_zone_from_request and flags & SLAB_KMALLOC and flags & SLAB_STORE_USER:
        offset = None  # what was not asked for may be a red zone
    if offset is None:
        offset = size
        size += WORD
    if flags & SLAB_STORE_USER:
        size += 2 * sizing.track_size
        if flags & SLAB_KMALLOC and sizing.keeps_requested_size:
            size += REQUESTED_SIZE
    red_left_pad = 0
    if flags & SLAB_RED_ZONE:
        size += WORD
        if sizing.left_red_zone:
            red_left_pad = align_up(WORD, align)
            size += red_left_pad
    return _Layout(align_up(size, align), inuse, offset, red_left_pad)


def _allocflags(order: int, flags: int) -> int:
    """The ``gfp_t`` bits that the pages of every slab are asked for with."""
    allocflags = GFP_COMP if order else 0
    if flags & SLAB_CACHE_DMA:
        allocflags |= GFP_DMA
    if flags & SLAB_CACHE_DMA32:
        allocflags |= GFP_DMA32
    if flags & SLAB_RECLAIM_ACCOUNT:
        allocflags |= GFP_RECLAIMABLE
    return allocflags
