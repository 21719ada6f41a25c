"""Creating caches, and the boot caches that must exist first.

Mirrors kmem_cache_create_usercopy() and create_cache() of mm/slab_common.c, kmem_cache_open(), init_kmem_cache_nodes(),
early_kmem_cache_node_alloc() and kmem_cache_init() of mm/slub.c (6.1).
"""

from __future__ import annotations

from errno import EEXIST, EINVAL, ENOMEM
from typing import TYPE_CHECKING

from ..fault import fails
from ..memory import allocated
from ..pages import GFP_KERNEL
from .allocate import kmem_cache_alloc, kmem_cache_alloc_node
from .cache import KMEM_CACHE_NODE_SIZE, KmemCache, kmem_cache_size
from .debug_object import init_early_object
from .flags import CACHE_CREATE_MASK, SLAB_FLAGS_PERMITTED, SLAB_HWCACHE_ALIGN, SLAB_PANIC
from .free import kmem_cache_free
from .geometry import calculate_sizes
from .kmalloc import kmalloc_caches_wanted
from .merging import add_alias, find_mergeable, is_unmergeable, padded_size
from .new_slab import new_slab
from .node import add_partial, init_kmem_cache_node
from .recorded import as_recorded

if TYPE_CHECKING:
    from ..memcg.params import ChildParams
    from .cache import Constructor
    from .geometry import Geometry
    from .slub import Slub

NEVER_MERGED = -1
"""The reference count of caches that are nobody else's business."""

MIN_TO_SHUFFLE = 2


async def kmem_cache_create(
    slub: Slub,
    name: str,
    size: int,
    align: int = 0,
    flags: int = 0,
    *,
    ctor: Constructor | None = None,
    useroffset: int = 0,
    usersize: int = 0,
) -> KmemCache | None:
    """Create a cache of objects of `size` bytes, or use one that is there already; None (and a message) on failure.

    `ctor` is called with the address of each object of a new slab; `useroffset` and `usersize` say which bytes of an
    object may be copied to user space.  A cache that cannot be merged must have a name of its own.
    """
    machine = slub.machine
    if not 0 < usersize <= size or useroffset > size - usersize:
        usersize = useroffset = 0
    locks = slub.variants.slab_locks.creating(slub)
    async with locks if slub.memcg is None else slub.memcg.creating(locks), slub.slab_mutex:
        cache, error = None, EINVAL
        if not flags & ~SLAB_FLAGS_PERMITTED:
            flags &= CACHE_CREATE_MASK
            if not usersize:
                cache = kmem_cache_alias(slub, name, size, align, flags, ctor)
            if cache is None:
                cache, error = await _create_cache(slub, name, size, align, flags, ctor, useroffset, usersize)
    if cache is None:
        message = f"kmem_cache_create_usercopy({name}) failed with error -{error}"
        machine.printk("warning", message)
        if flags & SLAB_PANIC:
            machine.kernel_bug(f"{message} and SLAB_PANIC is set")
    return cache


def kmem_cache_alias(
    slub: Slub, name: str, size: int, align: int, flags: int, ctor: Constructor | None
) -> KmemCache | None:
    """A cache that serves this purpose as well, now known under `name` too; under ``slab_mutex``."""
    candidates = slub.mergeable.get(padded_size(size, align, flags), ())
    cache = find_mergeable(candidates, name, size, align, flags, ctor=ctor is not None, tunables=slub.tunables)
    if cache is None:
        return None
    add_alias(cache, size)
    slub.list_changes()
    slub.names[name] = cache
    cache.aliases = (*cache.aliases, name)
    slub.machine.count("caches_merged")
    return cache


