"""SLUB's own debugging: red zones, poison, tracks and consistency checks.

Mirrors setup_slab_debug(), setup_object_debug(), alloc_debug_processing(), set_track(), the checking half of
free_debug_processing(), trace() and the checks of __free_slab() of mm/slub.c (6.1).  debug_object.py knows where what
is, debug_check.py checks and repairs, debug_report.py prints and says which violation a report is, debug_validate.py
walks whole caches.

Only caches with a flag of SLAB_DEBUG_FLAGS come here; others have no `DebugMemory` and pay nothing.  A cache under
debugging has no processor slabs: every object is taken from and given back to a slab under ``n->list_lock``, except
that the first object of a new slab is taken while nobody else can find that slab.  What each flag does:

====================  ========  =======================================================================================
flag                  letter    effect
====================  ========  =======================================================================================
CONSISTENCY_CHECKS    F         slab, free pointer and everything below are checked when an object comes or goes, and
                                when a slab goes; without it nothing is looked at until somebody writes to `validate`
RED_ZONE              Z         bytes around an object say whether it is in use; nobody may change them
POISON                P         a free object and all padding are filled with patterns; objects of TYPESAFE_BY_RCU
                                caches and of those with a constructor are not
STORE_USER            U         who allocated an object last, and who freed it; full slabs are on a list
TRACE                 T         every allocation and every free is printed
====================  ========  =======================================================================================

An object that fails its check when it is to be handed out takes its slab out of use, with all that is free in it; one
that fails when it is to be freed is not.  Where KASAN is on as well, it sees a double free or a stray write first.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...actors import Access
from ..pages import page_frame
from ..stack import kernel_name
from .cache import NIL
from .debug_check import check_object, check_slab, on_freelist
from .debug_memory import POISON_INUSE, RED_ACTIVE, RED_INACTIVE, DebugMemory
from .debug_object import (
    clear_freelist,
    get_freelist,
    get_freepointer,
    index_of,
    init_object,
    init_tracking,
    is_valid_pointer,
    memory_of,
    object_address,
    place_of,
    set_freepointer,
    set_orig_size,
    slab_address,
    track_of,
)
from .debug_report import dump_stack, object_err, slab_err, slab_fix, slab_pad_check
from .flags import (
    OBJECT_POISON,
    SLAB_CONSISTENCY_CHECKS,
    SLAB_POISON,
    SLAB_RED_ZONE,
    SLAB_STORE_USER,
    SLAB_TRACE,
)
from .sizing import PAGE_SIZE, WORD

if TYPE_CHECKING:
    from .cache import KmemCache, Slab
    from .slub import Slub


def setup_slab_debug(slub: Slub, cache: KmemCache, slab: Slab) -> None:
    """Fill the memory of a new slab (``setup_slab_debug``, ``setup_object_debug``), all of whose objects are free."""
    cache.freelist_touched(Access.WRITE)
    fill = POISON_INUSE if cache.flags & SLAB_POISON else 0
    slab.memory = DebugMemory(slab_address(slab), PAGE_SIZE << slab.order, fill)
    if cache.flags & (SLAB_STORE_USER | SLAB_RED_ZONE | OBJECT_POISON):
        for index in range(slab.objects):
            init_object(slub, cache, slab, index, RED_INACTIVE)
            init_tracking(slub, cache, slab, index)
    for index, following in enumerate(slab.links):
        set_freepointer(cache, slab, index, following)


def alloc_debug_processing(slub: Slub, cache: KmemCache, slab: Slab, index: int) -> bool:
    """Check an object that was just taken off its slab's list, and mark it in use; false where it must not be used.

    The slab's list now begins where the object's free pointer says, whatever is written there.
    """
    cache.freelist_touched(Access.WRITE)
    if memory_of(slab).wild:
        slub.machine.kernel_bug(f"general protection fault: free list of {cache.name} at {memory_of(slab).wild:#x}")
    _follow_freepointer(cache, slab, index)
    if cache.flags & SLAB_CONSISTENCY_CHECKS and not _alloc_consistency_checks(slub, cache, slab, index):
        slab_fix(slub, cache, "Marking all objects used")
        clear_freelist(slab)
        return False
    _trace(slub, cache, slab, index, alloc=True)
    set_orig_size(slub, cache, slab, index, cache.object_size)
    init_object(slub, cache, slab, index, RED_ACTIVE)
    return True


def keep_requested_size(slub: Slub, address: int, size: int) -> None:
    """Remember that `size` bytes were asked for of a kmalloc cache under debugging, which gave the object at `address`.

    The kernel does it before the object leaves its slab's lock.  Here it is done by who asked, before anybody else may
    use the object: until then the size is that of the object, and nothing of it is red zone.
    """
    slab = slub.slabs[page_frame(address)]
    cache = slab.cache
    cache.freelist_touched(Access.WRITE)
    index = index_of(cache, slab, address)
    set_orig_size(slub, cache, slab, index, size)
    if slub.variants.sizing.red_zone_from_request:
        init_object(slub, cache, slab, index, RED_ACTIVE)


def set_alloc_track(slub: Slub, cache: KmemCache, slab: Slab, index: int) -> None:
    """Remember who allocates an object."""
    memory_of(slab).allocated[index] = track_of(slub.machine)


@kernel_name("free_consistency_checks")
def free_checks(slub: Slub, cache: KmemCache, slab: Slab, head: int, tail: int, count: int) -> int:
    """Check `count` objects linked from `head` to `tail` that are about to be freed, and mark them free.

    Returns `NIL`, or the object that did not pass: then none of them may be freed.  Under ``list_lock``.
    """
    chain = _write_chain(cache, slab, head, tail, count)
    checked = cache.flags & SLAB_CONSISTENCY_CHECKS
    if checked and not check_slab(slub, cache, slab):
        return head
    if slab.inuse < count:
        slab_err(slub, cache, slab, f"Slab has {slab.inuse} allocated objects but {count} are to be freed\n")
        return head
    track = track_of(slub.machine) if cache.flags & SLAB_STORE_USER else None
    for index in chain[:count]:
        if checked and not _check_freed(slub, cache, slab, index):
            return index
        if track is not None:
            memory_of(slab).freed[index] = track
        _trace(slub, cache, slab, index, alloc=False)
        init_object(slub, cache, slab, index, RED_INACTIVE)
    if len(chain) != count:
        slab_err(slub, cache, slab, f"Bulk free expected {count} objects but found {len(chain)}\n")
        if len(chain) > count:
            return chain[-1]
        slab.inuse += count - len(chain)  # an object that was twice among them is freed once
    memory = memory_of(slab)
    memory.put_pointer(place_of(cache, tail) + cache.geometry.offset, get_freelist(cache, slab))
    memory.wild = 0
    return NIL


def object_not_freed(slub: Slub, cache: KmemCache, slab: Slab, index: int) -> None:
    """Say that an object did not pass the checks of freeing."""
    slab_fix(slub, cache, f"Object at 0x{object_address(cache, slab, index):016x} not freed")


async def free_invalid_pointer(slub: Slub, cache: KmemCache, slab: Slab, address: int) -> None:
    """Refuse to free `address`, which lies in a slab but is not that of an object."""
    slub.machine.bug_on(
        not cache.flags & SLAB_CONSISTENCY_CHECKS, f"free of {address:#x}, which is no object of {cache.name}"
    )
    await cache.read_node
    n = slub.get_node(cache, slab.node)
    async with n.list_lock.irqsave():
        cache.freelist_touched(Access.WRITE)
        memory = memory_of(slab)
        at = address + cache.geometry.offset - memory.address
        if 0 <= at <= len(memory.data) - WORD:
            memory.put_pointer(at, 0)  # the end of a list of one, before anybody looks
        if check_slab(slub, cache, slab):
            if slab.inuse < 1:
                slab_err(slub, cache, slab, "Slab has 0 allocated objects but 1 are to be freed\n")
            else:
                slab_err(slub, cache, slab, f"Invalid object pointer 0x{address:016x}")
    slab_fix(slub, cache, f"Object at 0x{address:016x} not freed")


@kernel_name("__free_slab")
def check_slab_before_free(slub: Slub, cache: KmemCache, slab: Slab) -> None:
    """Check a slab whose pages are about to go back: padding, and every object."""
    cache.freelist_touched(Access.WRITE)
    slab_pad_check(slub, cache, slab)
    for index in range(slab.objects):
        check_object(slub, cache, slab, index, RED_INACTIVE)


def _follow_freepointer(cache: KmemCache, slab: Slab, index: int) -> None:
    following = get_freepointer(cache, slab, index)
    if is_valid_pointer(cache, slab, following):
        slab.freelist = index_of(cache, slab, following)
    else:
        memory_of(slab).wild = following
        slab.freelist = index


def _alloc_consistency_checks(slub: Slub, cache: KmemCache, slab: Slab, index: int) -> bool:
    return check_slab(slub, cache, slab) and check_object(slub, cache, slab, index, RED_INACTIVE)


def _check_freed(slub: Slub, cache: KmemCache, slab: Slab, index: int) -> bool:
    """Whether an object may be freed; that it belongs to this cache was found out before."""
    if on_freelist(slub, cache, slab, index):
        object_err(slub, cache, slab, index, "Object already free")
        return False
    return check_object(slub, cache, slab, index, RED_ACTIVE)


def _write_chain(cache: KmemCache, slab: Slab, head: int, tail: int, count: int) -> list[int]:
    """Write the free pointers of objects to be freed, and list them: before anything is checked, as the kernel does.

    So an object that is free already loses what comes after it on the free list.  One object too many ends the list.
    """
    chain = [head]
    while chain[-1] != tail and len(chain) <= count:
        chain.append(slab.links[chain[-1]])
    slab.links[tail] = NIL
    for index in chain:
        set_freepointer(cache, slab, index, slab.links[index])
    return chain


def _trace(slub: Slub, cache: KmemCache, slab: Slab, index: int, *, alloc: bool) -> None:
    """Print that an object comes or goes, with SLAB_TRACE."""
    if not cache.flags & SLAB_TRACE:
        return
    address = object_address(cache, slab, index)
    what = "alloc" if alloc else "free"
    line = f"TRACE {cache.name} {what} 0x{address:016x} inuse={slab.inuse} fp=0x{get_freelist(cache, slab):016x}"
    section = [] if alloc else memory_of(slab).dump("Object ", place_of(cache, index), cache.object_size)
    for message in (line, *section, *dump_stack(slub.machine)):
        slub.machine.printk("info", message)
