"""The smallest schedule that still shows a bug.

A run is taken as its deviations from the canonical schedule (`Steady`), and deviations are left out while the same bug
still shows: delta debugging (Zeller, Hildebrandt, *Simplifying and isolating failure-inducing input*, 2002) over
deviations, as exploration.md 3.12 wants it, not over steps: taking a step away would shift all that follow.  Every
candidate is run; what is kept are the deviations that came to be, so one that has become impossible goes by itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

from ..actors.strategies import Replay, Steady, TapeError
from ..actors.strategies.steady import BEGINNING, Answer, Deviation, Switch, Transcript
from .history import History, shared_identities
from .subject import STEPS_MAX, run_subject, signature

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from ..actors.observer import Observer
    from ..kernel import Violation
    from .subject import Subject

REPLAYS_MAX = 400
"""Runs spent on one bug; what is smallest by then is what is reported."""

FEW_PREEMPTIONS = 2
"""Where leaving out ends with so many or more, schedules with a single one are tried as well."""

SINGLES_MAX = 60
"""How many of those."""


@dataclass(frozen=True, slots=True)
class Trial:
    """A steady run: the deviations that came to be, preemptions among them, steps, and the violation looked for."""

    deviations: tuple[Deviation, ...]
    preemptions: int
    steps: int
    violation: Violation | None
    displaced: dict[Deviation, tuple[int, int]]  # by switch: who would have gone on, and the steps it had made

    @property
    def size(self) -> tuple[int, int, int]:
        """What is smaller is better to read: fewer preemptions, then fewer deviations, then fewer steps."""
        return self.preemptions, len(self.deviations), self.steps


class Laboratory:
    """Runs candidates of one subject, and knows the bug when it sees it."""

    def __init__(self, subject: Subject, wanted: str, *, steps_max: int = STEPS_MAX) -> None:
        self.subject = subject
        self.wanted = wanted
        self.steps_max = steps_max
        self.replays = 0

    def transcribe(self, tape: Sequence[int], *, costed: bool = False) -> tuple[Deviation, ...]:
        """The deviations of the run that `tape` records."""
        transcript = Transcript(Replay(tape, costed=costed))
        run_subject(self.subject, transcript, steps_max=self.steps_max)
        return tuple(transcript.followed)

    def run(self, deviations: Sequence[Deviation], *, observers: Sequence[Observer] = ()) -> Trial:
        """Run the canonical schedule with `deviations`."""
        self.replays += 1
        strategy = Steady(deviations)
        interleaver, violations = run_subject(self.subject, strategy, steps_max=self.steps_max, observers=observers)
        found = next((violation for violation in violations if signature(violation) == self.wanted), None)
        return Trial(tuple(strategy.followed), strategy.preemptions, interleaver.steps, found, strategy.displaced)


def minimise(
    laboratory: Laboratory,
    deviations: Sequence[Deviation],
    *,
    replays_max: int = REPLAYS_MAX,
    on_progress: Callable[[Trial], object] | None = None,
) -> Trial | None:
    """The smallest failing run found from `deviations`; None where they do not fail any more.

    One-minimal where `replays_max` allowed it: no single deviation can be left out.
    """
    best = laboratory.run(deviations)
    if best.violation is None:
        return None
    last = laboratory.replays + replays_max

    def try_out(candidate: Sequence[Deviation]) -> bool:
        nonlocal best
        if laboratory.replays >= last:
            return False
        trial = laboratory.run(candidate)
        if trial.violation is None or trial.size >= best.size:
            return False
        best = trial
        if on_progress is not None:
            on_progress(trial)
        return True

    if not try_out(()):
        _delta_debug(lambda: best.deviations, try_out)
        while _pull_together(best.deviations, try_out):
            _delta_debug(lambda: best.deviations, try_out)
        if best.preemptions >= FEW_PREEMPTIONS and any(
            map(try_out, islice(_with_one_preemption(laboratory, best), SINGLES_MAX))
        ):
            _delta_debug(lambda: best.deviations, try_out)
    return best


def _with_one_preemption(laboratory: Laboratory, trial: Trial) -> Iterator[list[Deviation]]:
    """Schedules in which one thread goes first, and one is preempted once, near where `trial` has preemptions.

    Leaving out finds a smallest part of what there is, which may be far from the smallest there could be.  Only points
    before a step that conflicts with another processor's matter: elsewhere a preemption can be later.
    """
    history = History()
    laboratory.run(trial.deviations, observers=[history])
    shared = shared_identities(history.events)
    threads = list(dict.fromkeys(event.serial for event in history.events if event.is_thread))
    places = [
        event.index
        for switch in trial.deviations
        if isinstance(switch, Switch) and (event := history.step_of(switch.after, switch.step)) is not None
    ]
    points = [
        (min((abs(event.index - place) for place in places), default=0), event)
        for event in history.events
        if event.is_thread and any(identity in shared for identity in event.footprint)
    ]
    for _, event in sorted(points, key=lambda point: (point[0], point[1].index)):
        for to in threads:
            if to != event.serial:
                for first in threads:
                    yield [Switch(BEGINNING, 0, first), Switch(event.serial, event.step - 1, to)]


def _delta_debug(current: Callable[[], tuple[Deviation, ...]], try_out: Callable[[Sequence[Deviation]], bool]) -> None:
    """Leave out parts, large ones first, until no single deviation can be left out."""
    size = len(current())
    parts = 2
    while size > 0:
        deviations = current()
        size = len(deviations)
        if not size:
            return
        parts = min(parts, size)
        length = -(-size // parts)
        for begin in range(0, size, length):
            if try_out(deviations[:begin] + deviations[begin + length :]):
                parts = max(parts - 1, 2)
                break
        else:
            if length == 1:
                return
            parts *= 2


def _pull_together(deviations: tuple[Deviation, ...], try_out: Callable[[Sequence[Deviation]], bool]) -> bool:
    """Replace pairs of switches by one of the two moved to the place of the other; whether that helped."""
    switches = [deviation for deviation in deviations if isinstance(deviation, Switch)]
    for switch in switches:
        rest = [deviation for deviation in deviations if deviation is not switch]
        if switch.after != BEGINNING and try_out([Switch(BEGINNING, 0, switch.to), *rest]):
            return True
    for index, switch in enumerate(switches):
        for other in switches[:index] + switches[index + 1 :]:
            rest = [deviation for deviation in deviations if deviation not in (switch, other)]
            for moved in (Switch(switch.after, switch.step, other.to), Switch(other.after, other.step, switch.to)):
                if moved not in (switch, other) and try_out([*rest, moved]):
                    return True
    return False


__all__ = ["Answer", "Deviation", "Laboratory", "Switch", "TapeError", "Trial", "minimise"]
