"""What the states call: the built-in part of the table, and the scheduler's callbacks.

Mirrors cpuhp_hp_states[] of kernel/cpu.c, sched_cpu_activate(), sched_cpu_deactivate(), sched_cpu_wait_empty(),
sched_cpu_dying() of kernel/sched/core.c, smpcfd_dying_cpu() of kernel/smp.c, takeover_tasklets() of kernel/softirq.c,
vmstat_cpu_online() and vmstat_cpu_dead() of mm/vmstat.c (6.1).  Other subsystems register their own when they start,
as in the kernel: SLUB, the page allocator, memcg.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...actors import COND_RESCHED, Access
from .smpboot import SmpbootThreads
from .states import CpuhpState, Step

if TYPE_CHECKING:
    from ..machine import Machine
    from .states import StateTable
    from .transition import Transitions

EINVAL = 22


class Callbacks:
    """The callbacks of one machine; most belong to its subsystems."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self.smpboot = SmpbootThreads(machine)

    def fill(self, table: StateTable, transitions: Transitions) -> None:
        """The states that the kernel has from the start."""
        machine = self._machine
        rcu, workqueues = machine.rcu.hotplug, machine.workqueues
        state = CpuhpState
        table.steps.update(
            {
                state.SOFTIRQ_DEAD: Step("softirq:dead", None, self.takeover_tasklets),
                state.WORKQUEUE_PREP: Step("workqueue:prepare", workqueues.workqueue_prepare_cpu),
                state.RCUTREE_PREP: Step("RCU/tree:prepare", rcu.prepare_cpu, rcu.dead_cpu),
                state.TIMERS_PREPARE: Step("timers:prepare", None, workqueues.delayed.timers_dead_cpu),
                state.BRINGUP_CPU: Step("cpu:bringup", transitions.bringup_cpu, transitions.finish_cpu),
                state.AP_IDLE_DEAD: Step("idle:dead"),
                state.AP_OFFLINE: Step("ap:offline"),
                state.AP_SCHED_STARTING: Step("sched:starting", None, self.sched_cpu_dying),
                state.AP_RCUTREE_DYING: Step("RCU/tree:dying", None, rcu.dying_cpu),
                state.AP_SMPCFD_DYING: Step("smpcfd:dying", None, self.smpcfd_dying_cpu),
                state.AP_ONLINE: Step("ap:online"),
                state.TEARDOWN_CPU: Step("cpu:teardown", None, transitions.takedown_cpu),
                state.AP_SCHED_WAIT_EMPTY: Step("sched:waitempty", None, self.sched_cpu_wait_empty),
                state.AP_SMPBOOT_THREADS: Step(
                    "smpboot/threads:online", self.smpboot.smpboot_unpark_threads, self.smpboot.smpboot_park_threads
                ),
                state.AP_WORKQUEUE_ONLINE: Step(
                    "workqueue:online", workqueues.workqueue_online_cpu, self._workqueue_offline_cpu
                ),
                state.AP_RCUTREE_ONLINE: Step("RCU/tree:online", rcu.online_cpu, rcu.offline_cpu),
                state.AP_ACTIVE: Step("sched:active", self.sched_cpu_activate, self.sched_cpu_deactivate),
                state.OFFLINE: Step("offline"),
                state.ONLINE: Step("online"),
            }
        )
        # init_mm_internals()
        table.steps[state.MM_VMSTAT_DEAD] = Step("mm/vmstat:dead", None, self.vmstat_cpu_dead)
        table.steps[state.AP_ONLINE_DYN] = Step("mm/vmstat:online", self.vmstat_cpu_online)

    async def _workqueue_offline_cpu(self, cpu: int) -> int:
        return 0 if await self._machine.workqueues.workqueue_offline_cpu(cpu) else -EINVAL

    # --- the scheduler

    async def sched_cpu_activate(self, cpu: int) -> None:
        """Any thread may run there."""
        processor = self._machine.cpus[cpu]
        processor.masks_change()
        processor.active = True

    async def sched_cpu_deactivate(self, cpu: int) -> None:
        """Threads that do not belong to the processor leave it; nobody who has seen it active is left afterwards."""
        self._machine.cpus[cpu].deactivate()
        await self._machine.rcu.synchronize_rcu()

    async def sched_cpu_wait_empty(self, cpu: int) -> None:
        """Let those threads end what they do that may not leave: others have been sent away."""
        processor = self._machine.cpus[cpu]
        while processor.queue:
            await COND_RESCHED

    async def sched_cpu_dying(self, cpu: int) -> None:
        """Nobody but the stopper may be left."""
        queue = self._machine.cpus[cpu].queue
        names = ", ".join(thread.comm for thread in queue)
        self._machine.bug_on(bool(queue), f"CPU{cpu} enqueued tasks: {names}")

    # --- interrupts

    async def smpcfd_dying_cpu(self, cpu: int) -> None:
        """Answer the messages that came while interrupts were off: nobody else would."""
        await self._machine.cpus[cpu].handle_pending()

    async def takeover_tasklets(self, cpu: int) -> None:
        """What was raised there is done by now: RCU and timers have moved their own."""
        processor = self._machine.cpus[cpu]
        if (touch := self._machine.interleaver.touch) is not None:
            touch(processor.host, Access.WRITE)
        if processor.softirq is not None:
            processor.softirq.raised.clear()

    # --- N_CPU

    async def vmstat_cpu_online(self, cpu: int) -> None:
        """The processor's node has a processor."""
        await self._write_node_states()
        self._machine.pages.states.cpu.set(self._machine.cpus[cpu].node)

    async def vmstat_cpu_dead(self, cpu: int) -> None:
        """Its node may have none any more."""
        machine = self._machine
        node = machine.cpus[cpu].node
        if not any(other.node == node for other in machine.online_cpus()):
            await self._write_node_states()
            machine.pages.states.cpu.clear(node)

    async def _write_node_states(self) -> None:
        if not self._machine.booting:
            await self._machine.pages.states.write
