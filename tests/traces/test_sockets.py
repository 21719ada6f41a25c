"""Live readers, slow and fast.  A reader is a thread with a plain socket; what it got is read with TraceReader."""

import io
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import cast

import pytest
from slubloom.traces import OnSlow, Record, StreamWriter, TraceError, TraceReader, open_sink
from slubloom.traces.socket_sink import SocketSink

from .helpers import SPECS, some_records


class LiveReader(threading.Thread):
    """Connects, and collects bytes until the end; sleeps before each read."""

    def __init__(
        self, path: Path, pause_s: float = 0.0, read_bytes: int = 1 << 16, stop_after: int | None = None
    ) -> None:
        super().__init__(daemon=True)
        self.path, self.pause_s, self.read_bytes, self.stop_after = path, pause_s, read_bytes, stop_after
        self.data = b""
        self.start()

    def run(self) -> None:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            _retry(lambda: connection.connect(str(self.path)))
            pieces = []
            while piece := connection.recv(self.read_bytes):
                pieces.append(piece)
                if self.stop_after is not None and len(pieces) >= self.stop_after:
                    break
                time.sleep(self.pause_s)
            self.data = b"".join(pieces)

    def trace(self) -> tuple[TraceReader, list[Record]]:
        self.join(20)
        assert not self.is_alive()
        reader = TraceReader(io.BytesIO(self.data))
        return reader, list(reader)


def _retry(connect: Callable[[], None]) -> None:
    for _ in range(2000):
        try:
            connect()
        except (FileNotFoundError, ConnectionRefusedError):
            time.sleep(0.005)
        else:
            return
    raise AssertionError("nobody listened")


def _produce(writer: StreamWriter, records: list[Record], pause_s: float = 0.0) -> None:
    for number, record in enumerate(records):
        writer.probe(record)
        if number % 100 == 99:
            writer.poll()
            time.sleep(pause_s)


def _poll_until_readers(writer: StreamWriter, count: int) -> None:
    for _ in range(2000):
        writer.poll()
        if writer.statistics().readers == count:
            return
        time.sleep(0.005)
    raise AssertionError("the readers never came")


def test_a_fast_reader_gets_everything_and_the_socket_file_goes_away(tmp_path: Path) -> None:
    path = tmp_path / "s"
    reader = LiveReader(path)
    writer = StreamWriter(open_sink(f"unix:{path}", wait_s=20), {"seed": 1}, SPECS, 100)
    records = some_records(5000)
    _produce(writer, records, pause_s=0.001)
    writer.finish({"verdict": "clean"})
    received, found = reader.trace()
    assert found == records
    assert (received.closed_cleanly, received.end, received.damage) == (True, {"verdict": "clean"}, [])
    assert not path.exists()
    assert writer.statistics().lost == {}


def test_received_plus_lost_is_what_was_produced_for_each_reader(tmp_path: Path) -> None:
    path = tmp_path / "s"
    sink = open_sink(f"unix:{path}", wait_s=20, queue_chunks=3)
    readers = [LiveReader(path, pause_s) for pause_s in (0.0, 0.002, 0.02)]
    writer = StreamWriter(sink, {}, SPECS, 100)
    _poll_until_readers(writer, 3)
    records = some_records(60_000)
    _produce(writer, records)
    writer.finish({"verdict": "clean"})
    produced = Counter(record[2] for record in records)
    lost_in_all: Counter[int] = Counter()
    for reader in readers:
        received, found = reader.trace()
        assert Counter(record[2] for record in found) + received.lost == produced
        assert received.closed_cleanly
        assert received.damage == []
        assert [entry.events for entry in received.index()].count(0) <= 1
        lost_in_all += received.lost
    assert writer.statistics().lost == dict(sorted(lost_in_all.items()))
    assert lost_in_all.total() > 0


def test_a_blocking_stream_loses_nothing_to_a_slow_reader(tmp_path: Path) -> None:
    path = tmp_path / "s"
    reader = LiveReader(path, pause_s=0.001)
    writer = StreamWriter(open_sink(f"unix:{path}", "block", wait_s=20, queue_chunks=2), {}, SPECS, 100)
    records = some_records(40_000)
    _produce(writer, records)
    writer.close()
    received, found = reader.trace()
    assert found == records
    assert received.lost == {}


def test_a_slow_reader_is_cut_off_when_asked_to(tmp_path: Path) -> None:
    path = tmp_path / "s"
    reader = LiveReader(path, pause_s=0.05, read_bytes=512)
    writer = StreamWriter(open_sink(f"unix:{path}", "disconnect", wait_s=20, queue_chunks=2), {}, SPECS, 100)
    _produce(writer, some_records(60_000))
    writer.close()
    statistics = writer.statistics()
    assert sum(statistics.lost.values()) > 0
    assert statistics.unread > 0
    reader.join(0)


