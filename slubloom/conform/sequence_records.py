"""The records of a sequence: an operation each, and the allocator's counters right after it."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import Meta, Struct

from .vectors import Count, Geom, Name, Request

Index = Annotated[int, Meta(ge=0, le=65535)]
Cpu = Annotated[int, Meta(ge=0, le=8191)]
Pair = tuple[Count, Count]
Got = tuple[Count, Count, Count, Index]
"""Object, slab, node of the slab, index in the slab."""


class State(Struct, frozen=True):
    """Counters and lists: see the recordings' own description."""

    n: list[tuple[Count, Count, Count] | None]
    np: list[list[Pair]]
    c: list[tuple[Count, Count, Count] | None]
    cp: list[list[Pair]]


class Step(Struct, frozen=True, kw_only=True):
    """What all records have: the number of the operation, and the slot of the cache it is about."""

    i: Count
    k: Count
    cpu: Cpu = 0
    st: State | None = None
    sys: dict[str, str] = {}
    new: list[tuple[Count, Count, Count, Count]] = []
    dead: list[Count] = []
    ev: list[dict[str, Any]] = []

    @property
    def flushed(self) -> list[int]:
        """The processors flushed during the operation, in order."""
        return [event["cpu"] for event in self.ev if event.get("t") == "flush"]


class CreateCache(Step, frozen=True, kw_only=True, tag_field="op", tag="create"):
    """kmem_cache_create(); `random_seq` is the order in which new slabs hand out their objects."""

    name: Name
    req: Request
    geom: Geom
    random_seq: list[Index] = []


class DestroyCache(Step, frozen=True, kw_only=True, tag_field="op", tag="destroy"):
    """kmem_cache_destroy()."""


class Alloc(Step, frozen=True, kw_only=True, tag_field="op", tag="alloc"):
    """kmem_cache_alloc_node(); node -1 is any."""

    node: Annotated[int, Meta(ge=-1, le=1023)]
    got: Got


class Free(Step, frozen=True, kw_only=True, tag_field="op", tag="free"):
    """kmem_cache_free(); `s` is the slab of the object."""

    obj: Count
    s: Count | None = None


class AllocBulk(Step, frozen=True, kw_only=True, tag_field="op", tag="alloc_bulk"):
    """kmem_cache_alloc_bulk() of `n` objects; `rc` is what it returned."""

    n: Annotated[int, Meta(ge=1, le=1 << 20)]
    rc: Count
    got: list[Got]


class FreeBulk(Step, frozen=True, kw_only=True, tag_field="op", tag="free_bulk"):
    """kmem_cache_free_bulk()."""

    objs: list[Count]


class Shrink(Step, frozen=True, kw_only=True, tag_field="op", tag="shrink"):
    """kmem_cache_shrink(); `rc` is 1 where slabs remain."""

    rc: int


class Attribute(Step, frozen=True, kw_only=True, tag_field="op", tag="attr"):
    """A write to a file of /sys/kernel/slab/<cache>."""

    attr: Name
    value: int
    rc: int
    geom: Geom | None = None


class Ratio(Step, frozen=True, kw_only=True, tag_field="op", tag="ratio"):
    """``remote_node_defrag_ratio`` set by hand, in 1024 parts."""

    value: Count


class Write(Step, frozen=True, kw_only=True, tag_field="op", tag="write"):
    """A write to another file: processors and memory that come and go."""

    path: Name
    value: str
    rc: int = 0


Operation = CreateCache | DestroyCache | Alloc | Free | AllocBulk | FreeBulk | Shrink | Attribute | Ratio | Write
