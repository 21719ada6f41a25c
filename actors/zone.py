"""A zone: the page frames of one node that have one kind of use, with their free lists and watermarks.

Mirrors ``struct zone``, ``__zone_watermark_ok()``, ``__setup_per_zone_wmarks()``, ``setup_per_zone_lowmem_reserve()``
and ``calculate_min_free_kbytes()`` of mm/page_alloc.c (6.1) on x86-64.

ZONE_DMA ends at 16 MiB, ZONE_DMA32 at 4 GiB, ZONE_NORMAL has the rest; ZONE_MOVABLE only what was brought online for
it, ZONE_DEVICE nothing.  Three watermarks, in pages, say how far a zone may be emptied: above *low* everybody is
served, at *low* kswapd is to be woken, down to *min* those go who have asked for that, below it those with
privileges. ``lowmem_reserve[highest]`` is kept on top for requests that could have come from a higher zone.

No page frame is reserved here for firmware, the kernel's image or struct pages: present, managed and, where a zone
has no hole, spanned pages are the same number.  Left out: boosted watermarks, reserves for atomic blocks, CMA, and the
drift of per-CPU counters.

Memory that comes passes through three states: *associated* (in ``blocks``, so the zone spans it), *isolated* (there,
but on no free list), and in use or free like all other; memory that leaves goes back through them.

Invariants: Z1 ``blocks`` are disjoint, in order and not adjacent, and have at least ``managed_pages`` pages, just so
many while no memory comes or goes.  Z2 every free or allocated page frame of ``buddy`` lies in one of them.  Who may
touch a zone: the node it belongs to, and whoever declares the node's resource.
"""

from __future__ import annotations

from math import isqrt
from typing import TYPE_CHECKING

from .buddy import Buddy

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

ZONE_DMA, ZONE_DMA32, ZONE_NORMAL, ZONE_MOVABLE, ZONE_DEVICE = range(5)
MAX_NR_ZONES = 5
ZONE_NAMES = ("DMA", "DMA32", "Normal", "Movable", "Device")
PHYSICAL_LIMITS = ((0, 1 << 12), (1 << 12, 1 << 20), (1 << 20, 1 << 52))
"""First page frame of DMA, DMA32 and Normal, and the one behind the last."""

WMARK_MIN, WMARK_LOW, WMARK_HIGH = range(3)
ALLOC_WMARK_MASK = 0x3
ALLOC_HARDER = 0x10
ALLOC_HIGH = 0x20
"""``alloc_flags``: which watermark counts, and how much less than it is enough."""

LOWMEM_RESERVE_RATIO = (256, 256, 32, 0, 0)
"""``sysctl_lowmem_reserve_ratio``: of what lies above a zone, one page in so many is reserved in it; 0 is none."""

NO_RESERVE: tuple[int, ...] = (0,) * MAX_NR_ZONES

WATERMARK_SCALE_FACTOR = 10
"""Distance of the watermarks, in hundredths of a percent of a zone."""

MIN_FREE_KBYTES_MIN, MIN_FREE_KBYTES_MAX = 128, 262_144
KBYTES_PER_PAGE = 4


