"""What lockdep finds: one class a kind of finding, with what its report tells.

Each has the violation `kind` it is and a `title`; `bug` is what makes it the same bug as another finding, where that
is not the title and the place.  Their texts are made in `lockdep_report` and `lockdep_irq_report`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

from ..locks.base import READ, RECURSIVE, TRYLOCK
from .lockdep_usage import ENABLED, NAMES, irq_name

if TYPE_CHECKING:
    from .lockdep_graph import Edge, LockClass, Node, Stack

HARDIRQ, SOFTIRQ = 2, 1
"""Interrupt levels of a context."""
IRQS_OFF, BH_OFF, PREEMPT_OFF = 4, 8, 16
"""With the level, the state in which a lock is taken; 0 is a thread that can be interrupted and preempted."""
LEVELS = HARDIRQ | SOFTIRQ
SLEEPS = 3
"""Inner wait type of locks whose holders may sleep."""
SOFTIRQ_OFFSET, HARDIRQ_OFFSET = 0x100, 0x10000
"""Parts of ``preempt_count``."""


@dataclass(slots=True)
class Held:
    """One lock a context holds, or wants: `flags` as in ``lock:lock_acquire``, `state` the interrupts then."""

    lock_class: LockClass
    address: int
    flags: int
    site: str
    state: int = 0

    @property
    def shared(self) -> bool:
        """Whether it is taken for reading."""
        return bool(self.flags & READ)

    @property
    def recursive(self) -> bool:
        """Whether it is taken for reading, past writers that wait."""
        return bool(self.flags & RECURSIVE)

    @property
    def trylock(self) -> bool:
        """Whether it was taken without waiting."""
        return bool(self.flags & TRYLOCK)

    @property
    def verb(self) -> str:
        """How scenarios say that it is taken."""
        return "rlock" if self.shared else "lock"


@dataclass(slots=True)
class IrqTrace:
    """How often interrupts were switched on one processor, and when last; times in virtual nanoseconds."""

    events: int = 0
    enabled: tuple[int, int] = (0, 0)  # number of the event, time
    disabled: tuple[int, int] = (0, 0)
    soft_enabled: tuple[int, int] = (0, 0)
    soft_disabled: tuple[int, int] = (0, 0)


@dataclass(slots=True)
class Situation:
    """Who has done it and where; set when the finding is handed on."""

    comm: str = ""
    pid: int = 0
    cpu: int = 0
    held: list[Held] = field(default_factory=list)  # all of the task, the interrupted ones too, outermost first
    stack: Stack = ()
    state: int = 0
    irqs: IrqTrace = field(default_factory=IrqTrace)

    @property
    def task(self) -> str:
        """``comm/pid``."""
        return f"{self.comm}/{self.pid}"


@dataclass(slots=True)
class Report:
    """What all findings have."""

    kind: ClassVar[str]
    where: Situation = field(default_factory=Situation, init=False)

    @property
    def title(self) -> str:
        """One line."""
        raise NotImplementedError

    @property
    def bug(self) -> str:
        """What makes it the same bug as another; empty where that is the title and the place."""
        return ""

    @property
    def held(self) -> list[Held]:
        """What the task holds."""
        return self.where.held

    @property
    def stack(self) -> Stack:
        """Where it was found, innermost first."""
        return self.where.stack


@dataclass(slots=True)
class Finding(Report):
    """Two orders contradict each other: `path` leads from the wanted class to the held one."""

    kind: ClassVar[str] = "lockdep-circular"
    wanted: Held
    holding: Held
    path: list[Edge]

    @property
    def title(self) -> str:
        """Which class under which."""
        return f"possible circular locking dependency: {self.wanted.lock_class.name} under {self._target}"

    @property
    def _target(self) -> str:
        return self.holding.lock_class.name

    @property
    def bug(self) -> str:
        """One cycle is one bug, whichever of its edges came last."""
        names = {self.wanted.lock_class.name, self._target, *(edge.source.name for edge in self.path)}
        return f"cycle of {', '.join(sorted(names))}"

    @property
    def parent(self) -> LockClass:
        """The class under which the held one was taken."""
        return self.path[-1].source


@dataclass(slots=True)
class CrossFinding(Finding):
    """The same, found when a completion was completed: `holding` is the completion, which depends on `wanted`."""


@dataclass(slots=True)
class Recursion(Report):
    """A class is taken while a lock of it is held, and nothing says that this is meant."""

    kind: ClassVar[str] = "lockdep-recursive"
    wanted: Held
    holding: Held

    @property
    def title(self) -> str:
        """Which class."""
        return f"possible recursive locking: {self.wanted.lock_class.name}"


@dataclass(slots=True)
class NestNotHeld(Report):
    """A lock is said to be protected by another one, which is not held (``print_lock_nested_lock_not_held``)."""

    kind: ClassVar[str] = "lockdep-recursive"
    wanted: Held
    nest_name: str

    @property
    def title(self) -> str:
        """Which class."""
        return f"nested lock was not taken: {self.wanted.lock_class.name}"


@dataclass(slots=True)
class InconsistentState(Report):
    """One class is taken in an interrupt, and held while that interrupt may come."""

    kind: ClassVar[str] = "lockdep-irq"
    lock: Held
    old_bit: int
    new_bit: int

    @property
    def title(self) -> str:
        """Which usages of which class."""
        usages = f"{{{NAMES[self.old_bit]}}} -> {{{NAMES[self.new_bit]}}}"
        return f"inconsistent lock state: {usages} usage of {self.lock.lock_class.name}"

    @property
    def bug(self) -> str:
        """The same whichever usage came last."""
        state = irq_name(self.new_bit).partition("-")[0]
        return f"{state} usage of {self.lock.lock_class.name}"


@dataclass(slots=True)
class IrqOrder(Report):
    """The new edge holding → wanted leads from a class taken in interrupts to one held while they may come.

    ``safe`` is the end of the search backwards from `holding`, ``unsafe`` of that forwards from `wanted`.
    """

    kind: ClassVar[str] = "lockdep-irq"
    wanted: Held
    holding: Held
    safe: Node
    unsafe: Node
    safe_bit: int
    unsafe_bit: int

    @property
    def title(self) -> str:
        """From which class to which."""
        irq = irq_name(self.safe_bit)
        classes = f"{self.safe.lock_class.name} -> {self.unsafe.lock_class.name}"
        return f"{irq}-safe -> {irq}-unsafe lock order: {classes}"

    @property
    def bug(self) -> str:
        """The same as that of an inversion between the two classes."""
        return _inversion(self.safe_bit, self.safe.lock_class, self.unsafe.lock_class)


@dataclass(slots=True)
class IrqInversion(Report):
    """A class has got a usage that another one, which is connected with it, excludes; ``other`` ends the search."""

    kind: ClassVar[str] = "lockdep-irq"
    lock: Held
    other: Node
    bit: int  # the usage of the other class

    @property
    def forwards(self) -> bool:
        """Whether the other class was taken under this one, and not the other way round."""
        return bool(self.bit & ENABLED)

    @property
    def title(self) -> str:
        """Between which classes."""
        classes = f"{self.lock.lock_class.name} and {self.other.lock_class.name}"
        return f"possible irq lock inversion dependency: {irq_name(self.bit)} between {classes}"

    @property
    def bug(self) -> str:
        """The same as that of an order which connects the two classes."""
        this, other = self.lock.lock_class, self.other.lock_class
        return _inversion(self.bit, this, other) if self.forwards else _inversion(self.bit, other, this)


def _inversion(bit: int, safe: LockClass, unsafe: LockClass) -> str:
    return f"{irq_name(bit).partition('-')[0]} inversion of {safe.name} and {unsafe.name}"


@dataclass(slots=True)
class InvalidWait(Report):
    """A lock that may sleep is taken where nothing may."""

    kind: ClassVar[str] = "sleep-in-atomic"
    wanted: Held
    context: int  # what the interrupt level allows by itself

    @property
    def title(self) -> str:
        """Which class."""
        return f"Invalid wait context: {self.wanted.lock_class.name}"


@dataclass(slots=True)
class SleepInAtomic(Report):
    """A function that may sleep is called in an interrupt, with interrupts or preemption off, or under a spinlock."""

    kind: ClassVar[str] = "sleep-in-atomic"
    function: str

    @property
    def title(self) -> str:
        """Which function."""
        return f"BUG: sleeping function called from invalid context: {self.function}"

    @property
    def preempt_count(self) -> int:
        """As far as records tell: spinlocks held, preemption off, soft interrupts off or handled, hard ones handled."""
        state = self.where.state
        spinlocks = sum(0 < lock.lock_class.inner < SLEEPS for lock in self.held)
        soft = SOFTIRQ_OFFSET * (1 if state & SOFTIRQ else 2 if state & BH_OFF else 0)
        kept = 1 if state & PREEMPT_OFF else 0
        return spinlocks + kept + soft + (HARDIRQ_OFFSET if state & HARDIRQ else 0)


@dataclass(slots=True)
class Imbalance(Report):
    """A lock is released that the context does not hold."""

    kind: ClassVar[str] = "kernel-bug"
    name: str
    address: int

    @property
    def title(self) -> str:
        """Which lock."""
        return f"bad unlock balance detected: {self.name}"


@dataclass(slots=True)
class Freed(Report):
    """Memory is freed with a held lock in it; the addresses are the first and the last byte."""

    kind: ClassVar[str] = "kernel-bug"
    lock: Held
    first: int
    last: int

    @property
    def title(self) -> str:
        """Which class."""
        return f"held lock freed: {self.lock.lock_class.name}"


@dataclass(slots=True)
class StillHeld(Report):
    """A task ends, or goes back to user space, and holds locks."""

    kind: ClassVar[str] = "kernel-bug"
    exiting: bool

    @property
    def title(self) -> str:
        """Who, and what."""
        names = ", ".join(held.lock_class.name for held in self.held)
        return f"lock held {'at task exit' if self.exiting else 'when returning to user space'}: {names}"
