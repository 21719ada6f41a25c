"""What sanitizers find, and how it stops a thread."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..actors import Death


@dataclass(frozen=True, slots=True)
class Violation:
    """One finding.

    ``kind`` is one of the fixed names (``ViolationKind`` of the topology room), ``report`` the text a kernel developer
    recognises, ``step`` and ``time_ns`` say when, ``site`` in which kernel functions it showed, innermost first.
    """

    kind: str
    title: str
    report: str
    step: int
    time_ns: int
    site: tuple[str, ...] = ()
    bug: str = ""  # what makes it the same bug as another, where that is not its title and site

    def as_json(self) -> dict[str, Any]:
        """What result objects and end records say of it, to which they add what they know."""
        return {
            "kind": self.kind,
            "title": self.title,
            "report": self.report,
            "step": self.step,
            "time_ns": self.time_ns,
        }


class KernelOops(Death):
    """Ends the thread in which the kernel cannot go on; the violation has been reported already."""

    def __init__(self, violation: Violation) -> None:
        super().__init__(violation.title)
        self.violation = violation