async def _create_cache(
    slub: Slub,
    name: str,
    size: int,
    align: int,
    flags: int,
    ctor: Constructor | None,
    useroffset: int,
    usersize: int,
) -> tuple[KmemCache | None, int]:
    """``create_cache``: the cache, or the error number."""
    try:
        geometry = geometry_of(slub, name, size, align, flags, ctor=ctor is not None)
    except ValueError as error:
        slub.machine.printk("warning", f"{name}: {error}")
        return None, EINVAL
    cache, error_number = await make_cache(slub, name, geometry, ctor=ctor, useroffset=useroffset, usersize=usersize)
    if cache is not None and slub.memcg is not None:
        slub.memcg.link(cache)
    return cache, error_number


async def make_cache(
    slub: Slub,
    name: str,
    geometry: Geometry,
    *,
    ctor: Constructor | None = None,
    useroffset: int = 0,
    usersize: int = 0,
    refcount: int = 1,
    memcg_params: ChildParams | None = None,
) -> tuple[KmemCache | None, int]:
    """A cache of known geometry, on the list and in sysfs, or the error number; under ``slab_mutex``."""
    machine = slub.machine
    address = None if fails(machine) else await kmem_cache_alloc(slub, slub.kmem_cache, GFP_KERNEL)
    if address is None:
        return None, ENOMEM
    cache = KmemCache(
        machine.interleaver,
        name,
        geometry,
        address=address,
        ctor=ctor,
        useroffset=useroffset,
        usersize=usersize,
    )
    cache.refcount = refcount
    cache.memcg_params = memcg_params
    allocated(machine, cache, "struct kmem_cache", "kmem_cache", address, slub.kmem_cache.object_size)
    slub.structures[address] = cache
    if slub.freelist_random:
        cache.random_seq = random_sequence(slub, geometry.objects)
    if not await init_kmem_cache_nodes(slub, cache):
        await kmem_cache_free(slub, slub.kmem_cache, address)
        return None, ENOMEM
    if not publish(slub, cache):
        machine.printk("warning", f"sysfs: cannot create duplicate filename '/kernel/slab/{name}'")
        await free_kmem_cache_nodes(slub, cache)
        await kmem_cache_free(slub, slub.kmem_cache, address)
        return None, EEXIST
    machine.count("caches_created")
    if (fire := machine.tracepoints.kmem_cache_create.fire) is not None:
        flags = geometry.flags & CACHE_CREATE_MASK
        fire(name, address, cache.object_size, cache.size, geometry.align, flags, geometry.order, geometry.objects)
    return cache, 0


def geometry_of(slub: Slub, name: str, size: int, align: int, flags: int, *, ctor: bool) -> Geometry:
    """The geometry of a cache called `name` under the boot parameters and the release that run.

    Raises:
        ValueError: no slab holds such an object.
    """
    tunables = slub.tunables
    flags = tunables.debug.cache_flags(name, flags)
    geometry = calculate_sizes(size, align, flags, ctor=ctor, tunables=tunables, sizing=slub.variants.sizing)
    row = slub.recorded.get(name)
    return geometry if row is None else as_recorded(geometry, row, slub.variants.sizing)


def publish(slub: Slub, cache: KmemCache) -> bool:
    """Put a new cache on the list and into sysfs; false if its directory exists.  Under ``slab_mutex``.

    The directory of a cache that cannot be merged has its name; the others' names are links, which give way.
    """
    there = slub.names.get(cache.name)
    if there is None or not is_unmergeable(there, slub.tunables):
        slub.names[cache.name] = cache
    elif is_unmergeable(cache, slub.tunables):
        return False
    slub.list_changes()
    slub.slab_caches[cache] = None
    if not is_unmergeable(cache, slub.tunables):
        slub.mergeable.setdefault(cache.size, {})[cache] = None
    return True


def random_sequence(slub: Slub, objects: int) -> tuple[int, ...] | None:
    """The order in which a cache's slabs hand out their objects (``cache_random_seq_create``)."""
    if objects < MIN_TO_SHUFFLE:
        return None
    sequence = list(range(objects))
    for last in range(objects - 1, 0, -1):
        drawn = slub.machine.interleaver.choose("freelist order", last + 1)
        sequence[last], sequence[drawn] = sequence[drawn], sequence[last]
    return tuple(sequence)


