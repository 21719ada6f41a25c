"""What RCU does when a processor comes or goes.

Mirrors rcutree_prepare_cpu(), rcu_cpu_starting(), rcutree_online_cpu(), rcutree_offline_cpu(), rcutree_dying_cpu(),
rcu_report_dead(), rcutree_migrate_callbacks() and rcutree_dead_cpu() of kernel/rcu/tree.c (6.1).  CPU hotplug calls
them at the states of the same names (``RCUTREE_PREP``, ``RCUTREE_ONLINE``, ``RCUTREE_DYING``).

| function            | runs on                | changes                                                            |
|---------------------|------------------------|--------------------------------------------------------------------|
| `prepare_cpu`       | control CPU            | the list of callbacks is enabled, numbers brought up to date        |
| `cpu_starting`      | the CPU, irqs off      | grace periods that start from now on wait for it (``starting``)     |
| `online_cpu`        | its hotplug thread     | expedited grace periods interrupt it                                |
| `offline_cpu`       | its hotplug thread     | nothing that shows here                                             |
| `dying_cpu`         | the CPU, stop_machine  | tells the trace                                                     |
| `report_dead`       | the CPU, idle          | a last quiescent state for all domains, then nobody waits for it    |
| `migrate_callbacks` | control CPU            | barrier entrained *first*, then callbacks merged into its own list  |
| `dead_cpu`          | control CPU            | nothing that shows here                                             |

What the kernel does under ``ofl_lock``, node and barrier locks is one step each.  A change of ``starting`` counts from
the next grace period on; the machine looks again between ONOFF and INIT (`RcuNode.begin`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...actors import Op, OpKind
from .data import BLIMIT

if TYPE_CHECKING:
    from ..machine import Machine
    from .api import Rcu
    from .data import RcuData
    from .flavour import RcuFlavour


class RcuHotplug:
    """RCU's part in CPU hotplug, for every flavour of the machine."""

    def __init__(self, machine: Machine, rcu: Rcu) -> None:
        self._machine = machine
        self._rcu = rcu
        self._step = Op(OpKind.UPDATE, rcu.domain.mailbox.resource)

    async def prepare_cpu(self, cpu: int) -> None:
        """The processor will come (``rcutree_prepare_cpu``)."""
        await self._step
        for flavour in self._rcu.flavours:
            flavour.domain.changes()
            data = flavour.data[cpu]
            data.length_at_force = 0
            data.blimit = BLIMIT
            data.callbacks.enabled = True
            data.sequence = flavour.domain.node_of[cpu].sequence
            flavour.domain.trace("cpuonl")

    async def cpu_starting(self, cpu: int) -> None:
        """From here on the processor may have readers (``rcu_cpu_starting``)."""
        await self._step
        for flavour in self._rcu.flavours:
            flavour.domain.changes()
            flavour.domain.node_of[cpu].starting[cpu] = None

    async def online_cpu(self, cpu: int) -> None:
        """An expedited grace period that runs has not interrupted it, and need not: it was not there."""

    async def offline_cpu(self, cpu: int) -> None:
        """The processor is about to go; it still works in every respect (``rcutree_offline_cpu``)."""

    async def dying_cpu(self, cpu: int) -> None:
        """It takes no interrupt any more (``rcutree_dying_cpu``)."""
        for flavour in self._rcu.flavours:
            node = flavour.domain.node_of[cpu]
            waited = node.quorum is not None and cpu in node.quorum.waiting_cpus
            flavour.domain.trace("cpuofl-bgp" if waited else "cpuofl")

    async def report_dead(self, cpu: int) -> None:
        """The processor will never have a reader again (``rcu_report_dead``)."""
        await self._step
        quiescent = self._rcu.quiescent
        quiescent.report_all(self._machine.cpus[cpu])
        expedited = self._rcu.expedited.state
        expedited.report(cpu, expedited.sequence)
        for flavour in self._rcu.flavours:
            domain = flavour.domain
            domain.changes()
            # First the report, then the mask: a grace period that begins in between waits for nobody.
            domain.report(cpu, domain.node_of[cpu].sequence)
            domain.node_of[cpu].starting.pop(cpu, None)
            domain.interested.pop(cpu, None)
        for flavour, barrier in zip(self._rcu.flavours, self._rcu.barriers, strict=True):
            barrier.answer(flavour.data[cpu])  # whoever asks it must ask again

    async def migrate_callbacks(self, cpu: int) -> None:
        """Take over the dead processor's callbacks (``rcutree_migrate_callbacks``)."""
        await self._step
        for flavour, barrier in zip(self._rcu.flavours, self._rcu.barriers, strict=True):
            data = flavour.data[cpu]
            if data.callbacks.length:
                flavour.domain.changes()
                barrier.migrating(data)
                self._merge(flavour, data)
            data.callbacks.enabled = False

    def _merge(self, flavour: RcuFlavour, data: RcuData) -> None:
        mine = flavour.data[self._machine.smp_processor_id()]
        sequence = flavour.domain.node_of[data.cpu.cpu_id].sequence
        data.callbacks.advance(sequence)
        mine.callbacks.advance(sequence)
        mine.callbacks.merge(data.callbacks)
        flavour.accelerate(mine)
        if mine.callbacks.ready:
            self._rcu.raise_softirq(mine.cpu)

    async def dead_cpu(self, cpu: int) -> None:
        """Its hotplug is over (``rcutree_dead_cpu``)."""
