"""Hostile and broken input.  Well-formed traces are read in test_stream.py."""

import io
import zlib
from pathlib import Path
from typing import Any

import msgpack  # type: ignore[import-untyped]  # it ships no types
import pytest
from hypothesis import given
from hypothesis import strategies as st
from slubloom.traces import TraceError, TraceReader

from .helpers import read_bytes, some_records, write_trace

SCHEMA = {"1": ["kmem", "kfree", [["call_site", "unsigned long"], ["ptr", "const void *"]]]}


def header(content: Any = None, version: object = 1) -> bytes:
    if content is None:
        content = {"encoding": "raw", "schema": SCHEMA}
    whole = {**content, "crc": zlib.crc32(msgpack.packb(content))} if isinstance(content, dict) else content
    packed: bytes = msgpack.packb(["slabtrc1", version, whole])
    return packed


def chunk(body: bytes, count: object = 1, lost: object = ()) -> bytes:
    """Pack a chunk whose checksum is right, whatever else is wrong."""
    head = [2, 0, 0, 0, count, lost, len(body)]
    packed: bytes = msgpack.packb([*head, zlib.crc32(body, zlib.crc32(msgpack.packb(head))), body])
    return packed


NOT_A_TRACE = {
    "empty": (b"", "expected a trace header .* found no data"),
    "text": (b"hello, world\n", "not a trace: expected a header .* found b'hello, world"),
    "garbage": (bytes(range(200, 256)), "not a trace"),
    "other msgpack": (msgpack.packb([1, 2, 3]), "not a trace"),
    "header cut": (header()[:40], "the header is cut off"),
    "start only": (b"\x93\xa8slabtrc1", "the header is cut off"),
    "later version": (header(version=2), "trace version 2, expected 1"),
    "no map": (header([1, 2]), "expected a map after the version"),
    "compressed": (header({"encoding": "zstd", "schema": {}}), "encoding 'zstd', expected 'raw'"),
    "no schema": (header({"encoding": "raw"}), "expected a schema"),
    "schema of lists": (header({"encoding": "raw", "schema": []}), "expected a schema"),
    "event without fields": (header({"encoding": "raw", "schema": {"1": ["a", "b"]}}), "event '1' of the schema"),
    "event named by a number": (header({"encoding": "raw", "schema": {"1": [1, 2, []]}}), "event '1' of the schema"),
    "event id in words": (header({"encoding": "raw", "schema": {"one": ["a", "b", []]}}), "event 'one' of the schema"),
    "escape in a name": (header({"encoding": "raw", "schema": {"1": ["a", "\x1b[2J", []]}}), "event '1'"),
    "huge map": (b"\x93\xa8slabtrc1\x01\xdf\xff\xff\xff\xff", "header"),
    "huge array": (b"\x93\xa8slabtrc1\x01\xdd\xff\xff\xff\xff", "header"),
    "huge string": (b"\x93\xa8slabtrc1\x01\xdb\xff\xff\xff\xff" + b"x" * 100, "header"),
    "deep nesting": (b"\x93\xa8slabtrc1\x01" + b"\x91" * 100_000, "header"),
    "bad text": (b"\x93\xa8slabtrc1\x01\x81\xa1\xff\x01\x00", "header"),
}


@pytest.mark.parametrize(("data", "message"), NOT_A_TRACE.values(), ids=NOT_A_TRACE)
def test_what_is_no_trace_is_refused_with_one_message(tmp_path: Path, data: bytes, message: str) -> None:
    path = tmp_path / "input"
    path.write_bytes(data)
    with pytest.raises(TraceError, match=message) as caught:
        TraceReader(path)
    assert str(caught.value).startswith(f"{path}: offset 0: ")
    assert caught.value.exit_status == 2


def body(strings: object, rows: object) -> bytes:
    packed: bytes = msgpack.packb([strings, rows])
    return packed


MISFITS = {
    "not msgpack": (b"\xc1", "expected \\[strings, records\\]"),
    "no pair": (msgpack.packb([1, 2, 3]), "expected \\[strings, records\\]"),
    "strings are numbers": (body([1], []), "table of strings"),
    "wrong count": (body(["c"], []), "0 records, expected 1"),
    "row is a number": (body(["c"], [5]), "record 0: expected a list"),
    "row is empty": (body(["c"], [[]]), "record 0: expected a list"),
    "unknown event": (body(["c"], [[9, 0, 0, 0, 0]]), "record 0: event id 9 is not in the schema"),
    "too short": (body(["c"], [[1, 0, 0, 0, 0, 1]]), "6 values, expected 7"),
    "no such text": (body(["c"], [[1, 0, 0, 0, 1, 1, 1]]), "text 1 is not among the chunk's 1"),
    "text before the first": (body(["c"], [[1, 0, 0, 0, -1, 1, 1]]), "text -1 is not among"),
    "text for a number": (body(["c"], [[1, 0, 0, 0, 0, "x", 1]]), "value 5 of event 1 is no integer"),
    "nested": (body(["c"], [[1, 0, 0, 0, 0, [1], 1]]), "value 5 of event 1 is no integer"),
    "a map": (body({"c": 1}, []), "expected \\[strings, records\\]"),
    "deep": (b"\x91" * 5000, "expected \\[strings, records\\]"),
    "huge array": (b"\x92\x90\xdd\xff\xff\xff\xff", "expected \\[strings, records\\]"),
}


