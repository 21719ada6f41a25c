"""A list of slabs, linked through the slabs themselves: ``struct list_head`` as SLUB uses it.

A slab is on one list at most.  The list belongs to whoever holds the lock of its owner (``n->list_lock``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from .cache import Slab


class SlabList:
    """Slabs in order; adding at either end and removing take the same time however long it is."""

    __slots__ = ("head", "tail")

    def __init__(self) -> None:
        self.head: Slab | None = None
        self.tail: Slab | None = None

    def __iter__(self) -> Iterator[Slab]:
        """From the head; the slab last given may be removed meanwhile."""
        slab = self.head
        while slab is not None:
            following = slab.next
            yield slab
            slab = following

    def __bool__(self) -> bool:
        return self.head is not None

    def add(self, slab: Slab) -> None:
        """Put `slab` at the head (``list_add``)."""
        slab.previous = None
        slab.next = self.head
        if self.head is None:
            self.tail = slab
        else:
            self.head.previous = slab
        self.head = slab

    def add_tail(self, slab: Slab) -> None:
        """Put `slab` at the tail (``list_add_tail``)."""
        slab.next = None
        slab.previous = self.tail
        if self.tail is None:
            self.head = slab
        else:
            self.tail.next = slab
        self.tail = slab

    def remove(self, slab: Slab) -> None:
        """Take `slab`, which is on this list, off it (``list_del``)."""
        before, after = slab.previous, slab.next
        if before is None:
            self.head = after
        else:
            before.next = after
        if after is None:
            self.tail = before
        else:
            after.previous = before
        slab.next = slab.previous = None

    def reorder(self, slabs: Iterable[Slab]) -> None:
        """Hold exactly `slabs`, in this order."""
        self.head = self.tail = None
        for slab in slabs:
            self.add_tail(slab)
