"""/sys/kernel/debug/shrinker: what a shrinker has, and having it scan, by hand.

Mirrors shrinker_debugfs_count_show(), shrinker_debugfs_scan_write(), shrinker_debugfs_add() and
shrinker_debugfs_remove() of mm/shrinker_debug.c (6.1; it is there from 6.0, from memory) and, of 6.7, that a directory
is detached under the writers' lock and removed once that is dropped, before the shrinker may go (catalogue S4).  The
6.1 that was read removes it under ``shrinker_rwsem``, for which its readers wait: a deadlock, which stable releases and
6.2 fixed (from memory).  Here every release has the fix.

======================== ============================ =======================================================
what                     changed in the step of       looked at
======================== ============================ =======================================================
``entries``, ``ids``     ``shrinker_list``            in one step on ``shrinker_list``
``entry.directory``      the same                     the same; by who removes it, once it is detached
======================== ============================ =======================================================

Who is in a function of a file holds the file, and removing waits for all who do: that is a reference to the shrinker.
Up to 6.6 both functions take the read side of ``shrinker_rwsem`` as well (`Walks.asking`).  So nobody may remove a
directory under that lock; ``s_umount``, which is held, is taken by scans by trylock only.

Relaxed: debugfs counts users per open file, as kernfs does here, and lockdep is told as of kernfs.  A directory can no
more be found once it is detached; in the kernel its name stays until it is removed.  Directories, and the step that
gives an id back late, are only there where somebody has used a file.  The number of a cgroup is its place in the order
of birth, in the place of an inode's.
"""

from __future__ import annotations

import re
from errno import EACCES, EINVAL, EIO, EISDIR, ENOENT, ENOTDIR
from typing import TYPE_CHECKING

from ...actors import Access
from ..kernfs import kernfs_remove
from ..pages import GFP_KERNEL
from ..stack import kernel_name, part_of_caller
from .arithmetic import SHRINK_EMPTY
from .iterate import mem_cgroup_iter, mem_cgroup_iter_break
from .shrinker import SHRINKER_MEMCG_AWARE, SHRINKER_NUMA_AWARE, ShrinkControl, Shrinker

if TYPE_CHECKING:
    from ..kernfs import KernfsDirectory, KernfsNode
    from ..machine import Machine
    from ..memcg import Cgroups, MemCgroup
    from .registry import Registry
    from .walks import ShrinkerProtocol

FOLDER = "/sys/kernel/debug/shrinker"
COUNT, SCAN = "count", "scan"
FILES = (COUNT, SCAN)
MAX_WRITTEN = 71
_REQUEST = re.compile(r"\s*([0-9]+)\s+(-?[0-9]+)\s+([0-9]+)", re.ASCII)


def is_of_shrinkers(path: str) -> bool:
    """Whether a path is the folder, or in it."""
    return f"{path}/".startswith(f"{FOLDER}/")


class DebugfsEntry:
    """The directory of one shrinker; ``directory`` is None until a file of it is used."""

    __slots__ = ("directory", "id", "name", "shrinker")

    def __init__(self, shrinker: Shrinker, number: int) -> None:
        self.shrinker = shrinker
        self.id = number
        self.name = f"{shrinker.name}-{number}"
        self.directory: KernfsDirectory | None = None


