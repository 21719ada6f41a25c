"""What sanitizers find, and how it stops a thread."""

from __future__ import annotations

from dataclasses import dataclass

from ..actors import Death

KINDS = (
    "null-deref",
    "use-after-free",
    "double-free",
    "lockdep-circular",
    "lockdep-recursive",
    "lockdep-irq",
    "deadlock",
    "hung-task",
    "sleep-in-atomic",
    "rcu-usage",
    "rcu-stall",
    "workqueue-stall",
    "refcount",
    "leak",
    "objects-remaining",
    "data-race",
    "invariant",
    "kernel-bug",
)
"""The fixed names of violations."""


@dataclass(frozen=True, slots=True)
class Violation:
    """One finding: ``report`` is the text a kernel developer recognises, ``step`` and ``time_ns`` say when."""

    kind: str
    title: str
    report: str
    step: int
    time_ns: int


class KernelOops(Death):
    """Ends the thread in which the kernel cannot go on; the violation has been reported already."""

    def __init__(self, violation: Violation) -> None:
        super().__init__(violation.title)
        self.violation = violation
