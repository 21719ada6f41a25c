"""One flavour of RCU: its grace periods, and every processor's callbacks.

Mirrors call_rcu(), rcu_accelerate_cbs(), rcu_advance_cbs(), __note_gp_changes(), rcu_core() and rcu_do_batch() of
kernel/rcu/tree.c (6.1).

Life of a callback: `call_rcu` puts it at the end of the list of *its* processor and at once assigns the earliest grace
period that begins later (in the kernel the next tick does; the machine may start that grace period as late as it
likes, so nothing is lost).  When that has ended, the processor is told (`note`), advances its list and raises the soft
interrupt, which invokes what is done (`invoke`), at most ``blimit`` at a time while the processor has other things to
do.  Callbacks of one processor are invoked in the order of queueing.

Who may touch what: a list belongs to its processor; others look at its length only, and touch it when the processor is
offline.  The step that changes a list declares that with `GracePeriod.changes`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ...actors import Cpu, GracePeriod, Op, OpKind
from ...actors.rcu_sequence import sequence_snap, sequence_state
from ..sanitizers.rcu_usage import double_call_rcu
from .data import BLIMIT, BLIMIT_MAX, QHIMARK, QLOWMARK, RcuData
from .head import RcuHead, rcu_leak_callback

if TYPE_CHECKING:
    from ...actors.rcu_messages import GpTimes
    from ..machine import Machine

RCU_SOFTIRQ = 9
DIVISOR_BITS = 7
"""A batch is at least this share of what is queued: a 128th (``rcu_divisor``)."""
TIME_LIMIT_NS = 3_000_000
LONG_BATCH = 100
CLOCK_EVERY = 32
"""A batch with a limit above 100 also ends after 3 ms; the clock is read every 32 callbacks."""


class RcuFlavour:
    """One flavour: rcu_preempt, or rcu_sched."""

    def __init__(
        self, machine: Machine, name: str, *, times: GpTimes, preemptible: bool, waits_preempt_off: bool
    ) -> None:
        self.machine = machine
        self.name = name
        self.domain = GracePeriod(
            machine.interleaver,
            name,
            machine.cpus,
            times=times,
            preemptible=preemptible,
            waits_preempt_off=waits_preempt_off,
        )
        self.data = {n: RcuData(cpu, self.domain.sequence, 0) for n, cpu in machine.cpus.items()}
        self._enqueue = Op(OpKind.LOCAL, "rcu callbacks of this cpu")
        self.domain.on_end.append(lambda _: machine.count("rcu_grace_periods"))

    def is_online(self, cpu: int) -> bool:
        """Whether grace periods wait for the processor (``rcu_rdp_cpu_online``)."""
        return cpu in self.domain.node_of[cpu].starting

    # --- queueing

    async def call_rcu(self, head: RcuHead) -> None:
        """Run ``head.function`` in soft-interrupt context after a grace period that begins later than now.

        May be called anywhere.  A head that is queued already is reported, and its callback never runs.
        """
        await self._enqueue
        machine = self.machine
        self.domain.changes()
        if head.queued:
            double_call_rcu(machine, head)
            head.function = rcu_leak_callback
            return
        head.queued = True
        data = self.data[machine.smp_processor_id()]
        data.callbacks.enqueue(head)
        machine.count("rcu_callbacks")
        if (fire := machine.tracepoints.rcu_callback.fire) is not None:
            fire(self.name, head.address, 0, data.callbacks.length)
        self.accelerate(data)
        if data.callbacks.length > data.length_at_force + QHIMARK:
            self._overloaded(data)

    def _overloaded(self, data: RcuData) -> None:
        """Callbacks pile up: hurry the grace period, and invoke more of them at a time (``__call_rcu_core``)."""
        if sequence_state(self.domain.sequence):
            data.blimit = BLIMIT_MAX
            self.domain.force()
            data.length_at_force = data.callbacks.length

    def accelerate(self, data: RcuData) -> None:
        """Give callbacks without a grace period the earliest that will do, and ask for it (``rcu_accelerate_cbs``)."""
        wanted = sequence_snap(self.domain.sequence)
        if data.callbacks.accelerate(wanted):
            self.domain.request(wanted)
        if data.callbacks.pending:
            self.domain.interested[data.cpu.cpu_id] = None

    # --- when a grace period has ended

    def note(self, data: RcuData) -> None:
        """See what has become of the grace periods (``note_gp_changes``), in a step of the processor."""
        self.domain.changes()
        node = self.domain.node_of[data.cpu.cpu_id]
        data.sequence = max(data.sequence, node.sequence)
        data.callbacks.advance(data.sequence)
        self.accelerate(data)
        if not data.callbacks.pending:
            self.domain.interested.pop(data.cpu.cpu_id, None)

    async def invoke(self, cpu: Cpu) -> bool:
        """Invoke callbacks whose grace period is over (``rcu_do_batch``); whether some are left."""
        data = self.data[cpu.cpu_id]
        callbacks = data.callbacks
        if not callbacks.ready:
            return False
        self.domain.changes()
        points = self.machine.tracepoints
        limit = max(data.blimit, callbacks.length >> DIVISOR_BITS)
        if (fire := points.rcu_batch_start.fire) is not None:
            fire(self.name, callbacks.length, limit)
        done = callbacks.extract_done()
        started_ns = cpu.clock.ns
        count = 0
        while done:
            head = done.popleft()
            count += 1
            await self.invoke_one(head)
            if count >= limit and cpu.current is not None:
                break
            if limit > LONG_BATCH and count % CLOCK_EVERY == 0 and cpu.clock.ns - started_ns >= TIME_LIMIT_NS:
                break
        self.domain.changes()
        data.invoked += count
        idle = int(cpu.current is None)
        if (fire := points.rcu_batch_end.fire) is not None:
            fire(self.name, count, int(bool(done)), int(bool(cpu.queue)), idle, 0)
        callbacks.insert_done(done)
        callbacks.invoked(count)  # only now: a barrier must wait for callbacks that are being invoked
        self._relax(data)
        return callbacks.ready

    async def invoke_one(self, head: RcuHead) -> None:
        """Run one callback; from here on its head may be queued again, also by itself."""
        head.queued = False
        if (fire := self.machine.tracepoints.rcu_invoke_callback.fire) is not None:
            fire(self.name, head.address, 0)
        running: Any = head.function()
        if running is not None:
            await running

    def _relax(self, data: RcuData) -> None:
        """Go back to the usual limits when the excess has been worked down."""
        length = data.callbacks.length
        if data.blimit >= BLIMIT_MAX and length <= QLOWMARK:
            data.blimit = BLIMIT
        if length == 0 or length < data.length_at_force - QHIMARK:
            data.length_at_force = length
