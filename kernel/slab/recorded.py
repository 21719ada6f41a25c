"""The geometry that a recorded /proc/slabinfo prescribes, in the place of what this kernel would compute.

A dump says how large an object is, how many are in a slab and how many pages that has; it does not say how large the
caller's object is, what flags and alignment the cache has, or whether it is debugged.  So the whole object is taken for
the caller's, and no cache of a dump has debug flags here, whatever ``slub_debug`` asks for: its sizes leave no room.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from ..gfp import GFP_COMP
from .flags import CMPXCHG_DOUBLE, OBJECT_POISON, SLAB_DEBUG_FLAGS
from .geometry import MAX_PARTIAL, MIN_PARTIAL
from .sizing import WORD

if TYPE_CHECKING:
    from ...topology.slabinfo import SlabinfoRow
    from .geometry import Geometry
    from .sizing import Sizing


def as_recorded(geometry: Geometry, row: SlabinfoRow, sizing: Sizing) -> Geometry:
    """`geometry` with the sizes of `row`, and what follows from them; its flags and alignment stay."""
    size, objects = row.objsize, row.objperslab
    cpu_partial = sizing.cpu_partial(size)
    return replace(
        geometry,
        object_size=min(geometry.object_size, size),
        size=size,
        inuse=min(geometry.inuse, size),
        offset=min(geometry.offset, max(0, size - WORD)),
        red_left_pad=0,
        order=row.order,
        objects=objects,
        min_order=row.smallest_order,
        min_objects=min(row.smallest_objperslab, objects),
        min_partial=max(MIN_PARTIAL, min(MAX_PARTIAL, (size.bit_length() - 1) // 2)),
        cpu_partial=cpu_partial,
        cpu_partial_slabs=sizing.cpu_partial_slabs(cpu_partial, objects),
        flags=geometry.flags & ~(SLAB_DEBUG_FLAGS | OBJECT_POISON) | CMPXCHG_DOUBLE,
        allocflags=geometry.allocflags & ~GFP_COMP | (GFP_COMP if row.order else 0),
    )
