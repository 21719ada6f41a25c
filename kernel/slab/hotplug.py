"""SLUB's hotplug callbacks.

Mirrors slab_memory_callback() of mm/slub.c: MEM_GOING_ONLINE makes structures, MEM_GOING_OFFLINE gives back what it
can, MEM_OFFLINE and MEM_CANCEL_ONLINE undo the first.  Priority 1 on the memory chain (``SLAB_CALLBACK_PRI``).
slub_cpu_dead() gives up what a processor had that is gone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...actors.hotplug import MemoryEvent, MemoryNotify, NotifierBlock
from .cpu_slab import flush_cpu_slab
from .shrink import do_shrink

if TYPE_CHECKING:
    from .slub import Slub

SLAB_CALLBACK_PRI = 1


def slab_notifier(slub: Slub) -> NotifierBlock:
    """The subscriber to register on the memory chain."""

    async def slab_memory_callback(event: MemoryEvent, data: MemoryNotify) -> int:
        node = data.status_change_nid_normal
        match event:
            case MemoryEvent.GOING_ONLINE:
                # Only the first memory of a node needs anything.
                return await slub.variants.node_lifetime.going_online(slub, node) if node >= 0 else 0
            case MemoryEvent.GOING_OFFLINE:
                return await slab_mem_going_offline_callback(slub)
            case MemoryEvent.OFFLINE | MemoryEvent.CANCEL_ONLINE:
                if node >= 0:
                    await slub.variants.node_lifetime.offline(slub, node)
            case MemoryEvent.ONLINE | MemoryEvent.CANCEL_OFFLINE:
                pass
        return 0

    return NotifierBlock("slab_memory_callback", SLAB_CALLBACK_PRI, slab_memory_callback)


async def slub_cpu_dead(slub: Slub, cpu: int) -> None:
    """Give up all slabs of processor `cpu`, which runs nothing any more, on behalf of it (CPUHP_SLUB_DEAD)."""
    async with slub.slab_mutex:
        for cache in slub.newest_first():
            await flush_cpu_slab(slub, cache, cpu)


async def slab_mem_going_offline_callback(slub: Slub) -> int:
    """Flush and shrink every cache, so that no empty slab keeps the memory busy."""
    async with slub.slab_mutex:
        for cache in slub.newest_first():
            await slub.cpu_flush.flush_all_cpus_locked(cache)
            await do_shrink(slub, cache)
    return 0
