"""One file: which kind it is of, and who replays it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .merging import run_merge
from .sequence import run_sequence
from .single import run_geom
from .system import run_dump
from .vectors import open_recording

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from .report import FileReport
    from .vectors import Header, Records


def check_file(path: Path) -> FileReport:
    """Replay the recording at `path`.

    Raises:
        VectorError: it cannot be used.
    """
    with open_recording(path) as (header, records):
        return RUNNERS[header.kind](header, records)


RUNNERS: dict[str, Callable[[Header, Records], FileReport]] = {
    "geom": run_geom,
    "merge": run_merge,
    "dump": run_dump,
    "seq": run_sequence,
}