def test_a_reader_that_leaves_does_not_disturb_the_run(tmp_path: Path) -> None:
    path = tmp_path / "s"
    leaver = LiveReader(path, stop_after=1)
    writer = StreamWriter(open_sink(f"unix:{path}", wait_s=20), {}, SPECS, 100)
    leaver.join(20)
    stayer = LiveReader(path)
    _poll_until_readers(writer, 2)
    records = some_records(3000)
    _produce(writer, records, pause_s=0.001)
    writer.close()
    assert stayer.trace()[1] == records
    assert writer.statistics().lost == {}


def test_a_late_reader_gets_the_header_and_what_follows(tmp_path: Path) -> None:
    path = tmp_path / "s"
    writer = StreamWriter(open_sink(f"unix:{path}", wait_s=0), {"seed": 5}, SPECS, 100)
    records = some_records(1000)
    _produce(writer, records[:500])
    late = LiveReader(path)
    _poll_until_readers(writer, 1)
    _produce(writer, records[500:], pause_s=0.001)
    writer.finish({"verdict": "clean"})
    received, found = late.trace()
    assert received.header["seed"] == 5
    assert found == records[500:]
    assert received.closed_cleanly
    assert [entry.sequence for entry in received.index()] == [5, 6, 7, 8, 9]
    assert writer.statistics().unread == 500


def test_a_reader_that_listens_first_is_connected_to(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        writer = StreamWriter(open_sink(f"unix:{path}"), {}, SPECS, 100)
        _produce(writer, some_records(200))
        writer.close()
        connection, _ = listener.accept()
        with connection, connection.makefile("rb") as stream:
            assert list(TraceReader(stream)) == some_records(200)
    assert path.exists()  # it is not ours


def test_a_reader_attaches_by_address_over_tcp() -> None:
    sink = cast(SocketSink, open_sink("tcp:127.0.0.1:0", wait_s=20))
    found: list[Record] = []
    thread = threading.Thread(target=lambda: found.extend(TraceReader(f"tcp:localhost:{sink.port}")), daemon=True)
    thread.start()
    writer = StreamWriter(sink, {}, SPECS, 100)
    _produce(writer, some_records(300))
    writer.close()
    thread.join(20)
    assert found == some_records(300)


def test_records_arrive_while_the_run_goes_on(tmp_path: Path) -> None:
    sink = open_sink(f"unix:{tmp_path}/s", wait_s=20)
    arrived = threading.Event()

    def read() -> None:
        for _ in TraceReader(f"unix:{tmp_path}/s"):
            arrived.set()

    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    writer = StreamWriter(sink, {}, SPECS, 100)
    _produce(writer, some_records(100))
    assert arrived.wait(20)
    writer.close()
    thread.join(20)


def test_a_silent_reader_is_given_up_at_the_end_and_counted(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as silent:
        sink = open_sink(f"unix:{path}", wait_s=0, drain_s=0.05)
        silent.connect(str(path))
        writer = StreamWriter(sink, {}, SPECS, 100)
        _produce(writer, some_records(60_000))
        writer.close()
        silent.settimeout(5)
        data = b""
        while piece := silent.recv(1 << 16):
            data += piece
    reader = TraceReader(io.BytesIO(data))
    received = Counter(record[2] for record in reader)
    lost = Counter(writer.statistics().lost)
    assert received + lost == Counter(record[2] for record in some_records(60_000))
    assert not reader.closed_cleanly


def test_the_socket_of_a_killed_run_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    StreamWriter(open_sink(f"unix:{path}", wait_s=0), {}, SPECS).close()
    assert not path.exists()


def test_a_file_in_the_way_of_a_socket_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "s"
    path.write_text("precious")
    with pytest.raises(TraceError, match="cannot serve a trace: Address already in use"):
        open_sink(f"unix:{path}")
    assert path.read_text() == "precious"


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("tcp:192.0.2.1:9000", "served on this machine only; expected host 127.0.0.1"),
        ("tcp:0.0.0.0:9000", "served on this machine only"),
        ("tcp:example.org:9000", "served on this machine only"),
        ("tcp:127.0.0.1:port", "expected tcp:HOST:PORT"),
        ("tcp:127.0.0.1:70000", "expected tcp:HOST:PORT"),
        ("tcp:9000", "expected tcp:HOST:PORT"),
        ("unix:", "expected unix:PATH"),
        ("unix:" + "x" * 200, "AF_UNIX path too long"),
        ("", "empty trace destination"),
    ],
)
def test_an_unusable_address_is_one_clear_error(spec: str, message: str) -> None:
    with pytest.raises(TraceError, match=message):
        open_sink(spec)


def test_an_unknown_policy_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(TraceError, match="expected drop, block or disconnect"):
        open_sink(str(tmp_path / "t"), cast(OnSlow, "wait"))


def test_attaching_to_nobody_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(TraceError, match="nothing listens there; expected a run"):
        TraceReader(f"unix:{tmp_path}/s")
