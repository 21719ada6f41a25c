"""Steady: every actor runs until it must wait, except where a deviation says otherwise.

The canonical schedule, and the form in which schedules are minimised and explained: a run is described by what is *not*
canonical about it (exploration.md 3.12).  A point of a run is named by who made the last step and the how-manieth of
its steps that was, not by a position in the tape, so a deviation keeps its meaning when another one is left out; one
that has become impossible is passed over.

A point's canonical answer is the actor that made the last step, or, where that has to wait, the one that was woken
last: whoever serves a request goes next, and then the one that has asked, as in a call.  Those that have not begun yet
come behind, in order of birth.  A choice of another kind is answered 0.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, NamedTuple

from ..operation import START
from .base import Strategy
from .queue import ActorQueue

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ..actor import Actor
    from ..interleaver import Interleaver
    from ..operation import Op
    from .replay import Replay

BEGINNING = -1
"""The serial number of nobody: the point before the first step."""


class Switch(NamedTuple):
    """After step number ``step`` of actor ``after``, ``to`` goes on; actors are serial numbers."""

    after: int
    step: int
    to: int


class Answer(NamedTuple):
    """The choice number ``ordinal`` made since step ``step`` of actor ``after`` began is answered with ``answer``."""

    after: int
    step: int
    ordinal: int
    answer: int


Deviation = Switch | Answer


class Steady(Strategy):
    """The canonical schedule with deviations from it.  ``followed`` counts those that came to be."""

    name: ClassVar[str] = "steady"
    watches_enabled: ClassVar[bool] = True
    watches_steps: ClassVar[bool] = True

    def __init__(self, deviations: Iterable[Deviation] = ()) -> None:
        self._switches: dict[tuple[int, int], int] = {}
        self._answers: dict[tuple[int, int, int], int] = {}
        for deviation in deviations:
            if isinstance(deviation, Switch):
                self._switches[deviation.after, deviation.step] = deviation.to
            else:
                self._answers[deviation.after, deviation.step, deviation.ordinal] = deviation.answer
        self.given = len(self._switches) + len(self._answers)
        self.followed: list[Deviation] = []
        self.displaced: dict[Deviation, tuple[int, int]] = {}  # who would have gone on, and the steps it had made
        self.preemptions = 0  # times an actor had to stop that could have gone on
        self._last: Actor | None = None
        self._step: dict[int, int] = {}  # steps made, by serial number
        self._ordinal = 0
        self._queue = ActorQueue()
        self._woken = 0
        self._order: dict[int, int] = {}
        self._living: dict[int, Actor] = {}

    def on_enabled(self, actor: Actor) -> None:
        """Queue the actor before those that wait already, or, where it has not begun, in order of birth."""
        serial, op = actor.serial, actor.pending
        self._living[serial] = actor
        if op is START:
            self._order[serial] = serial
        elif op.admit is not None or serial not in self._order:
            self._woken -= 1
            self._order[serial] = self._woken
        # Otherwise it was only interrupted, and goes on where it was in the queue.
        self._queue.push(self._order[serial], actor)

    def on_step(self, actor: Actor, op: Op) -> None:
        """Count the step: it names the points that follow."""
        self._last = actor
        self._step[actor.serial] = self._step.get(actor.serial, 0) + 1
        self._ordinal = 0

    def _point(self) -> tuple[int, int]:
        last = self._last
        return (BEGINNING, 0) if last is None else (last.serial, self._step[last.serial])

    def pick(self, enabled: Sequence[Actor]) -> int:
        """The deviation's actor if there is one and it can go, else the canonical one."""
        canonical = self._canonical()
        if self._switches:
            point = self._point()
            to = self._switches.get(point)
            actor = self._living.get(to) if to is not None else None
            if actor is not None and actor.slot >= 0 and actor is not canonical:
                switch = Switch(*point, actor.serial)
                self.followed.append(switch)
                self.displaced[switch] = canonical.serial, self._step.get(canonical.serial, 0)
                if canonical is self._last:
                    self.preemptions += 1
                return actor.slot
        return canonical.slot

    def _canonical(self) -> Actor:
        last = self._last
        if last is not None and last.slot >= 0:
            return last
        return self._queue.first()

    def choose(self, kind: str, n: int) -> int:
        """The deviation's answer if there is one and it is possible, else 0."""
        ordinal, self._ordinal = self._ordinal, self._ordinal + 1
        if self._answers:
            point = self._point()
            answer = self._answers.get((*point, ordinal))
            if answer is not None and answer < n:
                self.followed.append(Answer(*point, ordinal, answer))
                return answer
        return 0


class Transcript(Steady):
    """A tape's run as deviations from the canonical one: gives the answers of the tape, and notes what they mean."""

    name: ClassVar[str] = "transcript"

    def __init__(self, inner: Replay) -> None:
        super().__init__()
        self._inner = inner
        self.costed = inner.costed

    def begin(self, interleaver: Interleaver) -> None:
        """Begin both."""
        self._inner.begin(interleaver)
        super().begin(interleaver)

    def pick(self, enabled: Sequence[Actor]) -> int:
        """The tape's actor."""
        index = self._inner.pick(enabled)
        actor, canonical = enabled[index], self._canonical()
        if actor is not canonical:
            self.followed.append(Switch(*self._point(), actor.serial))
            if canonical is self._last:
                self.preemptions += 1
        return index

    def choose(self, kind: str, n: int) -> int:
        """The tape's answer."""
        answer = self._inner.choose(kind, n)
        ordinal, self._ordinal = self._ordinal, self._ordinal + 1
        if answer:
            self.followed.append(Answer(*self._point(), ordinal, answer))
        return answer
