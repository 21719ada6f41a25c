"""Reading a trace: header, chunks, records, end record; whole, cut off, damaged, or still being written.

What can be read is read.  A damaged chunk is skipped and reported in `damage`; a trace that ends early gives every
whole chunk, and `closed_cleanly` stays false.  Only what is no trace at all raises.
"""

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Any, BinaryIO, NamedTuple, Self

from .blocks import Block, BlockWalk, Damage
from .container import CHUNK, END, INDEX, TRAILER_BYTES
from .decode import Decoder, Misfit, read_schema
from .errors import TraceError
from .event import EventSpec, Record
from .source import Source

MAX_BLOCK_BYTES = 64 << 20


@dataclass(frozen=True, slots=True)
class TraceChunk:
    """One chunk, decoded: text is text again in `records`; `lost` counts records missed before it, by CPU."""

    offset: int
    sequence: int
    first_ns: int
    last_ns: int
    lost: dict[int, int]
    records: list[Record]


class IndexEntry(NamedTuple):
    """Where a chunk is, and the time it spans."""

    offset: int
    sequence: int
    first_ns: int
    last_ns: int
    events: int


class TraceReader:
    """Reads one trace, once, in order; or, with an index, any chunk of a file.

    Attributes:
        name: what was opened, for messages.
        header: the map of the header, as it was written.
        specs: the events by id, from the header; ids of another version may differ from the catalogue's.
        end: the result in the end record, once it was read.
        lost: records reported lost so far, by CPU.
        closed_cleanly: index and trailer were read.

    Raises:
        TraceError: this is no trace; the message names file, offset and what was expected.
    """

    def __init__(self, origin: str | os.PathLike[str] | BinaryIO, *, max_block_bytes: int = MAX_BLOCK_BYTES) -> None:
        """Open a file, `-`, a live socket or a binary stream, and read the header.

        Memory stays within a few times `max_block_bytes`, whatever the trace claims.
        """
        self._source = Source(origin)
        self.name = self._source.name
        self._walk = BlockWalk(self._source, max_block_bytes)
        self._max_block_bytes = max_block_bytes
        try:
            self.header = self._walk.header()
            self.specs: dict[int, EventSpec] = read_schema(self.name, self.header)
        except BaseException:
            self._source.close()
            raise
        self._decoder = Decoder(self.specs)
        self.end: dict[str, Any] | None = None
        self.lost: Counter[int] = Counter()
        self.closed_cleanly = False

    def __enter__(self) -> Self:
        """Return the reader."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the reader."""
        self.close()

    def close(self) -> None:
        """Close what was opened by name."""
        self._source.close()

    @property
    def damage(self) -> list[Damage]:
        """What was skipped or cut off so far, in order."""
        return self._walk.damage

    @property
    def truncated(self) -> bool:
        """Whether the trace ended inside a block."""
        return self._walk.truncated

    @property
    def clean_length(self) -> int:
        """Offset after the last whole valid block read so far, in bytes."""
        return self._walk.clean_length

    def __iter__(self) -> Iterator[Record]:
        """Yield the records not read yet."""
        for chunk in self.chunks():
            yield from chunk.records

    def chunks(self) -> Iterator[TraceChunk]:
        """Yield the chunks not read yet; from a live source, as they arrive."""
        for block in self._walk:
            if block.kind == CHUNK:
                try:
                    chunk = self._chunk(block)
                except Misfit as error:
                    self.damage.append(Damage(block.offset, block.end, f"chunk {block.content[1]}: {error}"))
                    continue
                self.lost.update(chunk.lost)
                yield chunk
            elif block.kind == END:
                self.end = block.content[1]
            elif block.kind == INDEX:
                self.closed_cleanly = True

    def index(self) -> list[IndexEntry]:
        """Return the index, looked up from the trailer, without reading the chunks.

        Raises:
            TraceError: the source is no file, or was not closed cleanly.
        """
        stream = self._seekable()
        here = stream.tell()
        size = stream.seek(0, os.SEEK_END)
        trailer_at = max(0, size - TRAILER_BYTES)
        stream.seek(trailer_at)
        where = int.from_bytes(stream.read(TRAILER_BYTES)[4:12], "big")
        stream.seek(here)
        if not 0 < where < trailer_at:
            raise TraceError(f"{self.name}: offset {trailer_at}: expected a trailer")
        block = self._block_at(where)
        if block.kind != INDEX:
            raise TraceError(f"{self.name}: offset {where}: expected the index")
        return [IndexEntry(*entry) for entry in block.content[1]]

    def chunk_at(self, entry: IndexEntry) -> TraceChunk:
        """Read one chunk of a file, and no other.

        Raises:
            TraceError: there is no sound chunk at the entry's offset.
        """
        block = self._block_at(entry.offset)
        if block.kind != CHUNK:
            raise TraceError(f"{self.name}: offset {entry.offset}: expected a chunk")
        try:
            return self._chunk(block)
        except Misfit as error:
            raise TraceError(f"{self.name}: offset {entry.offset}: {error}") from error

    def _seekable(self) -> BinaryIO:
        if not self._source.seekable():
            raise TraceError(f"{self.name}: expected a file, only a file has an index to look up")
        return self._source.stream

    def _block_at(self, offset: int) -> Block:
        stream = self._seekable()
        here = stream.tell()
        stream.seek(offset)
        try:
            return BlockWalk(Source(stream, self.name), self._max_block_bytes, offset).first()
        finally:
            stream.seek(here)

    def _chunk(self, block: Block) -> TraceChunk:
        _, sequence, first_ns, last_ns, count, lost, _, _, body = block.content
        records = self._decoder.records(body, count)
        losses: Counter[int] = Counter()
        for cpu, missed in lost:
            losses[cpu] += missed
        return TraceChunk(block.offset, sequence, first_ns, last_ns, dict(losses), records)
