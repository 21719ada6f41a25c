import io
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from slubloom.traces import Record, StreamWriter, TraceError, TraceReader, open_sink

from .helpers import SPECS, read_bytes, some_records, write_trace

_SIGNED = st.integers(-(2**63), 2**63 - 1)
_UNSIGNED = st.integers(0, 2**64 - 1)
_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
_WHO = (st.integers(0, 2**63), st.integers(-1, 8191), st.integers(0, 2**22), _TEXT)
_RECORD: st.SearchStrategy[Record] = st.one_of(
    st.tuples(st.just(1), *_WHO, _UNSIGNED, _TEXT, _UNSIGNED),
    st.tuples(st.just(2), *_WHO, _UNSIGNED, _UNSIGNED),
    st.tuples(st.just(3), *_WHO, _SIGNED),
)


@given(records=st.lists(_RECORD, max_size=60), chunk_events=st.integers(1, 20), polls=st.integers(1, 30))
def test_what_is_recorded_is_read_back(
    tmp_path_factory: pytest.TempPathFactory, records: list[Record], chunk_events: int, polls: int
) -> None:
    path = tmp_path_factory.mktemp("round") / "trace"
    writer = StreamWriter(open_sink(str(path)), {}, SPECS, chunk_events)
    for number, record in enumerate(records):
        writer.probe(record)
        if number % polls == 0:
            writer.poll()
    writer.close()
    with TraceReader(path) as reader:
        assert list(reader) == records
        assert (reader.closed_cleanly, reader.damage, reader.end) == (True, [], None)
        assert [entry.events for entry in reader.index()] == [
            min(chunk_events, len(records) - start) for start in range(0, len(records), chunk_events)
        ]


def test_the_bytes_do_not_depend_on_when_the_stream_is_polled(tmp_path: Path) -> None:
    often = write_trace(tmp_path / "often", some_records(95))
    writer = StreamWriter(open_sink(str(tmp_path / "once")), {"seed": 7, "ncpu": 4}, SPECS, 10)
    for record in some_records(95):
        writer.probe(record)
    writer.finish({"verdict": "clean"})
    assert (tmp_path / "once").read_bytes() == often


def test_the_header_says_what_the_caller_knows_and_how_to_read_the_rest(tmp_path: Path) -> None:
    write_trace(tmp_path / "trace", [])
    with TraceReader(tmp_path / "trace") as reader:
        assert reader.header["seed"] == 7
        assert reader.header["encoding"] == "raw"
        assert reader.header["clock"] == {"id": "virtual", "unit": "ns", "epoch": "boot"}
        assert reader.header["schema"]["2"] == [
            "kmem",
            "kfree",
            [["call_site", "unsigned long"], ["ptr", "const void *"]],
        ]
        assert tuple(reader.specs.values()) == SPECS


def test_a_header_key_of_the_writer_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="'schema' belongs to the stream writer"):
        StreamWriter(open_sink(str(tmp_path / "trace")), {"schema": {}})


def test_the_chunk_number_names_the_chunk_the_next_record_lands_in(tmp_path: Path) -> None:
    writer = StreamWriter(open_sink(str(tmp_path / "trace")), {}, SPECS, 10)
    expected = []
    for record in some_records(35):
        expected.append(writer.chunk_number)
        writer.probe(record)
        if record[1] == 170:
            writer.poll()
    writer.close()
    with TraceReader(tmp_path / "trace") as reader:
        assert [chunk.sequence for chunk in reader.chunks() for _ in chunk.records] == expected


def test_flush_makes_everything_recorded_readable(tmp_path: Path) -> None:
    writer = StreamWriter(open_sink(str(tmp_path / "trace")), {}, SPECS, 10)
    for record in some_records(13):
        writer.probe(record)
    writer.flush()
    with TraceReader(tmp_path / "trace") as reader:
        assert list(reader) == some_records(13)
        assert not reader.closed_cleanly
    writer.close()


def test_the_result_may_hold_integer_keys_and_tuples(tmp_path: Path) -> None:
    writer = StreamWriter(open_sink(str(tmp_path / "trace")), {"tape": (1, 2)}, SPECS)
    writer.finish({"lost": {0: 3}, "tape": (1, 2)})
    with TraceReader(tmp_path / "trace") as reader:
        assert (reader.header["tape"], list(reader), reader.end) == ([1, 2], [], {"lost": {"0": 3}, "tape": [1, 2]})


