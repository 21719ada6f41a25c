"""Which hotplug locks creating, destroying and shrinking a cache hold: a variant per era (seed 000).

========== ======================================== =====================
from       create, destroy, shrink                  commit
========== ======================================== =====================
--          none of the memory-hotplug locks
v3.16      cpu_hotplug_lock, mem_hotplug_lock (read) 03afc0e25f7f
v5.12      none                                     7e1fa93deff4, 59450bbc12be
v5.15      destroy only: cpu_hotplug_lock (read)    5a836bf6b09f, as merged
========== ======================================== =====================

All are taken before ``slab_mutex``; shrink takes no ``slab_mutex`` in any of them.
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
