"""A finding, worked out: replayed, made as small as it gets, explained."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..actors import BareInterleaver, RunLimits
from ..actors.strategies import make_strategy
from .explain import Explanation, explain
from .minimise import Laboratory, minimise
from .subject import STEPS_MAX, Pilot, needs_pilot

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .minimise import Trial
    from .subject import Schedule, Subject


@dataclass(frozen=True, slots=True)
class Smallest:
    """The smallest schedule found that shows a bug, and its explanation."""

    trial: Trial
    explanation: Explanation


def record(subject: Subject, schedule: Schedule, *, steps_max: int = STEPS_MAX) -> tuple[int, ...]:
    """The tape of one schedule of a campaign."""
    pilot = Pilot(subject, schedule.pilot) if needs_pilot(schedule.strategy) else None
    strategy = make_strategy(schedule.strategy, schedule.seed, pilot.profile if pilot is not None else None)
    interleaver = BareInterleaver(strategy, limits=RunLimits(steps_max))
    subject.begin(interleaver)
    interleaver.run_bare()
    return tuple(interleaver.tape)


def work_out(
    subject: Subject,
    wanted: str,
    tape: Sequence[int],
    *,
    costed: bool = False,
    steps_max: int = STEPS_MAX,
    on_progress: Callable[[Trial], object] | None = None,
) -> Smallest | None:
    """Make the run that `tape` records as small as it gets, and explain it; None where it does not show `wanted`."""
    laboratory = Laboratory(subject, wanted, steps_max=steps_max)
    trial = minimise(laboratory, laboratory.transcribe(tape, costed=costed), on_progress=on_progress)
    if trial is None:
        return None
    return Smallest(trial, explain(laboratory, trial))
