"""Walking the blocks of a trace, around damage.

A block is recognised by its first bytes, bounded in size before it is read, and checked by its checksum.  Where one
fails, the walk goes on at the next offset where a whole valid block begins, so that one flipped byte, wherever it is,
costs one block.  Nothing read here is trusted: sizes are limited, and every failure is a `Damage`, not an exception.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from zlib import crc32

import msgpack  # type: ignore[import-untyped]  # it ships no types

from .container import CHUNK, END, END_MARK, INDEX, MAGIC, TRAILER_BODY, TRAILER_BYTES, VERSION, chunk_crc, unsealed
from .errors import TraceError
from .source import Source

READ_BYTES = 1 << 18
CHUNK_HEAD_BYTES = 1 << 17  # 7 numbers and the losses of up to 8,192 CPUs
CHUNK_ELEMENTS = 9

_CHUNK_START = bytes([0x90 + CHUNK_ELEMENTS, CHUNK])
_INDEX_START = bytes([0x93, INDEX])
_END_START = bytes([0x92, END])
# What a block can begin with, one value further than its kind, so that noise and nonsense are passed over quickly:
# a chunk number, the first entry of an index (or none), the map of a result.
_PLAUSIBLE_START = re.compile(
    rb"\x99\x02[\x00-\x7f\xcc-\xcf]"
    rb"|\x93\x03(?:\x90|[\x91-\x9f]\x95|\xdc..\x95|\xdd....\x95)"
    rb"|\x92\x05(?:[\x80-\x8f]|\xde..|\xdf....)",
    re.DOTALL,
)
_START_BYTES = 8  # the longest of these
MAX_ATTEMPTS = 1000  # at finding a block after damage: a hostile file could demand costly ones at every byte
MAX_ARRAY = 1 << 22  # entries of an index or a list in a result; msgpack makes room for as many as are claimed
_TRAILER_START = b"\x92\x04\xc4\x10"
_HEADER_START = b"\x93\xa8" + MAGIC.encode()

_UNPACK_ERRORS = (ValueError, TypeError, MemoryError, RecursionError, msgpack.exceptions.UnpackException)


@dataclass(frozen=True, slots=True)
class Damage:
    """Bytes that could not be used: from `offset` to `end`, and what was expected there."""

    offset: int
    end: int
    message: str

    def __str__(self) -> str:
        """Say where and what, in one line."""
        return f"offset {self.offset}: {self.message} ({self.end - self.offset} bytes skipped)"


@dataclass(frozen=True, slots=True)
class Block:
    """A whole block whose checksum is right.  An index block includes the trailer."""

    kind: int
    offset: int
    end: int
    content: list[Any]


class _Incomplete(Exception):
    """More bytes are needed to decide."""


class _Invalid(Exception):
    """There is no valid block here; says what was expected."""


class BlockWalk:
    """The blocks of one source, in order.

    Attributes:
        damage: what was skipped so far, or cut off at the end.
        truncated: the source ends inside a block.
        clean_length: offset after the last whole valid block.
    """

    def __init__(self, source: Source, max_block_bytes: int, offset: int = 0) -> None:
        """Start where `source` stands, which is `offset`; a block above `max_block_bytes` counts as damage."""
        self.damage: list[Damage] = []
        self.truncated = False
        self.clean_length = 0
        self._source = source
        self._max_block_bytes = max_block_bytes
        self._data = bytearray()  # unread bytes; `_base` is the offset of the first
        self._base = offset
        self._ended = False
        self._reason = ""  # why there is no valid block at `_base`
        self._cut = False  # and whether that is because the data ends

    def header(self) -> dict[str, Any]:
        """Read the first block, and return its map.

        Raises:
            TraceError: this is not a trace, or one that cannot be read for want of a sound header.
        """
        while len(self._data) < len(_HEADER_START) and self._more():
            pass
        if not self._data:
            raise TraceError(f'{self._source.name}: offset 0: expected a trace header ["{MAGIC}", …], found no data')
        if not self._data.startswith(_HEADER_START):
            found = bytes(self._data[:16])
            raise TraceError(
                f'{self._source.name}: offset 0: not a trace: expected a header ["{MAGIC}", …], found {found!r}'
            )
        while True:
            try:
                with memoryview(self._data) as view:
                    content, size = self._unpack(view)
                break
            except _Incomplete:
                if not self._more():
                    raise TraceError(f"{self._source.name}: offset 0: the header is cut off") from None
            except _Invalid as error:
                raise TraceError(f"{self._source.name}: offset 0: damaged header: {error}") from error
        _, version, header = content
        if version != VERSION:
            raise TraceError(f"{self._source.name}: offset 0: trace version {version!r}, expected {VERSION}")
        if not isinstance(header, dict):
            raise TraceError(f"{self._source.name}: offset 0: damaged header: expected a map after the version")
        header, right = unsealed(header)
        if not right:
            self.damage.append(Damage(0, size, "the header's checksum is wrong; what it says may be too"))
        self._consume(size)
        self.clean_length = self._base
        return header

    def __iter__(self) -> Iterator[Block]:
        """Yield the remaining blocks as they arrive."""
        while self._data or self._more():
            block = self._block_here()
            if block is None:
                self._consume_damage()
                continue
            self._consume(block.end - block.offset)
            self.clean_length = self._base
            yield block
            if block.kind == INDEX:
                self._expect_end()
                return

    def _expect_end(self) -> None:
        if self._data or self._more():
            self.damage.append(Damage(self._base, self._base + len(self._data), "expected nothing after the trailer"))

    def first(self) -> Block:
        """Return the block that starts here; TraceError when there is none."""
        block = self._block_here()
        if block is None:
            raise TraceError(f"{self._source.name}: offset {self._base}: {self._reason}")
        return block

    def _block_here(self) -> Block | None:
        """Return the next block; None when there is no valid one at the current offset: see `_reason`."""
        while True:
            try:
                with memoryview(self._data) as view:
                    return self._parse(view, self._base)
            except _Incomplete:
                if not self._more():
                    self._reason = "the trace is cut off inside a block"
                    self._cut = True
                    return None
            except _Invalid as error:
                self._reason = str(error)
                self._cut = False
                return None

    def _consume_damage(self) -> None:
        """Skip to the next offset where a whole valid block begins, or to the end."""
        offset, reason, cut = self._base, self._reason, self._cut
        at = 1
        attempts = 0
        while True:
            candidate = _PLAUSIBLE_START.search(self._data, at)
            if candidate is None:
                at = max(at, len(self._data) - _START_BYTES)  # the last bytes may begin a start
                if self._more():
                    self._consume(at)
                    at = 0
                    continue
                self._consume(len(self._data))
                self.truncated = cut
                break
            at = candidate.start()
            if self._valid_at(at):
                self._consume(at)
                break
            at += 1
            attempts += 1
            if attempts == MAX_ATTEMPTS:
                reason += f"; given up after {attempts} places that only look like a block"
                self._consume(len(self._data))
                self._ended = True
                break
        self.damage.append(Damage(offset, self._base, reason))

    def _valid_at(self, at: int) -> bool:
        while True:
            try:
                with memoryview(self._data) as view, view[at:] as rest:
                    self._parse(rest, self._base + at)
            except _Incomplete:
                if not self._more():
                    return False
            except _Invalid:
                return False
            else:
                return True

    def _parse(self, view: memoryview, offset: int) -> Block:
        start = bytes(view[:2])
        if len(start) < len(_CHUNK_START):
            raise _Incomplete
        if start == _CHUNK_START:
            return self._parse_chunk(view, offset)
        if start == _INDEX_START:
            return self._parse_index(view, offset)
        if start == _END_START:
            content, size = self._unpack(view)
            _, result = content
            result, right = unsealed(result) if isinstance(result, dict) else ({}, False)
            if not right:
                raise _Invalid("expected an end record with the right checksum")
            return Block(END, offset, offset + size, [END, result])
        raise _Invalid(f"expected a chunk, an end record or an index, found {start!r}")

    def _parse_chunk(self, view: memoryview, offset: int) -> Block:
        # The head first, from few bytes: the size of the body is known, and limited, before the body is looked at.
        for window in (256, CHUNK_HEAD_BYTES):
            unpacker = msgpack.Unpacker(max_buffer_size=CHUNK_HEAD_BYTES, max_array_len=CHUNK_HEAD_BYTES)
            unpacker.feed(view[:window])
            try:
                unpacker.read_array_header()
                head = [unpacker.unpack() for _ in range(CHUNK_ELEMENTS - 1)]
            except msgpack.exceptions.OutOfData:
                if len(view) < window:
                    raise _Incomplete from None
            except _UNPACK_ERRORS as error:
                raise _Invalid(f"expected the head of a chunk: {error}") from error
            else:
                break
        else:
            raise _Invalid(f"expected the head of a chunk within {CHUNK_HEAD_BYTES} bytes")
        body_at, body_length = self._body_extent(view, unpacker.tell())
        *checked, crc = head
        _, sequence, first_ns, last_ns, count, lost, raw_length = checked
        if not _all_ints(sequence, first_ns, last_ns, count, raw_length, crc) or raw_length != body_length:
            raise _Invalid("expected a chunk [2, sequence, first_ts, last_ts, n, lost, raw_len, crc, body]")
        end = body_at + body_length
        if len(view) < end:
            raise _Incomplete
        body = bytes(view[body_at:end])
        if chunk_crc(checked, body) != crc:
            raise _Invalid(f"chunk {sequence}: its checksum is wrong")
        if not isinstance(lost, list) or not all(
            isinstance(pair, list) and [type(number) for number in pair] == [int, int] and pair[1] >= 0 for pair in lost
        ):
            raise _Invalid(f"chunk {sequence}: expected losses as a list of [cpu, count]")
        return Block(CHUNK, offset, offset + end, [*head, body])

    def _body_extent(self, view: memoryview, at: int) -> tuple[int, int]:
        """Return where the body begins, after its msgpack `bin` header at `at`, and its length."""
        if len(view) <= at:
            raise _Incomplete
        width = {0xC4: 1, 0xC5: 2, 0xC6: 4}.get(view[at])
        if width is None:
            raise _Invalid("expected the body of a chunk as bytes")
        if len(view) < at + 1 + width:
            raise _Incomplete
        length = int.from_bytes(view[at + 1 : at + 1 + width], "big")
        if length > self._max_block_bytes:
            raise _Invalid(f"a chunk of {length} bytes, expected at most {self._max_block_bytes}")
        return at + 1 + width, length

    def _parse_index(self, view: memoryview, offset: int) -> Block:
        content, size = self._unpack(view)
        if len(view) < size + TRAILER_BYTES:
            raise _Incomplete
        trailer = bytes(view[size : size + TRAILER_BYTES])
        where, crc, mark = TRAILER_BODY.unpack(trailer[len(_TRAILER_START) :])
        if not trailer.startswith(_TRAILER_START) or mark != END_MARK:
            raise _Invalid("expected the trailer after the index")
        if crc != crc32(view[:size]):
            raise _Invalid("the checksum of the index is wrong")
        entries = content[1]
        if not isinstance(entries, list) or not all(
            isinstance(entry, list) and [type(number) for number in entry] == [int] * 5 for entry in entries
        ):
            raise _Invalid("expected an index of [offset, sequence, first_ts, last_ts, n]")
        if where != offset:
            raise _Invalid(f"the trailer says the index is at {where}, it is at {offset}")
        return Block(INDEX, offset, offset + size + TRAILER_BYTES, content)

    def _unpack(self, view: memoryview) -> tuple[list[Any], int]:
        """Return the msgpack array at the start of `view`, and its size in bytes."""
        limited = view[: self._max_block_bytes]
        unpacker = msgpack.Unpacker(max_buffer_size=self._max_block_bytes, max_array_len=MAX_ARRAY)
        unpacker.feed(limited)
        try:
            return unpacker.unpack(), unpacker.tell()
        except msgpack.exceptions.OutOfData:
            if len(limited) < self._max_block_bytes:
                raise _Incomplete from None
            raise _Invalid(f"a block above {self._max_block_bytes} bytes") from None
        except _UNPACK_ERRORS as error:
            raise _Invalid(f"expected msgpack: {error}") from error
        finally:
            limited.release()

    def _more(self) -> bool:
        """Read on; false at the end."""
        if not self._ended:
            # A block that needs many reads is parsed anew after each, so reads grow with what is pending.
            piece = self._source.read(max(READ_BYTES, len(self._data)))
            self._data += piece
            self._ended = not piece
        return not self._ended

    def _consume(self, size: int) -> None:
        del self._data[:size]
        self._base += size


def _all_ints(*values: object) -> bool:
    return all(type(value) is int for value in values)
