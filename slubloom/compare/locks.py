"""How long locks were held and waited for, folded from ``lock:*`` events as ``/proc/lock_stat`` tells it.

Events say when a lock is asked for (``lock_acquire``), that its owner has to wait and no more (``contention_begin``,
``contention_end``), and when it is given back (``lock_release``).  When a lock was got follows: where the wait has no
end in the trace, because another one was quicker at the last moment, it was got when the one before gave it back, and
otherwise at once.  A context is a thread, or the hard or soft interrupt of a processor.

Readers and writers of one class are counted apart.  What is not over at the end of the run counts up to there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from ..kernel.locks.base import READ, TRYLOCK
from .figures import Histogram

if TYPE_CHECKING:
    from ..traces import Record, Tracepoints

HARDIRQ, SOFTIRQ = 1, 2
UNKNOWN = -1

Mode = str
"""``read`` or ``write``; what is exclusive is written."""


class LockFigures(NamedTuple):
    """What became of one lock class in one mode; times in nanoseconds."""

    times: int
    held_total_ns: int
    held_p50_ns: int
    held_p99_ns: int
    held_max_ns: int
    waits: int
    waited_total_ns: int


class _Section:
    """One context has a lock, or wants it."""

    __slots__ = ("address", "asked_ns", "contended", "got_ns", "name", "read")

    def __init__(self, name: str, address: int, flags: int, ns: int) -> None:
        self.name = name
        self.address = address
        self.read = bool(flags & READ)
        self.asked_ns = ns
        self.got_ns = ns if flags & TRYLOCK else UNKNOWN
        self.contended = False


class _Times:
    """The sections of one class in one mode that are over."""

    __slots__ = ("held", "waited_ns", "waits")

    def __init__(self) -> None:
        self.held = Histogram()
        self.waits = 0
        self.waited_ns = 0


class LockTimes:
    """The probe; `figures` is what it has found."""

    def __init__(self) -> None:
        self._open: dict[tuple[Any, int], list[_Section]] = {}
        self._level: dict[int, int] = {}  # processor → interrupt level, while it is in one
        self._given_back: dict[int, int] = {}  # address → when it was last given back
        self._written: dict[int, int] = {}  # the same, by writers
        self._times: dict[tuple[str, Mode], _Times] = {}

    def attach(self, points: Tracepoints) -> None:
        """Listen."""
        points.lock_acquire.attach(self.asked)
        points.lock_release.attach(self.given_back)
        points.contention_begin.attach(self.waits)
        points.contention_end.attach(self.got)
        points.irq_handler_entry.attach(lambda record: self._enter(record, HARDIRQ))
        points.irq_handler_exit.attach(lambda record: self._leave(record, HARDIRQ))
        points.softirq_entry.attach(lambda record: self._enter(record, SOFTIRQ))
        points.softirq_exit.attach(lambda record: self._leave(record, SOFTIRQ))

    def asked(self, record: Record) -> None:
        """``lock:lock_acquire``: before a lock is taken, or after a trylock took it."""
        _, ns, cpu, pid, _, flags, name, address = record
        self._open.setdefault((self._context(cpu, pid), address), []).append(_Section(name, address, flags, ns))

    def waits(self, record: Record) -> None:
        """``lock:contention_begin``."""
        section = self._section(record, record[5])
        if section is not None:
            section.contended = True

    def got(self, record: Record) -> None:
        """``lock:contention_end``."""
        section = self._section(record, record[5])
        if section is not None and section.contended:
            section.got_ns = record[1]

    def given_back(self, record: Record) -> None:
        """``lock:lock_release``: before it is left."""
        _, ns, cpu, pid, _, _, address = record
        key = self._context(cpu, pid), address
        sections = self._open.get(key)
        if not sections:  # taken before we listened
            return
        section = sections.pop()
        if not sections:
            del self._open[key]
        self._held(section, ns)
        self._given_back[address] = ns
        if not section.read:
            self._written[address] = ns

    def figures(self, end_ns: int) -> dict[tuple[str, Mode], LockFigures]:
        """By class and mode, of a run that ended at `end_ns`; to be asked once."""
        self._end(end_ns)
        return {
            key: LockFigures(
                times.held.count,
                times.held.total,
                times.held.percentile(50),
                times.held.percentile(99),
                times.held.max,
                times.waits,
                times.waited_ns,
            )
            for key, times in sorted(self._times.items())
        }

    def _end(self, end_ns: int) -> None:
        """Close what is open.  A lock has one writer or some readers: who asked later has not got it."""
        rest = sorted(
            (section for sections in self._open.values() for section in sections),
            key=lambda section: (section.got_ns == UNKNOWN, section.asked_ns),
        )
        self._open.clear()
        taken: dict[int, bool] = {}  # address → whether by readers
        for section in rest:
            by_readers = taken.get(section.address)
            shut_out = by_readers is not None and not (by_readers and section.read)
            if shut_out or (section.contended and section.got_ns == UNKNOWN):
                self._waited(section, end_ns)
            else:
                taken[section.address] = section.read
                self._held(section, end_ns)

    def _held(self, section: _Section, end_ns: int) -> None:
        got_ns = section.got_ns
        if got_ns == UNKNOWN:
            before = (self._written if section.read else self._given_back).get(section.address, UNKNOWN)
            got_ns = max(section.asked_ns, before)
        if section.contended or got_ns > section.asked_ns:
            self._waited(section, got_ns)
        self._of(section).held.add(end_ns - got_ns)

    def _waited(self, section: _Section, until_ns: int) -> None:
        times = self._of(section)
        times.waits += 1
        times.waited_ns += until_ns - section.asked_ns

    def _of(self, section: _Section) -> _Times:
        key = section.name, "read" if section.read else "write"
        times = self._times.get(key)
        if times is None:
            times = self._times[key] = _Times()
        return times

    def _section(self, record: Record, address: int) -> _Section | None:
        """What the running context wants to have of the lock at `address`."""
        sections = self._open.get((self._context(record[2], record[3]), address))
        return sections[-1] if sections else None

    # --- contexts

    def _context(self, cpu: int, pid: int) -> Any:
        if pid and not self._level:
            return pid
        level = self._level.get(cpu, 0)
        return (cpu, level) if level or not pid else pid

    def _enter(self, record: Record, level: int) -> None:
        self._level[record[2]] = self._level.get(record[2], 0) | level

    def _leave(self, record: Record, level: int) -> None:
        left = self._level.get(record[2], 0) & ~level
        if left:
            self._level[record[2]] = left
        else:
            self._level.pop(record[2], None)
