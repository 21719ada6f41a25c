"""Bringing a processor up and taking it down: what happens between the callbacks.

Mirrors cpu_up(), _cpu_up(), bringup_cpu(), bringup_wait_for_ap(), notify_cpu_starting(), cpuhp_online_idle(),
cpu_down(), _cpu_down(), takedown_cpu(), take_cpu_down() and cpuhp_report_idle_dead() of kernel/cpu.c (6.1), and
native_cpu_up(), start_secondary(), native_cpu_disable(), native_cpu_die() of arch/x86/kernel/smpboot.c.

========== ======================================== ===================================================================
going up   control thread                           the processor
========== ======================================== ===================================================================
1          PREPARE callbacks
2          BRINGUP_CPU: starts it, waits            ``swapper/N``, interrupts off: RCU counts it, STARTING callbacks,
                                                    online; interrupts on, idle
3          unparks ``cpuhp/N``, waits               ``cpuhp/N``: ONLINE callbacks
========== ======================================== ===================================================================

========== ======================================== ===================================================================
going down control thread                           the processor
========== ======================================== ===================================================================
1          waits                                    ``cpuhp/N``: ONLINE callbacks, downward
2          TEARDOWN_CPU: parks ``cpuhp/N``, stops   ``migration/N``, all others stopped: offline, DYING callbacks
           the machine, waits
3                                                   ``swapper/N``: RCU waits for it no more; has another processor say
                                                    so; dies
4          RCU callbacks taken over, DEAD callbacks
========== ======================================== ===================================================================
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ...actors import Message
from ..locks import Mutex
from ..stack import kernel_name
from .states import EBUSY, CpuhpState
from .stop_machine import Stoppers

if TYPE_CHECKING:
    from ...actors import Cpu
    from ..machine import Machine
    from .api import CpuHotplug
    from .cpu_state import CpuhpCpuState


@dataclass(frozen=True, slots=True)
class CompleteIdleDead(Message):
    """To a processor that is online: tell the control thread that another one is about to die."""

    st: CpuhpCpuState


class Transitions:
    """Ups and downs of one machine's processors."""

    def __init__(self, machine: Machine, hotplug: CpuHotplug) -> None:
        self._machine = machine
        self._hotplug = hotplug
        self._walk = hotplug.walk
        self.stoppers = Stoppers(machine)
        self.sparse_irq_lock = Mutex(machine, "sparse_irq_lock")

    # --- up

    @kernel_name("_cpu_up")
    async def up(self, cpu: Cpu, target: int) -> int:
        """Bring a processor up to `target`; 0, also where it is there already, or a negative errno."""
        hotplug, walk = self._hotplug, self._walk
        async with hotplug.lock:
            st = hotplug.state_of(cpu)
            if st.state >= target:
                return 0
            walk.set_state(st, target)
            if st.state > CpuhpState.BRINGUP_CPU and (error := await walk.cpuhp_kick_ap_work(st)):
                return error
            # From BRINGUP_CPU on it is the thread of the processor that goes on, and this one waits for it there.
            return await walk.cpuhp_up_callbacks(st, min(target, CpuhpState.BRINGUP_CPU))

    async def bringup_cpu(self, cpu: int) -> int:
        """BRINGUP_CPU: start the processor, and wait until its thread has done its part."""
        st = self._hotplug.state_of(self._machine.cpus[cpu])
        async with self.sparse_irq_lock:
            await self._start(st)
        return await self.bringup_wait_for_ap(st)

    @kernel_name("native_cpu_up")
    async def _start(self, st: CpuhpCpuState) -> None:
        machine, cpu = self._machine, st.cpu
        if machine.booting:
            self._hotplug.run_while_booting(cpu, cpu.comm, self.start_secondary(st))
            return
        machine.printk("info", f"smpboot: Booting Node {cpu.node} Processor {cpu.cpu_id}")
        if cpu.serial < 0:
            machine.interleaver.spawn(cpu)
        st.idle_task().tell(lambda: self.start_secondary(st))
        await st.milestones.running.wait()

    async def start_secondary(self, st: CpuhpCpuState) -> None:
        """The first thing the processor does."""
        machine, cpu = self._machine, st.cpu
        cpu.local_irq_disable()
        await machine.rcu.hotplug.cpu_starting(cpu.cpu_id)
        await self.notify_cpu_starting(st)
        cpu.unhalt()
        if not machine.booting:
            await st.milestones.running.complete()
        cpu.local_irq_enable()
        self._hotplug.changes()
        st.state = CpuhpState.AP_ONLINE_IDLE
        if not machine.booting:
            await st.milestones.done_up.complete()

    async def notify_cpu_starting(self, st: CpuhpCpuState) -> None:
        """STARTING callbacks."""
        target = min(st.target, CpuhpState.AP_ONLINE)
        await self._walk.cpuhp_invoke_callback_range(st, target, bringup=True)

    async def bringup_wait_for_ap(self, st: CpuhpCpuState) -> int:
        """Wait until the processor is idle, then have its thread go on to the target."""
        if not self._machine.booting:
            await st.milestones.done_up.wait()
            if st.thread is not None:
                await st.thread.unpark()
        if st.target <= CpuhpState.AP_ONLINE_IDLE:
            return 0
        return await self._walk.cpuhp_kick_ap(st, st.target)

    async def finish_cpu(self, _: int) -> int:
        """BRINGUP_CPU downward: nothing is left of the memory map that an idle task borrows."""
        return 0

    # --- down

    @kernel_name("_cpu_down")
    async def down(self, cpu: Cpu, target: int) -> int:
        """Take a processor down to `target`; 0 or a negative errno."""
        hotplug, walk = self._hotplug, self._walk
        if len(self._machine.online_cpus()) == 1:
            return -EBUSY
        async with hotplug.lock:
            st = hotplug.state_of(cpu)
            before = walk.set_state(st, target)
            if st.state > CpuhpState.TEARDOWN_CPU:
                st.target = max(target, CpuhpState.TEARDOWN_CPU)
                error = await walk.cpuhp_kick_ap_work(st)
                # After a failure its thread has brought the processor back up already.
                if error or st.state > CpuhpState.TEARDOWN_CPU:
                    return error
                hotplug.changes()
                st.target = target
            error = await walk.cpuhp_down_callbacks(st, target)
            if error and st.state < before:
                if st.state == CpuhpState.TEARDOWN_CPU:
                    walk.reset_state(st, before)
                    await walk.kick(st)
                else:
                    self._machine.printk("warning", f"WARNING: DEAD callback error for CPU{cpu.cpu_id}")
            return error

    async def takedown_cpu(self, cpu: int) -> int:
        """TEARDOWN_CPU: stop the machine, take the processor away, and see it die."""
        machine = self._machine
        st = self._hotplug.state_of(machine.cpus[cpu])
        if st.thread is not None:
            await st.thread.park()
        async with self.sparse_irq_lock:
            error = await self.stoppers.stop_machine(
                lambda: self.take_cpu_down(st), cpu, afterwards=lambda: self._idle_again(st)
            )
            if error:
                if st.thread is not None:
                    await st.thread.unpark()
                return error
            machine.bug_on(machine.cpus[cpu].online, f"CPU {cpu} is online after take_cpu_down")
            await st.milestones.done_down.wait()
        await st.milestones.dead.wait()
        machine.printk("info", f"smpboot: CPU {cpu} is now offline")
        await machine.rcu.hotplug.migrate_callbacks(cpu)
        return 0

    async def take_cpu_down(self, st: CpuhpCpuState) -> int:
        """Everything else stands still: be offline, then the DYING callbacks."""
        self._hotplug.changes()
        st.cpu.halt()
        target = max(st.target, CpuhpState.AP_OFFLINE)
        await self._walk.cpuhp_invoke_callback_range(st, target, bringup=False)
        return 0

    def _idle_again(self, st: CpuhpCpuState) -> None:
        st.idle_task().tell(lambda: self.cpuhp_report_idle_dead(st))

    async def cpuhp_report_idle_dead(self, st: CpuhpCpuState) -> None:
        """The last thing the processor does."""
        machine = self._machine
        await machine.rcu.hotplug.report_dead(st.cpu.cpu_id)
        self._hotplug.changes()
        st.state = CpuhpState.AP_IDLE_DEAD
        other = machine.online_cpu_for(st.cpu)
        other.handlers.setdefault(CompleteIdleDead, self._complete_idle_dead)
        # RCU does not watch this processor any more: it has another one wake the control thread.
        await other.mailbox.send(CompleteIdleDead(st))
        await st.milestones.dead.complete()

    @staticmethod
    def _complete_idle_dead(_: Cpu, message: CompleteIdleDead) -> None:
        message.st.milestones.done_down.complete_now()
