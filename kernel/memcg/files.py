"""The files of /sys/fs/cgroup: what a cgroup uses, and what it may use.

Mirrors memory_current_read(), memory_max_show(), memory_max_write(), memory_stat_show() of mm/memcontrol.c (6.1) and,
of the first version of cgroups, memory.kmem.usage_in_bytes.  Of memory.stat there are the lines about slabs.  Finding
a file is one step; reading a counter is one more.
"""

from __future__ import annotations

import re
from errno import EINVAL, ENOENT, ENOTDIR
from typing import TYPE_CHECKING

from ..gfp import GFP_KERNEL
from ..slab.sizing import PAGE_SIZE
from .page_counter import PAGE_COUNTER_MAX

if TYPE_CHECKING:
    from .cgroup import Cgroup, Cgroups
    from .memcg import MemCgroup

CGROUP_FOLDER = "/sys/fs/cgroup"
CURRENT, KMEM, MAX, STAT = "memory.current", "memory.kmem.usage_in_bytes", "memory.max", "memory.stat"
FILES = (CURRENT, KMEM, MAX, STAT)
FILES_OF_ROOT = (STAT,)
MAX_RECLAIMS = 16

_NUMBER = re.compile(r"([0-9]+)([KMGT]?)", re.IGNORECASE)
_FACTORS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}


def is_of_cgroups(path: str) -> bool:
    """Whether a path is of this file system."""
    return path == CGROUP_FOLDER or path.startswith(f"{CGROUP_FOLDER}/")


async def _open(cgroups: Cgroups, path: str) -> tuple[Cgroup | None, str]:
    """The cgroup and the name of a file in it, or of nothing where the path is that of the cgroup itself."""
    inside = path.removeprefix(CGROUP_FOLDER).strip("/")
    cgroup = await cgroups.look_up(inside)
    if cgroup is not None:
        return cgroup, ""
    folder, _, name = inside.rpartition("/")
    return cgroups.paths.get(folder), name  # in the same step


def _files_of(cgroup: Cgroup) -> tuple[str, ...]:
    return FILES_OF_ROOT if cgroup.parent is None else FILES


async def read_cgroup_file(cgroups: Cgroups, path: str) -> str | int:
    """The text of a file, or what is in a directory; a negative errno where there is neither."""
    cgroup, name = await _open(cgroups, path)
    if cgroup is None:
        above = path.rpartition("/")[0].rpartition("/")[2]
        return -ENOTDIR if above in FILES else -ENOENT
    if not name:
        below = [other.path.rpartition("/")[2] for other in cgroups.paths.values() if other.parent is cgroup]
        return "".join(f"{entry}\n" for entry in sorted((*below, *_files_of(cgroup))))
    if name not in _files_of(cgroup):
        return -ENOENT
    memcg = cgroup.memcg
    if name == CURRENT:
        return f"{await memcg.memory.read() * PAGE_SIZE}\n"
    if name == KMEM:
        return f"{await memcg.kmem.read() * PAGE_SIZE}\n"
    if name == MAX:
        pages = await memcg.memory.read_max()
        return "max\n" if pages == PAGE_COUNTER_MAX else f"{pages * PAGE_SIZE}\n"
    return await memory_stat(cgroups, memcg)


async def memory_stat(cgroups: Cgroups, memcg: MemCgroup) -> str:
    """The lines about slabs: bytes of objects, or up to 5.8 of slabs, of a cgroup and all below it."""
    reclaimable, unreclaimable = (0, 0) if cgroups.kmem is None else await cgroups.kmem.slab_bytes(memcg)
    return f"slab_reclaimable {reclaimable}\nslab_unreclaimable {unreclaimable}\nslab {reclaimable + unreclaimable}\n"


async def write_cgroup_file(cgroups: Cgroups, path: str, value: str) -> int:
    """Write to a file; 0 or a negative errno."""
    cgroup, name = await _open(cgroups, path)
    if cgroup is None or name not in _files_of(cgroup):
        return -ENOENT
    if name != MAX:
        return -EINVAL
    pages = parse_limit(value)
    if pages is None:
        return -EINVAL
    await memory_max_write(cgroups, cgroup.memcg, pages)
    return 0


def parse_limit(text: str) -> int | None:
    """Pages: ``max``, or bytes as memparse() reads them, rounded down; None for anything else."""
    text = text.strip()
    if text == "max":
        return PAGE_COUNTER_MAX
    match = _NUMBER.fullmatch(text)
    if match is None:
        return None
    return min(int(match[1]) * _FACTORS[match[2].upper()] // PAGE_SIZE, PAGE_COUNTER_MAX)


async def memory_max_write(cgroups: Cgroups, memcg: MemCgroup, pages: int) -> None:
    """Set the limit, then get below it as far as that is possible: stocks first, then whatever can be reclaimed."""
    above = await memcg.memory.force_max(pages)
    kmem = cgroups.kmem
    if not above or kmem is None:
        return
    await kmem.drain_all_stock(memcg)
    for _ in range(MAX_RECLAIMS):
        above = await memcg.memory.read() - pages
        if above <= 0 or kmem.charging.reclaim is None:
            return
        await kmem.charging.reclaim(memcg.memory, GFP_KERNEL, above)
