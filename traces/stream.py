"""The stream writer: a probe that collects records, and writes them as chunks to a sink.

Recording is one `list.append`; encoding happens in `poll()`, which the interleaver calls every few thousand steps, and
always cuts after the same number of records: the bytes of a trace do not depend on when it is polled.  A chunk reaches
a file in one system call, so a killed run leaves whole chunks; a failing one calls `finish` or `close` in a `finally`
and loses nothing that was recorded.

Owner: one machine.  Nothing here looks at a clock.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .catalogue import CATALOGUE
from .container import pack_header
from .encode import Encoder
from .event import EventSpec, Probe, Record
from .sink import Sink

CHUNK_EVENTS = 2048
"""Records per chunk: 512 would cost 8 % more space, and more would make a live reader wait longer."""

_OURS = ("encoding", "schema")


@dataclass(frozen=True, slots=True)
class StreamStatistics:
    """What a stream has written; `lost` and `unread` count records, `written_bytes` sums over all readers."""

    events: int
    chunks: int
    written_bytes: int
    lost: Mapping[int, int]  # by CPU: dropped for a slow reader, or still queued for one when it was given up
    unread: int  # written while nobody was attached to a socket
    readers: int  # that were attached, ever


def schema(specs: Sequence[EventSpec]) -> dict[str, list[Any]]:
    """Return the header's schema: `{"id": [system, name, [[field, ctype], …]]}`.

    Ids are text because many msgpack readers refuse integer keys unless told otherwise.
    """
    return {
        str(event_id): [spec.system, spec.name, [list(field) for field in spec.fields]]
        for event_id, spec in enumerate(specs, 1)
    }


class StreamWriter:
    """Writes records to a sink; `probe` goes to the tracepoints.

    `header` holds what the caller knows of the run (version, ncpu, scenario, release, strategy, seed, tape, …), as
    plain data; producer and clock have defaults, encoding and schema are the writer's own.

    Raises:
        ValueError: `header` sets a key that is the writer's own, or `chunk_events` is below 1.
        TraceError: the sink cannot be written; it is closed then, and later calls do nothing.
    """

    def __init__(
        self,
        sink: Sink,
        header: Mapping[str, Any],
        specs: Sequence[EventSpec] = CATALOGUE,
        chunk_events: int = CHUNK_EVENTS,
    ) -> None:
        """Write the header; a socket waits here for its first reader."""
        for key in _OURS:
            if key in header:
                raise ValueError(f"header key {key!r} belongs to the stream writer")
        if chunk_events < 1:
            raise ValueError(f"chunk_events is {chunk_events}, expected at least 1")
        self._sink = sink
        self._encoder = Encoder(specs)
        self._chunk_events = chunk_events
        self._buffer: list[Record] = []
        self._sequence = 0
        self._events = 0
        self._closed = False
        self.probe: Probe = self._buffer.append
        """Records one record.  The same object for the life of the stream: the buffer is emptied in place."""
        defaults = {"producer": "slubloom", "version": "", "clock": {"id": "virtual", "unit": "ns", "epoch": "boot"}}
        block = pack_header({**defaults, **header, "encoding": "raw", "schema": schema(specs)})
        try:
            sink.start(block)
        except BaseException:
            self._give_up()
            raise

    @property
    def chunk_number(self) -> int:
        """Sequence number of the chunk the next record will be in, so that a log line can be found in the trace."""
        return self._sequence + len(self._buffer) // self._chunk_events

    def poll(self) -> None:
        """Write every complete chunk, and let a socket serve its readers."""
        if self._closed:
            return
        buffer = self._buffer
        while len(buffer) >= self._chunk_events:
            self._write(self._chunk_events)
        try:
            self._sink.poll()
        except BaseException:
            self._give_up()
            raise

    def flush(self) -> None:
        """Write everything recorded so far, the last chunk short if need be."""
        while self._buffer and not self._closed:
            self._write(self._chunk_events)

    def finish(self, result: Mapping[str, Any]) -> None:
        """Flush, write the end record with `result` (verdict, violations, tape, … as plain data), and close."""
        self._close(result)

    def close(self) -> None:
        """Flush and close without an end record; nothing when already closed."""
        self._close(None)

    def statistics(self) -> StreamStatistics:
        """Return what was written so far."""
        sunk = self._sink.statistics()
        return StreamStatistics(
            self._events, self._sequence, sunk.written_bytes, dict(sunk.lost), sunk.unread, sunk.readers
        )

    def _write(self, limit: int) -> None:
        records = self._buffer[:limit]
        # Removed first: whatever fails below must not be written twice by the `finally` of the caller.
        del self._buffer[:limit]
        misfit = None
        try:
            chunk = self._encoder.chunk(self._sequence, records)
        except TypeError as error:
            # Code in the emulated kernel fired a tracepoint with the wrong types.  Keep the neighbours, then say so.
            misfit = error
            records = [record for record in records if self._encoder.fits(record)]
            if not records:
                raise
            chunk = self._encoder.chunk(self._sequence, records)
        self._sequence += 1
        self._events += len(records)
        try:
            self._sink.chunk(chunk)
        except BaseException:
            self._give_up()
            raise
        if misfit is not None:
            raise misfit

    def _close(self, result: Mapping[str, Any] | None) -> None:
        if self._closed:
            return
        try:
            self.flush()
        finally:
            if not self._closed:
                self._closed = True
                self._sink.close(result)

    def _give_up(self) -> None:
        """Let go of a sink that failed: reported once, by the exception on its way."""
        self._closed = True
        self._buffer.clear()
        self._sink.abandon()
