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

from ...actors import Access, Op, OpKind, Resource
from ...actors.resource import Maker, mix, name_code
from ...actors.zone import ZONE_MOVABLE
from ..locks import Mutex

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

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

    __slots__ = (
        "_machine",
        "_mutex",
        "node",
        "nr_pages",
        "number",
        "online_type",
        "read",
        "start_pfn",
        "state",
        "write",
        "zone",
    )

    def __init__(self, machine: Machine, number: int, node: int, start_pfn: int, nr_pages: int, maker: Maker) -> None:
        self._machine = machine
        self._mutex: Mutex | None = None
        self.number = number
        self.node = node
        self.start_pfn = start_pfn
        self.nr_pages = nr_pages
        self.state = BlockState.OFFLINE
        self.zone: int | None = None  # of one that is online
        self.online_type = OnlineType.OFFLINE
        resource = Resource(self.name, maker)
        self.read = Op(OpKind.READ, resource)
        self.write = Op(OpKind.WRITE, resource)

    @property
    def mutex(self) -> Mutex:
        """``&dev->mutex``, made when it is first wanted, which is under ``device_hotplug_lock``."""
        mutex = self._mutex
        if mutex is None:
            mutex = self._mutex = Mutex(self._machine, "&dev->mutex")
        return mutex

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


class MemoryBlocks:
    """The blocks of a machine by number.

    There may be very many, and few are ever looked at: each is made when it is first wanted, as if it had always been
    there, in a step that declares it.  `ranges` has each node's page frames, which start at a multiple of a block.
    """

    __slots__ = ("_machine", "_made", "_maker", "_nodes", "_pages", "_present")

    def __init__(self, machine: Machine, ranges: Mapping[int, tuple[int, int]], pages_per_block: int) -> None:
        self._machine = machine
        self._pages = pages_per_block
        self._nodes = {
            node: (start // pages_per_block, start, start + pages) for node, (start, pages) in ranges.items() if pages
        }
        self._present = {node: bool(machine.nodes[node].present_pages) for node in self._nodes}
        self._made: dict[int, MemoryBlock] = {}
        self._maker = Maker(mix(name_code("memory blocks"), 0))

    def __iter__(self) -> Iterator[int]:
        for node in self._nodes:
            yield from self.numbers(node)

    def __getitem__(self, number: int) -> MemoryBlock:
        block = self.get(number)
        if block is None:
            raise KeyError(number)
        return block

    def numbers(self, node: int) -> range:
        """The blocks of a node, by address."""
        first, start, end = self._nodes.get(node, (0, 0, 0))
        return range(first, first - (start - end) // self._pages)

    def get(self, number: int) -> MemoryBlock | None:
        """A block, as part of the step being made; None where there is none of that number."""
        block = self._made.get(number)
        touch = self._machine.interleaver.touch
        if block is not None:
            if touch is not None:
                touch(block.read.resource, Access.READ)
            return block
        node = next((node for node in self._nodes if number in self.numbers(node)), None)
        if node is None:
            return None
        _, _, end = self._nodes[node]
        first = number * self._pages
        block = MemoryBlock(self._machine, number, node, first, min(self._pages, end - first), self._maker)
        if self._present[node]:
            self._machine.nodes[node].touched(Access.READ)
            block.present_at_boot(self._machine.nodes[node])
        if touch is not None:
            touch(block.read.resource, Access.WRITE)
        self._made[number] = block
        return block
