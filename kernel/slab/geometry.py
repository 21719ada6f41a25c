"""Sizes, orders and limits of a cache.

Mirrors calculate_sizes(), calculate_order(), set_cpu_partial() of mm/slub.c and calculate_alignment() of
mm/slab_common.c (6.1), for caches without debugging.  Pure arithmetic: no machine in sight.
"""

from __future__ import annotations

from dataclasses import dataclass

PAGE_SIZE = 4096
WORD = 8
CACHE_LINE = 64
ARCH_MINALIGN = 8
MAX_ORDER = 11
MAX_OBJS_PER_PAGE = 32767

SLAB_HWCACHE_ALIGN = 0x00002000
SLAB_RECLAIM_ACCOUNT = 0x00020000
SLAB_PANIC = 0x00040000
SLAB_TYPESAFE_BY_RCU = 0x00080000
SLAB_ACCOUNT = 0x04000000

FLAGS = {
    "SLAB_HWCACHE_ALIGN": SLAB_HWCACHE_ALIGN,
    "SLAB_RECLAIM_ACCOUNT": SLAB_RECLAIM_ACCOUNT,
    "SLAB_PANIC": SLAB_PANIC,
    "SLAB_TYPESAFE_BY_RCU": SLAB_TYPESAFE_BY_RCU,
    "SLAB_ACCOUNT": SLAB_ACCOUNT,
}
"""``slab_flags_t`` by name."""


@dataclass(frozen=True, slots=True)
class Tunables:
    """The ``slub_…`` boot parameters; ``nr_cpus`` counts present processors (possible ones, if only one is)."""

    nr_cpus: int
    min_order: int = 0
    max_order: int = 3
    min_objects: int = 0


@dataclass(frozen=True, slots=True)
class Geometry:
    """What follows from size, alignment and flags: bytes, except orders and counts."""

    object_size: int
    size: int
    align: int
    inuse: int
    offset: int
    order: int
    objects: int
    min_order: int
    min_objects: int
    min_partial: int
    cpu_partial: int


def align_up(value: int, alignment: int) -> int:
    """`value` rounded up to a multiple of `alignment`, a power of two."""
    return (value + alignment - 1) & ~(alignment - 1)


def get_order(size: int) -> int:
    """The smallest order whose pages hold `size` bytes."""
    return max(0, (size - 1) >> 12).bit_length() if size > PAGE_SIZE else 0


def order_objects(order: int, size: int) -> int:
    """Objects of `size` bytes in 2^`order` pages."""
    return (PAGE_SIZE << order) // size


def calculate_alignment(flags: int, align: int, size: int) -> int:
    """The alignment a cache gets that asks for `align`."""
    if flags & SLAB_HWCACHE_ALIGN:
        line = CACHE_LINE
        while size <= line // 2:
            line //= 2
        align = max(align, line)
    return align_up(max(align, ARCH_MINALIGN), WORD)


def calculate_order(size: int, tunables: Tunables) -> int:
    """The page order of a cache's slabs: enough objects, little waste.

    Raises:
        ValueError: no order holds even one object.
    """
    nr_cpus = tunables.nr_cpus
    min_objects = tunables.min_objects or 4 * (nr_cpus.bit_length() + 1)
    min_objects = min(min_objects, order_objects(tunables.max_order, size))
    while min_objects > 1:
        for fraction in (16, 8, 4):
            order = _slab_order(size, min_objects, tunables.max_order, fraction, tunables.min_order)
            if order <= tunables.max_order:
                return order
        min_objects -= 1
    for max_order in (tunables.max_order, MAX_ORDER):
        order = _slab_order(size, 1, max_order, 1, tunables.min_order)
        if order <= max_order and order < MAX_ORDER:
            return order
    raise ValueError(f"no slab holds an object of {size} bytes")


def _slab_order(size: int, min_objects: int, max_order: int, fraction: int, min_order: int) -> int:
    """The first order wasting at most 1/`fraction`; past `max_order` where there is none (``calc_slab_order``)."""
    if order_objects(min_order, size) > MAX_OBJS_PER_PAGE:
        return get_order(size * MAX_OBJS_PER_PAGE) - 1
    order = max(min_order, get_order(min_objects * size))
    while order <= max_order:
        slab_size = PAGE_SIZE << order
        if slab_size % size <= slab_size // fraction:
            break
        order += 1
    return order


def cpu_partial_objects(size: int) -> int:
    """Free objects a processor may keep on partial slabs (``set_cpu_partial``, from 5.16)."""
    if size >= PAGE_SIZE:
        return 6
    if size >= 1024:  # noqa: PLR2004  # the kernel's own thresholds
        return 24
    return 52 if size >= 256 else 120  # noqa: PLR2004


def calculate_sizes(object_size: int, align: int, flags: int, *, ctor: bool, tunables: Tunables) -> Geometry:
    """The geometry of a cache; `align` as asked for (``calculate_sizes``).

    Raises:
        ValueError: the size is not one the kernel would make a cache of.
    """
    if object_size < 1 or object_size > PAGE_SIZE << (MAX_ORDER - 1):
        raise ValueError(f"object size {object_size} is not between 1 and {PAGE_SIZE << (MAX_ORDER - 1)} bytes")
    align = calculate_alignment(flags, align, object_size)
    size = align_up(object_size, WORD)
    inuse = size
    if flags & SLAB_TYPESAFE_BY_RCU or ctor:
        offset = size
        size += WORD
    else:
        offset = (object_size // 2) & ~(WORD - 1)
    size = align_up(size, align)
    order = calculate_order(size, tunables)
    smallest = get_order(size)
    return Geometry(
        object_size=object_size,
        size=size,
        align=align,
        inuse=inuse,
        offset=offset,
        order=order,
        objects=order_objects(order, size),
        min_order=smallest,
        min_objects=order_objects(smallest, size),
        min_partial=max(5, min(10, (size.bit_length() - 1) // 2)),
        cpu_partial=cpu_partial_objects(size),
    )
