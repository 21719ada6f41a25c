"""Checking a whole cache, and listing what is left in one.

Mirrors validate_slab_cache() (what writing 1 to /sys/kernel/slab/<cache>/validate does) and list_slab_objects() of
mm/slub.c (6.1).  Slabs are found on their nodes' lists, so full ones only with SLAB_STORE_USER; the list of a node is
walked under its ``list_lock``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...actors import Access
from ..sanitizers.layout import identity, join
from .cache import NIL
from .debug_check import check_object, check_slab, on_freelist
from .debug_memory import RED_ACTIVE, RED_INACTIVE
from .debug_object import fill_map
from .debug_report import objects_remaining

if TYPE_CHECKING:
    from .cache import KmemCache, KmemCacheNode, Slab
    from .slub import Slub


async def validate_slab_cache(slub: Slub, cache: KmemCache) -> int:
    """Check every slab of a cache under debugging that is on a list; how many those were."""
    await slub.cpu_flush.flush_all(cache)
    count = 0
    for node in sorted(slub.machine.nodes):
        await cache.read_node
        n = slub.get_node(cache, node)
        if n:
            async with n.list_lock.irqsave():
                cache.freelist_touched(Access.WRITE)
                count += validate_slab_node(slub, cache, n)
    return count


def validate_slab_node(slub: Slub, cache: KmemCache, n: KmemCacheNode) -> int:
    """Check the listed slabs of one node, and whether it counts them right."""
    count = 0
    for slab in n.partial:
        validate_slab(slub, cache, slab)
        count += 1
    if count != n.nr_partial:
        _miscounted(slub, f"SLUB {cache.name}: {count} partial slabs counted but counter={n.nr_partial}")
    if n.full is None:
        return count
    for slab in n.full:
        validate_slab(slub, cache, slab)
        count += 1
    if count != n.nr_slabs:
        _miscounted(slub, f"SLUB: {cache.name} {count} slabs counted but counter={n.nr_slabs}")
    return count


def validate_slab(slub: Slub, cache: KmemCache, slab: Slab) -> None:
    """Check a slab, its free list, and its objects up to the first bad one."""
    if not check_slab(slub, cache, slab) or not on_freelist(slub, cache, slab, NIL):
        return
    free = fill_map(cache, slab)
    for index in range(slab.objects):
        if not check_object(slub, cache, slab, index, RED_INACTIVE if free >> index & 1 else RED_ACTIVE):
            break


def list_slab_objects(slub: Slub, cache: KmemCache, slab: Slab) -> list[str]:
    """The report of one slab with objects left in it, of any cache; under ``list_lock``."""
    cache.freelist_touched(Access.READ)
    free = fill_map(cache, slab)
    return objects_remaining(slub, cache, slab, [index for index in range(slab.objects) if not free >> index & 1])


def _miscounted(slub: Slub, message: str) -> None:
    machine = slub.machine
    machine.count("slab_errors")
    machine.printk("error", message)
    machine.violate("invariant", message, join([message, identity(machine)]))
