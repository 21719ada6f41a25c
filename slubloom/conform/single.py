"""Kind ``geom``: each cache made, looked at, and destroyed at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..kernel.slab.destroy import kmem_cache_destroy
from .emulated import create, describe, fields_of, geom_of
from .machine import machine_of, run_on
from .report import FileReport
from .vectors import Create

if TYPE_CHECKING:
    from .vectors import Header, Records


def run_geom(header: Header, records: Records) -> FileReport:
    """Replay the recording on the machine of `header`.

    Raises:
        VectorError: the recording cannot be used.
    """
    report = FileReport(records.source, header.kind)
    machine = machine_of(records.source, header)

    async def replay() -> None:
        for line, record in records.decode(Create):
            records.check_created(line, record)
            cache = await create(machine, record.name, record.req)
            got = fields_of(None if cache is None else geom_of(cache))
            report.compare(line, describe(record.name, record.req), fields_of(record.geom), got)
            if cache is not None:
                await kmem_cache_destroy(machine.slab, cache)

    run_on(machine, replay)
    return report
