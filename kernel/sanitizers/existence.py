"""Existence: what keeps a structure alive at each moment it is used.

KASAN sees a use after the memory has been given back.  This sanitizer does not wait for that: it asks, at every use of
a watched structure, what would *prevent* it from being given back now, and where the answer is "nothing" reports the
risk, even if this schedule got away with it.

A structure is watched when it was allocated with a `KeptBy`, which says what its own protocol promises: that it goes
only a grace period after it was unpublished, that somebody holds references, that a lock is needed to let it go, that
it lives as long as another structure.  The rest is seen from events: ``pointer:*`` records (rcu_dereference and
relatives, references got and put, readers entered and left), ``lock:lock_acquire`` and ``lock_release``, and callbacks
handed to RCU.

A reader or a lock counts only if it was entered before the pointer was loaded and not left since: a pointer from an
earlier section is stale in a later one.  A section that was entered while a reference was held counts from when that is
put: so a walk carries its position over.  A pointer whose load no event told was loaded where it was used first.

Who has allocated a structure may use it until it is published, who has `claim`-ed it because it is the one to let it go
until it is handed to RCU or freed; from then on only the callback may.  Who has put the last reference may use it until
it is claimed: somebody waits to be told so.

Each context (a thread, or an interrupt level) is looked at by itself: a reference put by another than who got it
counts for neither.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from ...actors import KernelThread
from ..existence import reader
from ..memory import shadow_of
from .layout import FIELD_OFFSETS, HARDWARE, call_trace, identity, join

if TYPE_CHECKING:
    from ...actors import Actor
    from ..existence import KeptBy
    from ..machine import Machine
    from ..memory import Shadow, Structure

Record = tuple[Any, ...]
NOTHING = "nothing"
FOR_EVER = "nobody who could free it"


class Moment(NamedTuple):
    """When something happened: the number of the event, virtual time, and the stack."""

    serial: int
    now_ns: int
    stack: tuple[str, ...]


@dataclass(slots=True)
class Load:
    """How a context came by a pointer, and what kept the structure alive then."""

    at: Moment
    since: int  # sections that began later say nothing about it
    kept_by: str = NOTHING


@dataclass(slots=True)
class Holding:
    """What one context has: open sections by name with their beginning, references by address, pointers."""

    open: dict[str, list[int]] = field(default_factory=dict)  # depth, serial of the outermost beginning
    references: dict[int, int] = field(default_factory=dict)
    loads: dict[int, Load] = field(default_factory=dict)
    ended: dict[str, Moment] = field(default_factory=dict)  # the last end of each guarantee


class Existence:
    """The tracker.  ``kept`` counts uses by type of structure and what kept it alive."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._serial = 0
        self._holdings: dict[Actor, Holding] = {}
        self._shadows: dict[int, Shadow] = {}  # what is watched, by address
        self._owners: dict[int, Actor | None] = {}  # address → who made or claimed it; None: handed to RCU
        self._last: dict[int, Actor] = {}  # who has put the last reference
        self._told: dict[tuple[str, tuple[str, ...]], None] = {}
        self._looking = False
        self._over = False
        self.kept: dict[tuple[str, str], int] = {}
        points = machine.tracepoints
        points.pointer_load.attach(self._loaded)
        points.reference_get.attach(self._got)
        points.reference_put.attach(self._put)
        points.reader_enter.attach(lambda record: self._enter(reader(record[5])))
        points.reader_leave.attach(lambda record: self._leave(reader(record[5])))
        points.lock_acquire.attach(lambda record: self._enter(record[6].partition("/")[0]))  # any subclass
        points.lock_release.attach(lambda record: self._leave(record[5].partition("/")[0]))
        points.rcu_callback.attach(lambda record: self._retire(record[6]))
        points.rcu_kvfree_callback.attach(lambda record: self._retire(record[6]))
        machine.interleaver.on_finished.append(self._run_is_over)

    def _run_is_over(self) -> None:
        """Who looks at structures from here on is no part of the kernel."""
        self._over = True

    def tally(self) -> tuple[tuple[str, str, int], ...]:
        """Type of structure, what kept it alive, and how many uses that was true of; by type, the most uses first."""
        ordered = sorted(self.kept.items(), key=lambda entry: (entry[0][0], -entry[1], entry[0][1]))
        return tuple((structure, reason, uses) for (structure, reason), uses in ordered)

    # --- what happens to structures

    def watch(self, shadow: Shadow) -> None:
        """A structure was allocated: it belongs to the running context."""
        self._shadows[shadow.address] = shadow
        self._owners[shadow.address] = self._machine.running

    def published(self, structure: Structure) -> None:
        """Others can find `structure` from here on: who has made it is one of them."""
        shadow = shadow_of(structure)
        if shadow is not None:
            self._owners.pop(shadow.address, None)

    def claim(self, structure: Structure) -> None:
        """The running context is the one that lets `structure` go, and nobody else may."""
        shadow = shadow_of(structure)
        if shadow is not None:
            self._owners[shadow.address] = self._machine.running
            self._last.pop(shadow.address, None)

    def freed(self, shadow: Shadow) -> None:
        """It was given back: KASAN takes over."""
        self._shadows.pop(shadow.address, None)
        self._owners.pop(shadow.address, None)
        self._last.pop(shadow.address, None)
        for holding in self._holdings.values():
            holding.loads.pop(shadow.address, None)
            holding.references.pop(shadow.address, None)

    def _retire(self, address: int) -> None:
        if address in self._shadows:
            self._owners[address] = None
            self._last.pop(address, None)

    # --- what contexts get and give up

    def _holding(self) -> Holding:
        running = self._machine.running
        holding = self._holdings.get(running)
        if holding is None:
            holding = self._holdings[running] = Holding()
        return holding

    def _now(self) -> Moment:
        self._serial += 1
        return Moment(self._serial, self._machine.interleaver.now_ns, self._machine.stack())

    def _enter(self, name: str) -> None:
        section = self._holding().open.setdefault(name, [0, 0])
        if not section[0]:
            self._serial += 1
            section[1] = self._serial
        section[0] += 1

    def _leave(self, name: str) -> None:
        holding = self._holding()
        section = holding.open.get(name)
        if section is not None and section[0]:
            section[0] -= 1
            if not section[0]:
                holding.ended[name] = self._now()

    def _got(self, record: Record) -> None:
        references = self._holding().references
        references[record[5]] = references.get(record[5], 0) + 1

    def _put(self, record: Record) -> None:
        holding = self._holding()
        address = record[5]
        if not record[6] and address in self._shadows:
            self._last[address] = self._machine.running
        left = holding.references.get(address, 0) - 1
        if left > 0:
            holding.references[address] = left
            return
        holding.references.pop(address, None)
        holding.ended[_reference(address)] = now = self._now()
        load = holding.loads.get(address)
        if load is not None:
            load.since = now.serial

    def _loaded(self, record: Record) -> None:
        self._load(self._holding(), record[5])

    def _load(self, holding: Holding, address: int) -> Load:
        now = self._now()
        holding.loads[address] = load = Load(now, now.serial)
        shadow = self._shadows.get(address)
        if shadow is not None:
            load.kept_by = self._kept_by(shadow, holding, now.serial) or NOTHING
        return load

    # --- uses

    def used(self, shadow: Shadow, name: str, *, write: bool) -> None:
        """The running context is about to use field `name` of a watched structure."""
        machine = self._machine
        if self._looking or self._over or machine.booting:
            return
        self._looking = True
        try:
            holding = self._holding()
            load = holding.loads.get(shadow.address) or self._load(holding, shadow.address)
            kept_by = self._kept_by(shadow, holding, load.since) or NOTHING
            key = shadow.type_name, kept_by
            self.kept[key] = self.kept.get(key, 0) + 1
            if (fire := machine.tracepoints.pointer_use.fire) is not None:
                fire(shadow.address, shadow.type_name, name, kept_by)
        finally:
            self._looking = False
        if kept_by is NOTHING:
            self._report(shadow, name, holding, load, write=write)

    def _kept_by(self, shadow: Shadow, holding: Holding, since: int) -> str | None:
        """What keeps a structure alive for the running context, whose pointer was loaded at `since`; None: nothing."""
        kept_by = shadow.kept_by
        if kept_by is None or kept_by.static:
            return FOR_EVER
        if shadow.freed_by:
            return None
        if holding.references.get(shadow.address):
            return "a reference"
        for name in kept_by.sections():
            section = holding.open.get(name)
            if section is not None and section[0] and section[1] <= since and self._all_kept(kept_by, holding, since):
                return name
        if shadow.address in self._owners:
            owner = self._owners[shadow.address]
            if owner is self._machine.running:
                return "its owner"
            if owner is None and not isinstance(self._machine.running, KernelThread):
                return "its RCU callback"
        if self._last.get(shadow.address) is self._machine.running:
            return "its last reference"
        for other in kept_by.owners():
            beyond = shadow_of(other)
            reason = FOR_EVER if beyond is None else self._kept_by(beyond, holding, since)
            if reason is not None:
                return reason if beyond is None or reason is FOR_EVER else f"{reason} of {beyond.type_name}"
        return None

    def _all_kept(self, kept_by: KeptBy, holding: Holding, since: int) -> bool:
        """Whether everything is kept that takes a structure with it."""
        wholes = [shadow_of(whole) for whole in kept_by.inside()]
        return all(whole is None or self._kept_by(whole, holding, since) for whole in wholes)

    # --- the report

    def _report(self, shadow: Shadow, name: str, holding: Holding, load: Load, *, write: bool) -> None:
        machine = self._machine
        if machine.violations and machine.stop_at_violation:
            return  # the run is ending, in the step being made, of something that came before
        stack = machine.stack()
        where = stack[0] if stack else "unknown"
        if (shadow.type_name, stack) in self._told:
            return
        self._told[shadow.type_name, stack] = None
        title = f"risk of use-after-free in {where}: nothing keeps {shadow.type_name} alive"
        address = shadow.address + FIELD_OFFSETS.get(name, 0)
        assert shadow.kept_by is not None
        lines = [
            "=" * 66,
            title,
            f"{'Write' if write else 'Read'} of field {name} at addr {address:016x} by task {machine.who()}",
            "",
            identity(machine),
            HARDWARE,
            *call_trace(stack),
            "",
            f"The pointer was obtained at {_seconds(load.at.now_ns)}, kept alive by {load.kept_by}:",
            *(f" {function}" for function in load.at.stack),
            "",
            *self._last_end(shadow, holding, load),
            "",
            f"What may keep {shadow.type_name} alive: {', '.join(shadow.kept_by.described())}",
            f"It was allocated by task {shadow.allocated_by}:",
            *(f" {function}" for function in shadow.allocated_at),
            "",
            "In this schedule it was still there.",
            "=" * 66,
        ]
        machine.violate("use-after-free", title, join(lines), bug=f"existence of {shadow.type_name} in {where}")

    def _last_end(self, shadow: Shadow, holding: Holding, load: Load) -> list[str]:
        """When the last guarantee ended that was one after the pointer had been loaded."""
        assert shadow.kept_by is not None
        names = dict(_guarantees(shadow))
        ended = [(holding.ended[key], what) for key, what in names.items() if key in holding.ended]
        later = [(moment, what) for moment, what in ended if moment.serial > load.at.serial]
        if not later:
            return ["It had no guarantee since then."]
        moment, what = max(later, key=lambda end: end[0].serial)
        return [
            f"Its last guarantee, {what}, ended at {_seconds(moment.now_ns)}:",
            *(f" {function}" for function in moment.stack),
        ]


def _guarantees(shadow: Shadow) -> list[tuple[str, str]]:
    """What may keep it and has an end, by the key of that: its own, and what keeps the structures it belongs to."""
    found = [(_reference(shadow.address), "a reference")]
    if shadow.kept_by is not None:
        found += [(name, name) for name in shadow.kept_by.sections()]
        for other in (*shadow.kept_by.owners(), *shadow.kept_by.inside()):
            beyond = shadow_of(other)
            if beyond is not None:
                known = [key for key, _ in found]
                more = [(key, f"{what} of {beyond.type_name}") for key, what in _guarantees(beyond)]
                found += [(key, what) for key, what in more if key not in known]
    return found


def _reference(address: int) -> str:
    return f"reference to {address:x}"


def _seconds(now_ns: int) -> str:
    return f"{now_ns // 1_000_000_000}.{now_ns % 1_000_000_000:09d}"
