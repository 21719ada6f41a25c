"""One file: which kind it is of, and who replays it."""

from __future__ import annotations

import importlib
import importlib.util
from typing import TYPE_CHECKING, Any

from .merging import run_merge
from .report import FileReport
from .single import run_geom
from .system import run_dump
from .vectors import open_recording

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from .vectors import Header, Records

SEQUENCES_MISSING = "sequences of operations are not emulated yet"


def check_file(path: Path) -> FileReport:
    """Replay the recording at `path`.

    Raises:
        VectorError: it cannot be used.
    """
    with open_recording(path) as (header, records):
        return RUNNERS[header.kind](header, records)


def run_seq(header: Header, records: Records) -> FileReport:
    """Replay a sequence with ``run_sequence(header, records)`` of the module ``sequence``, where there is one."""
    if importlib.util.find_spec(".sequence", __package__) is not None:
        run: Callable[[Header, Records], FileReport] = importlib.import_module(".sequence", __package__).run_sequence
        return run(header, records)
    report = FileReport(records.source, header.kind, reason=SEQUENCES_MISSING)
    for _ in records.decode(dict[str, Any]):
        report.total += 1
        report.not_run += 1
    return report


RUNNERS: dict[str, Callable[[Header, Records], FileReport]] = {
    "geom": run_geom,
    "merge": run_merge,
    "dump": run_dump,
    "seq": run_seq,
}