def test_closing_twice_and_finishing_after_closing_change_nothing(tmp_path: Path) -> None:
    data = write_trace(tmp_path / "trace", some_records(3))
    writer = StreamWriter(open_sink(str(tmp_path / "other")), {"seed": 7, "ncpu": 4}, SPECS, 10)
    for record in some_records(3):
        writer.probe(record)
    writer.finish({"verdict": "clean"})
    writer.close()
    writer.finish({"verdict": "violated"})
    writer.poll()
    assert (tmp_path / "other").read_bytes() == data


def test_statistics_count_events_chunks_and_bytes(tmp_path: Path) -> None:
    writer = StreamWriter(open_sink(str(tmp_path / "trace")), {}, SPECS, 10)
    for record in some_records(25):
        writer.probe(record)
    writer.close()
    statistics = writer.statistics()
    assert (statistics.events, statistics.chunks, statistics.lost) == (25, 3, {})
    assert statistics.written_bytes == (tmp_path / "trace").stat().st_size


@pytest.mark.parametrize(
    "misfit",
    [
        (1, 0, 0, 0, "c", 1, "x"),
        (99, 0, 0, 0, "c"),
        (3, 0, 0, 0, "c", 2**64),
        (3, 0, 0, 0, 5, 1),
        (3, 0, 0, 0, "c", object()),
    ],
    ids=["too short", "unknown event", "too large", "comm is no text", "not an integer"],
)
def test_a_record_that_does_not_fit_is_named_and_its_neighbours_are_kept(tmp_path: Path, misfit: Record) -> None:
    writer = StreamWriter(open_sink(str(tmp_path / "trace")), {}, SPECS, 10)
    good = some_records(2)
    for record in (good[0], misfit, good[1]):
        writer.probe(record)
    with pytest.raises(TypeError, match="record does not fit the fields of its event"):
        writer.flush()
    writer.close()
    with TraceReader(tmp_path / "trace") as reader:
        assert list(reader) == good


def test_a_full_disk_is_one_clear_error() -> None:
    with pytest.raises(TraceError, match=r"/dev/full: cannot write the trace: No space left on device"):
        StreamWriter(open_sink("/dev/full"), {}, SPECS)


def test_a_file_that_cannot_be_made_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(TraceError, match="cannot write a trace: No such file or directory"):
        open_sink(str(tmp_path / "no" / "trace"))


def test_plain_msgpack_reads_a_trace_with_no_code_of_ours(tmp_path: Path) -> None:
    write_trace(tmp_path / "trace", some_records(95))
    script = textwrap.dedent("""
        import sys, zlib, msgpack
        names, cpus, kinds = [], {}, []
        with open(sys.argv[1], "rb") as file:
            for block in msgpack.Unpacker(file):
                kinds.append(block[0])
                if block[0] != 2:
                    continue
                head, crc, body = block[:7], block[7], block[8]
                assert zlib.crc32(body, zlib.crc32(msgpack.packb(head))) == crc
                strings, rows = msgpack.unpackb(body)
                assert len(rows) == block[4]
                for row in rows:
                    cpus[row[2]] = cpus.get(row[2], 0) + 1
                    names.append(strings[row[4]] + ("/" + strings[row[6]] if row[0] == 1 else ""))
        assert not any(name.startswith("slubloom") for name in sys.modules)
        print(kinds, sorted(cpus.items()), names[0], names[94])
    """)
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "trace")], capture_output=True, text=True, check=True
    )
    # 95 records in chunks of ten; record n on CPU n % 4; 0 is a lock record, 94 a kfree.
    kinds = ["slabtrc1", *[2] * 10, 5, 3, 4]
    cpus = [(0, 24), (1, 24), (2, 24), (3, 23)]
    assert done.stdout == f"{kinds} {cpus} task-0/lock-0 task-4\n"


