"""The texts of lockdep's findings.

Layouts: print_circular_bug(), print_deadlock_bug(), print_lock_invalid_wait_context(), print_unlock_imbalance_bug(),
print_freed_lock_bug(), lockdep_sys_exit(), print_held_locks_bug() and lockdep_print_held_locks() of
kernel/locking/lockdep.c, __might_resched() of kernel/sched/core.c (6.1); ``rlock(`` of readers as in later releases.

A text is made from the finding and one line, taint and release, so a recorded trace gives the same text as the run,
but for stacks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .layout import join, kernel_ident
from .lockdep_findings import (
    HARDIRQ,
    IRQS_OFF,
    CrossFinding,
    Finding,
    Freed,
    Imbalance,
    InconsistentState,
    InvalidWait,
    IrqInversion,
    IrqOrder,
    NestNotHeld,
    Recursion,
    SleepInAtomic,
    StillHeld,
)
from .lockdep_irq_report import inconsistent_state, irq_events, irq_inversion, irq_order
from .lockdep_lines import backtrace, banner, frames, held_list, held_locks, lock_line

if TYPE_CHECKING:
    from ..machine import Machine
    from .lockdep import Lockdep
    from .lockdep_findings import Report


def report_finding(machine: Machine, finding: Report) -> None:
    """Make the violation of a finding."""
    text = report_text(finding, kernel_ident(machine))
    machine.violate(finding.kind, finding.title, text, bug=finding.bug)


def report_text(finding: Report, ident: str) -> str:
    """The report of a finding; `ident` is taint and release."""
    match finding:
        case Finding():
            lines = circular(finding, ident)
        case Recursion():
            lines = recursive(finding, ident)
        case InconsistentState():
            lines = inconsistent_state(finding, ident)
        case IrqOrder():
            lines = irq_order(finding, ident)
        case IrqInversion():
            lines = irq_inversion(finding, ident)
        case InvalidWait():
            lines = invalid_wait(finding, ident)
        case SleepInAtomic():
            lines = sleeping_function(finding, ident)
        case Imbalance():
            lines = imbalance(finding, ident)
        case Freed():
            lines = freed(finding, ident)
        case StillHeld():
            lines = still_held(finding, ident)
        case NestNotHeld():
            lines = nest_not_held(finding, ident)
        case _:
            raise AssertionError(f"no layout for {type(finding).__name__}")
    return join(lines)


def circular(finding: Finding, ident: str) -> list[str]:
    """``possible circular locking dependency detected``; of a completion in the words of 4.14 (from memory)."""
    crosslock = isinstance(finding, CrossFinding)
    lines = [
        *banner("WARNING: possible circular locking dependency detected", ident, 54),
        f"{finding.where.task} is trying to acquire lock:",
        lock_line(finding.wanted),
        "",
        "but now in release context of a crosslock acquired at the following:"
        if crosslock
        else "but task is already holding lock:",
        lock_line(finding.holding),
        "",
        "which lock already depends on the new lock.",
        "",
        "",
        "the existing dependency chain (in reverse order) is:",
    ]
    for number in range(len(finding.path), 0, -1):
        edge = finding.path[number - 1]
        lines += ["", f"-> #{number} {edge.to.describe()}:", *frames(edge.stack, 7)]
    return [
        *lines,
        "",
        f"-> #0 {finding.wanted.lock_class.describe()}:",
        *frames(finding.stack, 7),
        "",
        "other info that might help us debug this:",
        "",
        *(crosslock_scenario(finding) if crosslock else circular_scenario(finding)),
        "",
        *held_locks(finding.where),
        "",
        *backtrace(finding, ident),
    ]


def circular_scenario(finding: Finding, *, tells_modes: bool = True) -> list[str]:
    """From ``Chain exists of:``, if more than two classes are concerned, to ``*** DEADLOCK ***``.

    Kernels before 6.3 (from memory) do not tell readers from writers here.
    """
    wanted, target = finding.wanted.lock_class.name, finding.holding.lock_class.name
    parent = finding.parent.name
    lines = []
    if parent != wanted:
        lines = ["Chain exists of:", f"  {wanted} --> {parent} --> {target}", ""]
    return [
        *lines,
        " Possible unsafe locking scenario:",
        "",
        "       CPU0                    CPU1",
        "       ----                    ----",
        f"  {finding.holding.verb if tells_modes else 'lock'}({target});",
        f"                               lock({parent});",
        f"                               lock({target});",
        f"  {finding.wanted.verb if tells_modes else 'lock'}({wanted});",
        "",
        " *** DEADLOCK ***",
    ]


def crosslock_scenario(finding: Finding) -> list[str]:
    """The same where one processor waits for the other to complete something (4.14, from memory)."""
    wanted, target = finding.wanted.lock_class.name, finding.holding.lock_class.name
    parent = finding.parent.name
    lines = []
    if parent != wanted:
        lines = ["Chain exists of:", f"  {wanted} --> {parent} --> {target}", ""]
    return [
        *lines,
        " Possible unsafe locking scenario by crosslock:",
        "",
        "       CPU0                    CPU1",
        "       ----                    ----",
        f"  lock({parent});",
        f"  lock({target});",
        f"                               {finding.wanted.verb}({wanted});",
        f"                               unlock({target});",
        "",
        " *** DEADLOCK ***",
    ]


def recursive(finding: Recursion, ident: str) -> list[str]:
    """``possible recursive locking detected``."""
    return [
        *banner("WARNING: possible recursive locking detected", ident, 44),
        f"{finding.where.task} is trying to acquire lock:",
        lock_line(finding.wanted),
        "",
        "but task is already holding lock:",
        lock_line(finding.holding),
        "",
        "other info that might help us debug this:",
        *recursive_scenario(finding),
        "",
        " May be due to missing lock nesting notation",
        "",
        *held_locks(finding.where),
        "",
        *backtrace(finding, ident),
    ]


def recursive_scenario(finding: Recursion) -> list[str]:
    """The part in which one processor waits for itself."""
    return [
        " Possible unsafe locking scenario:",
        "",
        "       CPU0",
        "       ----",
        f"  lock({finding.holding.lock_class.name});",
        f"  lock({finding.wanted.lock_class.name});",
        "",
        " *** DEADLOCK ***",
    ]


def nest_not_held(finding: NestNotHeld, ident: str) -> list[str]:
    """``Nested lock was not taken``."""
    return [
        *banner("WARNING: Nested lock was not taken", ident, 34),
        f"{finding.where.task} is trying to lock:",
        lock_line(finding.wanted),
        "",
        "but this task is not holding:",
        finding.nest_name,
        "",
        *backtrace(finding, ident),
        "",
        "other info that might help us debug this:",
        *held_locks(finding.where),
        "",
        *backtrace(finding, ident),
    ]


def invalid_wait(finding: InvalidWait, ident: str) -> list[str]:
    """``Invalid wait context``."""
    return [
        *banner("[ BUG: Invalid wait context ]", ident, 29),
        f"{finding.where.task} is trying to lock:",
        lock_line(finding.wanted),
        "other info that might help us debug this:",
        f"context-{{{finding.context}:{finding.context}}}",
        *held_locks(finding.where),
        *backtrace(finding, ident),
    ]


def sleeping_function(finding: SleepInAtomic, ident: str) -> list[str]:
    """``sleeping function called from invalid context``; readers of RCU are told of elsewhere."""
    where, count = finding.where, finding.preempt_count
    irqs_off = bool(where.state & (HARDIRQ | IRQS_OFF))
    return [
        f"BUG: sleeping function called from invalid context at {finding.function}",
        f"in_atomic(): {int(count > 0)}, irqs_disabled(): {int(irqs_off)}, non_block: 0, "
        f"pid: {where.pid}, name: {where.comm}",
        f"preempt_count: {count:x}, expected: 0",
        "RCU nest depth: 0, expected: 0",
        *held_locks(where),
        *(irq_events(where) if irqs_off else []),
        *backtrace(finding, ident)[1:],
    ]


def imbalance(finding: Imbalance, ident: str) -> list[str]:
    """``bad unlock balance detected!``."""
    return [
        *banner("WARNING: bad unlock balance detected!", ident, 37),
        f"{finding.where.task} is trying to release lock ({finding.name}) at:",
        f"[<{finding.address:016x}>] {finding.stack[0] if finding.stack else 'unknown'}",
        "but there are no more locks to release!",
        "",
        "other info that might help us debug this:",
        *held_locks(finding.where),
        "",
        *backtrace(finding, ident),
    ]


def freed(finding: Freed, ident: str) -> list[str]:
    """``held lock freed!``."""
    memory = f"{finding.first:016x}-{finding.last:016x}"
    return [
        *banner("WARNING: held lock freed!", ident, 25),
        f"{finding.where.task} is freeing memory {memory}, with a lock still held there!",
        lock_line(finding.lock),
        *held_locks(finding.where),
        "",
        *backtrace(finding, ident),
    ]


def still_held(finding: StillHeld, ident: str) -> list[str]:
    """A task that ends, or goes back to user space, with locks held; the latter without a stack, as in the kernel."""
    task = finding.where.task
    if not finding.exiting:
        return [
            *banner("WARNING: lock held when returning to user space!", ident, 48),
            f"{task} is leaving the kernel with locks still held!",
            *held_locks(finding.where),
        ]
    return [
        *banner(f"WARNING: {task} still has locks held!", ident, 36),
        *held_locks(finding.where),
        "",
        *backtrace(finding, ident),
    ]


def show_all_locks(lockdep: Lockdep | None) -> list[str]:
    """``debug_show_all_locks()``: what every thread holds, by process id."""
    if lockdep is None or not lockdep.active:
        return ["INFO: lockdep is turned off."]
    lines = ["", "Showing all locks held in the system:"]
    contexts = [context for key, context in lockdep.contexts.items() if isinstance(key, int) and context.held]
    for context in sorted(contexts, key=lambda context: context.pid):
        lines += held_list(f"{context.comm}/{context.pid}", lockdep.held_by(context))
    return [*lines, "", "=" * 45, ""]


__all__ = ["lock_line", "report_finding", "report_text", "show_all_locks"]
