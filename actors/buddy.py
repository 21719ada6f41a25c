"""The binary buddy system of one zone: free blocks of 2^order pages, split and merged.

Mirrors ``__rmqueue_smallest()``, ``expand()`` and ``__free_one_page()`` of mm/page_alloc.c (6.1).  Left out: migrate
types, and per-CPU page lists, so pages that a kernel would keep there are free blocks here.  Memory that was never
handed out is kept as ranges of largest blocks, which are cut off from the lowest address as needed, so a node of many
gigabytes costs nothing until it is used; the totals and orders are those of the full lists.

Invariants: B1 a free block of order n starts at a multiple of 2^n.  B2 no two buddies of one order are both free,
below the largest order.  B3 ``free_pages`` is the sum over all free blocks and ranges.
"""

from __future__ import annotations

MAX_ORDER = 11
"""Orders are 0 … MAX_ORDER - 1, as up to 6.3."""

LARGEST = MAX_ORDER - 1
LARGEST_PAGES = 1 << LARGEST


class Buddy:
    """Free page frames of one zone, by order."""

    __slots__ = ("_allocated", "_free", "_ranges", "free_pages")

    def __init__(self) -> None:
        self._free: tuple[dict[int, None], ...] = ()  # by order; made with the first memory: most zones have none
        self._ranges: list[tuple[int, int]] = []  # (start, end) page frame numbers, aligned to the largest order
        self._allocated: dict[int, int] = {}  # first page frame → order
        self.free_pages = 0

    def add(self, start_pfn: int, nr_pages: int) -> None:
        """Put page frames that were not here before on the free lists (``online_pages_range``)."""
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
            order = min(((pfn & -pfn).bit_length() - 1) if pfn else LARGEST, (end - pfn).bit_length() - 1, LARGEST)
            self._release(pfn, order)
            pfn += 1 << order

    def remove(self, start_pfn: int, nr_pages: int) -> bool:
        """Take page frames away for good (``offline_pages``); false, and no change, where one of them is in use."""
        end = start_pfn + nr_pages
        if any(pfn < end and pfn + (1 << order) > start_pfn for pfn, order in self._allocated.items()):
            return False
        for order, blocks in enumerate(self._free):
            for pfn in [pfn for pfn in blocks if pfn < end and pfn + (1 << order) > start_pfn]:
                del blocks[pfn]
                self._put_back_outside(pfn, pfn + (1 << order), start_pfn, end)
        ranges, self._ranges = self._ranges, []
        for low, high in ranges:
            if low < end and high > start_pfn:
                self._put_back_outside(low, high, start_pfn, end)
            else:
                self._ranges.append((low, high))
        self.free_pages -= nr_pages
        return True

    def _put_back_outside(self, low: int, high: int, start: int, end: int) -> None:
        for first, last in ((low, min(high, start)), (max(low, end), high)):
            if first < last:
                self.free_pages -= last - first
                self.add(first, last - first)

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
        """Free blocks by order, as a row of ``/proc/buddyinfo``."""
        counts = [len(blocks) for blocks in self._free] or [0] * MAX_ORDER
        counts[LARGEST] += sum((end - start) >> LARGEST for start, end in self._ranges)
        return counts

    def allocated_in(self, start_pfn: int, nr_pages: int) -> int:
        """Blocks in use that reach into a range."""
        end = start_pfn + nr_pages
        return sum(pfn < end and pfn + (1 << order) > start_pfn for pfn, order in self._allocated.items())
