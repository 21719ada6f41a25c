"""The binary buddy system of one zone: free blocks of 2^order pages, split and merged.

Mirrors ``__rmqueue_smallest()``, ``expand()`` and ``__free_one_page()`` of mm/page_alloc.c (6.1).  Left out: migrate
types but one, and per-CPU page lists, so pages that a kernel would keep there are free blocks here.  The one is
isolation: a range of page frames whose free pages nobody gets.  Memory that was never
handed out is kept as ranges of largest blocks, which are cut off from the lowest address as needed, so a node of many
gigabytes costs nothing until it is used; the totals and orders are those of the full lists.

Invariants: B1 a free block of order n starts at a multiple of 2^n.  B2 no two buddies of one order are both free,
below the largest order.  B3 ``free_pages`` is the sum over all free blocks and ranges.  B4 no block on a free list
reaches into an isolated range; what is not in use there is free, and counted nowhere.
"""

from __future__ import annotations

MAX_ORDER = 11
"""Orders are 0 … MAX_ORDER - 1, as up to 6.3."""

LARGEST = MAX_ORDER - 1
LARGEST_PAGES = 1 << LARGEST


def largest_order(pfn: int, end: int) -> int:
    """The order of the largest block that may start at `pfn` and ends at `end` or before."""
    return min(((pfn & -pfn).bit_length() - 1) if pfn else LARGEST, (end - pfn).bit_length() - 1, LARGEST)


class Buddy:
    """Free page frames of one zone, by order."""

    __slots__ = ("_allocated", "_free", "_isolated", "_ranges", "free_pages")

    def __init__(self) -> None:
        self._free: tuple[dict[int, None], ...] = ()  # by order; made with the first memory: most zones have none
        self._ranges: list[tuple[int, int]] = []  # (start, end) page frame numbers, aligned to the largest order
        self._allocated: dict[int, int] = {}  # first page frame → order
        self._isolated: list[tuple[int, int]] = []  # (start, end): what is free there is on no list
        self.free_pages = 0

    def add(self, start_pfn: int, nr_pages: int) -> None:
        """Put page frames that were not here before on the free lists."""
        pfn, end = start_pfn, start_pfn + nr_pages
        if not self._free:
            self._free = tuple({} for _ in range(MAX_ORDER))
        self.free_pages += nr_pages
        while pfn < end:
            if pfn % LARGEST_PAGES == 0 and end - pfn >= LARGEST_PAGES:
                whole = end - end % LARGEST_PAGES
                self._ranges.append((pfn, whole))
                pfn = whole
                continue
            order = largest_order(pfn, end)
            self._release(pfn, order)
            pfn += 1 << order

    # --- isolation: page frames that are nobody's to take (``MIGRATE_ISOLATE``)

    def isolate(self, start_pfn: int, nr_pages: int) -> None:
        """Take the free pages of a range from the free lists; those in use follow when they are freed."""
        end = start_pfn + nr_pages
        for order, blocks in enumerate(self._free):
            for pfn in [pfn for pfn in blocks if pfn < end and pfn + (1 << order) > start_pfn]:
                del blocks[pfn]
                self._take_out(pfn, pfn + (1 << order), start_pfn, end)
        ranges, self._ranges = self._ranges, []
        for low, high in ranges:
            if low < end and high > start_pfn:
                self._take_out(low, high, start_pfn, end)
            else:
                self._ranges.append((low, high))
        self._isolated.append((start_pfn, end))

    def _take_out(self, low: int, high: int, start: int, end: int) -> None:
        """Of the free pages from `low` to `high`, which are on no list any more, put those outside of a range back."""
        self.free_pages -= high - low
        for first, last in ((low, min(high, start)), (max(low, end), high)):
            if first < last:
                self.add(first, last - first)

    def add_isolated(self, start_pfn: int, nr_pages: int) -> None:
        """Take in page frames that were not here before, isolated (``online_pages_range``)."""
        self._isolated.append((start_pfn, start_pfn + nr_pages))

    def undo_isolation(self, start_pfn: int, nr_pages: int) -> None:
        """Put the free pages of an isolated range on the free lists (``undo_isolate_page_range``)."""
        self.discard(start_pfn, nr_pages)
        for low, high in self._unused(start_pfn, start_pfn + nr_pages):
            self.add(low, high - low)

    def discard(self, start_pfn: int, nr_pages: int) -> None:
        """An isolated range is not one any more; its free pages are gone (``__offline_isolated_pages``)."""
        self._isolated.remove((start_pfn, start_pfn + nr_pages))

    def _unused(self, start: int, end: int) -> list[tuple[int, int]]:
        """The gaps between the blocks in use of a range."""
        gaps, low = [], start
        for pfn, order in self.in_use(start, end - start):
            if low < pfn:
                gaps.append((low, pfn))
            low = pfn + (1 << order)
        return [*gaps, (low, end)] if low < end else gaps

    def in_use(self, start_pfn: int, nr_pages: int) -> list[tuple[int, int]]:
        """The blocks in use that reach into a range, as (first page frame, order), in increasing order."""
        end = start_pfn + nr_pages
        found = [(pfn, order) for pfn, order in self._allocated.items() if pfn < end and pfn + (1 << order) > start_pfn]
        found.sort()
        return found

    # --- blocks

    def allocate(self, order: int) -> int | None:
        """Take 2^`order` pages; the first page frame number, or None where no block is large enough."""
        for current in range(order, len(self._free)):
            pfn = self._take(current)
            if pfn is None:
                continue
            for half in range(current - 1, order - 1, -1):  # the upper halves go back
                self._free[half][pfn + (1 << half)] = None
            self._allocated[pfn] = order
            self.free_pages -= 1 << order
            return pfn
        return None

    def _take(self, order: int) -> int | None:
        blocks = self._free[order]
        if blocks:
            return blocks.popitem()[0]  # the most recently freed: its lines may still be in a cache
        if order == LARGEST and self._ranges:
            start, end = self._ranges[0]
            if start + LARGEST_PAGES == end:
                del self._ranges[0]
            else:
                self._ranges[0] = (start + LARGEST_PAGES, end)
            return start
        return None

    def free(self, pfn: int) -> int:
        """Give back what `allocate` returned, merging buddies; its order.

        Raises:
            KeyError: `pfn` does not start an allocated block.
        """
        order = self._allocated.pop(pfn)
        if self._isolated and any(low <= pfn < high for low, high in self._isolated):
            return order
        self.free_pages += 1 << order
        self._release(pfn, order)
        return order

    def _release(self, pfn: int, order: int) -> None:
        while order < LARGEST:
            buddy = pfn ^ (1 << order)
            if buddy not in self._free[order]:
                break
            del self._free[order][buddy]
            pfn &= ~(1 << order)
            order += 1
        self._free[order][pfn] = None

    def has_block(self, order: int) -> bool:
        """Whether `allocate` would find a block for `order`."""
        return bool(self._ranges) or any(self._free[order:])

    def holds(self, pfn: int) -> bool:
        """Whether an allocated block starts at `pfn`."""
        return pfn in self._allocated

    def counts(self) -> list[int]:
        """Free blocks by order, isolated ones included, as a row of ``/proc/buddyinfo``."""
        counts = [len(blocks) for blocks in self._free] or [0] * MAX_ORDER
        counts[LARGEST] += sum((end - start) >> LARGEST for start, end in self._ranges)
        for low, high in self._isolated:
            for start, end in self._unused(low, high):
                pfn = start
                while pfn < end:
                    order = largest_order(pfn, end)
                    counts[order] += 1
                    pfn += 1 << order
        return counts
