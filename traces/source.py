"""Where a reader takes its bytes from: a file, stdin, a live socket, or a stream that is open already."""

import os
import sys
from collections.abc import Callable
from typing import BinaryIO

from .address import parse_address
from .errors import TraceError


class Source:
    """Bytes in order, as they arrive; `read` returns at least one byte unless the end is reached."""

    def __init__(self, origin: str | os.PathLike[str] | BinaryIO, name: str = "") -> None:
        """Open `origin`: a file name, `-`, `unix:PATH`, `tcp:HOST:PORT`, or a binary stream, which stays the caller's.

        Raises:
            TraceError: it cannot be opened, or nothing listens at the address.
        """
        self._close: Callable[[], None] | None = None
        if isinstance(origin, str | os.PathLike):
            self.name = os.fspath(origin)
            self.stream = self._open(self.name)
        else:
            self.name = name or str(getattr(origin, "name", "stream"))
            self.stream = origin
        # `read1` of a buffered stream and `read` of a raw one return what is there instead of waiting for all of it.
        self._read: Callable[[int], bytes | None] = getattr(self.stream, "read1", self.stream.read)

    def read(self, at_most: int) -> bytes:
        """Return the next bytes; none at the end, which is also a connection that broke."""
        try:
            return self._read(at_most) or b""
        except ConnectionError:
            return b""
        except (OSError, ValueError) as error:
            raise TraceError(f"{self.name}: cannot read: {getattr(error, 'strerror', None) or error}") from error

    def seekable(self) -> bool:
        """Whether the trailer can be looked up before the rest is read."""
        return self.stream.seekable()

    def close(self) -> None:
        """Close what was opened here."""
        if self._close is not None:
            self._close()

    def _open(self, name: str) -> BinaryIO:
        if name == "-":
            return sys.stdin.buffer
        address = parse_address(name)
        if address is None:
            try:
                stream = open(name, "rb")  # noqa: SIM115 - closed by `close`
            except (OSError, ValueError) as error:
                raise TraceError(f"{name}: cannot read: {getattr(error, 'strerror', None) or error}") from error
        else:
            connection = address.connect()
            if connection is None:
                raise TraceError(f"{name}: nothing listens there; expected a run that serves its trace")
            stream = connection.makefile("rb")
            connection.close()  # the stream keeps the connection open
        self._close = stream.close
        return stream
