"""Reading a recording: line by line, each checked against what a line of its kind has to say.

Numbers of lines start at 1, the header's.  Keys that are not known are left alone: later recorders may say more.
"""

from __future__ import annotations

import json
import lzma
import re
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar, overload

import msgspec
from msgspec import Meta, Struct

from ..kernel.slab.flags import FLAGS
from ..kernel.slab.sizing import MAX_OBJS_PER_PAGE, MAX_ORDER, PAGE_SIZE

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import UnionType

LINE_MAX = 64 << 20
CPUS_MAX, NODES_MAX = 8192, 1024
SIZE_MAX = (1 << 32) - 1
KINDS = ("geom", "merge", "dump", "seq")
SHOWN_MAX = 60

Size = Annotated[int, Meta(ge=1, le=SIZE_MAX)]
Count = Annotated[int, Meta(ge=0, le=SIZE_MAX)]
Order = Annotated[int, Meta(ge=0, lt=MAX_ORDER)]
Objects = Annotated[int, Meta(ge=1, le=MAX_OBJS_PER_PAGE)]
Hex = Annotated[str, Meta(pattern="^0x[0-9a-f]{1,8}$")]
Bit = Literal[0, 1]
Name = Annotated[str, Meta(min_length=1, max_length=256)]


class VectorError(Exception):
    """A recording cannot be used; the message says which, where, and what was expected."""

    exit_status = 2

    def __init__(self, source: str, message: str, *, line: int = 0, field: str = "") -> None:
        self.source = source
        self.line = line
        self.field = field
        parts = (source, f"record {line}" if line else "", field, message)
        super().__init__(": ".join(part for part in parts if part))


class Header(Struct, frozen=True):
    """The first line: the machine that was recorded, and how its kernel was started."""

    kind: str
    nr_cpu_ids: Annotated[int, Meta(ge=1, le=CPUS_MAX)]
    cpus_possible: Annotated[int, Meta(ge=1, le=CPUS_MAX)]
    cpus_present: Annotated[int, Meta(ge=1, le=CPUS_MAX)]
    cpus_online: Annotated[int, Meta(ge=1, le=CPUS_MAX)]
    nr_node_ids: Annotated[int, Meta(ge=1, le=NODES_MAX)]
    nodes_online: Annotated[int, Meta(ge=1, le=NODES_MAX)]
    page_size: int
    cpu_node: list[Annotated[int, Meta(ge=0)]]
    fallback: list[list[Annotated[int, Meta(ge=0)]]]
    cmdline: str
    release: str = "6.1"


class Request(Struct, frozen=True):
    """What a cache was asked for with; flags without their ``SLAB_``."""

    size: Size
    align: Count
    ctor: Bit
    flags: list[str]
    useroffset: Count = 0
    usersize: Count = 0


class Geom(Struct, frozen=True):
    """``struct kmem_cache`` as the recorder shows it."""

    size: Size
    object_size: Size
    inuse: Count
    align: Size
    offset: Count
    red_left_pad: Count
    oo_order: Order
    oo_objects: Objects
    min_order: Order
    min_objects: Count
    min_partial: Count
    cpu_partial: Count
    cpu_partial_slabs: Count
    useroffset: Count
    usersize: Count
    refcount: Annotated[int, Meta(ge=-1)]
    ctor: Bit
    flags_hex: Hex
    allocflags_hex: Hex
    defrag_ratio: Count
    flags: list[str]


class Create(Struct, frozen=True, tag_field="op", tag="create"):
    """A kmem_cache_create(); `ok` 0 is NULL, and then there is no `geom`."""

    name: Name
    req: Request
    ok: Bit
    geom: Geom | None = None
    same_as: str | None = None
    merged: Bit | None = None


class Destroy(Struct, frozen=True, tag_field="op", tag="destroy"):
    """A kmem_cache_destroy(), with the count of references before."""

    name: Name
    refcount_before: int


class SystemCache(Struct, frozen=True):
    """A cache of the system."""

    name: Name
    geom: Geom


T = TypeVar("T")


class Records:
    """The lines of a recording after its header, once, from the first to the last."""

    def __init__(self, source: str, lines: Iterator[tuple[int, bytes]]) -> None:
        self.source = source
        self._lines = lines

    @overload
    def decode(self, kind: type[T]) -> Iterator[tuple[int, T]]: ...

    @overload
    def decode(self, kind: UnionType) -> Iterator[tuple[int, Any]]: ...

    def decode(self, kind: Any) -> Iterator[tuple[int, Any]]:
        """Each record with the number of its line; `kind` may be a union.

        Raises:
            VectorError: a record is not of that kind.
        """
        decoder = msgspec.json.Decoder(kind)
        for line, text in self._lines:
            yield line, _decode(decoder, self.source, line, text)

    def error(self, line: int, field: str, message: str) -> VectorError:
        """Something that is wrong with a record besides its form."""
        return VectorError(self.source, message, line=line, field=field)

    def check_request(self, line: int, request: Request) -> None:
        """Refuse flags that do not exist."""
        for index, flag in enumerate(request.flags):
            if f"SLAB_{flag}" not in FLAGS:
                known = ", ".join(name.removeprefix("SLAB_") for name in FLAGS)
                raise self.error(line, f"req.flags[{index}]", f"there is no flag {flag!r}; there are: {known}")

    def check_geom(self, line: int, geom: Geom) -> None:
        """Refuse sizes that no cache can have."""
        if geom.size < geom.object_size:
            raise self.error(line, "geom.size", f"{geom.size} is less than object_size, {geom.object_size}")
        for order, objects in (("oo_order", "oo_objects"), ("min_order", "min_objects")):
            room = PAGE_SIZE << getattr(geom, order)
            if getattr(geom, objects) * geom.size > room:
                raise self.error(
                    line,
                    f"geom.{objects}",
                    f"{getattr(geom, objects)} objects of {geom.size} bytes are more than the {room} bytes of {order}",
                )

    def check_created(self, line: int, record: Create) -> None:
        """Refuse what contradicts itself."""
        self.check_request(line, record.req)
        if (record.geom is None) == bool(record.ok):
            expected = "a geom, as ok is 1" if record.ok else "none, as ok is 0"
            raise self.error(line, "geom", f"expected {expected}")
        if record.geom is not None:
            self.check_geom(line, record.geom)


