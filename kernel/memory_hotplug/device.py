"""A memory block as a device: what a write to its ``state`` file does.

Mirrors state_store(), memory_subsys_online(), memory_block_change_state() and their counterparts of
drivers/base/memory.c, device_online(), device_offline(), lock_device_hotplug_sysfs() of drivers/base/core.c (6.1).

Who finds ``device_hotplug_lock`` held waits 5 ms and starts the system call again, outside of the file's own locks:
who holds the device lock may be waiting for those files to be left.
"""

from __future__ import annotations

from errno import EINVAL
from typing import TYPE_CHECKING

from .block import BlockState, OnlineType
from .offline import offline_pages
from .online import online_pages

if TYPE_CHECKING:
    from .api import MemoryHotplug
    from .block import MemoryBlock

ERESTARTNOINTR = 513
RETRY_NS = 5_000_000


def online_type_from(text: str) -> OnlineType | None:
    """What is wanted of a block, if it can be wanted; one line end at the end is left out of account."""
    wanted = text.removesuffix("\n")
    return next((kind for kind in OnlineType if kind.value == wanted), None)


def kstrtobool(text: str) -> bool | None:
    """What a text that begins like yes or no, 1 or 0, on or off, says; only so much of it is looked at."""
    head = text[:2].lower()
    if head[:1] in ("1", "y", "t") or head == "on":
        return True
    return False if head[:1] in ("0", "n", "f") or head == "of" else None


async def state_store(hotplug: MemoryHotplug, block: MemoryBlock, text: str) -> int:
    """What is written to ``state``; 0 or a negative errno: EINVAL also for a block that is as wanted already."""
    wanted = online_type_from(text)
    if wanted is None:
        return -EINVAL
    error = await lock_device_hotplug_sysfs(hotplug)
    if error:
        return error
    if wanted is OnlineType.OFFLINE:
        answer = await device_offline(hotplug, block)
    else:
        block.online_type = wanted
        answer = await device_online(hotplug, block)
    await hotplug.device_hotplug_lock.unlock()
    return -EINVAL if answer > 0 else answer


async def online_store(hotplug: MemoryHotplug, block: MemoryBlock, text: str) -> int:
    """What is written to ``online``: 1 or 0; 0, or a negative errno.  Unlike with ``state`` no change is no error."""
    wanted = kstrtobool(text)
    if wanted is None:
        return -EINVAL
    error = await lock_device_hotplug_sysfs(hotplug)
    if error:
        return error
    answer = await (device_online if wanted else device_offline)(hotplug, block)
    await hotplug.device_hotplug_lock.unlock()
    return min(answer, 0)


async def lock_device_hotplug_sysfs(hotplug: MemoryHotplug) -> int:
    """Take the lock, or wait a little without it and ask for the system call to be started again."""
    if await hotplug.device_hotplug_lock.trylock():
        return 0
    await hotplug.machine.current.sleep(RETRY_NS)
    return -ERESTARTNOINTR


async def device_online(hotplug: MemoryHotplug, block: MemoryBlock) -> int:
    """0, a negative errno, or 1 where the block is online already."""
    async with block.mutex:
        return 1 if block.state is BlockState.ONLINE else await memory_subsys_online(hotplug, block)


async def device_offline(hotplug: MemoryHotplug, block: MemoryBlock) -> int:
    """0, a negative errno, or 1 where the block is offline already."""
    async with block.mutex:
        if block.state is BlockState.OFFLINE:
            return 1
        return await memory_subsys_offline(hotplug, block)


async def memory_subsys_online(hotplug: MemoryHotplug, block: MemoryBlock) -> int:
    """To the zone that was asked for, or where nobody asked to the one a block goes to by itself."""
    if block.online_type is OnlineType.OFFLINE:
        block.online_type = OnlineType.ONLINE
    error = await memory_block_online(hotplug, block)
    await block.write
    if not error:
        block.state = BlockState.ONLINE
    block.online_type = OnlineType.OFFLINE
    if not error:
        hotplug.machine.count("blocks_onlined")
        await hotplug.watch.tell
        hotplug.watch.came_online(block.node)
    return error


async def memory_subsys_offline(hotplug: MemoryHotplug, block: MemoryBlock) -> int:
    """It shows as going offline meanwhile."""
    await block.write
    block.state = BlockState.GOING_OFFLINE
    error = await memory_block_offline(hotplug, block)
    await block.write
    block.state = BlockState.ONLINE if error else BlockState.OFFLINE
    if not error:
        hotplug.machine.count("blocks_offlined")
    return error


async def memory_block_online(hotplug: MemoryHotplug, block: MemoryBlock) -> int:
    """Find a zone for the block and bring its pages online there."""
    machine = hotplug.machine
    node = machine.nodes[block.node]
    async with hotplug.extent.block_section(hotplug):
        await node.read_zones
        zone = block.zone_for(node, block.online_type)
        error = await online_pages(hotplug, block, zone.index)
        if not error:
            await block.write
            block.zone = zone.index
            machine.printk("info", f"{block.name} online", node=block.node, zone=zone.name, pages=block.nr_pages)
    return error


async def memory_block_offline(hotplug: MemoryHotplug, block: MemoryBlock) -> int:
    """Take its pages offline; EINVAL where they are in more than one zone."""
    machine = hotplug.machine
    if block.zone is None:
        return -EINVAL
    async with hotplug.extent.block_section(hotplug):
        error = await offline_pages(hotplug, block, block.zone)
        if not error:
            await block.write
            block.zone = None
            machine.printk("info", f"{block.name} offline", node=block.node, pages=block.nr_pages)
    return error
