"""The files of /proc and /sys by path: who reads them, who takes what is written.

A directory is read as the list of what is in it, as ``ls`` prints it.  Finding a file is one step, which looks at the
list of caches; what its reader or writer then does are steps of their own.
"""

from __future__ import annotations

from errno import EACCES, EINVAL, EISDIR, ENOENT, ENOTDIR, errorcode
from typing import TYPE_CHECKING

from ..actors import Access
from .cpu_hotplug.sysfs import is_of_cpus, read_cpu_file, write_cpu_file
from .kernfs import kernfs_read, kernfs_write
from .memcg.files import is_of_cgroups, read_cgroup_file, write_cgroup_file
from .memory_hotplug.files import is_of_memory, read_memory_file, write_memory_file
from .proc_pages import buddyinfo_text, node_list, zoneinfo_text
from .shrinker.debugfs import is_of_shrinkers
from .slab.flags import SLAB_RECLAIM_ACCOUNT
from .slab.procfs import read_slabinfo
from .slab.sysfs import ATTRIBUTES, STATISTICS, attributes, directories, links, look_up_directory, takes_something
from .slab.sysfs import read_attribute as read_slab_attribute
from .slab.sysfs import write_attribute as write_slab_attribute
from .slab.sysfs_directory import SLAB_FOLDER, find_file
from .stack import part_of_caller

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from .machine import Machine
    from .node_states import NodeMask, NodeStates
    from .shrinker.debugfs import ShrinkerDebugfs
    from .shrinker.walks import ShrinkerProtocol

NODE_FOLDER = "/sys/devices/system/node"
SLAB_FILES = (*ATTRIBUTES, *STATISTICS)
"""What a directory of `SLAB_FOLDER` may have in it; statistics only where they are counted."""


DROP_CACHES = ("1", "2", "3", "4")
DROP_SLAB = 2


async def _slabinfo(machine: Machine) -> str:
    return await read_slabinfo(machine.slab)


async def _zoneinfo(machine: Machine) -> str:
    return await zoneinfo_text(machine, lambda node: _slab_pages(machine, node))


def _slab_pages(machine: Machine, node: int) -> Mapping[str, int]:
    """Pages of slabs on a node: what ``NR_SLAB_RECLAIMABLE_B`` and ``NR_SLAB_UNRECLAIMABLE_B`` count."""
    slub = machine.slab
    touch = machine.interleaver.touch
    if touch is not None:
        for cache in slub.slab_caches:
            touch(cache.counters, Access.READ)
        touch(slub.list_resource, Access.READ)
    reclaimable = unreclaimable = 0
    for slab in slub.slabs.values():  # an entry for each page
        if slab.node == node:
            if slab.cache.geometry.flags & SLAB_RECLAIM_ACCOUNT:
                reclaimable += 1
            else:
                unreclaimable += 1
    return {"nr_slab_reclaimable": reclaimable, "nr_slab_unreclaimable": unreclaimable}


def _nodes(which: Callable[[NodeStates], NodeMask]) -> Callable[[Machine], Awaitable[str]]:
    async def read_nodes(machine: Machine) -> str:
        await machine.pages.states.read
        return node_list(which(machine.pages.states)) + "\n"

    return read_nodes


FILES: dict[str, Callable[[Machine], Awaitable[str]]] = {
    "/proc/buddyinfo": buddyinfo_text,
    "/proc/slabinfo": _slabinfo,
    "/proc/zoneinfo": _zoneinfo,
    f"{NODE_FOLDER}/has_cpu": _nodes(lambda states: states.cpu),
    f"{NODE_FOLDER}/has_memory": _nodes(lambda states: states.memory),
    f"{NODE_FOLDER}/has_normal_memory": _nodes(lambda states: states.normal_memory),
    f"{NODE_FOLDER}/online": _nodes(lambda states: states.online),
    f"{NODE_FOLDER}/possible": _nodes(lambda states: states.possible),
}
"""Files with a fixed path; the others are in `SLAB_FOLDER`."""


