"""The kmalloc array: which caches there are, and which of them serves a request.

Mirrors kmalloc_info[], size_index[], kmalloc_slab(), new_kmalloc_cache() and create_kmalloc_caches() of
mm/slab_common.c and kmalloc_type() of include/linux/slab.h (6.1, with ZONE_DMA and MEMCG_KMEM).  Larger requests than
`KMALLOC_MAX_CACHE_SIZE` go to the page allocator.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING

from ..gfp import GFP_ACCOUNT, GFP_DMA, GFP_RECLAIMABLE
from .flags import (
    SLAB_ACCOUNT,
    SLAB_CACHE_DMA,
    SLAB_KMALLOC,
    SLAB_RECLAIM_ACCOUNT,
)
from .sizing import PAGE_SHIFT, PAGE_SIZE, WORD, get_order

if TYPE_CHECKING:
    from collections.abc import Iterator

KMALLOC_SHIFT_LOW = 3
KMALLOC_SHIFT_HIGH = PAGE_SHIFT + 1
KMALLOC_MAX_CACHE_SIZE = 1 << KMALLOC_SHIFT_HIGH
NEVER_MERGED = -1
KIB = 1024


class KmallocType(IntEnum):
    """The rows of the array.  Only accounted objects are in CGROUP, only others in NORMAL."""

    NORMAL = 0
    CGROUP = 1
    RECLAIM = 2
    DMA = 3


PREFIXES = {
    KmallocType.NORMAL: "kmalloc-",
    KmallocType.CGROUP: "kmalloc-cg-",
    KmallocType.RECLAIM: "kmalloc-rcl-",
    KmallocType.DMA: "dma-kmalloc-",
}
TYPE_FLAGS = {
    KmallocType.NORMAL: 0,
    KmallocType.CGROUP: SLAB_ACCOUNT,
    KmallocType.RECLAIM: SLAB_RECLAIM_ACCOUNT,
    KmallocType.DMA: SLAB_CACHE_DMA,
}
SIZES = {1: 96, 2: 192} | {index: 1 << index for index in range(KMALLOC_SHIFT_LOW, KMALLOC_SHIFT_HIGH + 1)}
"""The size at each index: logarithms, and two sizes between."""
CREATION_ORDER = (3, 4, 5, 6, 1, 7, 2, *range(8, KMALLOC_SHIFT_HIGH + 1))
"""Indices; the two sizes between come right after the power of two below them."""
SIZE_INDEX = (3, 4, 5, 5, 6, 6, 6, 6, 1, 1, 1, 1, 7, 7, 7, 7, 2, 2, 2, 2, 2, 2, 2, 2)
"""The index for sizes up to 192, by (size - 1) / 8."""


@dataclass(frozen=True, slots=True)
class KmallocCache:
    """A cache to make when booting; `align` is what to ask for, `usersize` starts at offset 0."""

    type: KmallocType
    index: int
    name: str
    size: int
    align: int
    flags: int
    refcount: int
    usersize: int


def kmalloc_name(kind: KmallocType, size: int) -> str:
    """Such as ``kmalloc-rcl-2k``."""
    return f"{PREFIXES[kind]}{size // KIB}k" if size >= KIB else f"{PREFIXES[kind]}{size}"


def kmalloc_caches_wanted(*, accounting: bool = True) -> Iterator[KmallocCache]:
    """The caches of the array in the order of their creation.

    Without `accounting` (``cgroup.memory=nokmem``) there is no row of its own for CGROUP: it is the NORMAL one.
    """
    for kind in KmallocType:
        if kind is KmallocType.CGROUP and not accounting:
            continue
        for index in CREATION_ORDER:
            size = SIZES[index]
            yield KmallocCache(
                type=kind,
                index=index,
                name=kmalloc_name(kind, size),
                size=size,
                align=size if size & (size - 1) == 0 else WORD,
                flags=TYPE_FLAGS[kind] | SLAB_KMALLOC,
                refcount=NEVER_MERGED if kind is KmallocType.NORMAL else 1,
                usersize=size,
            )


def kmalloc_index(size: int) -> int | None:
    """The index of the caches for requests of `size` bytes; None where no cache serves them: 0, or too large."""
    if not 0 < size <= KMALLOC_MAX_CACHE_SIZE:
        return None
    return SIZE_INDEX[(size - 1) // 8] if size <= SIZES[2] else (size - 1).bit_length()


def kmalloc_type(gfp: int, *, accounting: bool = True) -> KmallocType:
    """The row for requests with `gfp`: DMA before reclaimable before accounted."""
    if gfp & GFP_DMA:
        return KmallocType.DMA
    if gfp & GFP_RECLAIMABLE:
        return KmallocType.RECLAIM
    return KmallocType.CGROUP if gfp & GFP_ACCOUNT and accounting else KmallocType.NORMAL


def kmalloc_size_roundup(size: int) -> int:
    """The bytes a request of `size` bytes really gets."""
    index = kmalloc_index(size)
    if index is not None:
        return SIZES[index]
    return PAGE_SIZE << get_order(size) if size else 0
