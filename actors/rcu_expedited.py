"""Expedited grace periods: every processor that may be in a reader is interrupted at once.

Mirrors ``sync_rcu_exp_select_cpus()``, ``rcu_report_exp_rdp()`` and ``rcu_exp_gp_seq_*()`` of kernel/rcu/tree_exp.h
(6.1).  The state only; who runs one holds ``exp_mutex`` and waits for `on_complete`.

It waits for the same readers as the normal grace period (`GracePeriod.nodes`) and counts in its own quorum of each
node.  Idle, user-mode and offline processors are not disturbed.  An interrupted processor reports at once where it is
quiescent, and at its next quiescent state otherwise (``exp_hint``, ``need_resched``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .rcu_quiescent import QuiescenceDomain, ReportQuiescentState
from .rcu_sequence import sequence_end, sequence_start, sequence_state

if TYPE_CHECKING:
    from collections.abc import Callable

    from .grace_period import GracePeriod
    from .thread import KernelThread


class Expedited(QuiescenceDomain):
    """The expedited grace periods of one domain; ``sequence`` is ``expedited_sequence``."""

    __slots__ = ("domain", "on_complete", "preemptible", "sequence", "waits_preempt_off")

    def __init__(self, domain: GracePeriod) -> None:
        self.domain = domain
        self.preemptible = domain.preemptible
        self.waits_preempt_off = domain.waits_preempt_off
        self.sequence = 0
        self.on_complete: Callable[[], object] = int

    def start(self) -> None:
        """Begin: in this step every node gets its quorum, and every processor that must be is interrupted."""
        domain = self.domain
        domain.changes()
        domain.looks_at_processors()
        self.sequence = sequence_start(self.sequence)
        self.trace(sequence_end(self.sequence), "start")
        for node in domain.nodes:
            node.begin_expedited(self.sequence)
            for number in list(node.starting):
                cpu = domain.cpus[number]
                if domain.is_extended_quiescent(cpu):
                    self._count(number, self.sequence)
                else:
                    cpu.mailbox.post(ReportQuiescentState(self, self.sequence))
        self.trace(sequence_end(self.sequence), "select")
        self.look()

    def report(self, cpu: int, sequence: int) -> None:
        """A processor was quiescent after it had been interrupted for `sequence`."""
        self.domain.changes()
        self._count(cpu, sequence)
        self.look()

    def _count(self, cpu: int, sequence: int) -> None:
        quorum = self.domain.node_of[cpu].expedited
        if quorum is not None:
            quorum.report(cpu, sequence)

    def look(self) -> None:
        """Say so if nobody is waited for any more."""
        if sequence_state(self.sequence) and self.complete:
            self.on_complete()

    @property
    def complete(self) -> bool:
        """Whether nobody is waited for."""
        return all(node.expedited is None or node.expedited.complete for node in self.domain.nodes)

    def end(self) -> None:
        """It is over."""
        self.domain.changes()
        for node in self.domain.nodes:
            node.expedited = None
        self.sequence = sequence_end(self.sequence)
        self.trace(self.sequence, "end")

    def blockers(self) -> list[KernelThread]:
        """The threads it waits for."""
        found: dict[KernelThread, None] = {}
        for node in self.domain.nodes:
            if node.expedited is not None:
                found.update(node.expedited.blocked_readers)
                running = [self.domain.cpus[cpu].current for cpu in node.expedited.waiting_cpus]
                found.update({thread: None for thread in running if thread is not None})
        return list(found)

    def trace(self, sequence: int, event: str) -> None:
        """Fire ``rcu:rcu_exp_grace_period``."""
        if (fire := self.domain.interleaver.tracepoints.rcu_exp_grace_period.fire) is not None:
            fire(self.domain.name, sequence, event)
