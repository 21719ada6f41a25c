"""Kind ``dump``: the caches a system has, each made again from what it shows.

Alignment, flags and sizes are taken for what was asked for; the caches of kmalloc() and SLUB's own are those the
emulated kernel makes when it boots.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..kernel.slab.destroy import kmem_cache_destroy
from ..kernel.slab.kmalloc import kmalloc_caches_wanted
from .emulated import INTERNAL_FLAGS, create, fields_of, geom_of
from .machine import machine_of, run_on
from .report import FileReport
from .vectors import Request, SystemCache

if TYPE_CHECKING:
    from ..kernel import Machine
    from .vectors import Geom, Header, Records

BOOT_CACHES = ("kmem_cache_node", "kmem_cache")
REFCOUNT = "refcount of the {count} caches that a subsystem asked for: it counts requests that are not recorded"
OFFSET = "offset of the {count} merged caches: it follows from the size the first request had"


def run_dump(header: Header, records: Records) -> FileReport:
    """Make each recorded cache on the machine of `header`, without merging.

    Raises:
        VectorError: the recording cannot be used.
    """
    report = FileReport(records.source, header.kind)
    machine = machine_of(records.source, header, kmalloc=True, slab_nomerge=True)
    own = dict.fromkeys([*BOOT_CACHES, *(cache.name for cache in kmalloc_caches_wanted())])
    asked_for = merged = 0

    async def replay() -> None:
        nonlocal asked_for, merged
        for line, record in records.decode(SystemCache):
            records.check_geom(line, record.geom)
            expected = fields_of(record.geom)
            if record.name in own:
                cache = machine.slab.find(record.name)
                got = fields_of(None if cache is None else geom_of(cache))
                report.compare(line, f"boot cache {record.name}", expected, got)
                continue
            got = fields_of(await _made_again(machine, record.name, record.geom))
            asked_for += 1
            left_out = ["refcount"]
            if record.geom.refcount > 1:
                merged += 1
                left_out.append("offset")
            for fields in (expected, got):
                for name in left_out:
                    fields.pop(name, None)
            report.compare(line, f"system cache {record.name}", expected, got)

    run_on(machine, replay)
    for text, count in ((REFCOUNT, asked_for), (OFFSET, merged)):
        if count:
            report.relaxations.append(text.format(count=count))
    return report


async def _made_again(machine: Machine, name: str, geom: Geom) -> Geom | None:
    request = Request(
        size=geom.object_size,
        align=geom.align,
        ctor=geom.ctor,
        flags=[],
        useroffset=geom.useroffset,
        usersize=geom.usersize,
    )
    cache = await create(machine, name, request, flags=int(geom.flags_hex, 16) & ~INTERNAL_FLAGS)
    if cache is None:
        return None
    made = geom_of(cache)
    await kmem_cache_destroy(machine.slab, cache)
    return made
