"""Operations: what an actor tells the interleaver before it has an effect.

An actor that is about to do something another actor (or a sanitizer) can see awaits an `Op` first.  The operation is
*pending* from then on, visible to the strategy also while its actor is blocked; when the strategy picks the actor, the
operation is performed and the actor runs on, undisturbed, to its next operation.

Operations are made once, with the structure they belong to, and awaited many times: no object is made in a step.
An `Op` is a list that holds itself, because ``list.__iter__`` is then a complete ``__await__`` written in C
(86 ns for an await and its resumption, against 190 ns with a generator method).
"""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING, Any

from .resource import Access, Resource

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from .actor import Actor


class OpKind(IntEnum):
    """What an operation does to its object; strategies and the wait-for graph read it."""

    START = 0
    FINISH = 1
    LOCAL = 2
    READ = 3
    WRITE = 4
    UPDATE = 5
    ACQUIRE = 6
    RELEASE = 7
    SEND = 8
    RECEIVE = 9
    WAIT = 10
    SIGNAL = 11
    SLEEP = 12
    RESCHEDULE = 13
    TIMER = 14
    COMMUTE = 15


COST_NS: dict[OpKind, int] = {
    OpKind.START: 1_000,
    OpKind.FINISH: 1_000,
    OpKind.LOCAL: 10,
    OpKind.READ: 10,
    OpKind.WRITE: 10,
    OpKind.UPDATE: 20,
    OpKind.ACQUIRE: 25,
    OpKind.RELEASE: 15,
    OpKind.SEND: 50,
    OpKind.RECEIVE: 100,
    OpKind.WAIT: 50,
    OpKind.SIGNAL: 50,
    OpKind.SLEEP: 50,
    OpKind.RESCHEDULE: 20,
    OpKind.TIMER: 0,
    OpKind.COMMUTE: 20,
}
"""Virtual nanoseconds one operation takes under a costed clock: orders of magnitude of a current x86 processor."""

ACCESS: dict[OpKind, Access] = {
    OpKind.START: Access.NONE,
    OpKind.FINISH: Access.NONE,
    OpKind.LOCAL: Access.NONE,
    OpKind.READ: Access.READ,
    OpKind.WRITE: Access.WRITE,
    OpKind.UPDATE: Access.WRITE,
    OpKind.ACQUIRE: Access.WRITE,
    OpKind.RELEASE: Access.WRITE,
    OpKind.SEND: Access.WRITE,
    OpKind.RECEIVE: Access.WRITE,
    OpKind.WAIT: Access.READ,
    OpKind.SIGNAL: Access.WRITE,
    OpKind.SLEEP: Access.NONE,
    OpKind.RESCHEDULE: Access.NONE,
    OpKind.TIMER: Access.WRITE,
    OpKind.COMMUTE: Access.COMMUTE,
}
"""What an operation of each kind does to its resource, unless it says otherwise.

A wait only reads: two actors that wait for the same thing do not disturb each other.  Where waiting uses something up
(a completion) the operation says ``WRITE`` itself.
"""

_WAITS = (OpKind.WAIT, OpKind.RECEIVE)
_USUAL = {kind: (ACCESS[kind], int(kind) + 1, kind not in _WAITS, COST_NS[kind]) for kind in OpKind}


class Op(list[Any]):
    """One visible operation on one resource, awaited before its effect.

    ``kind``, ``resource`` and ``access`` are its declared footprint: all that other actors can notice of it, apart
    from what it tells the interleaver while it runs (`Interleaver.touch`).  A resource given by name only is one for
    operations whose effect stays with the actor itself.  ``admit`` is called when an actor has just made the operation
    pending and may block the actor; ``perform`` is called when the actor was picked and does the part of the effect
    that must not fail; both may be None.  ``aux`` is for the owner of the operation.
    """

    __slots__ = ("access", "admission", "admit", "aux", "code", "cost_ns", "kind", "perform", "races", "resource")

    def __init__(
        self,
        kind: OpKind,
        resource: Resource | str,
        *,
        access: Access | None = None,
        admission: Access = Access.READ,
        admit: Callable[[Actor], object] | None = None,
        perform: Callable[[Actor], object] | None = None,
        cost_ns: int | None = None,
        aux: Any = None,
    ) -> None:
        # Booting makes a hundred of these, and every schedule boots: one table, no super().
        list.__init__(self, (self,))
        usual_access, self.code, races, usual_ns = _USUAL[kind]
        self.kind = kind
        self.resource = Resource(resource) if isinstance(resource, str) else resource
        self.access = access = usual_access if access is None else access
        self.admission = admission  # what it does to the resource to find out whether the actor must wait
        # Whether another actor's operation on the resource could come instead: who waits for something comes after it.
        self.races = races and access is not Access.NONE
        self.admit = admit
        self.perform = perform
        self.cost_ns = usual_ns if cost_ns is None else cost_ns
        self.aux = aux

    @property
    def target(self) -> str:
        """The name of what it is about."""
        return self.resource.name

    if TYPE_CHECKING:

        def __await__(self) -> Generator[Op, None, None]:
            """Make this operation pending; returns once it was performed."""
            ...
    else:
        __await__ = list.__iter__

    # A list that holds itself must not be compared, hashed or printed as one.
    __eq__ = object.__eq__
    __hash__ = object.__hash__  # type: ignore[assignment]  # a list has none

    def __repr__(self) -> str:
        """Name the operation as reports do."""
        return f"{self.kind.name.lower()} {self.resource.name}"


START = Op(OpKind.START, "start")
"""What an actor is at before its first step."""