def test_a_killed_run_leaves_whole_chunks(tmp_path: Path) -> None:
    path = tmp_path / "trace"
    script = textwrap.dedent("""
        import sys
        from slubloom.traces import StreamWriter, open_sink
        writer = StreamWriter(open_sink(sys.argv[1]), {}, chunk_events=100)
        number = 0
        while True:
            writer.probe((3, number, 0, 1, "victim", number, number))
            number += 1
            writer.poll()
            if number == 5000:
                print("going", flush=True)
    """)
    with subprocess.Popen([sys.executable, "-c", script, str(path)], stdout=subprocess.PIPE) as victim:
        assert victim.stdout is not None
        assert victim.stdout.readline() == b"going\n"
        victim.send_signal(signal.SIGKILL)
    with TraceReader(path) as reader:
        numbers = [record[1] for record in reader]
        assert (reader.closed_cleanly, reader.damage) == (False, [])
        assert reader.clean_length == os.path.getsize(path)
    assert len(numbers) >= 5000
    assert len(numbers) % 100 == 0
    assert numbers == list(range(len(numbers)))


def test_one_chunk_is_found_by_the_trailer_and_decoded_alone(tmp_path: Path) -> None:
    records = some_records(95)
    data = write_trace(tmp_path / "trace", records)
    with TraceReader(io.BytesIO(data)) as reader:
        entry = reader.index()[4]
    assert (entry.sequence, entry.first_ns, entry.last_ns, entry.events) == (4, 400, 490, 10)
    # Every other chunk is destroyed: only the one asked for is looked at.
    chunks = [index_entry.offset for index_entry in TraceReader(io.BytesIO(data)).index()]
    broken = bytearray(data)
    for offset in chunks:
        if offset != entry.offset:
            broken[offset + 40] ^= 0xFF
    reader = TraceReader(io.BytesIO(bytes(broken)))
    assert reader.chunk_at(entry).records == records[40:50]
    with pytest.raises(TraceError, match=f"offset {chunks[5]}: chunk 5: its checksum is wrong"):
        reader.chunk_at(reader.index()[5])


def test_a_trace_without_trailer_has_no_index(tmp_path: Path) -> None:
    data = write_trace(tmp_path / "trace", some_records(20))
    reader = TraceReader(io.BytesIO(data[:-1]))
    with pytest.raises(TraceError, match="expected"):
        reader.index()


def test_reading_goes_on_where_it_was_after_a_look_at_the_index(tmp_path: Path) -> None:
    data = write_trace(tmp_path / "trace", some_records(95))
    reader = TraceReader(io.BytesIO(data))
    records = iter(reader)
    first = next(records)
    reader.index()
    assert [first, *records] == some_records(95)


def test_every_prefix_of_a_trace_gives_its_whole_chunks(tmp_path: Path) -> None:
    records = some_records(35)
    data = write_trace(tmp_path / "trace", records)
    index = TraceReader(io.BytesIO(data)).index()
    ends = [*(entry.offset for entry in index[1:]), len(data)]
    for length in range(index[0].offset, len(data)):
        whole = sum(end <= length for end in ends[:-1])
        reader, found = read_bytes(data[:length])
        # The last chunk ends where the end record begins; that offset is not in the index.
        assert found in (records[: whole * 10], records)
        assert not reader.closed_cleanly
        assert reader.clean_length <= length
        assert reader.truncated == (reader.clean_length != length)


def test_one_flipped_byte_costs_exactly_one_chunk(tmp_path: Path) -> None:
    records = some_records(50)
    data = write_trace(tmp_path / "trace", records)
    index = TraceReader(io.BytesIO(data)).index()
    end_at = data.index(b"\x92\x05")
    bounds = [*(entry.offset for entry in index), end_at]
    for number in range(5):
        for offset in range(bounds[number], bounds[number + 1]):
            for flip in (0x01, 0xFF):
                broken = bytearray(data)
                broken[offset] ^= flip
                reader, found = read_bytes(bytes(broken))
                assert found == records[: number * 10] + records[number * 10 + 10 :]
                assert len(reader.damage) == 1
                assert (reader.damage[0].offset, reader.damage[0].end) == (bounds[number], bounds[number + 1])
                assert reader.closed_cleanly
                assert reader.end == {"verdict": "clean"}


def test_a_flipped_byte_after_the_chunks_costs_no_record_and_is_reported(tmp_path: Path) -> None:
    records = some_records(20)
    data = write_trace(tmp_path / "trace", records)
    for offset in range(data.index(b"\x92\x05"), len(data)):
        broken = bytearray(data)
        broken[offset] ^= 0xFF
        reader, found = read_bytes(bytes(broken))
        assert found == records
        assert len(reader.damage) == 1
        assert (reader.end is None) != (not reader.closed_cleanly)
