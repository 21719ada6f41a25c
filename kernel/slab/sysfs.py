"""/sys/kernel/slab: which directories and links there are, which files each has, what they show and take.

Mirrors slab_attrs[], slab_attr_show(), slab_attr_store() and sysfs_slab_add() of mm/slub.c (6.1, with SLUB_DEBUG,
SLUB_CPU_PARTIAL, NUMA and ZONE_DMA, without FAILSLAB and KFENCE; the statistics files only where they are counted).  A
directory is named after its cache or, where others may be merged into it, after what all of them have in common; then
the names are links.  Who has found a directory holds no lock that keeps the cache alive.
"""

from __future__ import annotations

from errno import EACCES, ENOENT
from typing import TYPE_CHECKING

from ..stack import kernel_name
from .flags import (
    SLAB_CACHE_DMA,
    SLAB_CONSISTENCY_CHECKS,
    SLAB_HWCACHE_ALIGN,
    SLAB_POISON,
    SLAB_RECLAIM_ACCOUNT,
    SLAB_RED_ZONE,
    SLAB_STORE_USER,
    SLAB_TRACE,
    SLAB_TYPESAFE_BY_RCU,
)
from .merging import sysfs_directory
from .statistics import StatItem
from .sysfs_counts import COUNTED, show_cpu_slabs, show_slab_objects, show_slabs_cpu_partial, show_stat
from .sysfs_writes import (
    RATIO_UNIT,
    store_cpu_partial,
    store_min_partial,
    store_remote_node_defrag_ratio,
    store_shrink,
    store_stat,
    store_validate,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from .cache import KmemCache
    from .slub import Slub

SLASH = "!"
"""What stands for a slash in the name of a directory."""

FIELDS: dict[str, Callable[[KmemCache], int]] = {
    "aliases": lambda cache: max(cache.refcount - 1, 0),
    "align": lambda cache: cache.geometry.align,
    "object_size": lambda cache: cache.object_size,
    "objs_per_slab": lambda cache: cache.geometry.objects,
    "order": lambda cache: cache.geometry.order,
    "slab_size": lambda cache: cache.size,
    "usersize": lambda cache: cache.usersize,
}
"""What stands in the structure; a merge may raise some of it, and says so like every change of the list of caches."""

TUNABLES: dict[str, Callable[[KmemCache], int]] = {
    "cpu_partial": lambda cache: cache.cpu_partial,
    "min_partial": lambda cache: cache.min_partial,
    "remote_node_defrag_ratio": lambda cache: cache.remote_node_defrag_ratio // RATIO_UNIT,
}

FLAG_FILES = {
    "cache_dma": SLAB_CACHE_DMA,
    "destroy_by_rcu": SLAB_TYPESAFE_BY_RCU,
    "hwcache_align": SLAB_HWCACHE_ALIGN,
    "poison": SLAB_POISON,
    "reclaim_account": SLAB_RECLAIM_ACCOUNT,
    "red_zone": SLAB_RED_ZONE,
    "sanity_checks": SLAB_CONSISTENCY_CHECKS,
    "store_user": SLAB_STORE_USER,
    "trace": SLAB_TRACE,
}

OTHER_FILES = ("cpu_slabs", "ctor", "shrink", "slabs_cpu_partial", "validate")

STORES: dict[str, Callable[[Slub, KmemCache, str], Awaitable[int]]] = {
    "cpu_partial": store_cpu_partial,
    "min_partial": store_min_partial,
    "remote_node_defrag_ratio": store_remote_node_defrag_ratio,
    "shrink": store_shrink,
    "validate": store_validate,
}

STATISTICS = {item.name.lower(): item for item in StatItem}

ATTRIBUTES = tuple(sorted([*COUNTED, *FIELDS, *TUNABLES, *FLAG_FILES, *OTHER_FILES]))
"""The files every cache has, by name."""

WITH_STATISTICS = tuple(sorted([*ATTRIBUTES, *STATISTICS]))


def attributes(slub: Slub) -> tuple[str, ...]:
    """The files in every directory, by name."""
    return WITH_STATISTICS if slub.statistics else ATTRIBUTES


def sysfs_name(name: str) -> str:
    """How a cache's name is written in a path."""
    return name.replace("/", SLASH)


def directories(slub: Slub) -> dict[str, KmemCache]:
    """The directories and their caches, by name; in a step that has awaited ``read_list``, or at the end of a run."""
    found = {sysfs_name(sysfs_directory(cache, slub.tunables)): cache for cache in slub.slab_caches}
    return {name: found[name] for name in sorted(found)}


def links(slub: Slub) -> dict[str, str]:
    """The links and the directories they lead to, by name; see `directories`."""
    found = {sysfs_name(name): sysfs_name(sysfs_directory(cache, slub.tunables)) for name, cache in slub.names.items()}
    return {name: found[name] for name in sorted(found) if name != found[name]}


async def look_up_directory(slub: Slub, name: str) -> KmemCache | None:
    """The cache whose directory `name` is, or leads to."""
    cache = await slub.look_up(name)
    if cache is None and name.startswith(":"):
        cache = directories(slub).get(name)
    if cache is None and SLASH in name:
        cache = next((slub.names[other] for other in slub.names if sysfs_name(other) == name), None)
    return cache


@kernel_name("slab_attr_show")
async def read_attribute(slub: Slub, cache: KmemCache, attribute: str) -> str:
    """The text of an attribute file, one of `attributes`; who calls holds an active reference to it."""
    if attribute in COUNTED:
        return await show_slab_objects(slub, cache, COUNTED[attribute])
    if attribute in FIELDS:
        return f"{FIELDS[attribute](cache)}\n"
    if attribute in TUNABLES:
        await cache.read_nr_partial
        return f"{TUNABLES[attribute](cache)}\n"
    if attribute in FLAG_FILES:
        return f"{int(bool(cache.flags & FLAG_FILES[attribute]))}\n"
    match attribute:
        case "cpu_slabs":
            return await show_cpu_slabs(slub, cache)
        case "slabs_cpu_partial":
            return await show_slabs_cpu_partial(slub, cache)
        case "ctor":
            return "" if cache.ctor is None else f"{getattr(cache.ctor, '__name__', 'ctor')}+0x0/0x10\n"
        case "shrink" | "validate":
            return ""
    return await show_stat(slub, cache, STATISTICS[attribute])


def takes_something(slub: Slub, attribute: str) -> bool:
    """Whether a file can be opened for writing."""
    return attribute in STORES or (slub.statistics and attribute in STATISTICS)


@kernel_name("slab_attr_store")
async def write_attribute(slub: Slub, cache: KmemCache, attribute: str, value: str) -> int:
    """Write to an attribute file; 0 or a negative errno.  Nothing can be opened for writing that takes nothing."""
    if attribute in STORES:
        return await STORES[attribute](slub, cache, value)
    if slub.statistics and attribute in STATISTICS:
        return await store_stat(slub, cache, STATISTICS[attribute], value)
    return -EACCES if attribute in ATTRIBUTES else -ENOENT
