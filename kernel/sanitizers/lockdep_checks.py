"""What lockdep checks when a lock is taken, independent of who takes it and of any machine.

Mirrors check_wait_context(), mark_lock(), mark_lock_irq(), check_deadlock(), check_prevs_add(), check_noncircular()
and check_irq_usage() of kernel/locking/lockdep.c (6.1, without PROVE_RAW_LOCK_NESTING and PREEMPT_RT).

`Checks.take` is fed with one acquisition after another: what the context holds, outermost first, and what it takes.
It returns the first thing that is wrong, or None and remembers: usage, edges.  After a finding nothing it says can be
trusted, as in the kernel.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .lockdep_findings import (
    BH_OFF,
    HARDIRQ,
    IRQS_OFF,
    SOFTIRQ,
    CrossFinding,
    Finding,
    Held,
    InconsistentState,
    InvalidWait,
    IrqInversion,
    IrqOrder,
    NestNotHeld,
    Recursion,
    Report,
)
from .lockdep_graph import Graph, Node, Stack, edge_kind, search_backwards, search_forwards
from .lockdep_usage import (
    ENABLED,
    ENABLED_ALL,
    EXCLUSIVE_ALL,
    FIRST_READ_USE,
    FIRST_USE,
    USED_IN_ALL,
    USED_READ_MODE,
    excluded_by,
    excluded_mask,
    first_conflict,
    usage_bit,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

WAIT_SPIN, WAIT_CONFIG, WAIT_MAX = 2, 2, 4
"""What interrupts and threads may wait for (``enum lockdep_wait_type``)."""


class Checks:
    """The classes of one machine, and the checks on them.  `wait_type` gives a class's ``outer:inner`` by name."""

    def __init__(self, wait_type: Callable[[str], str]) -> None:
        self.graph = Graph(wait_type)

    def take(
        self, held: Sequence[Held], wanted: Held, stack: Stack, *, nest: tuple[str, int] | None = None
    ) -> Report | None:
        """A context that holds `held` takes `wanted`; `nest`, name and address, is the lock that protects its nesting.

        `held` is what was taken at the same interrupt level.
        """
        found: Report | None
        if not wanted.trylock and (found := self._wait_context(held, wanted)):
            return found
        if found := self._mark_usage(wanted, stack):
            return found
        if nest is not None and not any(lock.address == nest[1] for lock in held):
            return NestNotHeld(wanted, nest[0])
        if wanted.trylock:
            return None
        protected = False
        for holding in held:
            protected = protected or (nest is not None and holding.address == nest[1])
            if holding.lock_class is not wanted.lock_class or (wanted.recursive and holding.shared):
                continue
            if protected:
                return None
            return Recursion(wanted, holding)
        for holding in reversed(held):
            if found := self._new_edge(holding, wanted, stack):
                return found
            if not holding.trylock:
                break  # what is held further out has its edge to this one already
        return None

    def enable(self, held: Sequence[Held], stack: Stack, *, softirq: bool) -> Report | None:
        """Interrupts are switched on again while `held` are held."""
        for lock in held:
            bit = usage_bit(softirq=softirq, enabled=True, read=lock.shared)
            if not lock.lock_class.usage_mask >> bit & 1 and (found := self._mark(lock, bit, stack)):
                return found
        return None

    def commit(self, crosslock: Held, taken: Held, stack: Stack) -> Report | None:
        """Who was to complete `crosslock` has taken `taken` first."""
        if taken.lock_class is crosslock.lock_class:
            return None
        found = self._new_edge(crosslock, taken, stack)
        return CrossFinding(found.wanted, found.holding, found.path) if isinstance(found, Finding) else found

    # --- wait types

    @staticmethod
    def _wait_context(held: Sequence[Held], wanted: Held) -> Report | None:
        if not wanted.lock_class.inner:
            return None
        allowed = WAIT_SPIN if wanted.state & HARDIRQ else WAIT_CONFIG if wanted.state & SOFTIRQ else WAIT_MAX
        context = allowed
        for lock in held:
            if lock.lock_class.inner:
                allowed = min(allowed, lock.lock_class.inner)
        needed = wanted.lock_class.outer or wanted.lock_class.inner
        return InvalidWait(wanted, context) if needed > allowed else None

    # --- usage

    def _mark_usage(self, wanted: Held, stack: Stack) -> Report | None:
        read, state = wanted.shared, wanted.state
        bits = []
        if not wanted.trylock:
            if state & HARDIRQ:
                bits.append(usage_bit(softirq=False, enabled=False, read=read))
            if state & SOFTIRQ:
                bits.append(usage_bit(softirq=True, enabled=False, read=read))
        if not state & (HARDIRQ | IRQS_OFF):
            bits.append(usage_bit(softirq=False, enabled=True, read=read))
            if not state & (SOFTIRQ | BH_OFF):
                bits.append(usage_bit(softirq=True, enabled=True, read=read))
        for bit in bits:
            if not wanted.lock_class.usage_mask >> bit & 1 and (found := self._mark(wanted, bit, stack)):
                return found
        first = FIRST_READ_USE if read else FIRST_USE
        wanted.lock_class.usage_mask |= 1 << first
        wanted.lock_class.usage_stacks.setdefault(first, stack)
        return None

    def _mark(self, lock: Held, bit: int, stack: Stack) -> Report | None:
        """The class has a usage it did not have: it must not contradict its others, nor those of connected classes."""
        this = lock.lock_class
        this.usage_mask |= 1 << bit
        this.usage_stacks[bit] = stack
        self.graph.usage_mask |= 1 << bit
        other = excluded_by(bit)
        mask = 1 << other | 1 << (other | USED_READ_MODE)
        if not self.graph.usage_mask & mask:
            return None  # no class at all has it
        modes = (other,) if bit & USED_READ_MODE else (other, other | USED_READ_MODE)
        for old in modes:
            if this.usage_mask >> old & 1:
                return InconsistentState(lock, old, bit)
        if bit & ENABLED:
            found = search_backwards(this, shared=lock.shared, match=lambda node: _uses(node, mask))
        else:
            found = search_forwards(this, recursive=lock.recursive, match=lambda node: _uses(node, mask))
        if found is None:
            return None
        if not found.lock_class.usage_mask >> other & 1:
            other |= USED_READ_MODE
        return IrqInversion(lock, found, other)

    # --- edges

    def _new_edge(self, holding: Held, wanted: Held, stack: Stack) -> Report | None:
        before, after = holding.lock_class, wanted.lock_class
        kind = edge_kind(shared=holding.shared, recursive=wanted.recursive)
        known = before.after.get(after.name)
        if known is not None and known.kinds & kind:
            return None  # an edge that is there has been checked, and whatever came later, against it

        def conflicts(node: Node) -> bool:
            return node.lock_class is before and not (holding.shared and node.only_weak)

        back = search_forwards(after, recursive=wanted.recursive, match=conflicts)
        if back is not None:
            return Finding(wanted, holding, back.path())
        if found := self._irq_order(holding, wanted):
            return found
        self.graph.add_edge(before, after, kind, stack)
        return None

    def _irq_order(self, holding: Held, wanted: Held) -> Report | None:
        """The edge must not lead from a class taken in interrupts to one that is held while they may come."""
        if not self.graph.usage_mask & USED_IN_ALL:
            return None
        used_in = 0

        def accumulate(node: Node) -> bool:
            nonlocal used_in
            used_in |= node.lock_class.usage_mask & (EXCLUSIVE_ALL if node.only_weak else USED_IN_ALL | ENABLED_ALL)
            return False

        search_backwards(holding.lock_class, shared=holding.shared, match=accumulate)
        used_in &= USED_IN_ALL
        if not used_in:
            return None
        excluded = excluded_mask(used_in)
        unsafe = search_forwards(
            wanted.lock_class, recursive=wanted.recursive, match=lambda node: _uses(node, excluded)
        )
        if unsafe is None:
            return None
        originals = excluded_mask(unsafe.lock_class.usage_mask & ENABLED_ALL)
        safe = search_backwards(holding.lock_class, shared=holding.shared, match=lambda node: _uses(node, originals))
        if safe is None:
            return None
        bits = first_conflict(safe.lock_class.usage_mask & USED_IN_ALL, unsafe.lock_class.usage_mask & ENABLED_ALL)
        return IrqOrder(wanted, holding, safe, unsafe, *bits) if bits is not None else None


def _uses(node: Node, mask: int) -> bool:
    """Whether the class has one of these usages; behind edges that readers weaken, only exclusive ones count."""
    usage = node.lock_class.usage_mask
    return bool((usage & EXCLUSIVE_ALL if node.only_weak else usage) & mask)
