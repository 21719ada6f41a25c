"""Why the smallest schedule fails: which steps must come in which order, and how near the next schedule that passes is.

Each switch of the smallest schedule is moved to earlier and later points of the actor that is interrupted there, and
every move is run.  The moves that still fail make a window.  The step at its beginning must have been made before the
other actor goes on, the step behind its end must not: made one by one, these two steps are what the bug is about.  The
schedule in which just the step behind the end is made early is the nearest that passes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..actors.strategies.steady import BEGINNING, Deviation, Switch
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
        if isinstance(switch, Switch) and switch.after != BEGINNING:
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
    """Move one switch both ways, and note the steps at the ends of its window."""
    first = switch.step
    while first > 1 and switch.step - first < WINDOW_MAX and _fails(laboratory, trial, switch, first - 1):
        first -= 1
    last = switch.step
    while last - switch.step < WINDOW_MAX and _fails(laboratory, trial, switch, last + 1):
        last += 1
    begun = history.step_of(switch.after, switch.step)
    if begun is None:
        return
    block = [event for event in history.events[begun.index + 1 :] if event.serial != switch.after]
    needed = history.step_of(switch.after, first)
    if needed is not None and first > 1:
        partner = _partner(block, needed)
        if partner is not None:
            order[needed.serial, needed.step] = needed
            order[partner.serial, partner.step] = partner
    passing = History()
    moved = _moved(trial.deviations, switch, last + 1)
    if laboratory.run(moved, observers=[passing]).violation is not None:
        return  # the window is longer than was looked at
    too_early = passing.step_of(switch.after, last + 1)
    if too_early is None:
        return
    held_back = history.step_of(switch.after, last + 1) or _unmade(too_early)
    partner = _partner(block, too_early)
    if partner is not None:
        order[partner.serial, partner.step] = partner
        order[held_back.serial, held_back.step] = held_back
        flips.append(Flip(too_early, partner, tuple(moved)))


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


def _fails(laboratory: Laboratory, trial: Trial, switch: Switch, step: int) -> bool:
    """Whether it fails as well with the switch moved to another step, and the switch really was there."""
    moved = laboratory.run(_moved(trial.deviations, switch, step))
    return moved.violation is not None and Switch(switch.after, step, switch.to) in moved.deviations


def _moved(deviations: Sequence[Deviation], switch: Switch, step: int) -> list[Deviation]:
    return [Switch(switch.after, step, switch.to) if deviation is switch else deviation for deviation in deviations]


def _unmade(event: Event) -> Event:
    """A step that the failing run does not come to."""
    event.index = -1
    return event
