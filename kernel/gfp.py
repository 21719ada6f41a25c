"""``gfp_t``: what a caller allows the page allocator to do, and from where pages may come.

Mirrors include/linux/gfp_types.h, gfp_zone() of include/linux/gfp.h, gfp_to_alloc_flags() of mm/page_alloc.c and the
``%pGg`` names of include/trace/events/mmflags.h (6.1, x86-64).  The kernel's two underscores are left out, as Python
would take them for private; ``__GFP_ATOMIC`` is `GFP_MAY_DIP`, as GFP_ATOMIC is the combination.
"""

from __future__ import annotations

from ..actors.zone import (
    ALLOC_HARDER,
    ALLOC_HIGH,
    WMARK_MIN,
    ZONE_DMA,
    ZONE_DMA32,
    ZONE_MOVABLE,
    ZONE_NORMAL,
)

GFP_DMA = 0x1
GFP_HIGHMEM = 0x2
GFP_DMA32 = 0x4
GFP_MOVABLE = 0x8
GFP_RECLAIMABLE = 0x10
GFP_HIGH = 0x20
GFP_IO = 0x40
GFP_FS = 0x80
GFP_ZERO = 0x100
GFP_MAY_DIP = 0x200
GFP_DIRECT_RECLAIM = 0x400
GFP_KSWAPD_RECLAIM = 0x800
GFP_WRITE = 0x1000
GFP_NOWARN = 0x2000
GFP_RETRY_MAYFAIL = 0x4000
GFP_NOFAIL = 0x8000
GFP_NORETRY = 0x10000
GFP_MEMALLOC = 0x20000
GFP_COMP = 0x40000
GFP_NOMEMALLOC = 0x80000
GFP_HARDWALL = 0x100000
GFP_THISNODE = 0x200000
GFP_ACCOUNT = 0x400000
GFP_ZEROTAGS = 0x800000

GFP_RECLAIM = GFP_DIRECT_RECLAIM | GFP_KSWAPD_RECLAIM
GFP_ATOMIC = GFP_HIGH | GFP_MAY_DIP | GFP_KSWAPD_RECLAIM
GFP_KERNEL = GFP_RECLAIM | GFP_IO | GFP_FS
GFP_KERNEL_ACCOUNT = GFP_KERNEL | GFP_ACCOUNT
GFP_NOWAIT = GFP_KSWAPD_RECLAIM
GFP_NOIO = GFP_RECLAIM
GFP_NOFS = GFP_RECLAIM | GFP_IO
GFP_USER = GFP_KERNEL | GFP_HARDWALL
GFP_HIGHUSER = GFP_USER | GFP_HIGHMEM
GFP_HIGHUSER_MOVABLE = GFP_HIGHUSER | GFP_MOVABLE
GFP_TRANSHUGE_LIGHT = (GFP_HIGHUSER_MOVABLE | GFP_COMP | GFP_NOMEMALLOC | GFP_NOWARN) & ~GFP_RECLAIM
GFP_TRANSHUGE = GFP_TRANSHUGE_LIGHT | GFP_DIRECT_RECLAIM

ZONE_BITS = GFP_DMA | GFP_HIGHMEM | GFP_DMA32 | GFP_MOVABLE
_ZONES = {
    0: ZONE_NORMAL,
    GFP_DMA: ZONE_DMA,
    GFP_HIGHMEM: ZONE_NORMAL,
    GFP_DMA32: ZONE_DMA32,
    GFP_MOVABLE: ZONE_NORMAL,
    GFP_MOVABLE | GFP_DMA: ZONE_DMA,
    GFP_MOVABLE | GFP_HIGHMEM: ZONE_MOVABLE,
    GFP_MOVABLE | GFP_DMA32: ZONE_DMA32,
}
"""The highest zone for each combination of zone bits that has a meaning."""

_NAMES = (
    (GFP_TRANSHUGE, "GFP_TRANSHUGE"),
    (GFP_TRANSHUGE_LIGHT, "GFP_TRANSHUGE_LIGHT"),
    (GFP_HIGHUSER_MOVABLE, "GFP_HIGHUSER_MOVABLE"),
    (GFP_HIGHUSER, "GFP_HIGHUSER"),
    (GFP_USER, "GFP_USER"),
    (GFP_KERNEL_ACCOUNT, "GFP_KERNEL_ACCOUNT"),
    (GFP_KERNEL, "GFP_KERNEL"),
    (GFP_NOFS, "GFP_NOFS"),
    (GFP_ATOMIC, "GFP_ATOMIC"),
    (GFP_NOIO, "GFP_NOIO"),
    (GFP_NOWAIT, "GFP_NOWAIT"),
    (GFP_DMA, "GFP_DMA"),
    (GFP_HIGHMEM, "__GFP_HIGHMEM"),
    (GFP_DMA32, "GFP_DMA32"),
    (GFP_HIGH, "__GFP_HIGH"),
    (GFP_MAY_DIP, "__GFP_ATOMIC"),
    (GFP_IO, "__GFP_IO"),
    (GFP_FS, "__GFP_FS"),
    (GFP_NOWARN, "__GFP_NOWARN"),
    (GFP_RETRY_MAYFAIL, "__GFP_RETRY_MAYFAIL"),
    (GFP_NOFAIL, "__GFP_NOFAIL"),
    (GFP_NORETRY, "__GFP_NORETRY"),
    (GFP_COMP, "__GFP_COMP"),
    (GFP_ZERO, "__GFP_ZERO"),
    (GFP_NOMEMALLOC, "__GFP_NOMEMALLOC"),
    (GFP_MEMALLOC, "__GFP_MEMALLOC"),
    (GFP_HARDWALL, "__GFP_HARDWALL"),
    (GFP_THISNODE, "__GFP_THISNODE"),
    (GFP_RECLAIMABLE, "__GFP_RECLAIMABLE"),
    (GFP_MOVABLE, "__GFP_MOVABLE"),
    (GFP_ACCOUNT, "__GFP_ACCOUNT"),
    (GFP_WRITE, "__GFP_WRITE"),
    (GFP_RECLAIM, "__GFP_RECLAIM"),
    (GFP_DIRECT_RECLAIM, "__GFP_DIRECT_RECLAIM"),
    (GFP_KSWAPD_RECLAIM, "__GFP_KSWAPD_RECLAIM"),
    (GFP_ZEROTAGS, "__GFP_ZEROTAGS"),
)
"""The largest combinations first; what is named is not named again."""


def gfp_names(gfp: int) -> str:
    """`gfp` in words, such as ``GFP_KERNEL|__GFP_COMP``; bits without a name last, in hexadecimal."""
    names = []
    for mask, name in _NAMES:
        if gfp & mask == mask:
            names.append(name)
            gfp &= ~mask
    return "|".join(names + [f"{gfp:#x}"] * bool(gfp))


def gfp_zone(gfp: int) -> int | None:
    """The highest zone a request may be served from, or None where its zone bits exclude each other."""
    return _ZONES.get(gfp & ZONE_BITS)


def gfp_to_alloc_flags(gfp: int) -> int:
    """How far the slow path may empty zones: to the min watermark, and below it who must not or need not wait."""
    flags = WMARK_MIN
    if gfp & GFP_HIGH:
        flags |= ALLOC_HIGH
    if gfp & GFP_MAY_DIP and not gfp & GFP_NOMEMALLOC:
        flags |= ALLOC_HARDER
    return flags
