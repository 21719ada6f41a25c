"""Where a trace goes to or comes from: a file, `-`, `unix:PATH` or `tcp:HOST:PORT`.

TCP is loopback only: a trace tells everything about a run, and nothing here asks who is reading.
"""

import ipaddress
import socket
from dataclasses import dataclass

from .errors import TraceError

_HIGHEST_PORT = 65535


@dataclass(frozen=True, slots=True)
class Address:
    """A socket address; `spec` is how the person wrote it."""

    spec: str
    family: socket.AddressFamily
    target: str | tuple[str, int]

    def new_socket(self) -> socket.socket:
        """Return an unconnected stream socket of the right family."""
        return socket.socket(self.family, socket.SOCK_STREAM)

    def connect(self) -> socket.socket | None:
        """Return a connection, or None when nothing listens there.

        Raises:
            TraceError: the address exists but cannot be used, for example for want of permission.
        """
        connection = self.new_socket()
        try:
            connection.connect(self.target)
            # Two ends of one loopback port can meet in the middle when nobody listens.
            if connection.getsockname() != connection.getpeername() or self.family == socket.AF_UNIX:
                return connection
        except (ConnectionRefusedError, FileNotFoundError):
            pass
        except OSError as error:
            connection.close()
            raise TraceError(f"{self.spec}: cannot connect: {error.strerror or error}") from error
        connection.close()
        return None


def parse_address(spec: str) -> Address | None:
    """Read a socket address; None when `spec` is a file name or `-`.

    Raises:
        TraceError: an empty path, a port that is none, or a host that is not this machine.
    """
    scheme, _, rest = spec.partition(":")
    if scheme == "unix":
        if not rest:
            raise TraceError(f"{spec}: expected unix:PATH")
        return Address(spec, socket.AF_UNIX, rest)
    if scheme == "tcp":
        return _parse_tcp(spec, rest)
    return None


def _parse_tcp(spec: str, rest: str) -> Address:
    host, _, port_text = rest.rpartition(":")
    port = int(port_text) if port_text.isascii() and port_text.isdigit() else -1
    if not host or not 0 <= port <= _HIGHEST_PORT:
        raise TraceError(f"{spec}: expected tcp:HOST:PORT with a port from 0 to {_HIGHEST_PORT}")
    try:
        ip = ipaddress.ip_address("127.0.0.1" if host == "localhost" else host.strip("[]"))
    except ValueError:
        ip = None
    if ip is None or not ip.is_loopback:
        raise TraceError(f"{spec}: a trace is served on this machine only; expected host 127.0.0.1, [::1] or localhost")
    family = socket.AF_INET6 if isinstance(ip, ipaddress.IPv6Address) else socket.AF_INET
    return Address(spec, family, (str(ip), port))
