"""What the size of a cache and of its slabs follows from, where releases differ.

Mirrors calculate_order(), calc_slab_order(), set_cpu_partial(), struct track and the place of the free pointer in
mm/slub.c.  One `Sizing` is the whole of it for one tree: kernel/releases.py starts from the oldest and lets patches
replace single parts.  Pure arithmetic: no machine in sight.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from .flags import SLAB_POISON, SLAB_RED_ZONE, SLAB_TYPESAFE_BY_RCU
from .slub_debug import NO_DEBUG, SlubDebug

PAGE_SHIFT = 12
PAGE_SIZE = 1 << PAGE_SHIFT
WORD = 8
MAX_ORDER = 11
"""Orders are below this."""
MAX_OBJS_PER_PAGE = 32767
"""``slab->objects`` has 15 bits."""


@dataclass(frozen=True, slots=True)
class Tunables:
    """The boot parameters of SLUB; `nr_cpus` is what `Sizing.nr_cpus` makes of the machine's processors."""

    nr_cpus: int
    min_order: int = 0
    max_order: int = 3
    min_objects: int = 0
    slab_nomerge: bool = False
    debug: SlubDebug = NO_DEBUG


def align_up(value: int, alignment: int) -> int:
    """`value` rounded up to a multiple of `alignment`, a power of two; others as the kernel's mask has it."""
    return (value + alignment - 1) & ~(alignment - 1)


def get_order(size: int) -> int:
    """The smallest order whose pages hold `size` bytes, one at least."""
    return ((size - 1) >> PAGE_SHIFT).bit_length()


def order_objects(order: int, size: int) -> int:
    """Objects of `size` bytes in 2^`order` pages."""
    return (PAGE_SIZE << order) // size


# How many processors the number of objects in a slab is meant for.


def possible_processors(possible: int, present: int, online: int) -> int:
    """All there can ever be: up to 5.10."""
    return possible


def online_processors(possible: int, present: int, online: int) -> int:
    """Those running at that moment, which is one when the first caches are made: release candidates of 5.11."""
    return online


def present_processors(possible: int, present: int, online: int) -> int:
    """Those plugged in, unless that is one, which some architectures say of processors not started yet."""
    return present if present > 1 else possible


# The order of slabs.


def wanted_objects(tunables: Tunables) -> int:
    """Objects a slab should have at least, grown with the logarithm of the processors unless told."""
    return tunables.min_objects or 4 * (tunables.nr_cpus.bit_length() + 1)


def order_by_fewer_objects(size: int, tunables: Tunables) -> int | None:
    """Up to 6.6: less waste before more objects; then one object less, and again.  None where no order will do."""
    max_order = tunables.max_order
    for min_objects in range(min(wanted_objects(tunables), order_objects(max_order, size)), 1, -1):
        for fraction in (16, 8, 4):
            order = _slab_order(size, min_objects, max_order, fraction, tunables.min_order)
            if order <= max_order:
                return order
    order = _slab_order(size, 1, max_order, 1, tunables.min_order)
    if order <= max_order:
        return order
    order = _slab_order(size, 1, MAX_ORDER, 1, tunables.min_order)
    return order if order < MAX_ORDER else None


def _slab_order(size: int, min_objects: int, max_order: int, fraction: int, min_order: int) -> int:
    """The first order that wastes at most 1/`fraction`; past `max_order` where there is none (``calc_slab_order``)."""
    if order_objects(min_order, size) > MAX_OBJS_PER_PAGE:
        return get_order(size * MAX_OBJS_PER_PAGE) - 1
    return _first_thrifty(size, max(min_order, get_order(min_objects * size)), max_order, fraction)


def _first_thrifty(size: int, order: int, max_order: int, fraction: int) -> int:
    while order <= max_order:
        slab_size = PAGE_SIZE << order
        if slab_size % size <= slab_size // fraction:
            break
        order += 1
    return order


def order_by_more_waste(size: int, tunables: Tunables) -> int | None:
    """From 6.7: the wanted objects decide once where to start; up to half of a slab may be wasted to stay there."""
    max_order = tunables.max_order
    min_objects = min(wanted_objects(tunables), max(order_objects(max_order, size), 1))
    min_order = max(tunables.min_order, get_order(min_objects * size))
    if order_objects(min_order, size) > MAX_OBJS_PER_PAGE:
        return get_order(size * MAX_OBJS_PER_PAGE) - 1
    for fraction in (16, 8, 4, 2):
        order = _first_thrifty(size, min_order, max_order, fraction)
        if order <= max_order:
            return order
    order = get_order(size)
    return order if order < MAX_ORDER else None


