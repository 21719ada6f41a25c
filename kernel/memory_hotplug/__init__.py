"""Memory hotplug: memory that comes and goes, a block at a time.

Mirrors mm/memory_hotplug.c, mm/page_isolation.c and drivers/base/memory.c (6.1; older releases as the catalogue tells).

Who meets here: tasks that write to the files of memory blocks, which do all the work themselves; the subscribers of the
memory chain, among them SLUB; and everybody who allocates pages.

A block is offline, online, or going offline (`block`).  Its pages go through more: nobody's → the zone's → there, but
isolated → free or in use; and back (actors/zone.py).  The steps, `online` and `offline`, are

    online                                        offline
    mem_hotplug_begin                             mem_hotplug_begin
    the pages become the zone's                   5.11: per-CPU lists off; 5.13: batches off; see `drains`
    which node masks will change                  isolate; EBUSY where something cannot move
    GOING_ONLINE; if refused: CANCEL_ONLINE,      which node masks will change
      the pages are nobody's                      GOING_OFFLINE; if refused: undo, CANCEL_OFFLINE
    the pages are there, isolated                 move what is in use (`migrate`) until nothing is
    **N_NORMAL_MEMORY, N_MEMORY**                 the pages are there no more; lists and batches on
    zonelists, if it is the zone's first memory   watermarks; zonelists, if it was the zone's last
    the pages are free                            **N_NORMAL_MEMORY, N_MEMORY**; kswapd stops
    watermarks, kswapd                            OFFLINE
    ONLINE                                        the pages are nobody's
    mem_hotplug_done                              mem_hotplug_done

CANCEL_… goes to all subscribers, also those that were not asked.  Up to 6.6 begin and done are part of these steps,
later they are around them (`section`).

Lock order, outermost first: the locks of the file → ``device_hotplug_lock`` (tried; who does not get it starts again)
→ ``&dev->mutex`` → what `section` says, from 4.13 ``cpu_hotplug_lock`` (read) → ``mem_hotplug_lock`` (write) →
``pcp_batch_high_lock`` (offline, from 5.11) → ``(memory_chain).rwsem`` (read) → whatever the callbacks take.

Left out: the block's own struct pages in the block (memmap_on_memory), memory groups, ``removable`` that knows more
than yes, adding and removing devices: the blocks of nodes that are offline at boot are plugged in.  Kernel threads have
no stacks here, so that of a node's kswapd, in the first of the kernel's pages that the node got, does not keep the
block from going.
"""

from .api import MemoryHotplug
from .block import OnlineType
from .drains import DrainInLoop, OfflineDrains, PcpListsAndBatchesOff, PcpListsOff
from .section import (
    AroundBlock,
    AroundPages,
    CountReaders,
    CountReadersBehindMutex,
    HotplugExtent,
    HotplugLocks,
    LockMemoryHotplug,
    MemHotplugBegin,
)
from .watch import NodeWatch

__all__ = [
    "AroundBlock",
    "AroundPages",
    "CountReaders",
    "CountReadersBehindMutex",
    "DrainInLoop",
    "HotplugExtent",
    "HotplugLocks",
    "LockMemoryHotplug",
    "MemHotplugBegin",
    "MemoryHotplug",
    "NodeWatch",
    "OfflineDrains",
    "OnlineType",
    "PcpListsAndBatchesOff",
    "PcpListsOff",
]
