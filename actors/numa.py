"""A NUMA node: the actor that owns the page frames of one node, divided into zones.

Mirrors the zones of a ``pglist_data`` and their part of get_page_from_freelist() in mm/page_alloc.c (6.1) behind
messages: allocate, free, bring memory blocks online, take them offline.  The node decides alone, in one step, whether
one of its zones can serve a request, from the highest allowed one down; which node is asked next (the zonelist), and
what becomes of a request that no node serves, is the kernel room's business.  Per-CPU page lists are left out: a page
that is freed is in a free block at once.

Answers: a page frame number, or None where no zone may or can give a block; for `IsolateBlock` None, or the page frame
that stands in the way.

``lru`` has the pages that can move, by page frame: those whose users reach them through page tables, which the kernel
room fills in.

The zones are the node's own, but not secret: who looks at them (``/proc/zoneinfo``), or sets their watermarks,
declares ``resource``, as does the node whenever it changes something.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .actor import Actor
from .mailbox import Mailbox, Message
from .operation import Op, OpKind
from .resource import Access
from .signal import Request
from .zone import MAX_NR_ZONES, PHYSICAL_LIMITS, WMARK_HIGH, ZONE_MOVABLE, ZONE_NORMAL, Zone

if TYPE_CHECKING:
    from .interleaver import Interleaver


@dataclass(frozen=True, slots=True)
class AllocatePages(Request):
    """Wanted: 2^``order`` page frames in one piece, from ``highest_zone`` or below, as ``alloc_flags`` allow."""

    order: int
    highest_zone: int
    alloc_flags: int


@dataclass(frozen=True, slots=True)
class FreePages(Message):
    """The block that starts at ``pfn`` is not needed any more."""

    pfn: int


@dataclass(frozen=True, slots=True)
class BlockRequest(Request):
    """About the memory block at these page frames, which is or shall be in ``zone``."""

    start_pfn: int
    nr_pages: int
    zone: int


@dataclass(frozen=True, slots=True)
class AddBlock(BlockRequest):
    """The block is the zone's from now on, but not there yet."""


@dataclass(frozen=True, slots=True)
class OnlineBlock(BlockRequest):
    """It is there now, isolated."""


@dataclass(frozen=True, slots=True)
class ReleaseBlock(BlockRequest):
    """It is not isolated any more: its pages may be allocated."""


@dataclass(frozen=True, slots=True)
class IsolateBlock(BlockRequest):
    """Nobody shall get its pages any more; refused while one is in use that cannot move, which is the answer then."""


@dataclass(frozen=True, slots=True)
class FindInUse(BlockRequest):
    """Which blocks of pages are still in use there?  The answer is a list of (page frame, order)."""


@dataclass(frozen=True, slots=True)
class OfflineBlock(BlockRequest):
    """It is isolated, and shall be there no more."""


@dataclass(frozen=True, slots=True)
class RemoveBlock(BlockRequest):
    """It is nobody's any more."""


