"""/proc/slabinfo: a line for each cache, newest first, under ``slab_mutex`` for the whole read.

Mirrors print_slabinfo_header(), cache_show(), memcg_accumulate_slabinfo() of mm/slab_common.c and get_slabinfo() of
mm/slub.c (6.1), to the byte.  What processors have counts as in use: only the free objects of the nodes' partial slabs
are counted as free.  SLUB has no tunables, shares nothing and does not tell slabs with objects from empty ones: those
columns are 0 or repeat another.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .sysfs_counts import count_partial

if TYPE_CHECKING:
    from .cache import KmemCache
    from .slub import Slub

HEADER = (
    "slabinfo - version: 2.1\n"
    "# name            <active_objs> <num_objs> <objsize> <objperslab> <pagesperslab>"
    " : tunables <limit> <batchcount> <sharedfactor> : slabdata <active_slabs> <num_slabs> <sharedavail>\n"
)


def slabinfo_line(
    name: str, active_objs: int, num_objs: int, objsize: int, objperslab: int, pagesperslab: int, num_slabs: int
) -> str:
    """One line, in the kernel's columns; what does not fit into its column pushes the others away."""
    return (
        f"{name:<17} {active_objs:6} {num_objs:6} {objsize:6} {objperslab:4} {pagesperslab:4}"
        f" : tunables {0:4} {0:4} {0:4} : slabdata {num_slabs:6} {num_slabs:6} {0:6}\n"
    )


async def read_slabinfo(slub: Slub) -> str:
    """The text of the file."""
    lines = [HEADER]
    async with slub.slab_mutex:
        for cache in slub.newest_first():
            if cache.memcg_params is not None:
                continue  # a cgroup's: a part of its root cache
            slabs, objects, free = await _get_slabinfo(slub, cache)
            for child in cache.memcg_root.children if cache.memcg_root is not None else ():
                more = await _get_slabinfo(slub, child)
                slabs, objects, free = slabs + more[0], objects + more[1], free + more[2]
            geometry = cache.geometry
            lines.append(
                slabinfo_line(
                    cache.name, objects - free, objects, cache.size, geometry.objects, 1 << geometry.order, slabs
                )
            )
    return "".join(lines)


async def _get_slabinfo(slub: Slub, cache: KmemCache) -> tuple[int, int, int]:
    """Slabs, objects, and the free objects of partial slabs."""
    slabs = objects = free = 0
    for node in sorted(slub.machine.nodes):
        await cache.read_node
        n = slub.get_node(cache, node)
        if n:
            await cache.read_nr_partial
            slabs += n.nr_slabs
            objects += n.total_objects
            free += await count_partial(cache, n, free=True)
    return slabs, objects, free
