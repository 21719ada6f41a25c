"""The lossless sinks: a file, and standard output.

A chunk is one `writev`, so that a run killed between two system calls leaves only whole blocks behind.  After a write
that failed or was interrupted nothing more is written: half a block in the middle would hide what follows.
"""

import os
import select
import sys
from collections.abc import Mapping
from typing import Any

from .container import Chunk, Framing
from .errors import TraceError
from .sink import SinkStatistics


class FileSink:
    """Writes to a new file, or to a descriptor that is open already."""

    def __init__(self, name: str, descriptor: int | None = None) -> None:
        """Open `name` for writing, emptying it, unless `descriptor` is given; that one stays open at the end."""
        self._name = name
        self._owned = descriptor is None
        self._framing = Framing()
        try:
            flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
            self._descriptor = os.open(name, flags, 0o666) if descriptor is None else descriptor
        except (OSError, ValueError) as error:
            raise TraceError(f"{name}: cannot write a trace: {getattr(error, 'strerror', error)}") from error

    def start(self, header: bytes) -> None:
        """Write the header."""
        self._write(self._framing.header(header))

    def chunk(self, chunk: Chunk) -> None:
        """Write a chunk, waiting as long as that takes."""
        self._write(self._framing.chunk(chunk, {}))

    def poll(self) -> None:
        """Do nothing: nothing is ever left over."""

    def close(self, result: Mapping[str, Any] | None) -> None:
        """Write what closes the trace."""
        try:
            self._write(self._framing.closing(result))
        finally:
            self.abandon()

    def abandon(self) -> None:
        """Close the descriptor if it is ours."""
        if self._owned and self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def statistics(self) -> SinkStatistics:
        """Return the bytes written; nothing is lost here."""
        return SinkStatistics(self._framing.written, {}, 0, 1)

    def _write(self, pieces: list[bytes]) -> None:
        left = [memoryview(piece) for piece in pieces]
        try:
            while left:
                try:
                    written = os.writev(self._descriptor, left)
                except BlockingIOError:
                    # Somebody else made this pipe non-blocking; a lossless sink waits all the same.
                    select.select([], [self._descriptor], [])
                    continue
                left = skip_written(left, written)
        except OSError as error:
            raise TraceError(f"{self._name}: cannot write the trace: {error.strerror or error}") from error


def skip_written(pieces: list[memoryview], written: int) -> list[memoryview]:
    """Return what is left of `pieces` after their first `written` bytes."""
    for number, piece in enumerate(pieces):
        if written < len(piece):
            return [piece[written:], *pieces[number + 1 :]]
        written -= len(piece)
    return []


def stdout_sink() -> FileSink:
    """Return a sink that writes binary to standard output.

    Raises:
        TraceError: standard output is closed, or a terminal, which cannot show a trace.
    """
    try:
        sys.stdout.flush()
        descriptor = sys.stdout.fileno()
    except (AttributeError, OSError, ValueError) as error:
        raise TraceError("-: standard output cannot carry a trace; expected a file or a pipe") from error
    if os.isatty(descriptor):
        raise TraceError("-: a trace is binary and standard output is a terminal; redirect it to a file or a pipe")
    return FileSink("-", descriptor)
