"""Lines that lockdep's reports have in common, and lists of held locks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .layout import HARDWARE, call_trace

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from .lockdep_findings import Held, Report, Situation


def banner(title: str, ident: str, width: int) -> list[str]:
    """The first lines of a report; `ident` is taint and release."""
    return ["", "=" * width, title, ident, "-" * width]


def frames(stack: Iterable[str], indent: int) -> list[str]:
    """A stack, innermost first."""
    return [" " * indent + function for function in stack]


def lock_line(held: Held) -> str:
    """``<address> (<class>){<usage>}-{o:i}, at: <function>``."""
    return f"{held.address:016x} {held.lock_class.describe()}, at: {held.site}"


def held_locks(where: Situation) -> list[str]:
    """What the task of a finding holds."""
    return held_list(where.task, where.held)


def held_list(task: str, held: Sequence[Held]) -> list[str]:
    """``lockdep_print_held_locks()``: what `task` holds, outermost first."""
    number = len(held)
    if not number:
        return [f"no locks held by {task}."]
    lines = [f"{number} lock{'' if number == 1 else 's'} held by {task}:"]
    return [*lines, *(f" #{index}: {lock_line(lock)}" for index, lock in enumerate(held))]


def backtrace(finding: Report, ident: str) -> list[str]:
    """``stack backtrace:`` and what ``dump_stack()`` prints."""
    where = finding.where
    cpu = f"CPU: {max(where.cpu, 0)} PID: {where.pid} Comm: {where.comm} {ident}"
    return ["stack backtrace:", cpu, HARDWARE, *call_trace(finding.stack)]
