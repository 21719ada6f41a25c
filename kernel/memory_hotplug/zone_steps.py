"""Steps of memory hotplug that change zones and zonelists."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ...actors.signal import Reply, ask
from ..stack import kernel_name, part_of_caller

if TYPE_CHECKING:
    from ...actors.numa import BlockRequest
    from ..machine import Machine
    from .api import MemoryHotplug
    from .block import MemoryBlock


@part_of_caller
async def change(machine: Machine, kind: type[BlockRequest], block: MemoryBlock, zone: int) -> Any:
    """Have the block's node make one step with its zone (what the kernel does under ``zone->lock``); its answer."""
    reply = Reply(machine.interleaver, f"{kind.__name__} of {block.name}")
    return await ask(machine.nodes[block.node].mailbox, kind(reply, *block.range, zone))


@kernel_name("build_all_zonelists")
async def rebuild_zonelists(hotplug: MemoryHotplug) -> None:
    """Let allocations find the zones there are now, and only those."""
    pages = hotplug.machine.pages
    async with hotplug.locks.stop_machine(hotplug):
        await pages.write_zonelists
        pages.rebuild_zonelists()
