"""The socket sink: live readers on a Unix or loopback socket, each with a queue and its own losses.

Who meets here: the run, which must not wait for a reader unless told to, and readers that come and go.  A reader gets
the header first, then every chunk from its arrival on.  Each has a bounded queue; when that is full, the policy
decides:

    drop         the chunk is dropped for this reader, and the `lost` field of the next chunk it gets says how many
                 records of which CPU are missing; so received + reported lost == produced, exactly
    block        the run waits for the reader
    disconnect   the reader is cut off

Sockets never block, and no event loop is needed: `chunk` and `poll` send what fits.  The clock is read only to give up
on silent readers; nothing of it is recorded.

Invariants:
  K1  what was queued is sent in order and never dropped, so offsets in a reader's index are true;
  K2  a reader is either in `_readers` with its socket open, or its socket is closed.
"""

import contextlib
import os
import select
import socket
import stat
import time
from collections import Counter, deque
from collections.abc import Mapping
from typing import Any

from .address import Address
from .container import EMPTY_BODY, Chunk, Framing
from .errors import TraceError
from .file_sink import skip_written
from .sink import OnSlow, SinkStatistics

_BACKLOG = 16


class Reader:
    """One live reader: what is still to be sent, and what it has missed."""

    __slots__ = ("_last_missed", "_missed", "_queue", "connection", "framing")

    def __init__(self, connection: socket.socket, header: bytes) -> None:
        """Queue the header for a reader that just arrived."""
        connection.setblocking(False)
        self.connection = connection
        self.framing = Framing()
        self._queue: deque[tuple[list[memoryview], Mapping[int, int]]] = deque()
        self._missed: Counter[int] = Counter()
        self._last_missed: Chunk | None = None
        self._enqueue(self.framing.header(header), {})

    @property
    def queued(self) -> int:
        """Blocks not yet sent completely."""
        return len(self._queue)

    def take(self, chunk: Chunk) -> None:
        """Queue a chunk, telling what was missed before it."""
        self._enqueue(self.framing.chunk(chunk, self._missed), chunk.per_cpu)
        self._missed = Counter()
        self._last_missed = None

    def miss(self, chunk: Chunk) -> None:
        """Do without a chunk."""
        self._missed.update(chunk.per_cpu)
        self._last_missed = chunk

    def finish(self, result: Mapping[str, Any] | None) -> None:
        """Queue the end; what was missed since the last chunk is told by an empty one."""
        if self._last_missed is not None:
            missed = self._last_missed
            self.take(Chunk(missed.sequence, missed.last_ns, missed.last_ns, 0, EMPTY_BODY, {}))
        self._enqueue(self.framing.closing(result), {})

    def unsent(self) -> Counter[int]:
        """Count records by CPU in chunks that were queued and did not get out completely."""
        total: Counter[int] = Counter()
        for _, per_cpu in self._queue:
            total.update(per_cpu)
        return total

    def send(self) -> bool:
        """Send what fits; whether anything did.

        Raises:
            OSError: the reader has gone.
        """
        progress = False
        while self._queue:
            pieces, per_cpu = self._queue[0]
            try:
                sent = self.connection.sendmsg(pieces)
            except (BlockingIOError, InterruptedError):
                break
            progress = True
            left = skip_written(pieces, sent)
            if left:
                self._queue[0] = (left, per_cpu)
            else:
                self._queue.popleft()
        return progress

    def _enqueue(self, pieces: list[bytes], per_cpu: Mapping[int, int]) -> None:
        self._queue.append(([memoryview(piece) for piece in pieces], per_cpu))


