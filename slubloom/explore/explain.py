"""Why the smallest schedule fails: which steps must come in which order, and how near the next schedule that passes is.

Each switch of the smallest schedule is moved to earlier and later points of the actor that is interrupted there, and
every move is run.  The moves that still fail make a window.  The step at its beginning must have been made before the
other actor goes on, the step behind its end must not: made one by one, these two steps are what the bug is about.  The
schedule in which just the step behind the end is made early is the nearest that passes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ..actors.strategies.steady import Deviation, Switch
from .history import Event, History

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .minimise import Laboratory, Trial

WINDOW_MAX = 40
"""Points a switch is moved by, in either direction."""


@dataclass(frozen=True, slots=True)
class Flip:
    """The nearest passing schedule: ``step`` comes before ``than`` there, and after it where it fails."""

    step: Event
    than: Event
    deviations: tuple[Deviation, ...]


@dataclass(frozen=True, slots=True)
class Explanation:
    """The smallest failing run: its steps, the order among them that it takes to fail, the nearest that passes.

    ``order`` is empty where the canonical schedule itself fails: then no order had to be arranged.
    """

    trial: Trial
    events: list[Event]
    order: list[Event]
    flips: list[Flip]
    replays: int


def explain(laboratory: Laboratory, trial: Trial) -> Explanation:
    """Find out what makes the smallest failing run `trial` fail."""
    history = History()
    laboratory.run(trial.deviations, observers=[history])
    order: dict[tuple[int, int], Event] = {}
    flips: list[Flip] = []
    for switch in trial.deviations:
        if isinstance(switch, Switch) and switch in trial.displaced:
            _look_at(laboratory, trial, history, switch, order, flips)
    # Steps that only the passing schedules come to have no place among the others: they come last, as in the story.
    made = sorted((event for event in order.values() if event.index >= 0), key=lambda event: event.index)
    held_back = [event for event in order.values() if event.index < 0]
    flips.sort(key=lambda flip: (len(flip.deviations), -flip.than.index))
    return Explanation(trial, history.events, made + held_back, flips, laboratory.replays)


def _look_at(
    laboratory: Laboratory,
    trial: Trial,
    history: History,
    switch: Switch,
    order: dict[tuple[int, int], Event],
    flips: list[Flip],
) -> None:
    """Move one switch both ways along the steps of the actor it keeps waiting, and note the steps at the ends.

    That is the thread that would have gone on or, where that would have been a machine part, the one before.
    """
    victim, made = trial.displaced[switch]
    if not any(event.is_thread for event in history.events if event.serial == victim):
        victim, made = switch.after, switch.step
    last = made
    while last - made < WINDOW_MAX and _fails(laboratory, trial, switch, Switch(victim, last + 1, switch.to)):
        last += 1
    begun = history.step_of(switch.after, switch.step)
    resumed = history.step_of(victim, last + 1)
    start = begun.index + 1 if begun is not None else 0
    meanwhile = [
        event
        for event in history.events[start : resumed.index if resumed is not None else None]
        if event.serial != victim
    ]
    if switch.after == victim:
        _look_back(laboratory, trial, history, switch, meanwhile, order)
    passing = History()
    moved = _moved(trial.deviations, switch, Switch(victim, last + 1, switch.to))
    if laboratory.run(moved, observers=[passing]).violation is not None:
        return  # the window is longer than was looked at
    too_early = passing.step_of(victim, last + 1)
    partner = _partner(meanwhile, too_early) if too_early is not None else None
    if too_early is None or partner is None:
        return
    held_back = resumed or replace(too_early, index=-1)
    order[partner.serial, partner.step] = partner
    order[held_back.serial, held_back.step] = held_back
    flips.append(Flip(too_early, partner, tuple(moved)))


def _look_back(
    laboratory: Laboratory,
    trial: Trial,
    history: History,
    switch: Switch,
    meanwhile: Sequence[Event],
    order: dict[tuple[int, int], Event],
) -> None:
    """The last step of the interrupted actor that must have been made before the other one goes on."""
    first = switch.step
    while first > 1 and switch.step - first < WINDOW_MAX:
        if not _fails(laboratory, trial, switch, Switch(switch.after, first - 1, switch.to)):
            break
        first -= 1
    needed = history.step_of(switch.after, first)
    partner = _partner(meanwhile, needed) if needed is not None and first > 1 else None
    if needed is not None and partner is not None:
        order[needed.serial, needed.step] = needed
        order[partner.serial, partner.step] = partner


def _fails(laboratory: Laboratory, trial: Trial, switch: Switch, other: Switch) -> bool:
    """Whether it fails as well with another switch in the place of one, and that switch really was there."""
    moved = laboratory.run(_moved(trial.deviations, switch, other))
    return moved.violation is not None and other in moved.deviations


def _moved(deviations: Sequence[Deviation], switch: Switch, other: Switch) -> list[Deviation]:
    return [other if deviation is switch else deviation for deviation in deviations]


def _partner(block: Sequence[Event], step: Event) -> Event | None:
    """The first step of `block` whose order with `step` matters, by what the two are about or else by side effects.

    Between threads only: that a message must be sent before it is served goes without saying.
    """
    if not step.is_thread:
        return None
    threads = [event for event in block if event.is_thread]
    return next((event for event in threads if event.conflicts(step)), None) or next(
        (event for event in threads if event.changes(step) or step.changes(event)), None
    )