class ShrinkerDebugfs:
    """The folder, and the directories in it by name."""

    def __init__(self, machine: Machine, registry: Registry, cgroups: Cgroups | None) -> None:
        self._machine = machine
        self._registry = registry
        self._cgroups = cgroups
        self.entries: dict[str, DebugfsEntry] = {}
        self.ids: dict[int, None] = {}

    # --- coming and going

    @part_of_caller
    def add(self, shrinker: Shrinker) -> None:
        """Under the writers' lock, as part of the step that puts a shrinker on the list."""
        number = 0
        while number in self.ids:
            number += 1
        self.ids[number] = None
        shrinker.debugfs_entry = entry = DebugfsEntry(shrinker, number)
        self.entries[entry.name] = entry

    @part_of_caller
    def detach(self, shrinker: Shrinker) -> None:
        """Under the writers' lock, as part of the step that takes a shrinker off the list: nobody finds it."""
        entry = shrinker.debugfs_entry
        if entry is not None:
            del self.entries[entry.name]
            if entry.directory is None:
                del self.ids[entry.id]
                shrinker.debugfs_entry = None

    @kernel_name("debugfs_remove_recursive")
    async def remove(self, shrinker: Shrinker) -> None:
        """Wait until nobody is in a function of its files; without the writers' lock."""
        entry = shrinker.debugfs_entry
        if entry is None or entry.directory is None:
            return
        await kernfs_remove(entry.directory, lambda: None)
        await self._registry.write_list
        del self.ids[entry.id]
        shrinker.debugfs_entry = None

    # --- files

    async def read(self, protocol: ShrinkerProtocol, path: str) -> str | int:
        """The text of a file, or what is in a directory; a negative errno where there is neither."""
        name, _, attribute = path.removeprefix(FOLDER).strip("/").partition("/")
        await self._registry.read_list
        if not name:
            return "".join(f"{entry}\n" for entry in sorted(self.entries))
        entry = self.entries.get(name)
        if entry is None:
            return -ENOENT
        if not attribute:
            return "".join(f"{file}\n" for file in FILES)
        if attribute != COUNT:
            return -EINVAL if attribute == SCAN else _missing(attribute)
        node = self._file(entry, attribute)
        if node is None or not await self._get(node, entry.shrinker):
            return -EIO
        text = await self._count_show(protocol, self._machine.rcu.loaded(entry.shrinker))
        await self._put(node, entry.shrinker)
        return text

    async def write(self, protocol: ShrinkerProtocol, path: str, text: str) -> int:
        """Write to a file; 0 or a negative errno."""
        name, _, attribute = path.removeprefix(FOLDER).strip("/").partition("/")
        await self._registry.read_list
        entry = self.entries.get(name)
        if entry is None:
            return -ENOENT if name else -EISDIR
        if attribute != SCAN:
            return -EISDIR if not attribute else -EACCES if attribute == COUNT else _missing(attribute)
        node = self._file(entry, attribute)
        if node is None or not await self._get(node, entry.shrinker):
            return -EIO
        error = await self._scan_write(protocol, self._machine.rcu.loaded(entry.shrinker), text[:MAX_WRITTEN])
        await self._put(node, entry.shrinker)
        return error

    def _file(self, entry: DebugfsEntry, attribute: str) -> KernfsNode | None:
        """A file, in the step that has found the entry."""
        if entry.directory is None:
            if (touch := self._machine.interleaver.touch) is not None:
                touch(self._registry.write_list.resource, Access.WRITE)
            entry.directory = self._machine.kernfs.directory(f"{FOLDER}/{entry.name}", entry.shrinker.state)
        return entry.directory.file(attribute)

    @kernel_name("debugfs_file_get")
    async def _get(self, node: KernfsNode, shrinker: Shrinker) -> bool:
        taken = await node.get_active()
        if taken and (fire := self._machine.tracepoints.reference_get.fire) is not None:
            fire(shrinker.address, len(node.active))
        return taken

    @kernel_name("debugfs_file_put")
    async def _put(self, node: KernfsNode, shrinker: Shrinker) -> None:
        if (fire := self._machine.tracepoints.reference_put.fire) is not None:
            fire(shrinker.address, 1)  # at least the directory's own; how many there are is not looked at
        await node.put_active()

    @kernel_name("shrinker_debugfs_count_show")
    async def _count_show(self, protocol: ShrinkerProtocol, shrinker: Shrinker) -> str:
        """A line for each cgroup with something: its number, then objects by node."""
        lines: list[str] = []
        async with protocol.asking(), self._machine.rcu.reader():
            await shrinker.read_state
            aware = bool(shrinker.flags & SHRINKER_MEMCG_AWARE)
            memcg = None if self._cgroups is None else await mem_cgroup_iter(self._cgroups, None, None)
            while True:
                if memcg is None or await _is_online(memcg):
                    counts = await self._counts(shrinker, memcg if aware else None)
                    if any(counts):
                        lines.append(" ".join(map(str, (_ino(memcg), *counts))) + "\n")
                if memcg is None or self._cgroups is None or not aware:
                    break  # where not aware this is the root, whose reference is not counted
                memcg = await mem_cgroup_iter(self._cgroups, None, memcg)
                if memcg is None:
                    break
        return "".join(lines)

    @kernel_name("shrinker_count_objects")
    async def _counts(self, shrinker: Shrinker, memcg: MemCgroup | None) -> list[int]:
        counts = []
        for nid in range(len(self._machine.nodes)):
            nr = 0
            if nid == 0 or shrinker.flags & SHRINKER_NUMA_AWARE:
                nr = await shrinker.count_objects(shrinker, ShrinkControl(GFP_KERNEL, nid, memcg))
            counts.append(0 if nr == SHRINK_EMPTY else nr)
        return counts

    @kernel_name("shrinker_debugfs_scan_write")
    async def _scan_write(self, protocol: ShrinkerProtocol, shrinker: Shrinker, text: str) -> int:
        """``ino nid nr_to_scan``; what follows is not looked at."""
        request = _REQUEST.match(text)
        if request is None or not 0 <= int(request[2]) < len(self._machine.nodes):
            return -EINVAL
        ino, nid, nr = map(int, request.groups())
        if not nr:
            return 0
        await shrinker.read_state
        memcg = None
        if shrinker.flags & SHRINKER_MEMCG_AWARE and self._cgroups is not None:
            memcg = await self._get_from_ino(self._cgroups, ino)
            if memcg is None:
                return -ENOENT
        elif ino:
            return -EINVAL
        async with protocol.asking():
            sc = ShrinkControl(GFP_KERNEL, nid, memcg)
            sc.nr_to_scan = sc.nr_scanned = nr
            await shrinker.scan_objects(shrinker, sc)
        if memcg is not None and self._cgroups is not None:
            await mem_cgroup_iter_break(self._cgroups, None, memcg)
        return 0

    @kernel_name("mem_cgroup_get_from_ino")
    async def _get_from_ino(self, cgroups: Cgroups, ino: int) -> MemCgroup | None:
        """The cgroup of that number, online, with a reference that `mem_cgroup_iter_break` puts."""
        memcg = await mem_cgroup_iter(cgroups, None, None)
        while memcg is not None and (_ino(memcg) != ino or not await _is_online(memcg)):
            memcg = await mem_cgroup_iter(cgroups, None, memcg)
        return memcg


def _ino(memcg: MemCgroup | None) -> int:
    return 0 if memcg is None else memcg.serial


async def _is_online(memcg: MemCgroup) -> bool:
    await memcg.read_kmem
    return memcg.online


def _missing(attribute: str) -> int:
    return -ENOTDIR if attribute.partition("/")[0] in FILES else -ENOENT