async def read_file(machine: Machine, path: str) -> str | int:
    """The text of a file, or what is in a directory; a negative errno where there is neither."""
    path = path.rstrip("/")
    if path in FILES:
        return await FILES[path](machine)
    if machine.cgroups is not None and is_of_cgroups(path):
        return await read_cgroup_file(machine.cgroups, path)
    if is_of_shrinkers(path):
        found = _shrinker_files(machine)
        return -ENOENT if found is None else await found[0].read(found[1], path)
    if is_of_memory(path):
        return await read_memory_file(machine.memory_hotplug, path)
    if is_of_cpus(path):
        return await read_cpu_file(machine, path)
    if path == SLAB_FOLDER:
        await machine.slab.read_list
        return _listed([*directories(machine.slab), *links(machine.slab)])
    if not path.startswith(f"{SLAB_FOLDER}/"):
        return -ENOENT
    name, slash, attribute = path.removeprefix(f"{SLAB_FOLDER}/").partition("/")
    cache = await look_up_directory(machine.slab, name)
    if cache is None:
        return -ENOENT
    if not slash:
        return _listed(attributes(machine.slab))
    if "/" in attribute:
        return -ENOTDIR if attribute.partition("/")[0] in attributes(machine.slab) else -ENOENT
    file = find_file(machine.slab, cache, attribute) if attribute in attributes(machine.slab) else None
    if file is None:
        return -ENOENT

    @part_of_caller
    async def show() -> str | int:
        return await read_slab_attribute(machine.slab, cache, attribute)

    return await kernfs_read(file, show)


def _listed(names: list[str] | tuple[str, ...]) -> str:
    return "".join(f"{name}\n" for name in sorted(names))


async def _drop_caches(machine: Machine, value: str) -> int:
    """``drop_caches_sysctl_handler``: 2 and 3 have shrinkers give objects back; 1 and 4 concern nothing here."""
    if value.strip() not in DROP_CACHES:
        return -EINVAL
    if int(value) & DROP_SLAB and machine.reclaim is not None:
        await machine.reclaim.drop_slab()
    return 0


async def write_file(machine: Machine, path: str, value: str) -> int:
    """Write to a file; 0 or a negative errno."""
    path = path.rstrip("/")
    if path == "/proc/sys/vm/drop_caches":
        return await _drop_caches(machine, value)
    if path in FILES:
        return -EACCES
    if machine.cgroups is not None and is_of_cgroups(path):
        return await write_cgroup_file(machine.cgroups, path, value)
    if is_of_shrinkers(path):
        found = _shrinker_files(machine)
        return -ENOENT if found is None else await found[0].write(found[1], path, value)
    if is_of_memory(path):
        return await write_memory_file(machine.memory_hotplug, path, value)
    if is_of_cpus(path):
        return await write_cpu_file(machine, path, value)
    name, slash, attribute = path.removeprefix(f"{SLAB_FOLDER}/").partition("/")
    if path == SLAB_FOLDER or (path.startswith(f"{SLAB_FOLDER}/") and not slash):
        return -EISDIR
    if not path.startswith(f"{SLAB_FOLDER}/"):
        return -ENOENT
    cache = await look_up_directory(machine.slab, name)
    if cache is None or attribute not in attributes(machine.slab):
        return -ENOENT
    if not takes_something(machine.slab, attribute):
        return -EACCES
    file = find_file(machine.slab, cache, attribute)
    if file is None:
        return -ENOENT

    @part_of_caller
    async def store() -> int:
        return await write_slab_attribute(machine.slab, cache, attribute, value)

    return await kernfs_write(file, store)


def _shrinker_files(machine: Machine) -> tuple[ShrinkerDebugfs, ShrinkerProtocol] | None:
    shrinkers = machine.shrinkers
    if shrinkers is None or shrinkers.registry.debugfs is None:
        return None
    return shrinkers.registry.debugfs, shrinkers.protocol


def error_name(error: int) -> str:
    """Such as ``EINVAL`` for -22."""
    return errorcode.get(-error, str(error))
