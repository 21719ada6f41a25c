"""The locks of CPU hotplug.

Lock order, outermost first: ``cpu_add_remove_lock`` → ``cpu_hotplug_lock`` → whatever the callbacks of the states take.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..locks import PercpuRwsem, Together

if TYPE_CHECKING:
    from ..machine import Machine


class CpuHotplug:
    """CPU hotplug of one machine."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self.lock = PercpuRwsem(machine, "cpu_hotplug_lock", machine.rcu.synchronize_rcu)

    def cpus_read_lock(self) -> Together:
        """A section in which no processor comes or goes (``cpus_read_lock`` … ``cpus_read_unlock``)."""
        return Together((self.lock.down_read, self.lock.up_read))
