"""Which hotplug locks creating, destroying, shrinking and counting hold: a variant per era (seed 000).

========== ======================================== =====================
from       create, destroy, shrink                  commit
========== ======================================== =====================
--          none of the memory-hotplug locks
v3.16      cpu_hotplug_lock, mem_hotplug_lock (read) 03afc0e25f7f
v5.12      none                                     7e1fa93deff4, 59450bbc12be
v5.15      destroy only: cpu_hotplug_lock (read)    5a836bf6b09f, as merged
========== ======================================== =====================

All are taken before ``slab_mutex``; shrink takes no ``slab_mutex`` in any of them.  The series behind 7e1fa93deff4
first had it do so (`SlabMutexInShrink`): a write to the ``shrink`` file of a cache then takes it with an active
reference held, for which those wait who remove a cache under ``slab_mutex`` (museum M56).

Who counts slabs and objects for a file of /sys/kernel/slab:

========== ======================================== =====================
from       holds, with an active reference to it    commit
========== ======================================== =====================
--         the mutex of memory hotplug (by memory)
v3.16      mem_hotplug_lock (read)                  bfc8c90139eb
v5.4       nothing                                  e4f8e513c3d3
========== ======================================== =====================

From 4.18, when caches began to leave sysfs under ``slab_mutex``, the second closes a cycle: ``mem_hotplug_lock`` →
``slab_mutex`` → ``kn->count`` → ``mem_hotplug_lock`` (museum M03).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from ..locks import Together

if TYPE_CHECKING:
    from ..locks.percpu_rwsem import PercpuRwsem
    from .slub import Slub


class SlabHotplugLocks(Protocol):
    """Seam: what keeps hotplug away from the life of caches."""

    def creating(self, slub: Slub) -> Together:
        """Held around the creation of a cache."""
        ...

    def destroying(self, slub: Slub) -> Together:
        """Held around the removal of a cache from the list."""
        ...

    def shrinking(self, slub: Slub) -> Together:
        """Held around shrinking."""
        ...


def _read_sides(*locks: PercpuRwsem) -> Together:
    return Together(*((lock.down_read, lock.up_read) for lock in locks))


class CountingLock(Protocol):
    """Seam: what keeps node structures there while slabs and objects are counted (``show_slab_objects``)."""

    def counting(self, slub: Slub) -> Together:
        """Held while all nodes are counted."""
        ...


class MemoryHotplugMutex:
    """Up to 3.15: ``lock_memory_hotplug()``, which is all that a memory-hotplug operation holds."""

    def counting(self, slub: Slub) -> Together:
        """The mutex."""
        hotplug = slub.machine.memory_hotplug
        return hotplug.locks.held(hotplug)


class OnlineMems:
    """3.16 to 5.3: ``get_online_mems()``."""

    def counting(self, slub: Slub) -> Together:
        """The read side."""
        return _read_sides(slub.machine.memory_hotplug.mem_hotplug_lock)


class CountUnlocked:
    """From 5.4."""

    def counting(self, slub: Slub) -> Together:
        """Nothing."""
        return _read_sides()


class NoHotplugLocks:
    """Up to 3.15, and 5.12 to 5.14."""

    def creating(self, slub: Slub) -> Together:
        """Nothing."""
        return _read_sides()

    destroying = creating
    shrinking = creating


class CpusAndMemoryLocks:
    """3.16 to 5.11."""

    def creating(self, slub: Slub) -> Together:
        """get_online_cpus(), get_online_mems()."""
        machine = slub.machine
        return _read_sides(machine.cpu_hotplug.lock, machine.memory_hotplug.mem_hotplug_lock)

    destroying = creating
    shrinking = creating


class CpusWhereFlushed(NoHotplugLocks):
    """From 5.15: destroying flushes processors under ``slab_mutex``, so their hotplug lock comes first."""

    def destroying(self, slub: Slub) -> Together:
        """cpus_read_lock()."""
        return _read_sides(slub.machine.cpu_hotplug.lock)


class SlabMutexInShrink:
    """No release: the locks of `of`, but shrinking takes ``slab_mutex``, as in the RFC of 7e1fa93deff4."""

    def __init__(self, of: SlabHotplugLocks) -> None:
        self.creating = of.creating
        self.destroying = of.destroying

    def shrinking(self, slub: Slub) -> Together:
        """What keeps caches and nodes as they are."""
        return Together((slub.slab_mutex.lock, slub.slab_mutex.unlock))
