"""A cache's directory in /sys/kernel/slab: its files are there until it is removed, and removing it waits for readers.

Mirrors sysfs_slab_add(), sysfs_slab_alias(), sysfs_slab_unlink() of mm/slub.c and kobject_del() (6.1).  Who has found a
directory holds no lock that keeps the cache alive: an active reference to the file does, for the remover waits until
there is none (`kernel/kernfs.py`).  So what the remover holds meanwhile must not be taken by any show or store
function: that is why the releases differ in *when* they remove (`cache_release`).

Links are not waited for: nobody is ever in a function of one.  The names of a cache stay taken until the last
reader has gone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..kernfs import kernfs_remove
from .sysfs import attributes, sysfs_name

if TYPE_CHECKING:
    from ..kernfs import KernfsDirectory, KernfsNode
    from .cache import KmemCache
    from .slub import Slub

SLAB_FOLDER = "/sys/kernel/slab"


def find_file(slub: Slub, cache: KmemCache, attribute: str) -> KernfsNode | None:
    """A file of a cache's directory, in the step that has found the cache by name; None where it is being removed."""
    directory = slub.directories.get(cache)
    if directory is None:
        path = f"{SLAB_FOLDER}/{sysfs_name(cache.name)}"
        directory = slub.directories[cache] = slub.machine.kernfs.directory(path, cache.counters)
    return directory.file(attribute)


async def sysfs_slab_unlink(slub: Slub, cache: KmemCache) -> None:
    """Take a cache out of sysfs, all its names included; waits until nobody is in a function of its files."""
    if (fire := slub.machine.tracepoints.sysfs_slab_unlink.fire) is not None:
        fire(cache.name)
    await kobject_del(slub, slub.directories.get(cache))
    slub.directories.pop(cache, None)
    slub.forget_names(cache)


async def kobject_del(slub: Slub, directory: KernfsDirectory | None) -> None:
    """Remove a directory with all files in it, those that anybody has used and the others."""
    if directory is not None:
        await kernfs_remove(directory, slub.list_changes)
    slub.machine.kernfs.drain_unused(attributes(slub))
