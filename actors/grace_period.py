"""The grace-period machine of one RCU domain: the kernel thread ``rcu_preempt`` or ``rcu_sched``.

Mirrors ``rcu_gp_kthread()``, ``rcu_gp_init()``, ``rcu_gp_fqs_loop()``, ``rcu_gp_cleanup()``, ``rcu_start_this_gp()``
and ``rcu_report_qs_rnp()`` of kernel/rcu/tree.c (6.1) on the leaves of `rcu_node`.

Who meets here.  Updaters ask for a grace period (`GracePeriod.request`: the first that asks wakes the machine, the
others only raise ``needed``).  The machine asks processors for a quiescent state (`ReportQuiescentState`, an interrupt
that stands for the scheduling-clock tick).  Processors and readers report in their own steps (`report`,
`reader_left`: as in the kernel under the node's lock); the report that completes the quorum wakes the machine
(`QuorumComplete`).  Processors with callbacks are told of the end (`GracePeriodEnded`).

States and legal moves, by `GpState`::

    WAIT_GPS → ONOFF → INIT → WAIT_FQS ⇄ DOING_FQS → CLEANUP → IDLE → WAIT_GPS, or ONOFF where another is needed

ONOFF: the global number starts, then buffered hotplug is applied.  INIT: node by node, a step each, the nodes learn
the number and whom to wait for.  FQS: idle, user-mode and offline processors are seen without being woken, the others
are asked.  CLEANUP: node by node the nodes learn of the end, then the global number ends.

Invariants: (R1) the global number starts before any node's and ends after every node's.  (R2) A processor leaves a
quorum only by a quiescent state that came after its node's INIT.  (R3) A reader that began before INIT is in the
section of a processor that is waited for, or on its node's list of blocked readers.

One resource stands for the locks of all nodes (`changes`).  Under a costed clock the first scan comes ``first_fqs_ns``
after INIT, others ``next_fqs_ns`` apart.  Otherwise the first scan is part of the last INIT step and there is no
second one unless nothing else can go on.  A grace period that lasts ``stall_ns`` is reported (`on_stall`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .actor import Actor
from .mailbox import Mailbox
from .operation import Op, OpKind
from .rcu_messages import (
    ForceQuiescentStates,
    GpFlag,
    GpState,
    GpTimes,
    GracePeriodEnded,
    QuorumComplete,
    StartGracePeriod,
)
from .rcu_node import LEAF_PROCESSORS, RcuNode, make_nodes
from .rcu_quiescent import QuiescenceDomain, ReportQuiescentState
from .rcu_sequence import INITIAL_SEQUENCE, sequence_end, sequence_start, sequence_state
from .resource import Access

if TYPE_CHECKING:
    from collections.abc import Callable

    from .cpu import Cpu
    from .interleaver import Interleaver
    from .thread import KernelThread


class GracePeriod(Actor, QuiescenceDomain):
    """The grace-period machine of one RCU domain, waiting for preempted readers where it is `preemptible`.

    ``interested`` processors have callbacks that wait and are told of the end.  ``on_start`` and ``on_end`` are told
    the sequence number; ``on_stall`` that the grace period is overdue.
    """

    daemon = True

    __slots__ = (
        "_alarm",
        "_node",
        "alone",
        "begun_ns",
        "blocked_on",
        "cpus",
        "flags",
        "force_count",
        "interested",
        "mailbox",
        "needed",
        "node_of",
        "nodes",
        "on_end",
        "on_stall",
        "on_start",
        "preemptible",
        "scans",
        "sequence",
        "stall_due_ns",
        "stalled",
        "state",
        "times",
        "waits_preempt_off",
    )

    def __init__(
        self,
        interleaver: Interleaver,
        name: str,
        cpus: dict[int, Cpu],
        *,
        times: GpTimes,
        preemptible: bool,
        waits_preempt_off: bool = True,
        leaf: int = LEAF_PROCESSORS,
    ) -> None:
        super().__init__(interleaver, name)
        self.preemptible = preemptible
        self.waits_preempt_off = waits_preempt_off
        self.cpus = cpus
        self.times = times
        online = [number for number, cpu in cpus.items() if cpu.online]
        self.nodes: list[RcuNode] = make_nodes(cpus, online, INITIAL_SEQUENCE, leaf)
        self.node_of = {cpu: node for node in self.nodes for cpu in node.cpus}
        self.state = GpState.IDLE
        self.flags = GpFlag(0)
        self.sequence = INITIAL_SEQUENCE
        self.needed = INITIAL_SEQUENCE
        self.begun_ns = 0
        self.stall_due_ns = 0
        self.alone = False  # nothing else could go on when it looked last
        self.stalled = False  # it was said of the running one
        self.scans = 0  # of the running one
        self.force_count = 0  # since boot
        self.blocked_on: dict[KernelThread, RcuNode] = {}
        self.interested: dict[int, None] = {}
        self.on_start: list[Callable[[int], object]] = []
        self.on_end: list[Callable[[int], object]] = []
        self.on_stall: Callable[[GracePeriod], object] = _ignore
        self.mailbox = Mailbox(self)
        self._node = Op(OpKind.UPDATE, self.mailbox.resource)
        self._alarm = interleaver.alarm(self._ring)

    def _ring(self) -> None:
        self.mailbox.post(ForceQuiescentStates(self.sequence))

    # --- the life of a grace period

    async def body(self) -> None:
        """Run grace periods while somebody needs one."""
        while True:
            self.state = GpState.WAIT_GPS
            while not self.flags & GpFlag.INIT:
                await self.mailbox.receive()
            while self.flags & GpFlag.INIT:
                await self._init()
                await self._fqs_loop()
                await self._cleanup()

    async def _init(self) -> None:
        """``rcu_gp_init``."""
        self.state = GpState.ONOFF
        self.flags = GpFlag(0)
        self.sequence = sequence_start(self.sequence)
        self.begun_ns = self.interleaver.timer_ns()
        self.stall_due_ns = self.begun_ns + self.times.stall_ns
        self.stalled = False
        self.scans = 0
        self.trace("start")
        for told in self.on_start:
            told(self.sequence)
        for node in self.nodes:
            node.apply_hotplug()
        self.state = GpState.INIT
        fire = self.interleaver.tracepoints.rcu_grace_period_init.fire
        for node in self.nodes:
            await self._node
            node.begin(self.sequence)
            if fire is not None:
                fire(self.name, self.sequence, 0, node.cpus[0], node.cpus[-1], node_mask(node, node.expected))

    async def _fqs_loop(self) -> None:
        """``rcu_gp_fqs_loop``: until nobody is waited for."""
        if not self.interleaver.costed:
            self._force()
        elif not self.complete:
            self._alarm.set(self.times.first_fqs_ns)
        while not self.complete:
            self.state = GpState.WAIT_FQS
            message = await self.mailbox.receive()
            self.state = GpState.DOING_FQS
            if isinstance(message, ForceQuiescentStates) and message.sequence == self.sequence:
                self._force()
        self._alarm.cancel()

    def _force(self) -> None:
        """One scan (``rcu_gp_fqs``)."""
        self.alone = alone = not self.interleaver.anything_but(self)
        self.trace("fqsstart")
        self.looks_at_processors()
        self.force_count += 1
        self.scans += 1
        self.flags &= ~GpFlag.FQS
        for node in self.nodes:
            if node.quorum is not None:
                for number in list(node.quorum.waiting_cpus):
                    self._force_one(node, number)
        self.trace("fqsend")
        if self.complete:
            return
        self.check_stall()
        if self.stalled and alone:
            return  # it was said, and nothing will change: let the run end
        self._alarm.set(self._next_look_ns(alone=alone))

    def _force_one(self, node: RcuNode, number: int) -> None:
        """See whether a processor can be in a reader (``rcu_implicit_dynticks_qs``); ask it where it can."""
        cpu = self.cpus[number]
        if self.is_extended_quiescent(cpu) or number not in node.starting:
            self._fqs_trace(number, "dti")
            self._count(node, number, self.sequence)
        elif self.scans == 1 or cpu.qs_needed is None:
            cpu.mailbox.post(ReportQuiescentState(self, self.sequence))

    def is_extended_quiescent(self, cpu: Cpu) -> bool:
        """Idle or in user mode (dynticks): no reader can be there.  The list of blocked readers has the others."""
        return cpu.idle or (cpu.in_user_mode and not (cpu.in_hardirq or cpu.in_softirq))

    def _next_look_ns(self, *, alone: bool) -> int:
        """When to look again: regularly where time passes by itself, otherwise once, and when it is overdue."""
        overdue_ns = max(self.stall_due_ns - self.interleaver.timer_ns(), 1)
        if alone and self.scans > 1:
            return overdue_ns
        if not self.interleaver.costed and self.interleaver.timer_ns() > self.begun_ns:
            return overdue_ns
        return min(self.times.next_fqs_ns, overdue_ns)

    async def _cleanup(self) -> None:
        """``rcu_gp_cleanup``: the nodes first, then the global number."""
        self.state = GpState.CLEANUP
        ended = sequence_end(self.sequence)
        for node in self.nodes:
            if node is not self.nodes[0]:
                await self._node
            node.end(ended)
        await self._node
        self.sequence = ended
        self.state = GpState.IDLE
        self.trace("end")
        for told in self.on_end:
            told(ended)
        for cpu in list(self.interested):
            self.cpus[cpu].mailbox.post(GracePeriodEnded(self, ended))
        if self.needed > ended:
            self.flags = GpFlag.INIT
            self.trace("newreq")

    # --- what others do to it, in steps of theirs

    def request(self, sequence: int) -> None:
        """See to it that a grace period ends with `sequence` (``rcu_start_this_gp``)."""
        self.changes()
        if self.needed >= sequence:
            return  # asked for already
        self.needed = sequence
        self._future_trace(sequence, "Startedroot")
        if self.flags & GpFlag.INIT or sequence_state(self.sequence):
            return  # the machine will see it at the end of the one that runs
        self.flags |= GpFlag.INIT
        self.trace("newreq")
        self.mailbox.post(StartGracePeriod(sequence))

    def report(self, cpu: int, sequence: int) -> None:
        """A processor was in a quiescent state after it had been asked for `sequence`."""
        self.changes()
        self.check_stall()
        self._count(self.node_of[cpu], cpu, sequence)
        self._wake()

    def _count(self, node: RcuNode, cpu: int, sequence: int) -> None:
        if node.quorum is not None:
            node.quorum.report(cpu, sequence)
            fire = self.interleaver.tracepoints.rcu_quiescent_state_report.fire
            if fire is not None:
                left = node_mask(node, node.quorum.waiting_cpus)
                mask = 1 << cpu - node.cpus[0]
                blocked = int(bool(node.quorum.blocked_readers))
                fire(self.name, sequence, mask, left, 0, node.cpus[0], node.cpus[-1], blocked)

    def _wake(self) -> None:
        if self.state is GpState.WAIT_FQS and self.complete:
            self.mailbox.post(QuorumComplete(self.sequence))

    def force(self) -> None:
        """Have the processors looked at now (``rcu_force_quiescent_state``)."""
        self.changes()
        if sequence_state(self.sequence) and not self.flags & GpFlag.FQS:
            self.flags |= GpFlag.FQS
            self.mailbox.post(ForceQuiescentStates(self.sequence))

    def reader_preempted(self, reader: KernelThread, cpu: int) -> None:
        """Put a reader that lost its processor on the list, in the step of the context switch."""
        self.changes()
        self.check_stall()
        node = self.node_of[cpu]
        node.blocked[reader] = None
        self.blocked_on[reader] = node
        for quorum in (node.quorum, node.expedited):
            if quorum is not None:
                quorum.reader_preempted(reader, cpu)
        if (fire := self.interleaver.tracepoints.rcu_preempt_task.fire) is not None:
            fire(self.name, node.sequence, reader.pid)

    def reader_left(self, reader: KernelThread) -> bool:
        """Take a reader off the list, in the step in which it leaves; whether an expedited one had waited for it."""
        self.changes()
        self.check_stall()
        node = self.blocked_on.pop(reader)
        del node.blocked[reader]
        if (fire := self.interleaver.tracepoints.rcu_unlock_preempted_task.fire) is not None:
            fire(self.name, node.sequence, reader.pid)
        if node.quorum is not None and node.quorum.reader_left(reader):
            self._wake()
        return node.expedited is not None and node.expedited.reader_left(reader)

    # --- looking

    @property
    def complete(self) -> bool:
        """Whether nobody is waited for; meaningful once every node has been reached."""
        return all(node.complete for node in self.nodes)

    def check_stall(self) -> None:
        """Say so if the grace period that runs is overdue (``check_cpu_stall``), as long as somebody is waited for.

        Where time jumps, it does so while nothing changes: who is waited for before the first change afterwards was
        so when the timeout expired.
        """
        now_ns = self.interleaver.timer_ns()
        if now_ns < self.stall_due_ns or self.state not in (GpState.WAIT_FQS, GpState.DOING_FQS) or self.complete:
            return
        if self.interleaver.outcome is not None:
            return  # the run is over: readers leave because their threads are unwound
        self.stall_due_ns = now_ns + 3 * self.times.stall_ns
        self.stalled = True
        self.on_stall(self)

    def blockers(self) -> list[KernelThread]:
        """The threads that hold the grace period up: preempted readers, and who has a processor that is waited for."""
        found: dict[KernelThread, None] = {}
        for node in self.nodes:
            if node.quorum is not None:
                found.update(node.quorum.blocked_readers)
                running = [self.cpus[cpu].current for cpu in node.quorum.waiting_cpus]
                found.update({thread: None for thread in running if thread is not None})
        return list(found)

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

    def trace(self, event: str) -> None:
        """Fire ``rcu:rcu_grace_period``."""
        if (fire := self.interleaver.tracepoints.rcu_grace_period.fire) is not None:
            fire(self.name, self.sequence, event)

    def _future_trace(self, wanted: int, event: str) -> None:
        if (fire := self.interleaver.tracepoints.rcu_future_grace_period.fire) is not None:
            node = self.nodes[0]
            fire(self.name, self.sequence, wanted, 0, node.cpus[0], node.cpus[-1], event)

    def _fqs_trace(self, cpu: int, event: str) -> None:
        if (fire := self.interleaver.tracepoints.rcu_fqs.fire) is not None:
            fire(self.name, self.sequence, cpu, event)


def _ignore(_: GracePeriod) -> None:
    """What nobody wants to be told."""


def node_mask(node: RcuNode, cpus: dict[int, None]) -> int:
    """Processors of a node as bits, the first is bit 0."""
    return sum(1 << cpu - node.cpus[0] for cpu in cpus)