@pytest.mark.parametrize(("content", "message"), MISFITS.values(), ids=MISFITS)
def test_a_chunk_that_does_not_fit_the_schema_is_skipped_and_reported(content: bytes, message: str) -> None:
    good = chunk(body(["c"], [[1, 5, 0, 0, 0, 7, 8]]))
    reader, found = read_bytes(header() + chunk(content) + good)
    assert found == [(1, 5, 0, 0, "c", 7, 8)]
    assert len(reader.damage) == 1
    with pytest.raises(TraceError, match=message):
        raise TraceError(str(reader.damage[0]))


@pytest.mark.parametrize("lost", [5, [[1]], [["a", 1]], [[1, -1]], {"a": 1}], ids=repr)
def test_losses_of_the_wrong_shape_are_damage(lost: object) -> None:
    reader, found = read_bytes(header() + chunk(body(["c"], [[1, 5, 0, 0, 0, 7, 8]]), lost=lost))
    assert found == []
    assert len(reader.damage) == 1


def test_losses_are_added_up_by_cpu() -> None:
    one = body(["c"], [[1, 5, 0, 0, 0, 7, 8]])
    reader, _ = read_bytes(header() + chunk(one, lost=[[0, 3], [2, 1]]) + chunk(one, lost=[[2, 4]]))
    assert reader.lost == {0: 3, 2: 5}


def test_a_chunk_above_the_limit_is_damage_and_is_not_buffered(tmp_path: Path) -> None:
    data = write_trace(tmp_path / "t", some_records(200), chunk_events=100)
    reader = TraceReader(io.BytesIO(data), max_block_bytes=1000)
    assert list(reader) == []
    assert "expected at most 1000" in str(reader.damage[0])


def test_a_claimed_size_beyond_the_file_does_not_hide_what_follows(tmp_path: Path) -> None:
    records = some_records(30)
    data = write_trace(tmp_path / "t", records)
    at = TraceReader(io.BytesIO(data)).index()[1].offset
    size_at = data.index(b"\xc6\x00\x00", at)
    broken = data[: size_at + 1] + b"\x00\xff\xff\xff" + data[size_at + 5 :]
    reader, found = read_bytes(broken)
    assert found == records[:10] + records[20:]
    assert reader.closed_cleanly


def test_bytes_after_the_trailer_are_reported(tmp_path: Path) -> None:
    data = write_trace(tmp_path / "t", some_records(5))
    reader, found = read_bytes(data + data)
    assert found == some_records(5)
    assert len(reader.damage) == 1


def test_a_header_with_a_wrong_checksum_is_reported_and_used() -> None:
    data = bytearray(header({"encoding": "raw", "schema": SCHEMA, "scenario": "aaaa"}))
    data[data.index(b"aaaa")] ^= 1
    reader, _ = read_bytes(bytes(data))
    assert reader.header["scenario"] == "`aaa"
    assert "checksum" in str(reader.damage[0])


@given(noise=st.binary(max_size=300))
def test_noise_after_the_header_never_raises(noise: bytes) -> None:
    reader, found = read_bytes(header() + noise)
    assert found == []
    assert bool(noise) == bool(reader.damage)


@given(data=st.binary(max_size=100))
def test_noise_instead_of_a_header_is_a_trace_error(data: bytes) -> None:
    with pytest.raises(TraceError):
        TraceReader(io.BytesIO(data))


NONSENSE = {
    "starts of chunks": b"\x99\x02" * 100_000,
    "heads of chunks": b"\x99\x02\x00\x00\x00\x00" * 50_000,
    "huge indexes": b"\x93\x03\xdd\x03\xff\xff\xff\x95" * 10_000,
    "huge bodies": b"\x99\x02\x00\x00\x00\x01\x90\xce\x03\x00\x00\x00\x01\xc6\x03\x00\x00\x00" * 10_000,
    "nested results": (b"\x92\x05\x81\xa1a" + b"\x91" * 900) * 100,
}


@pytest.mark.parametrize("nonsense", NONSENSE.values(), ids=NONSENSE)
def test_nonsense_that_looks_like_blocks_is_given_up_on(nonsense: bytes) -> None:
    reader, found = read_bytes(header() + nonsense)
    assert found == []
    assert len(reader.damage) == 1


def test_a_missing_file_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(TraceError, match="cannot read: No such file or directory"):
        TraceReader(tmp_path / "none")


def test_a_folder_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(TraceError, match="Is a directory"):
        TraceReader(tmp_path)
