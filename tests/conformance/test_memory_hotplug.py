"""Memory that a real 6.1 brought online and took offline: who was told what, and which writes were refused."""

from __future__ import annotations

import json
import lzma
from typing import TYPE_CHECKING, Any

import pytest

from slubloom.conform.check import check_file

from .recordings import files
from .test_sequences import changed

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

ONLINE, BUSY = 45, 244
"""Records of mem-a: its first block comes online; and is refused to go, as objects are on it."""


@pytest.mark.parametrize("path", files("memory-hotplug/mem-a.jsonl.xz"))
@pytest.mark.parametrize(
    ("record", "field", "change"),
    [
        (ONLINE, "mem", lambda record: record["ev"][0].__setitem__("has_kmem_cache_node", 1)),
        (ONLINE, "mem", lambda record: record["ev"][1].__setitem__("action", "ONLINE")),
        (ONLINE, "mem", lambda record: record["ev"][2].__setitem__("status_change_nid_normal", -1)),
        (ONLINE, "mem", lambda record: record["ev"].pop()),
        (ONLINE, "rc", lambda record: record.__setitem__("rc", -22)),
        (BUSY, "rc", lambda record: record.__setitem__("rc", 0)),
        (BUSY, "st", lambda record: record["st"]["n"].__setitem__(1, None)),
    ],
)
def test_what_was_changed_in_a_write_is_the_first_mismatch(
    path: Path, record: int, field: str, change: Callable[[dict[str, Any]], object], tmp_path: Path
) -> None:
    report = check_file(changed(path, tmp_path, record, change))
    assert report.first_mismatch is not None
    assert report.first_mismatch.record == record + 1
    assert "/sys/devices/system/memory/memory32/state" in report.first_mismatch.operation
    assert report.first_mismatch.expected[field] != report.first_mismatch.got[field]


@pytest.mark.parametrize("path", files("memory-hotplug/*.jsonl.xz"))
def test_every_write_of_the_recordings_is_run_and_every_event_compared(path: Path) -> None:
    with lzma.open(path, "rt") as file:
        writes = [json.loads(line) for line in file if '"op":"write"' in line]
    assert len(writes) >= 5
    assert any(event["action"] == "GOING_ONLINE" for write in writes for event in write.get("ev", []))
    report = check_file(path)
    assert (report.matched, report.not_run, report.first_mismatch) == (report.total, 0, None)
