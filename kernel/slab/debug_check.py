"""The checks of SLUB debugging, and what they repair.

Mirrors check_pad_bytes(), check_object(), check_slab() and on_freelist() of mm/slub.c (6.1).  Nothing here is an
operation: callers hold ``list_lock``, or a slab that nobody else can find, and declare ``cache.freelists``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .cache import NIL
from .debug_memory import POISON_END, POISON_FREE, POISON_INUSE, RED_ACTIVE
from .debug_object import (
    clear_freelist,
    freeptr_outside_object,
    get_freelist,
    get_freepointer,
    index_of,
    is_valid_pointer,
    left_pad,
    metadata_end,
    red_zone_start,
    set_freepointer,
    size_from_object,
)
from .debug_report import check_bytes_and_report, object_err, slab_err, slab_fix, slab_pad_check
from .flags import OBJECT_POISON, SLAB_POISON, SLAB_RED_ZONE
from .sizing import MAX_OBJS_PER_PAGE, order_objects

if TYPE_CHECKING:
    from .cache import KmemCache, Slab
    from .slub import Slub


def check_pad_bytes(slub: Slub, cache: KmemCache, slab: Slab, index: int) -> bool:
    """Whether the padding behind an object's metadata is untouched."""
    start = metadata_end(slub, cache)
    length = size_from_object(cache) - start
    return check_bytes_and_report(slub, cache, slab, index, "Object padding", start, POISON_INUSE, length)


def check_object(slub: Slub, cache: KmemCache, slab: Slab, index: int, red: int) -> bool:
    """Whether an object is as it should be: free with `RED_INACTIVE`, in use with `RED_ACTIVE`.

    The first thing found is reported and repaired; a free pointer that is none is cut off, with all behind it.
    """
    size, inuse = cache.object_size, cache.inuse
    if cache.flags & SLAB_RED_ZONE:
        pad = left_pad(cache)
        if not check_bytes_and_report(slub, cache, slab, index, "Left Redzone", -pad, red, pad):
            return False
        if not check_bytes_and_report(slub, cache, slab, index, "Right Redzone", size, red, inuse - size):
            return False
        if red == RED_ACTIVE:
            start = red_zone_start(slub, cache, slab, index)
            if not check_bytes_and_report(slub, cache, slab, index, "kmalloc Redzone", start, red, size - start):
                return False
    elif cache.flags & SLAB_POISON:
        check_bytes_and_report(slub, cache, slab, index, "Alignment padding", size, POISON_INUSE, inuse - size)
    if cache.flags & SLAB_POISON:
        if red != RED_ACTIVE and cache.flags & OBJECT_POISON:
            if not check_bytes_and_report(slub, cache, slab, index, "Poison", 0, POISON_FREE, size - 1):
                return False
            if not check_bytes_and_report(slub, cache, slab, index, "End Poison", size - 1, POISON_END, 1):
                return False
        check_pad_bytes(slub, cache, slab, index)
    if not freeptr_outside_object(cache) and red == RED_ACTIVE:
        return True  # what is there belongs to the user
    if is_valid_pointer(cache, slab, get_freepointer(cache, slab, index)):
        return True
    object_err(slub, cache, slab, index, "Freepointer corrupt")
    set_freepointer(cache, slab, index, NIL)
    return False


def check_slab(slub: Slub, cache: KmemCache, slab: Slab) -> bool:
    """Whether what a slab says of itself is possible; its padding is checked as well."""
    if slub.slabs.get(slab.pfn) is not slab:
        slab_err(slub, cache, slab, "Not a valid slab page")
        return False
    most = order_objects(slab.order, cache.size)
    if slab.objects > most:
        slab_err(slub, cache, slab, f"objects {slab.objects} > max {most}")
        return False
    if slab.inuse > slab.objects:
        slab_err(slub, cache, slab, f"inuse {slab.inuse} > max {slab.objects}")
        return False
    slab_pad_check(slub, cache, slab)
    return True


def on_freelist(slub: Slub, cache: KmemCache, slab: Slab, search: int) -> bool:
    """Whether object `search` is on the free list of its slab; of `NIL`, whether there is a list at all.

    On the way a pointer that is none is cut off, and counts that do not agree with the list are corrected.
    """
    wanted = slab.base + search * cache.size if search != NIL else 0
    counted, last = 0, NIL
    address = get_freelist(cache, slab)
    while address and counted <= slab.objects:
        if address == wanted:
            return True
        if not is_valid_pointer(cache, slab, address):
            if last == NIL:
                slab_err(slub, cache, slab, "Freepointer corrupt")
                clear_freelist(slab)
                slab_fix(slub, cache, "Freelist cleared")
                return False
            object_err(slub, cache, slab, last, "Freechain corrupt")
            set_freepointer(cache, slab, last, NIL)
            break
        last = index_of(cache, slab, address)
        address = get_freepointer(cache, slab, last)
        counted += 1
    _check_counts(slub, cache, slab, counted)
    return search == NIL


def _check_counts(slub: Slub, cache: KmemCache, slab: Slab, free: int) -> None:
    most = min(order_objects(slab.order, cache.size), MAX_OBJS_PER_PAGE)
    if slab.objects != most:
        slab_err(slub, cache, slab, f"Wrong number of objects. Found {slab.objects} but should be {most}")
        slab.objects = most
        slab_fix(slub, cache, "Number of objects adjusted")
    if slab.inuse != slab.objects - free:
        counted = slab.objects - free
        reason = f"Wrong object count. Counter is {slab.inuse} but counted were {counted}"
        slab_err(slub, cache, slab, reason)
        slab.inuse = counted
        slab_fix(slub, cache, "Object count adjusted")
