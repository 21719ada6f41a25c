"""The parts of one object in the memory of a slab under debugging, and the free list that runs through them.

Mirrors get_freepointer(), set_freepointer(), check_valid_pointer(), init_object(), init_tracking(), set_orig_size()
and __fill_map() of mm/slub.c (6.1), without SLAB_FREELIST_HARDENED: pointers are stored as they are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .cache import NIL
from .debug_memory import POISON_END, POISON_FREE, RED_ACTIVE, Track
from .flags import OBJECT_POISON, SLAB_KMALLOC, SLAB_RED_ZONE, SLAB_STORE_USER
from .sizing import WORD

if TYPE_CHECKING:
    from ..machine import Machine
    from .cache import KmemCache, Slab
    from .debug_memory import DebugMemory
    from .slub import Slub

ENTRY_POINTS = ("kmem_cache_alloc", "kmem_cache_free", "kmalloc", "__kmalloc", "kfree")
"""How the names of the functions begin that users of SLUB call."""


def memory_of(slab: Slab) -> DebugMemory:
    """The memory of a slab of a cache under debugging, which always has one."""
    if slab.memory is None:
        raise AssertionError(f"slab of {slab.cache.name} has no memory to check")
    return slab.memory


def slab_address(slab: Slab) -> int:
    """Where the pages of a slab begin: before its first object, if that has a red zone on its left."""
    return slab.base - left_pad(slab.cache)


def left_pad(cache: KmemCache) -> int:
    """Bytes of the left red zone."""
    return cache.geometry.red_left_pad if cache.flags & SLAB_RED_ZONE else 0


def object_address(cache: KmemCache, slab: Slab, index: int) -> int:
    """The address of an object; `NIL` is the null pointer."""
    return 0 if index == NIL else slab.base + index * cache.size


def place_of(cache: KmemCache, index: int) -> int:
    """Where an object begins in the memory of its slab."""
    return left_pad(cache) + index * cache.size


def index_of(cache: KmemCache, slab: Slab, address: int) -> int:
    """The number of the object at a valid `address`; that of the null pointer is `NIL`."""
    return (address - slab.base) // cache.size if address else NIL


def is_valid_pointer(cache: KmemCache, slab: Slab, address: int) -> bool:
    """Whether `address` is null or that of an object of the slab (``check_valid_pointer``)."""
    return not address or (
        slab.base <= address < slab.base + slab.objects * cache.size and not (address - slab.base) % cache.size
    )


def freeptr_outside_object(cache: KmemCache) -> bool:
    """Whether the free pointer has a place of its own, behind the object."""
    return cache.geometry.offset >= cache.inuse


def get_info_end(cache: KmemCache) -> int:
    """The end of object and free pointer, from the start of the object: where tracks begin, if there are any."""
    return cache.inuse + WORD if freeptr_outside_object(cache) else cache.inuse


def metadata_end(slub: Slub, cache: KmemCache) -> int:
    """The end of all that means something, from the start of the object: where padding begins."""
    end = get_info_end(cache)
    if cache.flags & SLAB_STORE_USER:
        end += 2 * slub.variants.sizing.track_size
        if keeps_requested_size(slub, cache):
            end += 4
    return end


def keeps_requested_size(slub: Slub, cache: KmemCache) -> bool:
    """Whether the requested size is kept with each object (``slub_debug_orig_size``)."""
    wanted = SLAB_STORE_USER | SLAB_KMALLOC
    return cache.flags & wanted == wanted and slub.variants.sizing.keeps_requested_size


def size_from_object(cache: KmemCache) -> int:
    """Bytes from the start of an object to the left red zone of the next."""
    return cache.size - left_pad(cache)


def get_freepointer(cache: KmemCache, slab: Slab, index: int) -> int:
    """The free pointer stored in an object, whatever it is worth."""
    return memory_of(slab).pointer(place_of(cache, index) + cache.geometry.offset)


def set_freepointer(cache: KmemCache, slab: Slab, index: int, following: int) -> None:
    """Make `following` the next free object after `index`."""
    slab.links[index] = following
    at = place_of(cache, index) + cache.geometry.offset
    memory_of(slab).put_pointer(at, object_address(cache, slab, following))


def get_freelist(cache: KmemCache, slab: Slab) -> int:
    """``slab->freelist``: the address of the first free object, or a wild pointer."""
    wild = slab.memory.wild if slab.memory is not None else 0
    return wild or object_address(cache, slab, slab.freelist)


def clear_freelist(slab: Slab) -> None:
    """Give up all that is free in a slab: it counts as full from now on."""
    slab.freelist = NIL
    slab.inuse = slab.objects
    memory_of(slab).wild = 0


def fill_map(cache: KmemCache, slab: Slab) -> int:
    """A bit for each object on the free list (``__fill_map``), as far as the list is one."""
    mask = 0
    address = get_freelist(cache, slab)
    while address and is_valid_pointer(cache, slab, address):
        index = index_of(cache, slab, address)
        if mask >> index & 1:
            break  # the kernel would go round for ever
        mask |= 1 << index
        if slab.memory is None:
            address = object_address(cache, slab, slab.links[index])
        else:
            address = get_freepointer(cache, slab, index)
    return mask


def init_object(slub: Slub, cache: KmemCache, slab: Slab, index: int, red: int) -> None:
    """Fill the red zones of an object with `red`, and the object with poison.

    From 6.2 (946fa0dbf2d8) what a kmalloc object in use has beyond the size that was asked for is red zone.
    """
    memory, at = memory_of(slab), place_of(cache, index)
    size = cache.object_size if red != RED_ACTIVE else red_zone_start(slub, cache, slab, index)
    if cache.flags & SLAB_RED_ZONE:
        pad = left_pad(cache)
        memory.fill(at - pad, pad, red)
    if cache.flags & OBJECT_POISON:
        memory.fill(at, size - 1, POISON_FREE)
        memory.fill(at + size - 1, 1, POISON_END)
    if cache.flags & SLAB_RED_ZONE:
        memory.fill(at + size, cache.inuse - size, red)


def init_tracking(slub: Slub, cache: KmemCache, slab: Slab, index: int) -> None:
    """Nobody has used this object yet."""
    if cache.flags & SLAB_STORE_USER:
        memory = memory_of(slab)
        memory.fill(place_of(cache, index) + get_info_end(cache), 2 * slub.variants.sizing.track_size, 0)
        memory.allocated.pop(index, None)
        memory.freed.pop(index, None)


def get_orig_size(slub: Slub, cache: KmemCache, slab: Slab, index: int) -> int:
    """The size that was asked of a kmalloc cache; of other caches that of their objects."""
    if not keeps_requested_size(slub, cache):
        return cache.object_size
    return memory_of(slab).unsigned_int(_place_of_orig_size(slub, cache, index))


def red_zone_start(slub: Slub, cache: KmemCache, slab: Slab, index: int) -> int:
    """Where the right red zone of an object in use begins, from its start."""
    if cache.flags & SLAB_RED_ZONE and slub.variants.sizing.red_zone_from_request:
        return get_orig_size(slub, cache, slab, index)
    return cache.object_size


def _place_of_orig_size(slub: Slub, cache: KmemCache, index: int) -> int:
    return place_of(cache, index) + get_info_end(cache) + 2 * slub.variants.sizing.track_size


def set_orig_size(slub: Slub, cache: KmemCache, slab: Slab, index: int, orig_size: int) -> None:
    """Keep the size that was asked of a kmalloc cache."""
    if keeps_requested_size(slub, cache):
        memory_of(slab).put_unsigned_int(_place_of_orig_size(slub, cache, index), orig_size)


def init_early_object(slub: Slub, cache: KmemCache, slab: Slab, index: int) -> None:
    """Mark an object in use that was taken by hand while booting."""
    init_object(slub, cache, slab, index, RED_ACTIVE)
    init_tracking(slub, cache, slab, index)


def track_of(machine: Machine) -> Track:
    """Who uses an object at this moment: the function that called SLUB, and from where (``set_track_prepare``)."""
    stack = machine.stack()
    entry = next((at for at, name in enumerate(stack) if name.startswith(ENTRY_POINTS)), len(stack))
    while entry + 1 < len(stack) and stack[entry + 1].startswith(ENTRY_POINTS):
        entry += 1
    function = stack[entry + 1] if entry + 1 < len(stack) else "user mode"
    running = machine.running
    return Track(function, stack[entry:], machine.smp_processor_id(), running.pid, machine.jiffies)
