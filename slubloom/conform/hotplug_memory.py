"""Recorded memory hotplug: the blocks the recording is about, and what the memory chain's subscribers saw.

The recorder's machine had a node without memory, into which a device with some blocks was plugged before the first
operation; the blocks have other numbers there than here, so they are taken in order.  Two subscribers of the recorder's
own, one before SLUB's in the chain and one behind it, noted each event, and whether the cache that the operation names
had a structure for the node at that moment.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from ..actors.hotplug import MemoryEvent, MemoryNotify, NotifierBlock
from ..kernel.memory_hotplug.files import write_memory_file

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ..kernel import Machine
    from .sequence_records import Operation, Write

MEMORY_FILE = re.compile(r"(/sys/devices/system/memory/memory)(\d+)(/.*)")
BLOCK_BYTES = 128 << 20
BEFORE_SLAB, BEHIND_SLAB = ("high", 1000), ("low", -1000)
FIELDS = ("prio", "action", "status_change_nid", "status_change_nid_normal", "has_kmem_cache_node")
"""What is compared of an event; besides there is in which node the page frames are, which the machine is made from."""


def is_memory_write(operation: Write) -> bool:
    """Whether a write is about a memory block."""
    return MEMORY_FILE.fullmatch(operation.path) is not None


def plugged_blocks(operations: Sequence[Operation]) -> dict[int, list[int]]:
    """The recording's block numbers by node, in order; nothing where no memory comes or goes."""
    from .sequence_records import Write

    numbers: dict[int, None] = {}
    nodes: dict[int, None] = {}
    for operation in operations:
        if isinstance(operation, Write) and (match := MEMORY_FILE.fullmatch(operation.path)):
            numbers[int(match[2])] = None
            nodes.update(dict.fromkeys(event["pfn_node"] for event in memory_events(operation.ev)))
    return {node: sorted(numbers) for node in nodes} if len(nodes) == 1 else {}


def memory_events(events: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Those of a record's events that the subscribers noted."""
    return [event for event in events if event.get("t") == "mem"]


def expected_events(events: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """They, as far as they are compared."""
    return [{name: event[name] for name in FIELDS} for event in memory_events(events)]


class MemoryWrites:
    """Does recorded writes on a machine, whose block numbers are `numbers` of the recording's."""

    def __init__(self, machine: Machine, blocks: dict[int, list[int]]) -> None:
        self._machine = machine
        self._events: list[dict[str, Any]] = []
        self._has_node: Callable[[int], bool] = lambda node: False
        hotplug = machine.memory_hotplug
        self._numbers: dict[int, int] = {}
        for node, recorded in blocks.items():
            here = list(hotplug.blocks.numbers(node))
            self._numbers.update(zip(recorded, here, strict=True))
        self._node = next(iter(blocks), -1)
        for name, priority in (BEFORE_SLAB, BEHIND_SLAB):
            hotplug.chain.notifiers.register(NotifierBlock(f"rig_{name}", priority, self._noting(name)))

    def _noting(self, prio: str) -> Callable[[MemoryEvent, MemoryNotify], Any]:
        async def note(event: MemoryEvent, data: MemoryNotify) -> int:
            seen = (
                prio,
                event.name,
                data.status_change_nid,
                data.status_change_nid_normal,
                int(self._has_node(self._node)),
            )
            self._events.append(dict(zip(FIELDS, seen, strict=True)))
            return 0

        return note

    async def write(self, operation: Write, has_node: Callable[[int], bool]) -> dict[str, Any]:
        """Write to the file of a block; `has_node` says whether the operation's cache has a structure for a node."""
        self._events, self._has_node = [], has_node
        path = MEMORY_FILE.sub(lambda match: f"{match[1]}{self._numbers[int(match[2])]}{match[3]}", operation.path)
        return {"rc": await write_memory_file(self._machine.memory_hotplug, path, operation.value), "mem": self._events}
