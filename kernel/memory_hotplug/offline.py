"""offline_pages(): a block's page frames are memory no more.

Mirrors offline_pages(), node_states_check_changes_offline() of mm/memory_hotplug.c and start_isolate_page_range() of
mm/page_isolation.c (6.1).  A block with pages in use that cannot move is refused before anybody is told; then the chain
is asked; then pages are moved until none is left, however long that takes.  Left out: signals, which is what ends that
in the kernel where pages never move; poisoned and huge pages; before 5.0, giving up after some time.

The kernel isolates 2 MiB at a time, and takes that back where it meets an obstacle; here a block is isolated in one
step.  What others can see in between, pages they do not get from a block that stays, is left out.
"""

from __future__ import annotations

from errno import EBUSY
from typing import TYPE_CHECKING

from ...actors import COND_RESCHED
from ...actors.hotplug import MemoryEvent, MemoryNotify
from ...actors.numa import FindInUse, IsolateBlock, OfflineBlock, ReleaseBlock, RemoveBlock
from ...actors.zone import ZONE_MOVABLE, ZONE_NORMAL
from ..stack import part_of_caller
from .migrate import do_migrate_range, scan_movable_pages
from .online import NUMA_NO_NODE
from .zone_steps import change, rebuild_zonelists

if TYPE_CHECKING:
    from .api import MemoryHotplug
    from .block import MemoryBlock


@part_of_caller
async def node_states_check_changes_offline(hotplug: MemoryHotplug, block: MemoryBlock, zone: int) -> MemoryNotify:
    """Which masks will change: whether this is the node's last memory that the kernel may use, and its last at all."""
    node = hotplug.machine.nodes[block.node]
    await node.read_zones
    normal = sum(zone.managed_pages for zone in node.zones[: ZONE_NORMAL + 1])
    present = normal + node.zones[ZONE_MOVABLE].managed_pages
    return MemoryNotify(
        *block.range,
        status_change_nid_normal=block.node if zone <= ZONE_NORMAL and block.nr_pages >= normal else NUMA_NO_NODE,
        status_change_nid=block.node if block.nr_pages >= present else NUMA_NO_NODE,
    )


async def offline_pages(hotplug: MemoryHotplug, block: MemoryBlock, zone: int) -> int:
    """Take `block` offline, which is in `zone`; 0 or a negative errno: EBUSY, or that of who refused."""
    machine = hotplug.machine
    pages = machine.pages
    async with hotplug.extent.pages_section(hotplug):
        await hotplug.drains.before_isolation(machine)
        if not await start_isolate_page_range(hotplug, block, zone):
            await hotplug.drains.afterwards(machine)
            return _failed(hotplug, block, -EBUSY, "failure to isolate range")
        data = await node_states_check_changes_offline(hotplug, block, zone)
        error = await hotplug.chain.memory_notify(MemoryEvent.GOING_OFFLINE, data)
        if error:
            await change(machine, ReleaseBlock, block, zone)  # undo_isolate_page_range()
            await hotplug.chain.memory_notify(MemoryEvent.CANCEL_OFFLINE, data)
            await hotplug.drains.afterwards(machine)
            return _failed(hotplug, block, error, "notifier failure")
        while True:
            while True:
                await COND_RESCHED
                await hotplug.drains.in_loop(machine)
                movable = await scan_movable_pages(machine, block, zone)
                if not movable:
                    break
                await do_migrate_range(machine, block.node, zone, movable)
            if not await change(machine, FindInUse, block, zone):  # test_pages_isolated()
                break
        await change(machine, OfflineBlock, block, zone)
        await hotplug.drains.afterwards(machine)
        await pages.write_zonelists
        pages.init_per_zone_wmark_min()
        node = machine.nodes[block.node]
        await node.read_zones
        if not node.zones[zone].managed_pages:
            await rebuild_zonelists(hotplug)
        await pages.states.write
        pages.states.clear_memory(
            block.node, normal=data.status_change_nid_normal >= 0, memory=data.status_change_nid >= 0
        )
        if data.status_change_nid >= 0:
            await pages.write_zonelists
            pages.kswapd_stop(block.node)
        await hotplug.chain.memory_notify(MemoryEvent.OFFLINE, data)
        await change(machine, RemoveBlock, block, zone)
    if data.status_change_nid >= 0:
        machine.count("nodes_offlined")
    return 0


async def start_isolate_page_range(hotplug: MemoryHotplug, block: MemoryBlock, zone: int) -> bool:
    """Keep everybody from getting pages of the block; false, and no change, where one is in use that cannot move."""
    obstacle = await change(hotplug.machine, IsolateBlock, block, zone)
    if obstacle is not None:
        hotplug.machine.printk("warning", f"page dumped because: unmovable page, pfn:{obstacle:#x}")
    return obstacle is None


def _failed(hotplug: MemoryHotplug, block: MemoryBlock, error: int, reason: str) -> int:
    start_pfn, nr_pages = block.range
    hotplug.machine.printk(
        "warning",
        f"memory offlining [mem {start_pfn << 12:#012x}-{((start_pfn + nr_pages) << 12) - 1:#012x}] failed due to "
        f"{reason}",
        node=block.node,
        errno=error,
    )
    return error
