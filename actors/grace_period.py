"""The grace-period machine of normal RCU, and what each processor does for it.

Mirrors ``rcu_gp_init()``, ``rcu_report_qs_rnp()``, ``rcu_gp_cleanup()`` of kernel/rcu/tree.c (6.1) and the
preempted-reader bookkeeping of kernel/rcu/tree_plugin.h, on one level instead of a tree.

Who meets here: updaters ask for a grace period (`StartGracePeriod`); the `GracePeriod` actor asks every processor for a
quiescent state (`ReportQuiescentState`, an interrupt); processors answer (`QuiescentState`) as soon as they are outside
every read-side section.  A grace period ends when each processor online at its start has answered, and each reader
that was preempted inside a section begun before has left it (`ReaderLeft`).

States: idle → (a request) waiting for the quorum → ended → idle or the next one, where another was asked for meanwhile.
Only the actor changes the quorum; the per-processor part (`QuiescentStates`) is changed by its processor only.
Sequence numbers are those of ``rcu_seq``: the low two bits are the state, the rest counts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from .actor import Actor
from .mailbox import Mailbox, Message
from .resource import Access

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from .cpu import Cpu
    from .interleaver import Interleaver
    from .thread import KernelThread

INITIAL_SEQUENCE = -300 << 2
STATE_MASK = 3


def sequence_snap(sequence: int) -> int:
    """The earliest value which tells that a full grace period has passed since now (``rcu_seq_snap``)."""
    return (sequence + 2 * STATE_MASK + 1) & ~STATE_MASK


def sequence_end(sequence: int) -> int:
    """The value at the end of the grace period that runs (``rcu_seq_endval``)."""
    return (sequence | STATE_MASK) + 1


@dataclass(frozen=True, slots=True)
class StartGracePeriod(Message):
    """A grace period that ends with ``sequence`` or later is needed."""

    sequence: int


@dataclass(frozen=True, slots=True)
class ReportQuiescentState(Message):
    """To a processor: say when you are outside every reader that began before ``sequence`` started."""

    sequence: int


@dataclass(frozen=True, slots=True)
class QuiescentState(Message):
    """From a processor: it is."""

    cpu: int
    sequence: int


@dataclass(frozen=True, slots=True)
class ReaderLeft(Message):
    """A reader that held up the grace period has left its section: look again."""


@dataclass(frozen=True, slots=True)
class GracePeriodEnded(Message):
    """To a processor with callbacks: ``sequence`` has been reached."""

    sequence: int


class Quorum:
    """Who the running grace period still waits for."""

    __slots__ = ("blocked_readers", "sequence", "waiting_cpus")

    def __init__(self, sequence: int, online: Iterable[int], blocked: Iterable[KernelThread]) -> None:
        self.sequence = sequence
        self.waiting_cpus = dict.fromkeys(online)  # ordered: determinism forbids sets
        self.blocked_readers = dict.fromkeys(blocked)

    def report(self, cpu: int, sequence: int) -> None:
        """Count a quiescent state of `cpu`; one for another sequence is late and means nothing."""
        if sequence == self.sequence:
            self.waiting_cpus.pop(cpu, None)

    def reader_preempted(self, reader: KernelThread, cpu: int) -> None:
        """A reader lost its processor: it counts if that has not answered, for it may have begun before the start."""
        if cpu in self.waiting_cpus:
            self.blocked_readers[reader] = None

    def reader_left(self, reader: KernelThread) -> bool:
        """A preempted reader has left its section; whether it had held the grace period up."""
        if reader not in self.blocked_readers:
            return False
        del self.blocked_readers[reader]
        return True

    @property
    def complete(self) -> bool:
        """Whether the grace period may end."""
        return not (self.waiting_cpus or self.blocked_readers)


class GracePeriod(Actor):
    """The grace-period machine of one RCU domain.

    ``interested`` processors have callbacks and are told of the end.  Under a costed clock a grace period lasts at
    least ``scan_ns``, the time to the first scan for quiescent states (``jiffies_till_first_fqs``).
    """

    daemon = True

    __slots__ = (
        "cpus",
        "interested",
        "mailbox",
        "on_end",
        "preempted_readers",
        "quorum",
        "scan_ns",
        "sequence",
        "wanted",
    )

    def __init__(self, interleaver: Interleaver, name: str, cpus: dict[int, Cpu], *, scan_ns: int) -> None:
        super().__init__(interleaver, name)
        self.cpus = cpus
        self.scan_ns = scan_ns
        self.sequence = INITIAL_SEQUENCE
        self.wanted = INITIAL_SEQUENCE
        self.quorum: Quorum | None = None
        self.preempted_readers: dict[KernelThread, None] = {}
        self.interested: dict[int, None] = {}
        self.on_end: list[Callable[[int], object]] = []
        self.mailbox = Mailbox(self)

    async def body(self) -> None:
        """Run grace periods while somebody needs one."""
        while True:
            match await self.mailbox.receive():
                case StartGracePeriod(sequence):
                    self.wanted = max(self.wanted, sequence)
                case QuiescentState(cpu, sequence):
                    if self.quorum is not None:
                        self.quorum.report(cpu, sequence)
                case ReaderLeft():
                    pass  # the quorum has been told: see if it is complete
            while True:
                if self.quorum is not None and self.quorum.complete:
                    self._end()
                elif self.quorum is None and self.sequence < self.wanted:
                    await self._begin()
                else:
                    break

    async def _begin(self) -> None:
        self.sequence += 1  # the low bits say: running
        self._trace("start")
        self.looks_at_processors()
        online = [cpu for cpu in self.cpus.values() if cpu.online]
        # G1 Readers preempted so far began before this grace period.
        self.quorum = quorum = Quorum(self.sequence, [cpu.cpu_id for cpu in online], self.preempted_readers)
        if self.interleaver.costed:
            await self.sleep(self.scan_ns)
        for cpu in online:
            if cpu.idle:  # extended quiescent state: nothing to ask
                quorum.report(cpu.cpu_id, self.sequence)
            else:
                cpu.mailbox.post(ReportQuiescentState(self.sequence))

    def looks_at_processors(self, _: Actor | None = None) -> None:
        """Declare that the step being made looks at what every processor is doing; may be an operation's effect."""
        touch = self.interleaver.touch
        if touch is not None:
            for cpu in self.cpus.values():
                touch(cpu.host, Access.READ)

    def changes(self) -> None:
        """Declare that the step being made looks at or changes the machine's state from outside."""
        touch = self.interleaver.touch
        if touch is not None:
            touch(self.mailbox.resource, Access.WRITE)

    def reader_preempted(self, reader: KernelThread, cpu: int) -> None:
        """Put a reader that lost its processor on the list, in the step of the context switch."""
        self.changes()
        self.preempted_readers[reader] = None
        if self.quorum is not None:
            self.quorum.reader_preempted(reader, cpu)

    def reader_left(self, reader: KernelThread) -> None:
        """Take a reader off the list, in the step in which it leaves its section."""
        self.changes()
        del self.preempted_readers[reader]
        if self.quorum is not None and self.quorum.reader_left(reader):
            self.mailbox.post(ReaderLeft())

    def _end(self) -> None:
        self.quorum = None
        self.sequence = sequence_end(self.sequence)
        self._trace("end")
        for cpu in list(self.interested):
            self.cpus[cpu].mailbox.post(GracePeriodEnded(self.sequence))
        for told in self.on_end:
            told(self.sequence)

    def _trace(self, event: str) -> None:
        fire = self.interleaver.tracepoints.rcu_grace_period.fire
        if fire is not None:
            fire(self.name, self.sequence, event)


