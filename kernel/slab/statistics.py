"""What SLUB counts of itself (CONFIG_SLUB_STATS): items per cache and processor, read and cleared through sysfs.

Mirrors enum stat_item of include/linux/slub_def.h (6.1).  Off unless ``[kernel] slub_stats`` asks for it, as in
distribution kernels: the fast paths then pay one test.
"""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .cache import KmemCacheCpu


class StatItem(IntEnum):
    """The items, in the kernel's order; the file in sysfs is the name in lower case."""

    ALLOC_FASTPATH = 0
    ALLOC_SLOWPATH = 1
    FREE_FASTPATH = 2
    FREE_SLOWPATH = 3
    FREE_FROZEN = 4
    FREE_ADD_PARTIAL = 5
    FREE_REMOVE_PARTIAL = 6
    ALLOC_FROM_PARTIAL = 7
    ALLOC_SLAB = 8
    ALLOC_REFILL = 9
    ALLOC_NODE_MISMATCH = 10
    FREE_SLAB = 11
    CPUSLAB_FLUSH = 12
    DEACTIVATE_FULL = 13
    DEACTIVATE_EMPTY = 14
    DEACTIVATE_TO_HEAD = 15
    DEACTIVATE_TO_TAIL = 16
    DEACTIVATE_REMOTE_FREES = 17
    DEACTIVATE_BYPASS = 18
    ORDER_FALLBACK = 19
    CMPXCHG_DOUBLE_CPU_FAIL = 20
    CMPXCHG_DOUBLE_FAIL = 21
    CPU_PARTIAL_ALLOC = 22
    CPU_PARTIAL_FREE = 23
    CPU_PARTIAL_NODE = 24
    CPU_PARTIAL_DRAIN = 25


def new_counters() -> list[int]:
    """All items at zero."""
    return [0] * len(StatItem)


def stat(c: KmemCacheCpu | None, item: StatItem) -> None:
    """Count one of `item` on the processor that `c` belongs to (``stat()``); nothing where counting is off."""
    if c is not None and c.stat is not None:
        c.stat[item] += 1
