"""What a memory-hotplug operation holds from beginning to end, and what others hold against it: the eras of M04.

Up to 3.15 ``lock_memory_hotplug()`` takes a mutex that only hotplug knows.  From 3.16 (bfc8c90139eb)
``mem_hotplug_begin()`` keeps out everybody who has said ``get_online_mems()``; 4.11 (55adc1d05dca) puts a mutex of its
own before that, so that two operations cannot begin at once whoever starts them.  In all three, rebuilding the
zonelists stops the machine, for which the read side of ``cpu_hotplug_lock`` is taken *inside*, while slab code takes
it *outside* of ``get_online_mems()``: museum M04.  From 4.13 (3f906ba23689) the lock is a percpu rwsem, and
``mem_hotplug_begin()`` takes the read side of ``cpu_hotplug_lock`` first.

Sources: catalogue 5.3, 5.4 and M04; that stop_machine() took the lock inside is from memory (mm/page_alloc.c of 4.12).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from ..locks import Mutex, PercpuRwsem, Together
from .counted_lock import CountedLock

if TYPE_CHECKING:
    from ..machine import Machine
    from .api import MemoryHotplug


class HotplugLocks(Protocol):
    """The locks of one machine."""

    mem_hotplug_lock: Any
    """What ``get_online_mems()`` takes the read side of."""

    def held(self, hotplug: MemoryHotplug) -> Together:
        """From the beginning of an operation to its end."""
        ...

    def stop_machine(self, hotplug: MemoryHotplug) -> Together:
        """In addition, while the zonelists are rebuilt with every processor stopped."""
        ...


class LockMemoryHotplug:
    """Up to 3.15: a mutex against other memory hotplug, and nothing against anybody else (``lock_memory_hotplug``)."""

    def __init__(self, machine: Machine) -> None:
        self.mem_hotplug_lock: Any = None
        self._mutex = Mutex(machine, "mem_hotplug_mutex")

    def held(self, hotplug: MemoryHotplug) -> Together:
        """The mutex."""
        return Together((self._mutex.lock, self._mutex.unlock))

    def stop_machine(self, hotplug: MemoryHotplug) -> Together:
        """The read side of the CPU-hotplug lock."""
        return hotplug.machine.cpu_hotplug.cpus_read_lock()


class CountReaders:
    """From 3.16 to 4.10: waits until nobody is inside who has said ``get_online_mems``, and lets nobody in."""

    def __init__(self, machine: Machine) -> None:
        self.mem_hotplug_lock: Any = CountedLock(machine, "mem_hotplug.lock")

    def held(self, hotplug: MemoryHotplug) -> Together:
        """The write side."""
        return Together((self.mem_hotplug_lock.down_write, self.mem_hotplug_lock.up_write))

    def stop_machine(self, hotplug: MemoryHotplug) -> Together:
        """The read side of the CPU-hotplug lock, inside of the other."""
        return hotplug.machine.cpu_hotplug.cpus_read_lock()


class CountReadersBehindMutex(CountReaders):
    """4.11 and 4.12: the same, behind ``memory_add_remove_lock``."""

    def __init__(self, machine: Machine) -> None:
        super().__init__(machine)
        self._mutex = Mutex(machine, "memory_add_remove_lock")

    def held(self, hotplug: MemoryHotplug) -> Together:
        """The mutex, then the write side."""
        lock = self.mem_hotplug_lock
        return Together((self._mutex.lock, self._mutex.unlock), (lock.down_write, lock.up_write))


class MemHotplugBegin:
    """From 4.13: CPU hotplug is kept out first, then everyone who has said ``get_online_mems``."""

    def __init__(self, machine: Machine) -> None:
        self.mem_hotplug_lock: Any = PercpuRwsem(machine, "mem_hotplug_lock", machine.rcu.synchronize_rcu)

    def held(self, hotplug: MemoryHotplug) -> Together:
        """The read side of the CPU-hotplug lock, then the write side of the memory-hotplug lock."""
        lock = self.mem_hotplug_lock
        return hotplug.machine.cpu_hotplug.cpus_read_lock().then(lock.down_write, lock.up_write)

    def stop_machine(self, hotplug: MemoryHotplug) -> Together:
        """Nothing more (``stop_machine_cpuslocked``)."""
        return Together()


class HotplugExtent(Protocol):
    """Seam: which functions the section is around."""

    def block_section(self, hotplug: MemoryHotplug) -> Together:
        """Held around memory_block_online() and memory_block_offline()."""
        ...

    def pages_section(self, hotplug: MemoryHotplug) -> Together:
        """Held around online_pages() and offline_pages(), which they call."""
        ...


class AroundPages:
    """Up to 6.6: the zone for a block is looked up before."""

    def block_section(self, hotplug: MemoryHotplug) -> Together:
        """Nothing."""
        return Together()

    def pages_section(self, hotplug: MemoryHotplug) -> Together:
        """The section."""
        return hotplug.locks.held(hotplug)


class AroundBlock:
    """From 6.7, and in 6.1's later stable releases: the zone is looked up inside (001002e73712)."""

    def block_section(self, hotplug: MemoryHotplug) -> Together:
        """The section."""
        return hotplug.locks.held(hotplug)

    def pages_section(self, hotplug: MemoryHotplug) -> Together:
        """Nothing."""
        return Together()