class Zone:
    """One zone of a node.  ``blocks`` are (first page frame, behind the last); ``watermarks`` are min, low and high."""

    __slots__ = ("blocks", "buddy", "index", "lowmem_reserve", "managed_pages", "watermarks")

    def __init__(self, index: int) -> None:
        self.index = index
        self.buddy = Buddy()
        self.blocks: list[tuple[int, int]] = []
        self.managed_pages = 0
        self.watermarks = (0, 0, 0)
        self.lowmem_reserve = NO_RESERVE

    @property
    def name(self) -> str:
        """As in ``/proc/zoneinfo``."""
        return ZONE_NAMES[self.index]

    @property
    def free_pages(self) -> int:
        """Pages in free blocks (``NR_FREE_PAGES``)."""
        return self.buddy.free_pages

    @property
    def start_pfn(self) -> int:
        """The first page frame, or 0 where there is none."""
        return self.blocks[0][0] if self.blocks else 0

    @property
    def spanned_pages(self) -> int:
        """From the first page frame to the last, with holes."""
        return self.blocks[-1][1] - self.blocks[0][0] if self.blocks else 0

    # --- page frames that come

    def add(self, start_pfn: int, nr_pages: int) -> None:
        """Take in page frames that were nobody's; they are free: how memory comes that is there at boot."""
        self.associate(start_pfn, nr_pages)
        self.online(start_pfn, nr_pages)
        self.undo_isolation(start_pfn, nr_pages)

    def associate(self, start_pfn: int, nr_pages: int) -> None:
        """Page frames are this zone's from now on, but not there yet (``move_pfn_range_to_zone``)."""
        blocks: list[tuple[int, int]] = []
        for low, high in sorted([*self.blocks, (start_pfn, start_pfn + nr_pages)]):
            if blocks and blocks[-1][1] == low:
                blocks[-1] = (blocks[-1][0], high)
            else:
                blocks.append((low, high))
        self.blocks = blocks

    def online(self, start_pfn: int, nr_pages: int) -> None:
        """They are there, but isolated (``online_pages_range``)."""
        self.buddy.add_isolated(start_pfn, nr_pages)
        self.managed_pages += nr_pages

    # --- page frames that leave

    def isolate(self, start_pfn: int, nr_pages: int) -> None:
        """Nobody gets pages of a range any more (``start_isolate_page_range``)."""
        self.buddy.isolate(start_pfn, nr_pages)

    def undo_isolation(self, start_pfn: int, nr_pages: int) -> None:
        """Everybody may get pages of an isolated range (``undo_isolate_page_range``)."""
        self.buddy.undo_isolation(start_pfn, nr_pages)

    def offline(self, start_pfn: int, nr_pages: int) -> None:
        """Isolated page frames, none of which is in use, are there no more (``__offline_isolated_pages``)."""
        self.buddy.discard(start_pfn, nr_pages)
        self.managed_pages -= nr_pages

    def dissociate(self, start_pfn: int, nr_pages: int) -> None:
        """Page frames that are not there are nobody's again (``remove_pfn_range_from_zone``)."""
        end = start_pfn + nr_pages
        left = [part for low, high in self.blocks for part in ((low, min(high, start_pfn)), (max(low, end), high))]
        self.blocks = [(low, high) for low, high in left if low < high]

    def intersects(self, start_pfn: int, nr_pages: int) -> bool:
        """Whether a range reaches between the first page frame and the last (``zone_intersects``)."""
        start = self.start_pfn
        return start_pfn < start + self.spanned_pages and start < start_pfn + nr_pages

    def part_of(self, start_pfn: int, nr_pages: int) -> list[tuple[int, int]]:
        """What of a range is in this zone, as (first, number of pages)."""
        end = start_pfn + nr_pages
        common = [(max(low, start_pfn), min(high, end)) for low, high in self.blocks]
        return [(low, high - low) for low, high in common if low < high]

    # --- giving pages

    def watermark_ok(
        self, order: int, mark: int, highest_zone: int, alloc_flags: int = 0, free_pages: int | None = None
    ) -> bool:
        """Whether 2^`order` pages may be taken without going below `mark` (``__zone_watermark_ok``).

        `highest_zone` is the highest zone the request could come from; `free_pages` stands in for the true number.  For
        order 0 that is all ``zone_watermark_fast`` says too, as nothing is boosted or set aside; a larger order also
        needs a free block of its size.
        """
        free = (self.buddy.free_pages if free_pages is None else free_pages) - ((1 << order) - 1)
        if alloc_flags & ALLOC_HIGH:
            mark -= mark // 2
        if alloc_flags & ALLOC_HARDER:
            mark -= mark // 4
        if free <= mark + self.lowmem_reserve[highest_zone]:
            return False
        return not order or self.buddy.has_block(order)

    def allocate(self, order: int, highest_zone: int, alloc_flags: int) -> int | None:
        """Take 2^`order` pages if the watermark that `alloc_flags` names allows it; the first page frame, or None."""
        mark = self.watermarks[alloc_flags & ALLOC_WMARK_MASK]
        return self.buddy.allocate(order) if self.watermark_ok(order, mark, highest_zone, alloc_flags) else None


def pages_beyond_high(zones: Iterable[Zone], highest_zone: int) -> int:
    """Pages above the high watermark in zones up to `highest_zone` (``nr_free_zone_pages``)."""
    return sum(max(0, z.managed_pages - z.watermarks[WMARK_HIGH]) for z in zones if z.index <= highest_zone)


def calculate_min_free_kbytes(lowmem_kbytes: int) -> int:
    """What is to be kept free on a machine with so much memory."""
    return min(max(isqrt(lowmem_kbytes * 16), MIN_FREE_KBYTES_MIN), MIN_FREE_KBYTES_MAX)


def setup_per_zone_wmarks(zones: Sequence[Zone], min_free_kbytes: int, scale: int = WATERMARK_SCALE_FACTOR) -> None:
    """Divide what is to be kept free among all zones of the machine, by their sizes."""
    pages_min = min_free_kbytes // KBYTES_PER_PAGE
    lowmem_pages = sum(zone.managed_pages for zone in zones)
    for zone in zones:
        managed = zone.managed_pages
        least = pages_min * managed // lowmem_pages if managed else 0
        distance = max(least >> 2, managed * scale // 10_000)
        zone.watermarks = (least, least + distance, least + 2 * distance)


def setup_per_zone_lowmem_reserve(zones: Sequence[Zone], ratios: Sequence[int] = LOWMEM_RESERVE_RATIO) -> None:
    """Reserve in each zone of one node a part of what lies above it, for those who can use nothing else."""
    for zone, ratio in zip(zones, ratios, strict=True):
        if not ratio or not zone.managed_pages:
            zone.lowmem_reserve = NO_RESERVE
            continue
        above, reserve = 0, [0] * MAX_NR_ZONES
        for upper in zones[zone.index + 1 :]:
            above += upper.managed_pages
            reserve[upper.index] = above // ratio
        zone.lowmem_reserve = tuple(reserve)
