"""Files of /sys/kernel/slab/<cache>/ that count: slabs and objects of nodes and processors, and SLUB's own statistics.

Mirrors show_slab_objects(), count_partial(), slabs_cpu_partial_show(), show_stat() and clear_stat() of mm/slub.c (6.1).
Reading takes no lock but each node's ``list_lock`` where lists are walked, and up to 5.3 one that keeps memory hotplug
out (`lock_variants`): the node structures are found by a plain, unprotected read of ``node[]``, and what processors
have is looked at from outside, which declares their steps.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...actors import Access

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from ...actors import Cpu
    from .cache import KmemCache, KmemCacheNode, Slab
    from .slub import Slub
    from .statistics import StatItem


async def show_slab_objects(
    slub: Slub, cache: KmemCache, count: Callable[[KmemCache, KmemCacheNode], Awaitable[int]]
) -> str:
    """The sum of `count` over the nodes, and the nodes where it is not zero."""
    counts: dict[int, int] = {}
    async with slub.variants.counting_lock.counting(slub):
        for node in sorted(slub.machine.nodes):
            await cache.read_node
            n = slub.get_node(cache, node)
            if n:  # the only check there is
                counts[node] = await count(cache, n)
    return _by_node(counts)


async def show_cpu_slabs(slub: Slub, cache: KmemCache) -> str:
    """Slabs that processors have, by node; all partial slabs of a processor count where the first of them is.

    A processor without a slab of its own is passed over, whatever is on its list.
    """
    counts: dict[int, int] = {}
    for cpu in await _look_at(slub, slub.machine.cpus.values()):
        c = cache.cpu_slab.get(cpu.cpu_id)
        if c is None or c.slab is None:
            continue
        counts[c.slab.node] = counts.get(c.slab.node, 0) + 1
        if c.partial is not None:
            counts[c.partial.node] = counts.get(c.partial.node, 0) + c.partial.slabs
    return _by_node(counts)


async def show_slabs_cpu_partial(slub: Slub, cache: KmemCache) -> str:
    """Free objects and slabs on the partial lists of online processors, in all and for each that has some.

    Where slabs are what is counted (from 5.16) they are taken to be half full.
    """
    lists: dict[int, Slab] = {}
    for cpu in await _look_at(slub, slub.machine.online_cpus()):
        c = cache.cpu_slab.get(cpu.cpu_id)
        if c is not None and c.partial is not None:
            lists[cpu.cpu_id] = c.partial

    def counted(heads: Iterable[Slab]) -> str:
        slabs = sum(head.slabs for head in heads)
        if slub.variants.sizing.counts_slabs:
            return f"{slabs * cache.geometry.objects // 2}({slabs})"
        return f"{sum(head.pobjects for head in heads)}({slabs})"

    return "".join([counted(lists.values()), *(f" C{cpu}={counted([head])}" for cpu, head in lists.items())]) + "\n"


async def show_stat(slub: Slub, cache: KmemCache, item: StatItem) -> str:
    """How often `item` happened on online processors, in all and on each where it did."""
    counts: dict[int, int] = {}
    for cpu in await _look_at(slub, slub.machine.online_cpus()):
        c = cache.cpu_slab.get(cpu.cpu_id)
        if c is not None and c.stat is not None:
            counts[cpu.cpu_id] = c.stat[item]
    return "".join([f"{sum(counts.values())}", *(f" C{cpu}={n}" for cpu, n in counts.items() if n)]) + "\n"


async def clear_stat(slub: Slub, cache: KmemCache, item: StatItem) -> None:
    """Begin to count `item` anew on every online processor."""
    for cpu in await _look_at(slub, slub.machine.online_cpus(), Access.WRITE):
        c = cache.cpu_slab.get(cpu.cpu_id)
        if c is not None and c.stat is not None:
            c.stat[item] = 0


async def _look_at(slub: Slub, cpus: Iterable[Cpu], access: Access = Access.READ) -> list[Cpu]:
    """Declare that what these processors have of a cache is looked at from here, or changed, in this step."""
    await slub.read_cpu_slabs
    looked_at = list(cpus)
    touch = slub.machine.interleaver.touch
    if touch is not None:
        for cpu in looked_at:
            touch(cpu.host, access)
    return looked_at


def _by_node(counts: dict[int, int]) -> str:
    return "".join([f"{sum(counts.values())}", *(f" N{n}={counts[n]}" for n in sorted(counts) if counts[n])]) + "\n"


async def count_partial(cache: KmemCache, n: KmemCacheNode, *, free: bool) -> int:
    """Objects on a node's partial list: the free ones, or those in use."""
    async with n.list_lock.irqsave():
        cache.freelist_touched(Access.READ)  # objects are freed into listed slabs without the lock
        return sum(slab.objects - slab.inuse if free else slab.inuse for slab in n.partial)


async def _nr_partial(cache: KmemCache, n: KmemCacheNode) -> int:
    await cache.read_nr_partial
    return n.nr_partial


async def _nr_slabs(cache: KmemCache, n: KmemCacheNode) -> int:
    await cache.read_nr_partial
    return n.nr_slabs


async def _total_objects(cache: KmemCache, n: KmemCacheNode) -> int:
    await cache.read_nr_partial
    return n.total_objects


async def _objects(cache: KmemCache, n: KmemCacheNode) -> int:
    # Full slabs and those of processors count as used up.
    await cache.read_nr_partial
    return n.total_objects - await count_partial(cache, n, free=True)


async def _objects_partial(cache: KmemCache, n: KmemCacheNode) -> int:
    return await count_partial(cache, n, free=False)


COUNTED: dict[str, Callable[[KmemCache, KmemCacheNode], Awaitable[int]]] = {
    "objects": _objects,
    "objects_partial": _objects_partial,
    "partial": _nr_partial,
    "slabs": _nr_slabs,
    "total_objects": _total_objects,
}
"""The attributes that are summed over nodes."""
