"""What /sys/kernel/slab/<cache>/ shows and takes.

Mirrors show_slab_objects() and the attributes of mm/slub.c.  Reading takes no lock but each node's ``list_lock``
where lists are walked: the node structures are found by a plain, unprotected read of ``node[]`` (since e4f8e513c3d3
not even the memory-hotplug lock is held).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...actors import Access
from .debug_validate import validate_slab_cache
from .shrink import kmem_cache_shrink

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from .cache import KmemCache, KmemCacheNode
    from .slub import Slub

ENOENT = 2
EINVAL = 22


async def read_attribute(slub: Slub, cache: KmemCache, attribute: str) -> str | None:
    """The text of an attribute file, or None where there is no such file."""
    if attribute in COUNTED:
        return await show_slab_objects(slub, cache, COUNTED[attribute])
    if attribute == "cpu_slabs":
        return await show_cpu_slabs(cache)
    simple = {
        "slab_size": cache.size,
        "object_size": cache.object_size,
        "align": cache.geometry.align,
        "objs_per_slab": cache.geometry.objects,
        "order": cache.geometry.order,
        "min_partial": cache.min_partial,
        "aliases": max(cache.refcount - 1, 0),
    }
    return f"{simple[attribute]}\n" if attribute in simple else None


async def write_attribute(slub: Slub, cache: KmemCache, attribute: str, value: str) -> int:
    """Write to an attribute file; 0 or a negative errno."""
    if attribute not in {"shrink", "validate"}:
        return -ENOENT
    if not value.startswith("1"):
        return -EINVAL
    if attribute == "shrink":
        await kmem_cache_shrink(slub, cache)
    elif not cache.debug:
        return -EINVAL
    else:
        await validate_slab_cache(slub, cache)
    return 0


async def show_slab_objects(
    slub: Slub, cache: KmemCache, count: Callable[[KmemCache, KmemCacheNode], Awaitable[int]]
) -> str:
    """The sum of `count` over the nodes, and the nodes where it is not zero."""
    total = 0
    nodes: list[tuple[int, int]] = []
    for node in sorted(slub.machine.nodes):
        await cache.read_node
        n = slub.get_node(cache, node)
        if not n:  # the only check there is
            continue
        here = await count(cache, n)
        total += here
        if here:
            nodes.append((node, here))
    return "".join([f"{total}", *(f" N{node}={here}" for node, here in nodes)]) + "\n"


async def show_cpu_slabs(cache: KmemCache) -> str:
    """Slabs that processors have, by the node they are from."""
    counts: dict[int, int] = {}
    for c in list(cache.cpu_slab.values()):
        slab = c.slab
        if slab is not None:
            counts[slab.node] = counts.get(slab.node, 0) + 1
    return "".join([f"{sum(counts.values())}", *(f" N{node}={counts[node]}" for node in sorted(counts))]) + "\n"


async def _nr_partial(cache: KmemCache, n: KmemCacheNode) -> int:
    await cache.read_nr_partial
    return n.nr_partial


async def _nr_slabs(cache: KmemCache, n: KmemCacheNode) -> int:
    await cache.read_nr_partial
    return n.nr_slabs


async def _total_objects(cache: KmemCache, n: KmemCacheNode) -> int:
    await cache.read_nr_partial
    return n.total_objects


async def count_partial(cache: KmemCache, n: KmemCacheNode, *, free: bool) -> int:
    """Objects on a node's partial list: the free ones, or those in use."""
    async with n.list_lock.irqsave():
        cache.freelist_touched(Access.READ)  # objects are freed into listed slabs without the lock
        return sum(slab.objects - slab.inuse if free else slab.inuse for slab in n.partial)


async def _objects(cache: KmemCache, n: KmemCacheNode) -> int:
    # Full slabs and those of processors count as used up.
    await cache.read_nr_partial
    return n.total_objects - await count_partial(cache, n, free=True)


async def _objects_partial(cache: KmemCache, n: KmemCacheNode) -> int:
    return await count_partial(cache, n, free=False)


COUNTED: dict[str, Callable[[KmemCache, KmemCacheNode], Awaitable[int]]] = {
    "partial": _nr_partial,
    "slabs": _nr_slabs,
    "total_objects": _total_objects,
    "objects": _objects,
    "objects_partial": _objects_partial,
}
"""The attributes that are summed over nodes."""
