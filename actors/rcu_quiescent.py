"""The processors' part in grace periods: when may which of them say that no reader can be there.

Mirrors ``rcu_sched_clock_irq()``, ``rcu_note_context_switch()``, ``rcu_read_unlock_special()`` and
``rcu_exp_handler()`` of kernel/rcu (6.1).  Several domains may want a quiescent state of one processor (normal and
expedited grace periods, and rcu_sched beside rcu_preempt up to 4.19); each demand is an interrupt
(`ReportQuiescentState`) and is kept until it can be met (``demands``; ``cpu.qs_needed`` says that there is any).

| event                                            | quiescent for a domain with                               |
|--------------------------------------------------|-----------------------------------------------------------|
| context switch, idle, user mode, going offline   | any readers (a reader that is preempted goes on a list)   |
| an interrupt, the outermost `rcu_read_unlock`,   | preemptible readers, if the thread is in none, and, where |
| the end of a region that forbids preemption      | those count as readers (from 5.0), in no such region      |
| `cond_resched`, waiting with the processor       | readers that are not preemptible, outside such regions    |

A processor's demands change in its own steps only.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from .mailbox import Message

if TYPE_CHECKING:
    from collections.abc import Callable

    from .cpu import Cpu
    from .grace_period import GracePeriod
    from .thread import KernelThread


class QuiescenceDomain:
    """Who wants quiescent states: of readers that may be preempted or not, counting preempt-off regions or not."""

    __slots__ = ()

    preemptible: bool
    waits_preempt_off: bool

    def report(self, cpu: int, sequence: int) -> None:
        """Processor `cpu` was quiescent after it had been asked for `sequence`."""
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class ReportQuiescentState(Message):
    """To a processor: say when you are outside every reader of ``domain`` that began before ``sequence`` started."""

    domain: QuiescenceDomain
    sequence: int


class QuiescentStates:
    """What the processors of one machine owe to the domains; `tasks` is where preempted readers are listed.

    ``on_illegal_switch`` is told of a thread that gives up its processor inside a reader.
    """

    __slots__ = ("demands", "idle_depth", "on_illegal_switch", "on_reader_left", "tasks")

    def __init__(self, cpus: dict[int, Cpu], tasks: GracePeriod) -> None:
        self.tasks = tasks
        self.demands: dict[int, dict[QuiescenceDomain, int]] = {number: {} for number in cpus}
        self.idle_depth = dict.fromkeys(cpus, 0)  # readers of interrupts that came while the processor was idle
        self.on_illegal_switch: Callable[[KernelThread], object] | None = None
        self.on_reader_left: Callable[[], object] | None = None  # an expedited grace period had waited for it
        for cpu in cpus.values():
            cpu.handlers[ReportQuiescentState] = self.requested
            cpu.on_switch.append(self.switched)
            cpu.on_quiet = self.quiet

    # --- what happens on a processor

    def requested(self, cpu: Cpu, message: ReportQuiescentState) -> None:
        """The interrupt that asks for a quiescent state."""
        self.demands[cpu.cpu_id][message.domain] = message.sequence
        cpu.qs_needed = message.sequence
        self.quiet(cpu, resched=False)

    def switched(self, cpu: Cpu, previous: KernelThread | None, _: KernelThread | None, __: bool) -> None:
        """A context switch (``rcu_note_context_switch``)."""
        cpu.in_user_mode = False  # that was the previous thread
        if previous is not None and previous.rcu_depth:
            self._switched_in_reader(cpu, previous)
        if cpu.qs_needed is not None:
            self.report_all(cpu)

    def _switched_in_reader(self, cpu: Cpu, reader: KernelThread) -> None:
        if reader not in reader.interleaver.actors:  # it ends, and leaves its readers (``exit_rcu``)
            reader.rcu_depth = 0
            if reader.rcu_blocking:
                self._left(reader)
            return
        if reader.blocked and self.on_illegal_switch is not None:
            self.on_illegal_switch(reader)
        if not reader.rcu_blocking and self.tasks.preemptible:
            reader.rcu_blocking = True
            self.tasks.reader_preempted(reader, cpu.cpu_id)

    def outermost_unlock(self, thread: KernelThread) -> None:
        """The outermost reader of `thread` has ended (``rcu_read_unlock_special``)."""
        if thread.rcu_blocking:
            self._left(thread)
        if thread.cpu.qs_needed is not None:
            self.quiet(thread.cpu, resched=False)

    def _left(self, reader: KernelThread) -> None:
        reader.rcu_blocking = False
        if self.tasks.reader_left(reader) and self.on_reader_left is not None:
            self.on_reader_left()

    def user_mode(self, cpu: Cpu) -> None:
        """The processor runs user code: outside every reader of the kernel."""
        if cpu.qs_needed is not None:
            self.report_all(cpu)

    def quiet(self, cpu: Cpu, resched: bool) -> None:
        """Meet the demands that the processor can meet as it is; with `resched` it would give up its thread now."""
        demands = self.demands[cpu.cpu_id]
        for domain in list(demands):
            if self.is_quiescent(cpu, domain, resched=resched):
                domain.report(cpu.cpu_id, demands.pop(domain))
        if not demands:
            cpu.qs_needed = None

    def report_all(self, cpu: Cpu) -> None:
        """A quiescent state for everyone."""
        demands, self.demands[cpu.cpu_id] = self.demands[cpu.cpu_id], {}
        cpu.qs_needed = None
        for domain, sequence in demands.items():
            domain.report(cpu.cpu_id, sequence)

    def is_quiescent(self, cpu: Cpu, domain: QuiescenceDomain, *, resched: bool) -> bool:
        """Whether no reader of `domain` is on the processor now, as far as its interrupts can tell."""
        thread = cpu.current
        if domain.preemptible and not domain.waits_preempt_off:
            return not (thread.rcu_depth if thread is not None else self.idle_depth[cpu.cpu_id])
        if cpu.in_softirq:
            return False
        if thread is None or cpu.in_user_mode:
            return True
        if thread.preempt_count or thread.bh_count or thread.rcu_depth or cpu.irqs_off:
            return False
        # A thread that waits with its processor would give it up for this: as good as a context switch.
        return domain.preemptible or resched or thread.blocked
