"""Kind ``merge``: caches made and destroyed on a system that has caches already.

Those are in ``slab_caches.jsonl.xz``, in the folder of the recording, as they were at that moment; what they were made
of does not matter, only what they had become.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..kernel.slab.destroy import kmem_cache_destroy
from .emulated import create, describe, fields_of, geom_of, install
from .machine import machine_of, run_on
from .report import FileReport
from .vectors import Create, Destroy, Geom, SystemCache, VectorError, open_recording

if TYPE_CHECKING:
    from ..kernel import Machine
    from ..kernel.slab.cache import KmemCache
    from .vectors import Header, Records

CANDIDATES = ("slab_caches.jsonl.xz", "slab_caches.jsonl")


def run_merge(header: Header, records: Records) -> FileReport:
    """Replay the recording on the machine of `header`, beginning with the recorded caches of the system.

    Raises:
        VectorError: the recording, or that of the system's caches, cannot be used.
    """
    system = read_candidates(Path(records.source))
    report = FileReport(records.source, header.kind)
    machine = machine_of(records.source, header)
    install(machine, system)

    async def replay() -> None:
        made: dict[str, KmemCache | None] = {}
        for line, record in records.decode(Create | Destroy):
            if isinstance(record, Destroy):
                if record.name not in made:
                    raise records.error(line, "name", f"no cache {record.name!r} was created before")
                await _destroy(machine, report, line, record, made.pop(record.name))
                continue
            check_merged(records, line, record)
            cache = made[record.name] = await create(machine, record.name, record.req)
            expected, got = fields_of(record.geom), fields_of(None if cache is None else geom_of(cache))
            if record.ok:
                expected |= {"same_as": record.same_as, "merged": record.merged}
            if cache is not None:
                got |= {"same_as": cache.name, "merged": int(cache.name != record.name)}
            report.compare(line, describe(record.name, record.req), expected, got)

    run_on(machine, replay)
    return report


def check_merged(records: Records, line: int, record: Create) -> None:
    """Refuse a record that does not say what came back."""
    records.check_created(line, record)
    if record.ok and record.same_as is None:
        raise records.error(line, "same_as", "there is none; expected the name of the cache that came back")
    if record.ok and record.merged is None:
        raise records.error(line, "merged", "there is none; expected 0 or 1")


def read_candidates(path: Path) -> list[tuple[str, Geom]]:
    """The caches of the system that `path` was recorded on, newest first.

    Raises:
        VectorError: there is no such recording, or it cannot be used.
    """
    found = next((path.parent / name for name in CANDIDATES if (path.parent / name).exists()), None)
    if found is None:
        raise VectorError(str(path), f"needs the caches of that system beside it, in {CANDIDATES[0]}")
    with open_recording(found) as (header, records):
        if header.kind != "dump":
            raise VectorError(str(found), f"expected kind 'dump', not {header.kind!r}", line=1, field="kind")
        system = []
        for line, record in records.decode(SystemCache):
            records.check_geom(line, record.geom)
            system.append((record.name, record.geom))
    return system


async def _destroy(machine: Machine, report: FileReport, line: int, record: Destroy, cache: KmemCache | None) -> None:
    got: dict[str, Any] = {"refcount_before": 0 if cache is None else cache.refcount}
    report.compare(line, f"destroy {record.name}", {"refcount_before": record.refcount_before}, got)
    if cache is not None:
        await kmem_cache_destroy(machine.slab, cache)
