"""Sequences of operations that a real 6.1 did: every counter, list and text after each of them."""

from __future__ import annotations

import json
import lzma
from typing import TYPE_CHECKING, Any

import pytest

from slubloom.conform.check import check_file
from slubloom.conform.vectors import VectorError

from .recordings import files

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

REMOTE = "sequences/4c2n-s03.jsonl.xz"
HOTPLUG = "sequences/4c2n-s11.jsonl.xz"


@pytest.mark.parametrize("path", [*files("sequences/*.jsonl.xz"), *files("memory-hotplug/*.jsonl.xz")])
def test_every_record_of_a_sequence_matches(path: Path) -> None:
    report = check_file(path)
    assert report.first_mismatch is None
    assert report.total > (700 if "sequences" in path.parts else 250)
    assert (report.matched, report.not_run) == (report.total, 0)


def changed(path: Path, to: Path, record: int, change: Callable[[dict[str, Any]], object]) -> Path:
    """A copy of a recording with one record changed; the header is record 0."""
    with lzma.open(path, "rt") as file:
        lines = file.readlines()
    document = json.loads(lines[record])
    change(document)
    lines[record] = json.dumps(document) + "\n"
    copy = to / "changed.jsonl"
    copy.write_text("".join(lines))
    return copy


@pytest.mark.parametrize("path", files(REMOTE))
@pytest.mark.parametrize(
    ("field", "change"),
    [
        ("st", lambda record: record["st"]["c"].__setitem__(3, [0, 6, 4])),
        ("sys", lambda record: record["sys"].__setitem__("objects", "7 N1=7")),
        ("got", lambda record: record["got"].__setitem__(2, 0)),
        ("new", lambda record: record.__setitem__("new", [])),
        ("flushed", lambda record: record.__setitem__("ev", [{"t": "flush", "cpu": 1}])),
    ],
)
def test_a_number_that_was_changed_is_the_first_mismatch(
    path: Path, field: str, change: Callable[[dict[str, Any]], object], tmp_path: Path
) -> None:
    report = check_file(changed(path, tmp_path, 3, change))
    assert report.first_mismatch is not None
    assert report.first_mismatch.record == 4
    assert "alloc" in report.first_mismatch.operation
    assert report.first_mismatch.expected[field] != report.first_mismatch.got.get(field)
    others = [name for name in report.first_mismatch.expected if name != field]
    assert all(report.first_mismatch.expected[name] == report.first_mismatch.got[name] for name in others)


@pytest.mark.parametrize("path", files(HOTPLUG))
@pytest.mark.parametrize(
    "change",
    [
        lambda events: events[0].__setitem__("has_cpu_slab", 0),
        lambda events: events[1].__setitem__("has_cpu_partial", 0),
        lambda events: events[0].__setitem__("on", 0),
        lambda events: events[1].__setitem__("on", 3),
        lambda events: events[1].__setitem__("on", "somewhere"),
        lambda events: events[1].pop("stage"),
        lambda events: events.reverse(),
        lambda events: events.pop(),
    ],
)
def test_a_processor_that_went_otherwise_is_a_mismatch(
    path: Path, change: Callable[[list[dict[str, Any]]], object], tmp_path: Path
) -> None:
    report = check_file(changed(path, tmp_path, 53, lambda record: change(record["ev"])))
    assert report.first_mismatch is not None
    assert report.first_mismatch.operation == "operation 52: write 0 to /sys/devices/system/cpu/cpu3/online"
    assert report.first_mismatch.expected["cpus"] != report.first_mismatch.got["cpus"]


@pytest.mark.parametrize("path", files(HOTPLUG))
def test_a_write_to_a_file_of_nothing_known_is_refused(path: Path, tmp_path: Path) -> None:
    with pytest.raises(VectorError, match="the file of no processor and no memory block"):
        check_file(changed(path, tmp_path, 53, lambda record: record.__setitem__("path", "/proc/sys/vm/drop_caches")))


@pytest.mark.parametrize("path", files(REMOTE))
@pytest.mark.parametrize(
    ("record", "change", "message"),
    [
        (3, lambda record: record.__setitem__("k", 9), "there is no cache in slot 9"),
        (3, lambda record: record.__setitem__("cpu", 5), "there is no processor 5"),
        (3, lambda record: record.__setitem__("op", "allocate"), "op"),
        (3, lambda record: record.pop("node"), "there is no node"),
        (1, lambda record: record["req"].__setitem__("flags", ["RCU"]), "there is no flag 'RCU'"),
        (1, lambda record: record["geom"].__setitem__("oo_objects", 100), "more than"),
    ],
)
def test_a_record_that_cannot_be_is_refused_with_its_place(
    path: Path, record: int, change: Callable[[dict[str, Any]], object], message: str, tmp_path: Path
) -> None:
    copy = changed(path, tmp_path, record, change)
    with pytest.raises(VectorError, match=r"changed\.jsonl") as refused:
        check_file(copy)
    assert message in str(refused.value)


@pytest.mark.parametrize("path", files(REMOTE))
def test_an_object_freed_that_was_never_allocated_is_refused(path: Path, tmp_path: Path) -> None:
    with lzma.open(path, "rt") as file:
        frees = [number for number, line in enumerate(file) if '"op":"free"' in line]
    copy = changed(path, tmp_path, frees[0], lambda record: record.__setitem__("obj", 99_999))
    with pytest.raises(VectorError, match="object 99999 was not allocated"):
        check_file(copy)