# Where a free object keeps the pointer to the next one: an offset inside of it, or None, right behind it.


def free_pointer_first(object_size: int, flags: int, *, ctor: bool) -> int | None:
    """Up to 5.6: at the start of the object, where a write after free hits it first."""
    return None if ctor or flags & (SLAB_TYPESAFE_BY_RCU | SLAB_POISON) else 0


def free_pointer_middle(object_size: int, flags: int, *, ctor: bool) -> int | None:
    """5.7 to 5.12: in the middle, rounded up, which may reach into the red zone of a small object."""
    if ctor or flags & (SLAB_TYPESAFE_BY_RCU | SLAB_POISON):
        return None
    area = align_up(object_size, WORD)
    return align_up(area // 2, WORD) if area > WORD else 0


def free_pointer_within(object_size: int, flags: int, *, ctor: bool) -> int | None:
    """From 5.13: in the middle, rounded down; outside also where a red-zoned object is smaller than a pointer."""
    if ctor or flags & (SLAB_TYPESAFE_BY_RCU | SLAB_POISON) or (flags & SLAB_RED_ZONE and object_size < WORD):
        return None
    return object_size // 2 & ~(WORD - 1)


TRACK_WITH_STACK = 152
"""``struct track``: caller, sixteen return addresses, processor, pid, time."""
TRACK_WITH_HANDLE = 32
"""The same with a stack depot handle instead of the addresses."""

CPU_PARTIAL_SMALL = (2, 6, 13, 30)
"""Objects on a processor's partial slabs, up to 5.15: for sizes from a page, from 1024, from 256, and below."""
CPU_PARTIAL_LARGE = (6, 24, 52, 120)
"""From 5.16."""


class FreePointer(Protocol):
    """A rule for the place of the free pointer."""

    def __call__(self, object_size: int, flags: int, *, ctor: bool) -> int | None:
        """The offset inside an object of `object_size` bytes, or None for right behind it."""


@dataclass(frozen=True, slots=True)
class Sizing:
    """One tree's rules.  Immutable and compared by its parts."""

    processors: Callable[[int, int, int], int]
    find_order: Callable[[int, Tunables], int | None]
    free_pointer: FreePointer
    left_red_zone: bool
    track_size: int
    keeps_requested_size: bool
    red_zone_from_request: bool
    cpu_partial_objects: tuple[int, int, int, int]
    counts_slabs: bool

    def nr_cpus(self, *, possible: int, present: int, online: int) -> int:
        """The processors that slabs are sized for; the counts are those of the moment of booting."""
        return self.processors(possible, present, online)

    def order(self, size: int, tunables: Tunables) -> int:
        """The page order of slabs of objects that take `size` bytes each.

        Raises:
            ValueError: no order holds even one object.
        """
        order = self.find_order(size, tunables)
        if order is None:
            raise ValueError(f"no slab holds an object that takes {size} bytes")
        return order

    def cpu_partial(self, size: int) -> int:
        """Free objects that a processor may keep on partial slabs of a cache without debugging."""
        for least, objects in zip((PAGE_SIZE, 1024, 256, 0), self.cpu_partial_objects, strict=True):
            if size >= least:
                return objects
        raise AssertionError(size)

    def cpu_partial_slabs(self, nr_objects: int, objects_per_slab: int) -> int:
        """The same limit in slabs, taken to be half full; 0 where it is objects that are counted (up to 5.15)."""
        return -(-nr_objects * 2 // objects_per_slab) if self.counts_slabs else 0


# The oldest tree and the newest: what lies between is made by the history of patches.
SIZING_3_10 = Sizing(
    processors=possible_processors,
    find_order=order_by_fewer_objects,
    free_pointer=free_pointer_first,
    left_red_zone=False,
    track_size=TRACK_WITH_STACK,
    keeps_requested_size=False,
    red_zone_from_request=False,
    cpu_partial_objects=CPU_PARTIAL_SMALL,
    counts_slabs=False,
)
SIZING_6_1 = Sizing(
    processors=present_processors,
    find_order=order_by_fewer_objects,
    free_pointer=free_pointer_within,
    left_red_zone=True,
    track_size=TRACK_WITH_HANDLE,
    keeps_requested_size=True,
    red_zone_from_request=False,
    cpu_partial_objects=CPU_PARTIAL_LARGE,
    counts_slabs=True,
)
