"""Caches of the emulated kernel, in the words of the recorder.

The one place that knows how both sides call things.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec import structs

from ..kernel.slab.cache import KmemCache, kmem_cache_size
from ..kernel.slab.create import kmem_cache_create, publish
from ..kernel.slab.flags import CMPXCHG_DOUBLE, FLAGS, OBJECT_POISON
from ..kernel.slab.geometry import Geometry
from .vectors import Geom, Request

if TYPE_CHECKING:
    from ..kernel import Machine

RECORDED_FLAGS = (
    "HWCACHE_ALIGN",
    "TYPESAFE_BY_RCU",
    "RECLAIM_ACCOUNT",
    "POISON",
    "RED_ZONE",
    "STORE_USER",
    "CONSISTENCY_CHECKS",
    "CACHE_DMA",
    "CACHE_DMA32",
    "ACCOUNT",
    "NOLEAKTRACE",
)
"""Those that the recorder lists by name; the others show in ``flags_hex`` only."""
INTERNAL_FLAGS = OBJECT_POISON | CMPXCHG_DOUBLE
"""What a cache has, but nobody asks for."""


def flags_of(names: list[str]) -> int:
    """The value of recorded names."""
    return sum(FLAGS[f"SLAB_{name}"] for name in dict.fromkeys(names))


def initialise(address: int) -> None:
    """A constructor: what it writes does not matter here."""


async def create(machine: Machine, name: str, request: Request, *, flags: int | None = None) -> KmemCache | None:
    """A kmem_cache_create() as recorded; `flags` in place of those named."""
    return await kmem_cache_create(
        machine.slab,
        name,
        request.size,
        request.align,
        flags_of(request.flags) if flags is None else flags,
        ctor=initialise if request.ctor else None,
        useroffset=request.useroffset,
        usersize=request.usersize,
    )


def geom_of(cache: KmemCache) -> Geom:
    """A cache as the recorder would show it."""
    geometry = cache.geometry
    return Geom(
        size=cache.size,
        object_size=cache.object_size,
        inuse=cache.inuse,
        align=geometry.align,
        offset=geometry.offset,
        red_left_pad=geometry.red_left_pad,
        oo_order=geometry.order,
        oo_objects=geometry.objects,
        min_order=geometry.min_order,
        min_objects=geometry.min_objects,
        min_partial=cache.min_partial,
        cpu_partial=cache.cpu_partial,
        cpu_partial_slabs=cache.cpu_partial_slabs,
        useroffset=cache.useroffset,
        usersize=cache.usersize,
        refcount=cache.refcount,
        ctor=1 if cache.ctor else 0,
        flags_hex=f"{cache.flags:#x}",
        allocflags_hex=f"{geometry.allocflags:#x}",
        defrag_ratio=cache.remote_node_defrag_ratio,
        flags=[name for name in RECORDED_FLAGS if cache.flags & FLAGS[f"SLAB_{name}"]],
    )


def fields_of(geom: Geom | None) -> dict[str, Any]:
    """What is compared of a cache, or of none; names of flags in the order of the alphabet."""
    if geom is None:
        return {"ok": 0}
    return {"ok": 1} | structs.asdict(geom) | {"flags": sorted(geom.flags)}


def install(machine: Machine, system: list[tuple[str, Geom]]) -> None:
    """Let `system`, newest first, be the caches that the machine has: candidates for merging, without slabs.

    The machine's own boot caches stay in use, but are on no list any more.
    """
    slub = machine.slab
    slub.slab_caches.clear()
    slub.names.clear()
    slub.mergeable.clear()
    for name, geom in reversed(system):
        cache = KmemCache(
            machine.interleaver,
            name,
            _geometry(geom),
            address=machine.static_address(kmem_cache_size(machine)),
            ctor=initialise if geom.ctor else None,
            useroffset=geom.useroffset,
            usersize=geom.usersize,
        )
        cache.refcount = geom.refcount
        cache.remote_node_defrag_ratio = geom.defrag_ratio
        publish(slub, cache)


def _geometry(geom: Geom) -> Geometry:
    return Geometry(
        object_size=geom.object_size,
        size=geom.size,
        align=geom.align,
        inuse=geom.inuse,
        offset=geom.offset,
        red_left_pad=geom.red_left_pad,
        order=geom.oo_order,
        objects=geom.oo_objects,
        min_order=geom.min_order,
        min_objects=geom.min_objects,
        min_partial=geom.min_partial,
        cpu_partial=geom.cpu_partial,
        cpu_partial_slabs=geom.cpu_partial_slabs,
        flags=int(geom.flags_hex, 16),
        allocflags=int(geom.allocflags_hex, 16),
    )


def describe(name: str, request: Request) -> str:
    """A request for a person."""
    text = f"create {name}: size {request.size}, align {request.align}, flags {' '.join(request.flags) or 'none'}"
    if request.ctor:
        text += ", with a constructor"
    if request.usersize or request.useroffset:
        text += f", usercopy {request.useroffset}+{request.usersize}"
    return text
