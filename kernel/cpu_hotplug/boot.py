"""Bringing up the processors that are online when the machine starts.

Mirrors smp_init() of kernel/smp.c, bringup_nonboot_cpus() and boot_cpu_hotplug_init() of kernel/cpu.c (6.1).

The first processor is simply there; each other one passes its states as later ones do, under the same locks, so that
lockdep knows their order before the first decision of the run.  Nothing can be waited for: what the processor does
itself is run on the spot, as its own thread, and there is no grace period where there are no readers.

What was computed from the number of processors before (orders of slabs, zonelists, the leaves of RCU) has counted all
of them already.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .states import CpuhpState

if TYPE_CHECKING:
    from ...actors import Cpu
    from ..machine import Machine


async def smp_init(machine: Machine, boot_cpu: Cpu) -> None:
    """Bring up the secondary processors, from the lowest to the highest number."""
    hotplug = machine.cpu_hotplug
    machine.pages.states.cpu.set(boot_cpu.node)
    hotplug.state_of(boot_cpu)
    await bringup_nonboot_cpus(machine, [cpu for cpu in machine.online_cpus() if cpu is not boot_cpu])
    for cpu in machine.cpus.values():
        cpu.active = cpu.online


async def bringup_nonboot_cpus(machine: Machine, secondary: list[Cpu]) -> None:
    """Each in turn."""
    hotplug = machine.cpu_hotplug
    for cpu in secondary:
        st = hotplug.state_of(cpu)
        st.state = st.target = CpuhpState.OFFLINE
        error = await hotplug.cpu_up(cpu.cpu_id)
        machine.bug_on(bool(error), f"CPU {cpu.cpu_id} does not come up: {error}")
