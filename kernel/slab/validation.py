"""Which caches may be validated while they are in use: the variants of museum M57.

Writing 1 to /sys/kernel/slab/<cache>/validate has every slab on a list checked, under its node's ``list_lock``.  Up to
6.0 that goes for any cache.  But only where SLUB debugging is on for the cache are its objects freed under that lock
too: otherwise any processor frees into a slab on the list by one instruction, and the count that the check compares is
not the one that belonged to the free list it has walked.  It says so, and *corrects* the count: from then on the count
is wrong.  From 6.1 (c7323a5ad078) only caches under debugging are validated.

Mirrors validate_slab(), validate_slab_node() and validate_slab_cache() of mm/slub.c (6.1; for the older one 6.1 without
its test for debugging).  That the map of free objects is made by a second walk changes nothing here: all it is good
for in a cache without debugging is to test free pointers, and those of free objects do not change under the lock.
"""

from __future__ import annotations

from errno import EINVAL
from typing import TYPE_CHECKING, Protocol

from ...actors import Op, OpKind
from ..stack import kernel_name
from .debug_check import check_slab
from .debug_report import slab_err, slab_fix
from .debug_validate import validate_slab_cache

if TYPE_CHECKING:
    from .cache import KmemCache, KmemCacheNode, Slab
    from .slub import Slub


class Validation(Protocol):
    """Seam: what a write to ``validate`` does."""

    async def validate(self, slub: Slub, cache: KmemCache) -> int:
        """Check the listed slabs of a cache; a negative errno where that is not done."""
        ...


class ValidateDebugCaches:
    """From 6.1."""

    async def validate(self, slub: Slub, cache: KmemCache) -> int:
        """Only where all that changes a listed slab does so under ``list_lock``."""
        return await validate_slab_cache(slub, cache) if cache.debug else -EINVAL


class ValidateAnyCache:
    """Up to 6.0."""

    async def validate(self, slub: Slub, cache: KmemCache) -> int:
        """Whatever the cache."""
        if cache.debug:
            return await validate_slab_cache(slub, cache)
        return await _validate_live(slub, cache)


@kernel_name("validate_slab_cache")
async def _validate_live(slub: Slub, cache: KmemCache) -> int:
    await slub.cpu_flush.flush_all(cache)
    count = 0
    for node in sorted(slub.machine.nodes):
        await cache.read_node
        n = slub.get_node(cache, node)
        if n:
            async with n.list_lock.irqsave():
                count += await _validate_slab_node(slub, cache, n)
    return count


@kernel_name("validate_slab_node")
async def _validate_slab_node(slub: Slub, cache: KmemCache, n: KmemCacheNode) -> int:
    # Nobody takes a slab off the list or puts one on it meanwhile.
    slabs = list(n.partial)
    for slab in slabs:
        await _validate_slab(slub, cache, slab)
    return len(slabs)


@kernel_name("validate_slab")
async def _validate_slab(slub: Slub, cache: KmemCache, slab: Slab) -> None:
    await Op(OpKind.READ, cache.freelists)
    if not check_slab(slub, cache, slab):
        return
    free = len(slab.free_objects(slab.freelist))
    # The walk takes its time.  Objects that are freed meanwhile go to the head, which it has passed.
    await cache.update_freelist
    counted = slab.objects - free
    if slab.inuse != counted:
        reason = f"Wrong object count. Counter is {slab.inuse} but counted were {counted}"
        slab_err(slub, cache, slab, reason)
        slab.inuse = counted
        slab_fix(slub, cache, "Object count adjusted")