@contextmanager
def open_recording(path: Path) -> Iterator[tuple[Header, Records]]:
    """Open a recording and read its header; the records are read while one walks over them.

    Raises:
        VectorError: the file cannot be read, or is no recording.
    """
    source = str(path)
    try:
        file = lzma.open(path, "rb") if path.suffix == ".xz" else path.open("rb")  # noqa: SIM115  # closed below
    except OSError as error:
        raise VectorError(source, f"cannot be read: {error.strerror or error}") from error
    with file:
        lines = _lines(source, file)
        first = next(lines, None)
        if first is None:
            raise VectorError(source, "is empty; expected a header line and records")
        header: Header = _decode(msgspec.json.Decoder(Header), source, *first)
        check_header(source, header)
        yield header, Records(source, lines)


def check_header(source: str, header: Header) -> None:
    """Refuse a header that contradicts itself, or a machine that is not emulated.

    Raises:
        VectorError: what is wrong.
    """

    def wrong(field: str, message: str) -> VectorError:
        return VectorError(source, message, line=1, field=field)

    if header.kind not in KINDS:
        raise wrong("kind", f"there is no kind {header.kind!r}; there are: {', '.join(KINDS)}")
    if header.page_size != PAGE_SIZE:
        raise wrong("page_size", f"pages of {header.page_size} bytes are not emulated; expected {PAGE_SIZE}")
    if header.cpus_possible > header.nr_cpu_ids:
        raise wrong("cpus_possible", f"{header.cpus_possible} of {header.nr_cpu_ids} processors cannot be")
    for field in ("cpus_present", "cpus_online"):
        if getattr(header, field) > header.cpus_possible:
            raise wrong(field, f"{getattr(header, field)} of {header.cpus_possible} possible ones cannot be")
    if header.nodes_online > header.nr_node_ids:
        raise wrong("nodes_online", f"{header.nodes_online} of {header.nr_node_ids} nodes cannot be")
    if len(header.cpu_node) not in (header.nr_cpu_ids, header.cpus_possible):
        raise wrong("cpu_node", f"{len(header.cpu_node)} numbers; expected one for each of {header.nr_cpu_ids} CPUs")
    if len(header.fallback) != header.nr_node_ids:
        raise wrong("fallback", f"{len(header.fallback)} lists; expected one for each of {header.nr_node_ids} nodes")
    for field, nodes in (
        ("cpu_node", header.cpu_node),
        *((f"fallback[{i}]", x) for i, x in enumerate(header.fallback)),
    ):
        for index, node in enumerate(nodes):
            if node >= header.nr_node_ids:
                raise wrong(f"{field}[{index}]", f"there is no node {node}; there are {header.nr_node_ids}")
    if not any(header.fallback):
        raise wrong("fallback", "no node has memory")


def _lines(source: str, file: Any) -> Iterator[tuple[int, bytes]]:
    """The lines of an open file with their numbers."""
    number = 0
    while True:
        try:
            line = file.readline(LINE_MAX)
        except EOFError:
            raise VectorError(source, "the xz data ends too early: the file is truncated", line=number + 1) from None
        except (lzma.LZMAError, OSError) as error:
            raise VectorError(source, f"cannot be read: {error}", line=number + 1) from error
        if not line:
            return
        number += 1
        if len(line) == LINE_MAX:
            raise VectorError(source, f"longer than {LINE_MAX >> 20} MiB", line=number)
        if not line.strip():
            raise VectorError(source, "is empty; expected a JSON object", line=number)
        yield number, line


def _decode(decoder: Any, source: str, line: int, text: bytes) -> Any:
    try:
        return decoder.decode(text)
    except msgspec.ValidationError as error:
        message, _, place = str(error).partition(" - at ")
        raise VectorError(
            source, _in_words(message), line=line, field=place.strip("`").removeprefix("$").lstrip(".")
        ) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        shown = text[:SHOWN_MAX].decode("utf-8", "replace").strip()
        raise VectorError(
            source, f"is no JSON object: {error}; it starts with {json.dumps(shown)}", line=line
        ) from None


def _in_words(message: str) -> str:
    """A complaint of the decoder, beginning small and without its quotation marks."""
    message = re.sub(r"Object missing required field `(\w+)`", r"there is no \1", message)
    return message[:1].lower() + message[1:].replace("`", "")
