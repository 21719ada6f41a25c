"""The RCU API of the emulated kernel.

Mirrors the functions of the same names in kernel/rcu/tree.c and update.c (6.1).  The protocol is in the parts:
`actors.grace_period` runs grace periods, `actors.rcu_quiescent` is the processors' side of them, `flavour` has the
callbacks, `barrier`, `expedited`, `polled`, `srcu`, `kvfree` and `hotplug` what their names say, `readers` the readers
and the checks of PROVE_RCU.

Lock order, outermost first: ``barrier_mutex`` → ``cpu_hotplug_lock`` (up to 5.17); ``exp_mutex`` → ``exp_wake_mutex``;
``srcu_gp_mutex``; ``krcp->lock``.  None of them is taken under a lock of RCU's nodes, which is a step here.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from ...actors.rcu_messages import GpTimes, GracePeriodEnded
from ...actors.rcu_quiescent import QuiescentStates
from ...actors.rcu_sequence import sequence_snap
from ..sanitizers.rcu_stall import report_stall
from ..sanitizers.rcu_usage import TREE_C, illegal_switch, illegal_wait
from .barrier import BarrierSection, CpusFree, EntrainBarrier, RcuBarrier
from .expedited import ExpeditedRcu
from .flavour import RCU_SOFTIRQ, RcuFlavour
from .head import RcuHead
from .hotplug import RcuHotplug
from .kvfree import KvfreeRcu
from .polled import PolledSequence
from .readers import RcuReaders, Reader
from .srcu import QueueSrcuCallbacks, SrcuStruct
from .variants import Flavours
from .waiting import GracePeriodCompletion

__all__ = ["STALL_TIMEOUT_S", "Rcu", "RcuHead", "Reader", "gp_times"]

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from ...actors import Cpu, GracePeriod
    from ..machine import Machine

STALL_TIMEOUT_S = 21
FQS_PROCESSORS = 256
"""Processors for each jiffy more between two scans (``RCU_JIFFIES_FQS_DIV``)."""
SECOND_NS = 1_000_000_000


def _stalled(machine: Machine, flavour: RcuFlavour, _: GracePeriod) -> None:
    report_stall(machine, flavour)


def gp_times(jiffy_ns: int, cpus: int, stall_timeout_s: int) -> GpTimes:
    """``RCU_JIFFIES_TILL_FORCE_QS``: 1 jiffy, 2 above 250 HZ, 3 above 500; more on large machines."""
    hz = SECOND_NS // jiffy_ns
    jiffies = 1 + (hz > 250) + (hz > 500) + cpus // FQS_PROCESSORS  # noqa: PLR2004  # as in the kernel
    return GpTimes(jiffies * jiffy_ns, jiffies * jiffy_ns, stall_timeout_s * SECOND_NS)


class Rcu(RcuReaders):
    """RCU of one machine; `preemptible` as in a kernel with CONFIG_PREEMPT_RCU."""

    def __init__(
        self,
        machine: Machine,
        *,
        preemptible: bool,
        jiffy_ns: int,
        flavours: Flavours | None = None,
        barrier: BarrierSection | None = None,
        stall_timeout_s: int = STALL_TIMEOUT_S,
    ) -> None:
        which = flavours or Flavours(consolidated=True)
        times = gp_times(jiffy_ns, len(machine.cpus), stall_timeout_s)
        self.name = "rcu_preempt" if preemptible else "rcu_sched"
        self.normal = RcuFlavour(
            machine,
            self.name,
            times=times,
            preemptible=preemptible,
            waits_preempt_off=which.waits_preempt_off(preemptible=preemptible),
        )
        self.domain = self.normal.domain
        self.sched = self.normal
        if which.separate_sched(preemptible=preemptible):
            self.sched = RcuFlavour(machine, "rcu_sched", times=times, preemptible=False, waits_preempt_off=True)
        self.flavours = list(dict.fromkeys((self.normal, self.sched)))
        quiescent = QuiescentStates(machine.cpus, self.domain)
        super().__init__(machine, quiescent, preemptible=preemptible)
        self._by_domain = {flavour.domain: flavour for flavour in self.flavours}
        section = barrier or CpusFree()
        self.barriers = [RcuBarrier(machine, flavour, section) for flavour in self.flavours]
        self.barrier_mutex = self.barriers[0].mutex
        self.polled = PolledSequence(self.domain.sequence)
        self._polled_start = 0
        self.domain.on_start.append(self._poll_start)
        self.domain.on_end.append(lambda _: self.polled.end(self._polled_start))
        self.expedited = ExpeditedRcu(machine, self.normal, self.polled)
        self.hotplug = RcuHotplug(machine, self)
        self.kvfree = KvfreeRcu(machine, self)
        self.srcu: dict[str, SrcuStruct] = {}
        quiescent.on_reader_left = self.expedited.state.look
        quiescent.on_illegal_switch = lambda thread: illegal_switch(machine, thread)
        for domain, flavour in self._by_domain.items():
            domain.on_stall = partial(_stalled, machine, flavour)
        for cpu in machine.cpus.values():
            cpu.handlers[GracePeriodEnded] = self._ended
            cpu.handlers[QueueSrcuCallbacks] = lambda _, message: message.srcu.queue_callbacks(message.number)
            cpu.handlers[EntrainBarrier] = lambda cpu, message: message.barrier.called(cpu)

    def start(self) -> None:
        """Bring the grace-period machines to life (``rcu_spawn_gp_kthread``)."""
        for flavour in self.flavours:
            self._machine.interleaver.spawn(flavour.domain)

    def _poll_start(self, _: int) -> None:
        self._polled_start = self.polled.start()

    # --- updaters

    def call_rcu(self, head: RcuHead) -> Awaitable[None]:
        """Run ``head.function`` in soft-interrupt context after a grace period that begins later than now."""
        return self.normal.call_rcu(head)

    def call_rcu_sched(self, head: RcuHead) -> Awaitable[None]:
        """The same, after a grace period that also waits for regions with preemption off; up to 4.19 a difference."""
        return self.sched.call_rcu(head)

    async def synchronize_rcu(self) -> None:
        """Sleep until every reader that has begun is over."""
        if self.readers_held():
            illegal_wait(self._machine, "synchronize_rcu", TREE_C)
        await self._wait(self.normal)

    async def synchronize_sched(self) -> None:
        """Sleep until every region with preemption off that has begun is over; from 5.0 on `synchronize_rcu`."""
        if self.readers_held():
            illegal_wait(self._machine, "synchronize_sched", TREE_C)
        await self._wait(self.sched)

    async def _wait(self, flavour: RcuFlavour) -> None:
        done = GracePeriodCompletion(self._machine, "&rcu.completion", flavour.domain.blockers)
        await flavour.call_rcu(RcuHead(done.complete_now, name="wakeme_after_rcu"))
        await done.wait()

    def synchronize_rcu_expedited(self) -> Awaitable[None]:
        """The same as `synchronize_rcu`, sooner, at the cost of an interrupt to every busy processor."""
        return self.expedited.synchronize_rcu_expedited()

    def rcu_barrier(self) -> Awaitable[None]:
        """Sleep until every callback queued so far, on any processor, has been invoked."""
        return self.barriers[0].rcu_barrier()

    def rcu_barrier_sched(self) -> Awaitable[None]:
        """The same for callbacks of `call_rcu_sched`."""
        return self.barriers[-1].rcu_barrier()

    # --- polling

    def get_state_synchronize_rcu(self) -> int:
        """A cookie for `poll_state_synchronize_rcu`: has a grace period passed since now?"""
        self.domain.changes()
        return self.polled.get_state()

    def start_poll_synchronize_rcu(self) -> int:
        """The same, and see to it that there will be one."""
        cookie = self.get_state_synchronize_rcu()
        self.domain.request(sequence_snap(self.domain.sequence))
        return cookie

    def poll_state_synchronize_rcu(self, cookie: int) -> bool:
        """Whether a full grace period, normal or expedited, has passed since `cookie` was taken."""
        self.domain.changes()
        return self.polled.poll_state(cookie)

    async def cond_synchronize_rcu(self, cookie: int) -> None:
        """Sleep until one has."""
        if not self.poll_state_synchronize_rcu(cookie):
            await self.synchronize_rcu()

    # --- other domains

    def srcu_struct(self, name: str) -> SrcuStruct:
        """The SRCU domain `name`, made on first use (``DEFINE_SRCU``)."""
        found = self.srcu.get(name)
        if found is None:
            found = self.srcu[name] = SrcuStruct(self._machine, name)
        return found

    # --- interrupts

    def _ended(self, cpu: Cpu, message: GracePeriodEnded) -> None:
        """A grace period has ended: see to this processor's callbacks."""
        flavour = self._by_domain[message.domain]
        data = flavour.data[cpu.cpu_id]
        flavour.note(data)
        if data.callbacks.ready:
            self.raise_softirq(cpu)

    def raise_softirq(self, cpu: Cpu) -> None:
        """Have callbacks invoked on the processor (``invoke_rcu_core``)."""
        cpu.raise_softirq(RCU_SOFTIRQ, self.rcu_core)

    async def rcu_core(self, cpu: Cpu) -> None:
        """The soft interrupt."""
        more = False
        for flavour in self.flavours:
            more |= await flavour.invoke(cpu)
        if more:
            self.raise_softirq(cpu)
