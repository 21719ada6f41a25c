"""``rcu_node``: a group of processors, and whom of them a grace period still waits for.

Mirrors the leaves of the rcu_node tree of kernel/rcu/tree.h (6.1).  The tree is flattened: there is nothing above the
leaves, and the grace period is complete when every leaf is.  So a leaf that has lost its last processor but not its
preempted readers simply goes on being waited for (``wait_blkd_tasks`` is about telling the level above).

What is in a node, and when it changes:

* ``starting`` (``qsmaskinitnext``): who is online, at once when a processor comes or goes;
* ``expected`` (``qsmaskinit``): the same as of the start of the latest grace period: hotplug is buffered until then;
* ``sequence``: the grace period this node knows of: the global number starts before, and ends after it;
* ``quorum``, ``expedited``: whom the normal and the expedited grace period wait for, while one runs;
* ``blocked``: readers that lost their processor inside a section, oldest first (``blkd_tasks``).  One is a reader of
  the *node*: it may leave on another processor.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .thread import KernelThread

LEAF_PROCESSORS = 16
"""Processors of one leaf (CONFIG_RCU_FANOUT_LEAF)."""


class Quorum:
    """Who one grace period still waits for."""

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


class RcuNode:
    """One leaf: the processors `cpus`, of which `online` are."""

    __slots__ = ("blocked", "cpus", "expected", "expedited", "quorum", "sequence", "starting")

    def __init__(self, cpus: tuple[int, ...], sequence: int, online: Iterable[int]) -> None:
        self.cpus = cpus
        self.sequence = sequence
        self.starting: dict[int, None] = dict.fromkeys(online)
        self.expected: dict[int, None] = dict(self.starting)
        self.blocked: dict[KernelThread, None] = {}
        self.quorum: Quorum | None = None
        self.expedited: Quorum | None = None

    def apply_hotplug(self) -> None:
        """The grace period that starts waits for who is online now (the ONOFF phase)."""
        self.expected = dict(self.starting)

    def begin(self, sequence: int) -> None:
        """The grace period reaches this node (the INIT phase)."""
        self.sequence = sequence
        # Readers preempted so far began before this grace period.
        self.quorum = Quorum(sequence, self.expected, self.blocked)
        for cpu in self.left_meanwhile():
            self.quorum.report(cpu, sequence)

    def left_meanwhile(self) -> list[int]:
        """Processors that went offline between ONOFF and INIT: nobody else will report for them."""
        return [cpu for cpu in self.expected if cpu not in self.starting]

    def begin_expedited(self, sequence: int) -> None:
        """An expedited grace period starts here."""
        self.expedited = Quorum(sequence, self.starting, self.blocked)

    def end(self, sequence: int) -> None:
        """The grace period is over, as far as this node is concerned."""
        self.sequence = sequence
        self.quorum = None

    @property
    def complete(self) -> bool:
        """Whether the normal grace period waits for nobody here."""
        return self.quorum is None or self.quorum.complete


def make_nodes(
    possible: Iterable[int], online: Iterable[int], sequence: int, leaf: int = LEAF_PROCESSORS
) -> list[RcuNode]:
    """Leaves of `leaf` processors each, by number."""
    numbers = sorted(possible)
    up = dict.fromkeys(online)
    groups = [tuple(numbers[start : start + leaf]) for start in range(0, len(numbers), leaf)]
    return [RcuNode(group, sequence, [cpu for cpu in group if cpu in up]) for group in groups]
