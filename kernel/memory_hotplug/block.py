"""A memory block: the piece of a node's memory that comes and goes as a whole.

Mirrors ``struct memory_block`` of include/linux/memory.h and the zone part of ``zone_for_pfn_range()`` (6.1).  Blocks
are as large as the topology says (128 MiB on x86-64); the last one of a node has what is left, as page frames beyond
the node's memory do not exist here.  Unlike in the kernel, where memory that has never come back into its place since
boot may be in several zones, a block in several zones is only known as such: it cannot leave (``zone`` is None).

A block's fields are changed under its ``&dev->mutex`` and ``device_hotplug_lock``; files look without either.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

from ...actors import Op, OpKind
from ...actors.zone import ZONE_MOVABLE
from ..locks import Mutex

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ...actors import NumaNode
    from ...actors.zone import Zone
    from ..machine import Machine


class BlockState(Enum):
    """``mem->state``, as ``state`` shows it."""

    ONLINE = "online"
    GOING_OFFLINE = "going-offline"
    OFFLINE = "offline"


class OnlineType(Enum):
    """``MMOP_…``: what is wanted of a block, as it is written to ``state``."""

    OFFLINE = "offline"
    ONLINE = "online"
    ONLINE_KERNEL = "online_kernel"
    ONLINE_MOVABLE = "online_movable"


class MemoryBlock:
    """Memory block `number` of `node`."""

    __slots__ = ("mutex", "node", "nr_pages", "number", "online_type", "read", "start_pfn", "state", "write", "zone")

    def __init__(self, machine: Machine, number: int, node: int, start_pfn: int, nr_pages: int) -> None:
        self.number = number
        self.node = node
        self.start_pfn = start_pfn
        self.nr_pages = nr_pages
        self.state = BlockState.OFFLINE
        self.zone: int | None = None  # of one that is online
        self.online_type = OnlineType.OFFLINE
        self.mutex = Mutex(machine, "&dev->mutex")
        resource = machine.interleaver.resource(self.name)
        self.read = Op(OpKind.READ, resource)
        self.write = Op(OpKind.WRITE, resource)

    @property
    def name(self) -> str:
        """The device's name."""
        return f"memory{self.number}"

    @property
    def range(self) -> tuple[int, int]:
        """(first page frame number, number of pages)."""
        return self.start_pfn, self.nr_pages

    def zone_for(self, node: NumaNode, online_type: OnlineType) -> Zone:
        """Where it would go (``zone_for_pfn_range``); in the step of the caller, who has declared the node's zones."""
        match online_type:
            case OnlineType.ONLINE_KERNEL:
                return node.zone_for(*self.range)
            case OnlineType.ONLINE_MOVABLE:
                return node.zones[ZONE_MOVABLE]
            case _:
                return node.default_zone_for(*self.range)

    def present_at_boot(self, node: NumaNode) -> None:
        """It was there when the machine started: in whatever zone, or zones, its page frames are."""
        zones = [zone.index for zone in node.zones if zone.part_of(*self.range)]
        self.state = BlockState.ONLINE
        self.zone = zones[0] if len(zones) == 1 else None


def blocks_of(node_range: tuple[int, int], pages_per_block: int) -> Iterator[tuple[int, int, int]]:
    """A node's memory in blocks: (number, first page frame, pages); `node_range` starts at a multiple of a block."""
    start, pages = node_range
    for first in range(start, start + pages, pages_per_block):
        yield first // pages_per_block, first, min(pages_per_block, start + pages - first)
