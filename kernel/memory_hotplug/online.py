"""online_pages(): a block's page frames become memory.

Mirrors online_pages() and node_states_check_changes_online() of mm/memory_hotplug.c (6.1; the order of steps is that of
5.10).  The step that matters to seed 000: ``N_NORMAL_MEMORY`` is changed after the GOING_ONLINE callbacks and outside
of their locks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...actors.hotplug import MemoryEvent, MemoryNotify
from ...actors.numa import AddBlock, OnlineBlock, ReleaseBlock, RemoveBlock
from ...actors.zone import ZONE_NORMAL
from ..stack import part_of_caller
from .zone_steps import change, rebuild_zonelists

if TYPE_CHECKING:
    from .api import MemoryHotplug
    from .block import MemoryBlock

NUMA_NO_NODE = -1


@part_of_caller
async def node_states_check_changes_online(hotplug: MemoryHotplug, block: MemoryBlock, zone: int) -> MemoryNotify:
    """Which masks will change: the node's first memory at all, and its first memory that the kernel may use."""
    states, node = hotplug.machine.pages.states, block.node
    await states.read
    return MemoryNotify(
        *block.range,
        status_change_nid_normal=node if zone <= ZONE_NORMAL and node not in states.normal_memory else NUMA_NO_NODE,
        status_change_nid=node if node not in states.memory else NUMA_NO_NODE,
    )


async def online_pages(hotplug: MemoryHotplug, block: MemoryBlock, zone: int) -> int:
    """Bring `block` online in `zone`; 0 or the negative errno of who refused."""
    machine = hotplug.machine
    node = machine.nodes[block.node]
    pages = machine.pages
    async with hotplug.extent.pages_section(hotplug):
        await change(machine, AddBlock, block, zone)
        data = await node_states_check_changes_online(hotplug, block, zone)
        error = await hotplug.chain.memory_notify(MemoryEvent.GOING_ONLINE, data)
        if error:
            await hotplug.chain.memory_notify(MemoryEvent.CANCEL_ONLINE, data)
            await change(machine, RemoveBlock, block, zone)
            machine.printk("warning", f"online_pages of {block.name} failed", node=block.node, errno=error)
            return error
        await node.read_zones
        first_of_zone = not node.zones[zone].managed_pages
        await change(machine, OnlineBlock, block, zone)
        await pages.states.write
        pages.states.set_memory(
            block.node, normal=data.status_change_nid_normal >= 0, memory=data.status_change_nid >= 0
        )
        pages.states.online.set(block.node)  # in the kernel since the memory was plugged in, which is no step here
        if first_of_zone:
            await rebuild_zonelists(hotplug)
        await change(machine, ReleaseBlock, block, zone)
        await pages.write_zonelists
        pages.init_per_zone_wmark_min()
        pages.kswapd_run(block.node)
        await hotplug.chain.memory_notify(MemoryEvent.ONLINE, data)
    if data.status_change_nid >= 0:
        machine.count("nodes_onlined")
    return 0
