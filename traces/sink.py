"""A sink: where the chunks of a stream go.

It is driven synchronously by one stream writer: `start` once, then `chunk` and `poll`, then `close`, or `abandon`
after a failure.  Files and stdout (file_sink.py) are lossless and make the writer wait; sockets (socket_sink.py) have a
policy for readers that are slower than the run.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from .container import Chunk

OnSlow = Literal["drop", "block", "disconnect"]


@dataclass(frozen=True, slots=True)
class SinkStatistics:
    """What left through a sink; see StreamStatistics for the units."""

    written_bytes: int
    lost: Mapping[int, int]
    unread: int
    readers: int


class Sink(Protocol):
    """Where blocks go.  Every method but `abandon` and `statistics` may raise TraceError."""

    def start(self, header: bytes) -> None:
        """Take the header block, which every reader gets first."""

    def chunk(self, chunk: Chunk) -> None:
        """Take one chunk."""

    def poll(self) -> None:
        """Do what can be done without waiting."""

    def close(self, result: Mapping[str, Any] | None) -> None:
        """Write the end record (when there is a result), index and trailer, and let go."""

    def abandon(self) -> None:
        """Let go at once, writing nothing; never raises."""

    def statistics(self) -> SinkStatistics:
        """Return what has left so far."""
