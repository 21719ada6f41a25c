"""Opening the destination of a trace by what the person wrote."""

from typing import get_args

from .address import parse_address
from .errors import TraceError
from .file_sink import FileSink, stdout_sink
from .sink import OnSlow, Sink
from .socket_sink import SocketSink


def open_sink(
    spec: str,
    on_slow: OnSlow = "drop",
    *,
    queue_chunks: int = 64,
    wait_s: float = 10.0,
    drain_s: float = 5.0,
) -> Sink:
    """Open `FILE`, `-` (stdout), `unix:PATH` or `tcp:HOST:PORT` for writing.

    The other arguments are for sockets.  When something listens at the address already, it becomes the reader;
    otherwise the sink listens, and `start` waits up to `wait_s` seconds for a first reader.  Each reader may be
    `queue_chunks` chunks behind; then `on_slow` decides: drop chunks and tell that reader how many records it missed,
    block the run, or disconnect the reader.  `close` gives up on a reader that takes nothing for `drain_s` seconds.

    Raises:
        TraceError: the file or address cannot be opened, or may not be used.
    """
    if on_slow not in get_args(OnSlow):
        raise TraceError(f"on_slow is {on_slow!r}, expected drop, block or disconnect")
    if not spec:
        raise TraceError("empty trace destination; expected FILE, -, unix:PATH or tcp:HOST:PORT")
    if spec == "-":
        return stdout_sink()
    address = parse_address(spec)
    if address is None:
        return FileSink(spec)
    return SocketSink(address, on_slow, queue_chunks=queue_chunks, wait_s=wait_s, drain_s=drain_s)