class QuiescentStates:
    """The processors' part: when may which of them answer.

    A preemptible kernel counts an interrupt outside every reader, the end of the outermost reader, a context switch and
    idle as quiescent; another kernel only a context switch (which includes `cond_resched`), idle and user mode.
    """

    __slots__ = ("domain", "preemptible")

    def __init__(self, domain: GracePeriod, *, preemptible: bool) -> None:
        self.domain = domain
        self.preemptible = preemptible
        for cpu in domain.cpus.values():
            cpu.handlers[ReportQuiescentState] = self.requested
            cpu.on_switch.append(self.switched)

    def requested(self, cpu: Cpu, message: ReportQuiescentState) -> None:
        """The interrupt that asks for a quiescent state (``rcu_flavor_sched_clock_irq``)."""
        thread = cpu.current
        cpu.qs_needed = message.sequence
        if thread is None or cpu.in_user_mode:
            self._report(cpu)
        elif not thread.rcu_depth and not thread.preempt_count and (self.preemptible or thread.blocked):
            # A thread that waits with its processor would give it up for this: as good as a context switch.
            self._report(cpu)

    def switched(self, cpu: Cpu, previous: KernelThread | None, _: KernelThread | None, __: bool) -> None:
        """A context switch (``rcu_note_context_switch``)."""
        if previous is not None and previous.rcu_depth and not previous.rcu_blocking:
            previous.rcu_blocking = True
            self.domain.reader_preempted(previous, cpu.cpu_id)
        if cpu.qs_needed is not None:
            self._report(cpu)

    def outermost_unlock(self, thread: KernelThread) -> None:
        """The outermost reader of `thread` has ended (``rcu_read_unlock_special``)."""
        cpu = thread.cpu
        if thread.rcu_blocking:
            thread.rcu_blocking = False
            self.domain.reader_left(thread)
        elif cpu.qs_needed is not None and self.preemptible and not thread.preempt_count:
            self._report(cpu)

    def user_mode(self, cpu: Cpu) -> None:
        """The processor runs user code: outside every reader of the kernel."""
        if cpu.qs_needed is not None:
            self._report(cpu)

    def _report(self, cpu: Cpu) -> None:
        sequence, cpu.qs_needed = cpu.qs_needed, None
        if sequence is not None:
            self.domain.mailbox.post(QuiescentState(cpu.cpu_id, sequence))
