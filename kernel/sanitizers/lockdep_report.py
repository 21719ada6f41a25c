"""The text of lockdep's findings.

Layout: print_circular_bug() and print_deadlock_bug() of kernel/locking/lockdep.c (6.1).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .layout import HARDWARE, call_trace, identity, join, kernel_ident
from .lockdep import READ

if TYPE_CHECKING:
    from ..machine import Machine
    from .lockdep import Finding, Held


def report_finding(machine: Machine, finding: Finding) -> None:
    """Make the violation of a finding."""
    if finding.path:
        wanted, holding = finding.wanted.lock_class.name, finding.holding.lock_class.name
        title = f"possible circular locking dependency: {wanted} under {holding}"
        # One cycle is one bug, whichever of its edges came last.
        cycle = sorted({wanted, holding, *(edge.source.name for edge in finding.path)})
        machine.violate("lockdep-circular", title, join(circular(machine, finding)), bug=f"cycle of {', '.join(cycle)}")
    else:
        title = f"possible recursive locking: {finding.wanted.lock_class.name}"
        machine.violate("lockdep-recursive", title, join(recursive(machine, finding)))


def circular(machine: Machine, finding: Finding) -> list[str]:
    """``possible circular locking dependency detected``."""
    task = f"{finding.context.comm}/{finding.context.pid}"
    lines = [
        "",
        "=" * 54,
        "WARNING: possible circular locking dependency detected",
        kernel_ident(machine),
        "-" * 54,
        f"{task} is trying to acquire lock:",
        lock_line(finding.wanted),
        "",
        "but task is already holding lock:",
        lock_line(finding.holding),
        "",
        "which lock already depends on the new lock.",
        "",
        "",
        "the existing dependency chain (in reverse order) is:",
    ]
    for number in range(len(finding.path), 0, -1):
        edge = finding.path[number - 1]
        lines += ["", f"-> #{number} {edge.to.describe()}:", *(f"       {function}" for function in edge.stack)]
    lines += [
        "",
        f"-> #0 {finding.wanted.lock_class.describe()}:",
        *(f"       {function}" for function in finding.stack),
    ]
    lines += ["", "other info that might help us debug this:", ""]
    source, target = finding.wanted, finding.holding
    parent = finding.path[-1].source.name
    if parent != source.lock_class.name:
        lines += ["Chain exists of:", f"  {source.lock_class.name} --> {parent} --> {target.lock_class.name}", ""]
    lines += [
        " Possible unsafe locking scenario:",
        "",
        "       CPU0                    CPU1",
        "       ----                    ----",
        f"  {_verb(target)}({target.lock_class.name});",
        f"                               lock({parent});",
        f"                               lock({target.lock_class.name});",
        f"  {_verb(source)}({source.lock_class.name});",
    ]
    return lines + _ending(machine, finding, task)


def recursive(machine: Machine, finding: Finding) -> list[str]:
    """``possible recursive locking detected``."""
    task = f"{finding.context.comm}/{finding.context.pid}"
    lines = [
        "",
        "=" * 44,
        "WARNING: possible recursive locking detected",
        kernel_ident(machine),
        "-" * 44,
        f"{task} is trying to acquire lock:",
        lock_line(finding.wanted),
        "",
        "but task is already holding lock:",
        lock_line(finding.holding),
        "",
        "other info that might help us debug this:",
        " Possible unsafe locking scenario:",
        "",
        "       CPU0",
        "       ----",
        f"  lock({finding.holding.lock_class.name});",
        f"  lock({finding.wanted.lock_class.name});",
    ]
    return lines + _ending(machine, finding, task, hint=" May be due to missing lock nesting notation")


def lock_line(held: Held) -> str:
    """``<address> (<class>){<usage>}-{o:i}, at: <function>``."""
    return f"{held.address:016x} {held.lock_class.describe()}, at: {held.site}"


def _verb(held: Held) -> str:
    return "rlock" if held.flags & READ else "lock"


def _ending(machine: Machine, finding: Finding, task: str, hint: str = "") -> list[str]:
    lines = ["", " *** DEADLOCK ***", ""]
    if hint:
        lines += [hint, ""]
    number = len(finding.held)
    lines.append(f"{number} lock{'' if number == 1 else 's'} held by {task}:")
    lines += [f" #{index}: {lock_line(held)}" for index, held in enumerate(finding.held)]
    return [*lines, "", "stack backtrace:", identity(machine), HARDWARE, *call_trace(finding.stack)]
