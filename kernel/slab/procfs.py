"""/proc/slabinfo: a line for each cache, newest first, under ``slab_mutex`` for the whole read.

Mirrors slab_show() and get_slabinfo() of mm/slab_common.c and mm/slub.c (6.1).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .sysfs import count_partial

if TYPE_CHECKING:
    from .slub import Slub

HEADER = (
    "slabinfo - version: 2.1\n"
    "# name            <active_objs> <num_objs> <objsize> <objperslab> <pagesperslab>"
    " : tunables <limit> <batchcount> <sharedfactor> : slabdata <active_slabs> <num_slabs> <sharedavail>\n"
)


async def read_slabinfo(slub: Slub) -> str:
    """The text of the file."""
    lines = [HEADER]
    async with slub.slab_mutex:
        for cache in slub.newest_first():
            slabs = objects = free = 0
            for node in sorted(slub.machine.nodes):
                await cache.read_node
                n = slub.get_node(cache, node)
                if n:
                    await cache.read_nr_partial
                    slabs += n.nr_slabs
                    objects += n.total_objects
                    free += await count_partial(cache, n, free=True)
            geometry = cache.geometry
            lines.append(
                f"{cache.name:<17} {objects - free:6} {objects:6} {cache.size:6}"
                f" {geometry.objects:4} {1 << geometry.order:4}"
                f" : tunables {0:4} {0:4} {0:4} : slabdata {slabs:6} {slabs:6} {0:6}\n"
            )
    return "".join(lines)
