"""A NUMA node: the actor that owns the page frames of one node.

Mirrors the zone of mm/page_alloc.c (6.1) behind messages: allocate, free, bring memory blocks online, take them
offline. The node decides alone whether it can serve a request; which node is asked next (the zonelist) is the kernel
room's business.
Answers: a page frame number, or None where no block is large enough; for `OfflineBlocks` whether nothing was in use.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from .actor import Actor
from .buddy import Buddy
from .mailbox import Mailbox, Message
from .signal import Request

if TYPE_CHECKING:
    from .interleaver import Interleaver


@dataclass(frozen=True, slots=True)
class AllocatePages(Request):
    """Wanted: 2^``order`` page frames in one piece."""

    order: int


@dataclass(frozen=True, slots=True)
class FreePages(Message):
    """The block that starts at ``pfn`` is not needed any more."""

    pfn: int


@dataclass(frozen=True, slots=True)
class OnlineBlocks(Request):
    """These page frames are now usable."""

    start_pfn: int
    nr_pages: int


@dataclass(frozen=True, slots=True)
class OfflineBlocks(Request):
    """These page frames are wanted back; refused while one is in use."""

    start_pfn: int
    nr_pages: int


class NumaNode(Actor):
    """One node: `distances` are to every node of the machine, in order of node number (10 is local)."""

    daemon = True

    __slots__ = ("buddy", "distances", "mailbox", "node", "present_pages")

    def __init__(self, interleaver: Interleaver, node: int, distances: dict[int, int]) -> None:
        super().__init__(interleaver, f"node/{node}")
        self.node = node
        self.distances = distances
        self.buddy = Buddy()
        self.present_pages = 0
        self.mailbox = Mailbox(self)

    def boot_memory(self, start_pfn: int, nr_pages: int) -> None:
        """Memory that is there when the machine starts; before the first step only."""
        self.buddy.add(start_pfn, nr_pages)
        self.present_pages += nr_pages

    def fallback_order(self, candidates: list[int]) -> list[int]:
        """`candidates` from the nearest node to the farthest, equals by number."""
        return sorted(candidates, key=lambda node: (self.distances[node], node))

    async def body(self) -> None:
        """Serve requests in order of arrival, for ever."""
        buddy = self.buddy
        while True:
            match await self.mailbox.receive():
                case AllocatePages(reply, order):
                    reply.answer(buddy.allocate(order))
                case FreePages(pfn):
                    buddy.free(pfn)
                case OnlineBlocks(reply, start_pfn, nr_pages):
                    self.boot_memory(start_pfn, nr_pages)
                    reply.answer(None)
                case OfflineBlocks(reply, start_pfn, nr_pages):
                    free = buddy.remove(start_pfn, nr_pages)
                    if free:
                        self.present_pages -= nr_pages
                    reply.answer(free)
