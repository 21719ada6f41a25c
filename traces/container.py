"""The container of a trace: back-to-back msgpack arrays, no extension types, every block checked.

    header   ["slabtrc1", 1, {producer, version, clock, encoding, schema, …, crc}]
    chunk    [2, sequence, first_ts, last_ts, n, lost, raw_len, crc, body]
    end      [5, {verdict, …, crc}]                                             optional
    index    [3, [[offset, sequence, first_ts, last_ts, n], …], nchunks]
    trailer  [4, bin16]     20 bytes: u64 index offset, u32 crc of the index, 4-byte end mark; big-endian

`lost` lists [cpu, count] of records that were produced before this chunk and never reached this reader.  `body` is
msgpack of `[strings, [[event_id, ts, cpu, pid, comm_id, fields…], …]]`: `comm` and every text field are positions in
`strings`, a table local to the chunk, so that a seek or a late reader needs no earlier chunk.  All crc are zlib's
CRC-32: of a chunk over the msgpack of its first seven elements and on over the body; of header and end record over
the msgpack of their map without its last key, ``crc``.  Times are integers, in nanoseconds of the header's clock; a
chunk's are those of its first and last record.

A file that ends after a whole block is readable up to there; without a trailer it was not closed.
"""

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from zlib import crc32

import msgspec

MAGIC = "slabtrc1"
VERSION = 1

CHUNK = 2
INDEX = 3
TRAILER = 4
END = 5

CRC = "crc"

END_MARK = b"etrc"
TRAILER_BODY = struct.Struct(">QI4s")
TRAILER_BYTES = 20

pack = msgspec.msgpack.Encoder().encode

EMPTY_BODY = pack([[], []])


def plain(mapping: Mapping[str, Any]) -> Any:
    """Return `mapping` as maps with text keys, lists, text and numbers: what every msgpack reader accepts."""
    return msgspec.to_builtins(dict(mapping), builtin_types=(bytes,), str_keys=True)


def sealed(content: dict[str, Any]) -> dict[str, Any]:
    """Return a map with its checksum as last key."""
    return {**content, CRC: crc32(pack(content))}


def unsealed(content: dict[str, Any]) -> tuple[dict[str, Any], bool]:
    """Return a map without its checksum, and whether that was right."""
    rest = {key: value for key, value in content.items() if key != CRC}
    return rest, crc32(pack(rest)) == content.get(CRC)


def pack_header(header: Mapping[str, Any]) -> bytes:
    """Return the first block of a trace."""
    content = plain(header)
    return pack([MAGIC, VERSION, sealed(content)])


def chunk_crc(head: list[Any], body: bytes) -> int:
    """Return the checksum of a chunk whose first seven elements are `head`."""
    return crc32(body, crc32(pack(head)))


@dataclass(frozen=True, slots=True)
class Chunk:
    """Encoded records on their way out: one body shared by all readers, and what it costs each to miss it."""

    sequence: int
    first_ns: int
    last_ns: int
    count: int
    body: bytes
    per_cpu: Mapping[int, int]  # records by CPU: added to a reader's losses when it must do without this chunk

    def prefix(self, lost: Mapping[int, int]) -> bytes:
        """Return the bytes of the block that come before the body, for a reader that has missed `lost`."""
        losses = [[cpu, lost[cpu]] for cpu in sorted(lost)]
        head = [CHUNK, self.sequence, self.first_ns, self.last_ns, self.count, losses, len(self.body)]
        # A ninth element follows the eight packed here: the body, whose bytes need not be copied to be packed.
        packed = pack([*head, chunk_crc(head, self.body)])
        return b"\x99" + packed[1:] + b"\xc6" + len(self.body).to_bytes(4, "big")


class Framing:
    """The blocks one output was given, and from them the index and trailer that fit its own offsets."""

    __slots__ = ("_index", "written")

    def __init__(self) -> None:
        """Start an output that has received nothing."""
        self.written = 0  # bytes
        self._index: list[list[int]] = []

    def header(self, block: bytes) -> list[bytes]:
        """Account for the header."""
        return self._account([block])

    def chunk(self, chunk: Chunk, lost: Mapping[int, int]) -> list[bytes]:
        """Return the pieces of a chunk's block, to be written one after the other."""
        self._index.append([self.written, chunk.sequence, chunk.first_ns, chunk.last_ns, chunk.count])
        return self._account([chunk.prefix(lost), chunk.body])

    def closing(self, result: Mapping[str, Any] | None) -> list[bytes]:
        """Return the end record, when there is a result, the index, and the trailer."""
        blocks = []
        if result is not None:
            blocks += self._account([pack([END, sealed(plain(result))])])
        index = pack([INDEX, self._index, len(self._index)])
        trailer = pack([TRAILER, TRAILER_BODY.pack(self.written, crc32(index), END_MARK)])
        return blocks + self._account([index, trailer])

    def _account(self, pieces: list[bytes]) -> list[bytes]:
        self.written += sum(map(len, pieces))
        return pieces
