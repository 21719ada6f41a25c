"""What is written in the memory of a slab, for caches under debugging.

One `DebugMemory` is made with each slab of a cache that has a debug flag, and goes with it.  Places in it are counted
in bytes from the start of the slab's pages.  Of each object (geometry.py has the picture) it holds the red zones, the
poison, the free pointer and the padding as real bytes; the two tracks are records beside them, and the bytes where
the kernel would keep them stay zero.

For a cache under debugging the free pointers in the memory are the free list: ``slab.links`` has the same chain where
nobody has written over one.  A list that begins nowhere, because SLUB has followed such a pointer, is ``wild``: the
address it begins at, while ``slab.freelist`` only says that it is not empty.
"""

from __future__ import annotations

from dataclasses import dataclass
from struct import Struct

POISON_INUSE = 0x5A
POISON_FREE = 0x6B
POISON_END = 0xA5
RED_INACTIVE = 0xBB
RED_ACTIVE = 0xCC
"""The patterns of include/linux/poison.h."""

ROW = 16
"""Bytes in a row of a hex dump."""
HEX_COLUMNS = 3 * ROW
PRINTABLE = range(0x20, 0x7F)

POINTER = Struct("<Q")
UNSIGNED_INT = Struct("<I")


@dataclass(frozen=True, slots=True)
class Track:
    """``struct track``: one user of an object; ``when`` is in jiffies, ``stack`` begins with SLUB's own function."""

    function: str
    stack: tuple[str, ...]
    cpu: int
    pid: int
    when: int


class DebugMemory:
    """The bytes of one slab, with the tracks of its objects by number."""

    __slots__ = ("address", "allocated", "data", "freed", "wild")

    def __init__(self, address: int, length: int, fill: int) -> None:
        self.address = address
        self.data = bytearray([fill]) * length
        self.allocated: dict[int, Track] = {}
        self.freed: dict[int, Track] = {}
        self.wild = 0

    def pointer(self, at: int) -> int:
        """The pointer stored at `at`."""
        value: int = POINTER.unpack_from(self.data, at)[0]
        return value

    def put_pointer(self, at: int, value: int) -> None:
        """Store a pointer."""
        POINTER.pack_into(self.data, at, value)

    def unsigned_int(self, at: int) -> int:
        """The 32 bits stored at `at`."""
        value: int = UNSIGNED_INT.unpack_from(self.data, at)[0]
        return value

    def put_unsigned_int(self, at: int, value: int) -> None:
        """Store 32 bits."""
        UNSIGNED_INT.pack_into(self.data, at, value)

    def fill(self, at: int, length: int, value: int) -> None:
        """Set `length` bytes to `value` (``memset``)."""
        self.data[at : at + length] = bytes([value]) * length

    def write(self, at: int, data: bytes) -> None:
        """Somebody writes; all of it lies inside."""
        self.data[at : at + len(data)] = data

    def fault(self, at: int, length: int, value: int) -> tuple[int, int] | None:
        """Where the first byte is that is not `value`, and the end of the last one; None if there is none."""
        pattern = bytes([value])
        section = bytes(self.data[at : at + length])
        if section == pattern * length:
            return None
        return at + length - len(section.lstrip(pattern)), at + len(section.rstrip(pattern))

    def dump(self, label: str, at: int, length: int) -> list[str]:
        """Rows of sixteen bytes, in hex and as text (``print_hex_dump``)."""
        rows: list[str] = []
        for start in range(at, at + length, ROW):
            row = self.data[start : min(start + ROW, at + length)]
            text = "".join(chr(byte) if byte in PRINTABLE else "." for byte in row)
            rows.append(f"{label}{self.address + start:016x}: {row.hex(' '):<{HEX_COLUMNS}} {text}")
        return rows
