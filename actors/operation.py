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
}
"""Virtual nanoseconds one operation takes under a costed clock: orders of magnitude of a current x86 processor."""


class Op(list[Any]):
    """One visible operation on one object, awaited before its effect.

    ``kind`` and ``target`` (a symbolic name, never an address) identify it.  ``admit`` is called when an actor has
    just made the operation pending and may block the actor; ``perform`` is called when the actor was picked and does
    the part of the effect that must not fail; both may be None.  ``aux`` is for the owner of the operation.
    """

    __slots__ = ("admit", "aux", "cost_ns", "kind", "perform", "target")

    def __init__(
        self,
        kind: OpKind,
        target: str,
        *,
        admit: Callable[[Actor], object] | None = None,
        perform: Callable[[Actor], object] | None = None,
        cost_ns: int | None = None,
        aux: Any = None,
    ) -> None:
        super().__init__((self,))
        self.kind = kind
        self.target = target
        self.admit = admit
        self.perform = perform
        self.cost_ns = COST_NS[kind] if cost_ns is None else cost_ns
        self.aux = aux

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
        return f"{self.kind.name.lower()} {self.target}"
