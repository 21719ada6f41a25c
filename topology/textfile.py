"""Reading input files: what is no text is refused with the reason."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .errors import Problem, TopologyError

if TYPE_CHECKING:
    from pathlib import Path

FILE_MAX = 16 << 20
"""Bytes an input file may have."""


def read_text(path: Path, what: str = "a topology file") -> str:
    """The text of an input file.

    Raises:
        TopologyError: it is not there, no file, too large, or no UTF-8 text.
    """
    name = str(path)
    try:
        if path.is_dir():
            raise TopologyError(name, [Problem("", f"is a folder; expected {what}")])
        with path.open("rb") as file:
            data = file.read(FILE_MAX + 1)
    except OSError as error:
        reason = "there is no such file" if isinstance(error, FileNotFoundError) else error.strerror or str(error)
        raise TopologyError(name, [Problem("", f"{reason}; expected {what}")]) from None
    if len(data) > FILE_MAX:
        raise TopologyError(name, [Problem("", f"is larger than {FILE_MAX >> 20} MiB; expected {what}")])
    if b"\0" in data:
        offset = data.index(b"\0")
        raise TopologyError(name, [Problem("", f"is a binary file (a zero byte at offset {offset}); expected {what}")])
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        message = f"is not UTF-8 text (byte {data[error.start]:#04x} at offset {error.start}); expected {what}"
        raise TopologyError(name, [Problem("", message)]) from None