async def init_kmem_cache_nodes(slub: Slub, cache: KmemCache) -> bool:
    """Give a new cache its structure on every node that has one; false where memory ran out."""
    for node in list(await slub.variants.node_tracking.nodes_of_new_cache(slub)):
        address = None
        if not fails(slub.machine):
            address = await kmem_cache_alloc_node(slub, slub.kmem_cache_node, GFP_KERNEL, node)
        if address is None:
            await free_kmem_cache_nodes(slub, cache)
            return False
        n = init_kmem_cache_node(slub, cache, node, address)
        await cache.write_node
        cache.node[node] = n
    return True


async def free_kmem_cache_nodes(slub: Slub, cache: KmemCache) -> None:
    """Free the structures of a cache that is on no list."""
    for node in list(cache.node):
        n = cache.node.pop(node)
        await kmem_cache_free(slub, slub.kmem_cache_node, n.list_lock.address)


async def kmem_cache_init(slub: Slub) -> None:
    """The boot caches: ``kmem_cache_node``, whose own structures are among its objects, and ``kmem_cache``."""
    for node in slub.machine.pages.states.normal_memory:
        slub.slab_nodes.set(node)
    slub.kmem_cache_node = await _boot_cache(slub, "kmem_cache_node", KMEM_CACHE_NODE_SIZE)
    slub.kmem_cache = await _boot_cache(slub, "kmem_cache", kmem_cache_size(slub.machine))
    # Once both are there, they move into themselves, and onto the list, in the order of the calls of bootstrap().
    publish(slub, slub.kmem_cache)
    publish(slub, slub.kmem_cache_node)


async def _boot_cache(slub: Slub, name: str, size: int) -> KmemCache:
    machine = slub.machine
    geometry = geometry_of(slub, name, size, 0, SLAB_HWCACHE_ALIGN, ctor=False)
    cache = KmemCache(machine.interleaver, name, geometry, address=machine.static_address(kmem_cache_size(machine)))
    cache.refcount = NEVER_MERGED
    cache.holds_structures = True
    if name == "kmem_cache_node":
        for node in machine.pages.states.normal_memory:
            await early_kmem_cache_node_alloc(slub, cache, node)
    else:
        await init_kmem_cache_nodes(slub, cache)
    return cache


async def early_kmem_cache_node_alloc(slub: Slub, cache: KmemCache, node: int) -> None:
    """The structure of ``kmem_cache_node`` itself on `node`: the first object of a slab that nobody could count yet."""
    slab = await new_slab(slub, cache, GFP_KERNEL, node)
    if slab is None:
        slub.machine.kernel_bug("no memory for the first kmem_cache_node")
    index = slab.freelist
    slab.freelist = slab.links[index]
    slab.live = 1 << index
    slab.inuse = 1
    if cache.debug:
        init_early_object(slub, cache, slab, index)
    n = init_kmem_cache_node(slub, cache, slab.node, slab.base + index * cache.size)
    cache.node[node] = n
    n.nr_slabs = 1
    n.total_objects = slab.objects
    add_partial(n, slab, tail=False)


async def create_kmalloc_caches(slub: Slub) -> None:
    """The caches ``kmalloc`` allocates from, of each type and size."""
    for wanted in kmalloc_caches_wanted(accounting=slub.kmem_accounting):
        cache, error = await _create_cache(
            slub, wanted.name, wanted.size, wanted.align, wanted.flags, None, 0, wanted.usersize
        )
        if cache is None:
            slub.machine.kernel_bug(f"Out of memory when creating slab {wanted.name}: error {error}")
        cache.refcount = wanted.refcount
        slub.kmalloc_caches[wanted.type, wanted.index] = cache
