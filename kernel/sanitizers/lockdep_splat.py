"""Reading a kernel's own lockdep reports, and finding again what they say from the acquisitions they tell of.

The layouts are those of print_circular_bug() and print_deadlock_bug() of kernel/locking/lockdep.c from 4.11 to 6.12,
as in console output or mail: with or without time stamps, callers (``[ T3699]``) and addresses.

A circular report with entries #N … #0 tells of N orders: the class of entry i was taken under that of entry i - 1.
`rederive` feeds our own lockdep with just these and the last acquisition, the one that was reported.  Whether an entry
was taken for reading is told by its stack, and by the ``rlock(`` of later kernels; earlier ones say ``lock(``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING

from ..locks.base import READ, RECURSIVE
from .lockdep import Lockdep
from .lockdep_findings import Finding, Recursion, Report
from .lockdep_report import circular_scenario, recursive_scenario

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

_PREFIX = re.compile(r"^(?:<\d>)?(?:\[\s*\d+\.\d+\](?:\[\s*[TC]\d+\])? ?)?")
_TITLE = re.compile(r"possible (circular locking dependency|recursive locking) detected")
_TASK = re.compile(r"^(\S.*/\d+) is trying to acquire lock:")
_LOCK = re.compile(r"^\s*(?:#\d+:)?\s*(?:([0-9a-f]{8,16}) )?\s*\((.*)\)\{([^}]*)\}(?:-\{(\d+:\d+)\})?, at: (.*)$")
_ENTRY = re.compile(r"^-> #(\d+) \((.*)\)\{([^}]*)\}(?:-\{(\d+:\d+)\})?:")
_FRAME = re.compile(r"^ {7}(?:\[<[0-9a-f]+>\] )?([\w.]+)(?:\+0x|$)")
_SITE = re.compile(r"^(?:\[<[0-9a-f]+>\] )?([\w.]+)")
_VERB = re.compile(r"^\s+(lock|rlock|sync)\((.*)\);$")
_READERS = {
    "down_read": READ,
    "down_read_nested": READ,
    "down_read_killable": READ,
    "down_read_interruptible": READ,
    "percpu_down_read": READ,
    "__percpu_down_read": READ,
    "cpus_read_lock": READ,
    "get_online_mems": READ,
    "_raw_read_lock": READ | RECURSIVE,
}
"""Functions that take a lock for reading, in which mode."""
_TASK_PID, _FIRST_PID = 1000, 1
_END = " *** DEADLOCK ***"


@dataclass(slots=True)
class SplatLock:
    """A lock a report names, and what it says about it; empty where it does not."""

    name: str
    usage: str = ""
    wait_type: str = ""
    address: str = ""
    site: str = ""
    flags: int = 0


@dataclass(slots=True)
class Splat:
    """One report.  ``missing`` says what it lacks; without anything missing it can be derived again."""

    title: str
    circular: bool
    task: str = ""
    wanted: SplatLock | None = None
    holding: SplatLock | None = None
    entries: dict[int, SplatLock] = field(default_factory=dict)
    scenario: list[str] = field(default_factory=list)  # from "Chain exists of:", or what follows it, to the end
    held: list[SplatLock] = field(default_factory=list)

    @property
    def missing(self) -> list[str]:
        """What is needed and not there."""
        lacks = [
            what
            for what, there in (
                ("the lock that is wanted", self.wanted),
                ("the lock that is held", self.holding),
                ("the scenario", self.scenario and self.scenario[-1] == _END),
            )
            if not there
        ]
        if self.circular and sorted(self.entries) != list(range(max(self.entries, default=0) + 1)):
            lacks.append("an entry of the dependency chain")
        if self.circular and len(self.entries) < 2:  # noqa: PLR2004  # the wanted and the held class
            lacks.append("the dependency chain")
        return lacks

    @property
    def tells_modes(self) -> bool:
        """Whether its kernel distinguishes readers in the scenario."""
        return any(match[1] != "lock" for line in self.scenario if (match := _VERB.match(line)))


def read_splats(text: str) -> list[Splat]:
    """The circular and recursive reports in `text`, in order; what else there is, is passed over."""
    lines = [_PREFIX.sub("", re.sub(r"^(?:> ?)+", "", line), count=1).rstrip() for line in text.splitlines()]
    starts = [number for number, line in enumerate(lines) if _TITLE.search(line) and _is_title(line)]
    return [_read_one(lines[start:end]) for start, end in pairwise([*starts, len(lines)])]


def _is_title(line: str) -> bool:
    return line.startswith(("WARNING: ", "[ INFO: "))


def _read_one(lines: Sequence[str]) -> Splat:
    match = _TITLE.search(lines[0])
    splat = Splat(lines[0].strip("[] "), circular=match is not None and match[1].startswith("circular"))
    waiting_for = ""
    entry: SplatLock | None = None
    remaining = iter(lines[1:])
    for line in remaining:
        if found := _TASK.match(line):
            splat.task, waiting_for = found[1], "wanted"
        elif line.startswith("but task is already holding lock"):
            waiting_for = "holding"
        elif found := _ENTRY.match(line):
            entry = splat.entries[int(found[1])] = SplatLock(found[2], found[3], found[4] or "")
        elif waiting_for and (lock := _lock(line)) is not None:
            if waiting_for == "wanted":
                splat.wanted = lock
            else:
                splat.holding = lock
            waiting_for = ""
        elif line.startswith("Chain exists of:") or line.startswith(" Possible unsafe locking scenario"):
            splat.scenario = [line, *_up_to_end(remaining)]
            entry = None
        elif re.match(r"^\d+ locks? held by ", line):
            splat.held = _locks(remaining)
            break
        elif entry is not None and (frame := _FRAME.match(line)):
            entry.site = entry.site or frame[1]
            entry.flags = entry.flags or _READERS.get(frame[1], 0)
    _tell_modes(splat)
    return splat


def _up_to_end(lines: Iterator[str]) -> Iterator[str]:
    for line in lines:
        yield line
        if line == _END:
            return


def _lock(line: str) -> SplatLock | None:
    match = _LOCK.match(line)
    if match is None:
        return None
    address, name, usage, wait_type, at = match.groups()
    site = _SITE.match(at)
    return SplatLock(name, usage, wait_type or "", address or "", site[1] if site else at)


def _locks(lines: Iterator[str]) -> list[SplatLock]:
    locks = []
    for line in lines:
        lock = _lock(line)
        if lock is None:
            break
        locks.append(lock)
    return locks


def _tell_modes(splat: Splat) -> None:
    """The first and the last line of the scenario's box are the held and the wanted lock."""
    verbs = [match for line in splat.scenario if (match := _VERB.match(line))]
    if splat.circular and splat.tells_modes and splat.wanted is not None and splat.holding is not None:
        splat.holding.flags = READ if verbs[0][1] == "rlock" else 0
        splat.wanted.flags = READ if verbs[-1][1] == "rlock" else 0
    elif splat.wanted is not None and 0 in splat.entries:
        splat.wanted.flags = splat.entries[0].flags