class NumaNode(Actor):
    """One node: `distances` are to every node of the machine, in order of node number (10 is local)."""

    daemon = True

    __slots__ = ("distances", "lru", "mailbox", "node", "read_zones", "resource", "write_zones", "zones")

    def __init__(self, interleaver: Interleaver, node: int, distances: dict[int, int]) -> None:
        super().__init__(interleaver, f"node/{node}")
        self.node = node
        self.distances = distances
        self.zones = tuple(Zone(index) for index in range(MAX_NR_ZONES))
        self.lru: dict[int, Any] = {}
        self.mailbox = Mailbox(self)
        self.resource = interleaver.resource(f"zones of node {node}")
        self.read_zones = Op(OpKind.READ, self.resource)
        self.write_zones = Op(OpKind.WRITE, self.resource)

    @property
    def free_pages(self) -> int:
        """Pages in free blocks of all zones."""
        return sum(zone.free_pages for zone in self.zones)

    @property
    def present_pages(self) -> int:
        """Pages of all zones."""
        return sum(zone.managed_pages for zone in self.zones)

    def touched(self, access: Access) -> None:
        """Declare that the step being made looks at the zones, or changes them."""
        touch = self.interleaver.touch
        if touch is not None:
            touch(self.resource, access)

    def boot_memory(self, start_pfn: int, nr_pages: int) -> None:
        """Memory that is there when the machine starts: each page frame is in the zone of its address."""
        end = start_pfn + nr_pages
        for index, (low, high) in enumerate(PHYSICAL_LIMITS):
            first, last = max(start_pfn, low), min(end, high)
            if first < last:
                self.zones[index].add(first, last - first)

    def zone_for(self, start_pfn: int, nr_pages: int) -> Zone:
        """Where memory goes that comes later: to a lower zone that reaches into it, or else to ZONE_NORMAL.

        Mirrors default_kernel_zone_for_pfn() of mm/memory_hotplug.c: the address does not matter.
        """
        for zone in self.zones[:ZONE_NORMAL]:
            if zone.intersects(start_pfn, nr_pages):
                return zone
        return self.zones[ZONE_NORMAL]

    def default_zone_for(self, start_pfn: int, nr_pages: int) -> Zone:
        """Where it goes if nobody says anything: with its neighbours, in doubt to a zone of the kernel's.

        Mirrors default_zone_for_pfn(), where no boot parameter prefers ZONE_MOVABLE.
        """
        kernel, movable = self.zone_for(start_pfn, nr_pages), self.zones[ZONE_MOVABLE]
        alone = movable.intersects(start_pfn, nr_pages) and not kernel.intersects(start_pfn, nr_pages)
        return movable if alone else kernel

    def allocate(self, order: int, highest_zone: int, alloc_flags: int) -> int | None:
        """Take 2^`order` pages from the highest zone that may give them; the first page frame number, or None."""
        for zone in self.zones[highest_zone::-1]:
            if zone.managed_pages:
                pfn = zone.allocate(order, highest_zone, alloc_flags)
                if pfn is not None:
                    return pfn
        return None

    def free(self, pfn: int) -> None:
        """Give a block back to the zone it came from.

        Raises:
            KeyError: `pfn` does not start an allocated block.
        """
        for zone in self.zones:
            if zone.buddy.holds(pfn):
                zone.buddy.free(pfn)
                return
        raise KeyError(f"node {self.node}: no allocated block starts at page frame {pfn}")

    def unmovable(self, zone: Zone, start_pfn: int, nr_pages: int) -> int | None:
        """A page frame in use that cannot move, if there is one (``has_unmovable_pages``).

        In ZONE_MOVABLE everything is taken to be movable.
        """
        if zone.index == ZONE_MOVABLE:
            return None
        used = zone.buddy.in_use(start_pfn, nr_pages)
        return next((pfn for pfn, _ in used if pfn not in self.lru), None)

    def _serve(self, request: BlockRequest) -> Any:
        zone, start_pfn, nr_pages = self.zones[request.zone], request.start_pfn, request.nr_pages
        match request:
            case AddBlock():
                zone.associate(start_pfn, nr_pages)
            case OnlineBlock():
                zone.online(start_pfn, nr_pages)
            case ReleaseBlock():
                zone.undo_isolation(start_pfn, nr_pages)
            case IsolateBlock():
                obstacle = self.unmovable(zone, start_pfn, nr_pages)
                if obstacle is None:
                    zone.isolate(start_pfn, nr_pages)
                return obstacle
            case FindInUse():
                return zone.buddy.in_use(start_pfn, nr_pages)
            case OfflineBlock():
                zone.offline(start_pfn, nr_pages)
            case RemoveBlock():
                zone.dissociate(start_pfn, nr_pages)
        return None

    def balanced(self, order: int, highest_zone: int) -> bool:
        """Whether some zone has more than enough for 2^`order` pages, or there is none at all (``pgdat_balanced``)."""
        zones = [zone for zone in self.zones[: highest_zone + 1] if zone.managed_pages]
        return not zones or any(zone.watermark_ok(order, zone.watermarks[WMARK_HIGH], highest_zone) for zone in zones)

    async def body(self) -> None:
        """Serve requests in order of arrival, for ever."""
        while True:
            message = await self.mailbox.receive()
            self.touched(Access.WRITE)
            match message:
                case AllocatePages(reply, order, highest_zone, alloc_flags):
                    reply.answer(self.allocate(order, highest_zone, alloc_flags))
                case FreePages(pfn):
                    self.free(pfn)
                case BlockRequest(reply):
                    reply.answer(self._serve(message))
