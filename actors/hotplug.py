"""Notifier chains.

Mirrors ``blocking_notifier_call_chain()`` of kernel/notifier.c and the callers in mm/memory_hotplug.c (6.1):
subscribers are called from the highest priority to the lowest, equals in the order in which they registered, until
one refuses.  A chain does no rolling back: a caller whose GOING_… was refused sends CANCEL_… to *all* subscribers,
also those never called.

There is no actor here: as in Linux, whoever asks for memory to come or go does all of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from .interleaver import Interleaver


class MemoryEvent(IntEnum):
    """What the memory chain announces, with the kernel's values."""

    ONLINE = 1
    GOING_OFFLINE = 2
    OFFLINE = 4
    GOING_ONLINE = 8
    CANCEL_ONLINE = 16
    CANCEL_OFFLINE = 32


@dataclass(frozen=True, slots=True)
class MemoryNotify:
    """``struct memory_notify``: page frames concerned; the node whose first or last memory this is, or -1."""

    start_pfn: int
    nr_pages: int
    status_change_nid_normal: int
    status_change_nid: int


@dataclass(frozen=True, slots=True)
class NotifierBlock:
    """A subscriber: ``call`` gets (event, data) and answers 0 or a negative errno."""

    name: str
    priority: int
    call: Callable[[MemoryEvent, MemoryNotify], Awaitable[int]]


class NotifierChain:
    """Subscribers by priority."""

    __slots__ = ("_interleaver", "blocks", "name")

    def __init__(self, interleaver: Interleaver, name: str) -> None:
        self._interleaver = interleaver
        self.name = name
        self.blocks: list[NotifierBlock] = []

    def register(self, block: NotifierBlock) -> None:
        """Add a subscriber behind those of its own priority."""
        position = next((i for i, other in enumerate(self.blocks) if other.priority < block.priority), len(self.blocks))
        self.blocks.insert(position, block)

    async def call(self, event: MemoryEvent, data: MemoryNotify) -> int:
        """Tell subscribers in order until one refuses; 0, or the errno of the refusal."""
        fire = self._interleaver.tracepoints.memory_notify.fire
        if fire is not None:
            fire(event.name, data.status_change_nid, data.status_change_nid_normal, data.nr_pages)
        for block in self.blocks:
            answer = await block.call(event, data)
            fire = self._interleaver.tracepoints.notifier_call.fire
            if fire is not None:
                fire(block.name, block.priority, event.name, answer)
            if answer:
                return answer
        return 0