def rederive(splat: Splat) -> Report | None:
    """What our lockdep finds when fed with the acquisitions of a complete report: the same, if both are right.

    Raises:
        ValueError: the report is not complete.
    """
    if splat.missing or splat.wanted is None or splat.holding is None:
        raise ValueError(f"{splat.title}: the report lacks {', '.join(splat.missing)}")
    found: list[Report] = []
    named = [splat.wanted, splat.holding, *splat.entries.values()]
    lockdep = Lockdep(found.append, wait_types={lock.name: lock.wait_type or "0:0" for lock in named})
    chain = [splat.entries[number] for number in sorted(splat.entries)]
    for number, (outer, inner) in enumerate(pairwise(chain)):
        # The first class of a path is held by whoever makes the edge, in a mode that no report tells.
        held = SplatLock(outer.name) if number == 0 else outer
        _take(lockdep, _FIRST_PID + number, "another", (held, inner))
        _leave(lockdep, _FIRST_PID + number, (inner, held))
    _take(lockdep, _TASK_PID, splat.task, (splat.holding, splat.wanted))
    return found[0] if found else None


def _address(lock: SplatLock) -> int:
    return int(lock.address, 16) if lock.address else sum(lock.name.encode())


def _take(lockdep: Lockdep, pid: int, comm: str, locks: Iterable[SplatLock]) -> None:
    for lock in locks:
        lockdep.acquire((0, 0, 0, pid, comm, lock.flags, lock.name, _address(lock)))


def _leave(lockdep: Lockdep, pid: int, locks: Iterable[SplatLock]) -> None:
    for lock in locks:
        lockdep.release((0, 0, 0, pid, "", lock.name, _address(lock)))


def scenario_of(found: Report | None, splat: Splat) -> list[str]:
    """The same part of our report, in the words of the kernel that `splat` is of; empty where nothing was found."""
    match found:
        case Finding():
            return circular_scenario(found, tells_modes=splat.tells_modes)
        case Recursion():
            return recursive_scenario(found)
        case _:
            return []
