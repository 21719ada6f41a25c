"""Feeds lockdep the records that a short story stands for.

| word          | record                                              |
|---------------|-----------------------------------------------------|
| ``+A``        | A is taken; ``+Ar`` for reading, ``+AR`` as a recursive reader, ``+A?`` by trylock |
| ``+A/1``      | A is taken with a subclass; ``-A`` leaves it        |
| ``+A@N``      | A is taken, the lock N protects the nesting         |
| ``+A:2``      | another lock of A's class; ``-A:2`` leaves it       |
| ``[irq irq]`` | a hard interrupt; ``[soft soft]`` a soft one        |
| ``off on``    | interrupts off and on; ``bhoff bhon`` soft ones     |
| ``end user``  | the thread ends, or goes back to user space         |
| ``oops``      | the thread has been reported                        |
"""

from __future__ import annotations

import re
from typing import Any

from slubloom.kernel.locks.base import NESTED, READ, RECURSIVE, TRYLOCK
from slubloom.kernel.sanitizers.lockdep import Lockdep
from slubloom.kernel.sanitizers.lockdep_findings import Report
from slubloom.kernel.sanitizers.lockdep_report import report_text

MODES = {"": 0, "r": READ, "R": READ | RECURSIVE, "?": TRYLOCK}
LOCK = re.compile(r"([+-])([A-Z])(/\d)?(:\d)?([rR?]?)(?:@([A-Z]))?")


def address_of(name: str, instance: str = "") -> int:
    return 0xFFFF000000000000 + 256 * sum(name.encode()) + 16 * int(instance[1:] or 0)


class Feeder:
    """Lockdep with the classes of `wait_types`; others are spinlocks."""

    def __init__(self, **wait_types: str) -> None:
        self.findings: list[Report] = []
        types = {name: "2:2" for name in "ABCDEFGHIJKLMN"} | wait_types
        self.place = "nowhere"
        self.ns = 0
        self.lockdep = Lockdep(self.findings.append, wait_types=types, stack=lambda: (self.place, "caller"))

    def feed(self, pid: int, story: str, *, cpu: int = 0) -> Feeder:
        lockdep = self.lockdep
        plain = {
            "[irq": lockdep.irq_entry,
            "irq]": lockdep.irq_exit,
            "[soft": lockdep.softirq_entry,
            "soft]": lockdep.softirq_exit,
            "off": lockdep.irq_disable,
            "on": lockdep.irq_enable,
            "bhoff": lockdep.softirq_disable,
            "bhon": lockdep.softirq_enable,
            "end": lockdep.task_ends,
            "user": lockdep.to_user_space,
            "oops": lockdep.reported,
        }
        for word in story.split():
            self.ns += 1000
            head: tuple[Any, ...] = (1, self.ns, cpu, pid, f"task{pid}")
            if word in plain:
                plain[word]((*head, 0, 0))
                continue
            match = LOCK.fullmatch(word)
            assert match is not None, word
            sign, name, subclass, instance, mode, nest = match.groups()
            address = address_of(name, instance or "")
            if sign == "-":
                lockdep.release((*head, name, address))
                continue
            self.place = f"take_{name.lower()}"
            if nest:
                lockdep.nest((*head, nest, address_of(nest)))
            flags = MODES[mode] | (NESTED if nest else 0)
            lockdep.acquire((*head, flags, name + (subclass or ""), address))
        return self

    @property
    def kinds(self) -> list[str]:
        return [finding.kind for finding in self.findings]

    @property
    def titles(self) -> list[str]:
        return [finding.title for finding in self.findings]

    def report(self) -> str:
        (finding,) = self.findings
        return report_text(finding, "Not tainted 6.1-slubloom #1")
