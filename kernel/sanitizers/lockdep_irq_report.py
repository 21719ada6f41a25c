"""The texts of lockdep's findings about interrupts.

Layouts: print_usage_bug(), print_bad_irq_dependency(), print_irq_inversion_bug(), print_irq_lock_scenario() and
print_shortest_lock_dependencies() of kernel/locking/lockdep.c (6.1).

Two things a machine without code addresses says otherwise: a class's key is its name, and the interrupts' last
switches have the time in place of the address.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .lockdep_findings import BH_OFF, HARDIRQ, IRQS_OFF, SOFTIRQ
from .lockdep_lines import backtrace, banner, frames, held_locks, lock_line
from .lockdep_usage import NAMES, REMEMBERED, irq_name

if TYPE_CHECKING:
    from .lockdep_findings import InconsistentState, IrqInversion, IrqOrder, Situation
    from .lockdep_graph import LockClass, Node, Stack


def inconsistent_state(finding: InconsistentState, ident: str) -> list[str]:
    """``inconsistent lock state``."""
    old, new = NAMES[finding.old_bit], NAMES[finding.new_bit]
    lock_class = finding.lock.lock_class
    return [
        *banner("WARNING: inconsistent lock state", ident, 32),
        f"inconsistent {{{old}}} -> {{{new}}} usage.",
        f"{finding.where.task} {_contexts(finding.where)} takes:",
        lock_line(finding.lock),
        f"{{{old}}} state was registered at:",
        *frames(lock_class.usage_stacks.get(finding.old_bit, ()), 2),
        *irq_events(finding.where),
        "",
        "other info that might help us debug this:",
        " Possible unsafe locking scenario:",
        "",
        "       CPU0",
        "       ----",
        f"  lock({lock_class.name});",
        "  <Interrupt>",
        f"    lock({lock_class.name});",
        "",
        " *** DEADLOCK ***",
        "",
        *held_locks(finding.where),
        "",
        *backtrace(finding, ident),
    ]


def irq_order(finding: IrqOrder, ident: str) -> list[str]:
    """``HARDIRQ-safe -> HARDIRQ-unsafe lock order detected``."""
    irq = irq_name(finding.safe_bit)
    safe, unsafe = finding.safe.lock_class, finding.unsafe.lock_class
    holding, wanted = finding.holding.lock_class, finding.wanted.lock_class
    return [
        *banner(f"WARNING: {irq}-safe -> {irq}-unsafe lock order detected", ident, 53),
        f"{finding.where.task} {_contexts(finding.where)} is trying to acquire:",
        lock_line(finding.wanted),
        "",
        "and this task is already holding:",
        lock_line(finding.holding),
        "which would create a new lock dependency:",
        f" {holding.describe()} -> {wanted.describe()}",
        "",
        f"but this new dependency connects a {irq}-irq-safe lock:",
        f" {safe.describe()}",
        f"... which became {irq}-irq-safe at:",
        *frames(safe.usage_stacks.get(finding.safe_bit, ()), 2),
        "",
        f"to a {irq}-irq-unsafe lock:",
        f" {unsafe.describe()}",
        f"... which became {irq}-irq-unsafe at:",
        "...",
        *frames(unsafe.usage_stacks.get(finding.unsafe_bit, ()), 2),
        "",
        "other info that might help us debug this:",
        "",
        *_scenario(safe, unsafe, holding, wanted),
        "",
        *held_locks(finding.where),
        "",
        f"the dependencies between {irq}-irq-safe lock and the holding lock:",
        *_dependencies_backwards(finding.safe),
        "",
        f"the dependencies between the lock to be acquired and {irq}-irq-unsafe lock:",
        *_dependencies(finding.unsafe, finding.stack),
        "",
        *backtrace(finding, ident),
    ]


def irq_inversion(finding: IrqInversion, ident: str) -> list[str]:
    """``possible irq lock inversion dependency detected``."""
    irq = irq_name(finding.bit)
    root, other = finding.lock.lock_class, finding.other.lock_class
    on_the_way = finding.other.classes()
    middle = on_the_way[-2] if len(on_the_way) > 1 else other
    if finding.forwards:
        past = f"but this lock took another, {irq}-unsafe lock in the past:"
        scenario = _scenario(root, other, middle, other)
    else:
        past = f"but this lock was taken by another, {irq}-safe lock in the past:"
        scenario = _scenario(other, root, middle, root)
    return [
        *banner("WARNING: possible irq lock inversion dependency detected", ident, 56),
        f"{finding.where.task} just changed the state of lock:",
        lock_line(finding.lock),
        past,
        f" {other.describe()}",
        "",
        "and interrupts could create inverse lock ordering between them.",
        "",
        "",
        "other info that might help us debug this:",
        *scenario,
        "",
        *held_locks(finding.where),
        "",
        "the shortest dependencies between 2nd lock and 1st lock:",
        *_dependencies(finding.other, finding.stack),
        "",
        *backtrace(finding, ident),
    ]


def _contexts(where: Situation) -> str:
    """``[HC0[0]:SC0[0]:HE1:SE1]``: in hard and soft interrupts, and whether they are enabled."""
    state = where.state
    hard, soft = int(bool(state & HARDIRQ)), int(bool(state & SOFTIRQ))
    bh = 2 if state & BH_OFF else soft
    enabled = int(not state & (HARDIRQ | IRQS_OFF))
    soft_enabled = int(not state & (SOFTIRQ | BH_OFF))
    return f"[HC{hard}[{hard}]:SC{soft}[{bh}]:HE{enabled}:SE{soft_enabled}]"


def irq_events(where: Situation) -> list[str]:
    """``print_irqtrace_events()``: how often interrupts were switched, and when last."""
    irqs = where.irqs
    lines = [f"irq event stamp: {irqs.events}"]
    for what, (number, now_ns) in (
        ("hardirqs last  enabled", irqs.enabled),
        ("hardirqs last disabled", irqs.disabled),
        ("softirqs last  enabled", irqs.soft_enabled),
        ("softirqs last disabled", irqs.soft_disabled),
    ):
        lines.append(f"{what} at ({number}): {now_ns // 1_000_000_000}.{now_ns % 1_000_000_000:09} s")
    return lines


def _scenario(safe: LockClass, unsafe: LockClass, before: LockClass, after: LockClass) -> list[str]:
    middle = after if before is safe else before
    lines = []
    if middle is not unsafe:
        lines = ["Chain exists of:", f"  {safe.name} --> {middle.name} --> {unsafe.name}", ""]
    return [
        *lines,
        " Possible interrupt unsafe locking scenario:",
        "",
        "       CPU0                    CPU1",
        "       ----                    ----",
        f"  lock({unsafe.name});",
        "                               local_irq_disable();",
        f"                               lock({safe.name});",
        f"                               lock({middle.name});",
        "  <Interrupt>",
        f"    lock({safe.name});",
        "",
        " *** DEADLOCK ***",
    ]


def _dependencies(leaf: Node, root_stack: Stack) -> list[str]:
    """From the class found back to the start of the search, each with where it was taken."""
    lines: list[str] = []
    node: Node | None = leaf
    depth = len(leaf.path())
    while node is not None:
        lines += _class_header(node.lock_class, depth)
        lines += _acquired(node.edge.stack if node.edge is not None else root_stack, depth)
        node, depth = node.parent, depth - 1
    return lines


def _dependencies_backwards(leaf: Node) -> list[str]:
    """The same of a search against the edges: each class is taken under the one above it."""
    lines: list[str] = []
    node: Node | None = leaf
    depth = len(leaf.path())
    stack: Stack | None = None
    while node is not None:
        lines += _class_header(node.lock_class, depth)
        if stack is not None:
            lines += _acquired(stack, depth)
        stack = node.edge.stack if node.edge is not None else None
        node, depth = node.parent, depth - 1
    return lines


def _acquired(stack: Stack, depth: int) -> list[str]:
    return [f"{' ' * depth} ... acquired at:", *frames(stack, 3), ""]


def _class_header(lock_class: LockClass, depth: int) -> list[str]:
    indent = " " * depth
    lines = [f"{indent}-> {lock_class.describe()} {{"]
    for bit in range(REMEMBERED):
        if lock_class.usage_mask >> bit & 1:
            line = f"{indent}   {NAMES[bit]} at:"
            lines += [line, *frames(lock_class.usage_stacks.get(bit, ()), depth + len(line) + 2)]
    return [*lines, f"{indent} }}", f"{indent} ... key      at: {lock_class.name}"]