class SocketSink:
    """Serves any number of readers at one address, or feeds the one that listens there."""

    def __init__(self, address: Address, on_slow: OnSlow, *, queue_chunks: int, wait_s: float, drain_s: float) -> None:
        """Connect to whoever listens at `address`, or listen there; see open_sink for the limits."""
        self._on_slow = on_slow
        self._queue_chunks = queue_chunks
        self._wait_s = wait_s
        self._drain_s = drain_s
        self._header = b""
        self._readers: list[Reader] = []
        self._reader_count = 0
        self._gone_bytes = 0  # written to readers that have left
        self._lost: Counter[int] = Counter()
        self._unread = 0
        self._socket_file: tuple[str, int] | None = None  # path and inode of ours
        self._listener: socket.socket | None = None
        self._peer = address.connect()
        if self._peer is None:
            self._listener = self._listen(address)

    @property
    def port(self) -> int:
        """The TCP port readers connect to; of interest after asking for port 0."""
        assert self._listener is not None, "the sink is connected to a reader and listens nowhere"
        return int(self._listener.getsockname()[1])

    def start(self, header: bytes) -> None:
        """Wait for the first reader, unless one was there before us; going on without is no error."""
        self._header = header
        if self._peer is not None:
            self._join(self._peer)
            self._peer = None
        if self._listener is not None:
            select.select([self._listener], [], [], self._wait_s)
        self.poll()

    def chunk(self, chunk: Chunk) -> None:
        """Queue a chunk for every reader as the policy allows, and send what fits."""
        self.poll()
        if not self._readers:
            self._unread += chunk.count
        for reader in tuple(self._readers):
            while self._on_slow == "block" and reader.queued >= self._queue_chunks and reader in self._readers:
                select.select([], [reader.connection], [])
                self._send(reader)
            if reader not in self._readers:
                continue
            if reader.queued < self._queue_chunks:
                reader.take(chunk)
                self._send(reader)
            elif self._on_slow == "disconnect":
                self._lost.update(chunk.per_cpu)
                self._give_up(reader)
            else:
                self._lost.update(chunk.per_cpu)
                reader.miss(chunk)

    def poll(self) -> None:
        """Let new readers in, and send what fits."""
        while self._listener is not None:
            try:
                connection, _ = self._listener.accept()
            except OSError:  # nobody is waiting, or whoever was has gone again
                break
            self._join(connection)
        for reader in tuple(self._readers):
            self._send(reader)

    def close(self, result: Mapping[str, Any] | None) -> None:
        """Give each reader what is queued, the end record and its index; give up on one that stopped taking."""
        try:
            self.poll()
            self._stop_listening()
            for reader in self._readers:
                reader.finish(result)
            self._drain()
        finally:
            self.abandon()

    def abandon(self) -> None:
        """Close all sockets; what was queued is lost."""
        for reader in tuple(self._readers):
            self._give_up(reader)
        if self._peer is not None:
            self._peer.close()
            self._peer = None
        self._stop_listening()

    def statistics(self) -> SinkStatistics:
        """Return bytes handed to readers, records dropped or left unsent by CPU, and how many readers came."""
        written = self._gone_bytes + sum(reader.framing.written for reader in self._readers)
        return SinkStatistics(written, dict(sorted(self._lost.items())), self._unread, self._reader_count)

    def _listen(self, address: Address) -> socket.socket:
        listener = address.new_socket()
        try:
            if isinstance(address.target, str):
                _remove_stale_socket(address.target)
            else:
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address.target)
            listener.listen(_BACKLOG)
            listener.setblocking(False)
            if isinstance(address.target, str):
                path = os.path.abspath(address.target)
                self._socket_file = (path, os.stat(path).st_ino)
        except OSError as error:
            listener.close()
            raise TraceError(f"{address.spec}: cannot serve a trace: {error.strerror or error}") from error
        return listener

    def _stop_listening(self) -> None:
        if self._listener is not None:
            self._listener.close()
            self._listener = None
        if self._socket_file is not None:
            path, inode = self._socket_file
            self._socket_file = None
            with contextlib.suppress(OSError):
                if os.stat(path).st_ino == inode:  # somebody may have put another one there
                    os.unlink(path)

    def _join(self, connection: socket.socket) -> None:
        reader = Reader(connection, self._header)
        self._readers.append(reader)
        self._reader_count += 1
        self._send(reader)

    def _send(self, reader: Reader) -> bool:
        try:
            return reader.send()
        except OSError:
            self._remove(reader)  # it left of its own will: nothing is lost to it
            return True

    def _drain(self) -> None:
        deadlines = {reader: time.monotonic() + self._drain_s for reader in self._readers}
        while waiting := [reader for reader in self._readers if reader.queued]:
            patience_s = min(deadlines[reader] for reader in waiting) - time.monotonic()
            select.select([], [reader.connection for reader in waiting], [], max(0.0, patience_s))
            for reader in waiting:
                if self._send(reader):
                    deadlines[reader] = time.monotonic() + self._drain_s
                elif time.monotonic() >= deadlines[reader]:
                    self._give_up(reader)

    def _give_up(self, reader: Reader) -> None:
        self._lost.update(reader.unsent())
        self._remove(reader)

    def _remove(self, reader: Reader) -> None:
        self._gone_bytes += reader.framing.written
        self._readers.remove(reader)
        with contextlib.suppress(OSError):
            reader.connection.shutdown(socket.SHUT_WR)
        reader.connection.close()


def _remove_stale_socket(path: str) -> None:
    """Remove the socket file of a run that was killed; nobody listens there, or we would have connected."""
    with contextlib.suppress(FileNotFoundError):
        if stat.S_ISSOCK(os.lstat(path).st_mode):
            os.unlink(path)
