"""One schedule of something: set it up, run it, say what came out."""

from __future__ import annotations

import re
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol

from ..actors import BareInterleaver, Fingerprint, Outcome, Profile, RunLimits
from ..actors.garbage import forget_last_run, rare_garbage_collection
from ..actors.strategies import BY_NAME, RandomWalk, make_strategy
from ..kernel import boot

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import AbstractContextManager

    from ..actors import Interleaver
    from ..actors.observer import Observer
    from ..actors.strategies import Strategy
    from ..kernel import Violation
    from ..topology import Scenario

STEPS_MAX = 1_000_000
"""Steps after which a schedule is cut off, unless told otherwise: one that long spins."""


PILOT_STEPS_MAX = 100_000
"""Steps after which a pilot run is cut off: its counts are good enough by then."""


class Subject(Protocol):
    """What can be explored.  The same steps must follow from the same decisions, in every process."""

    def begin(self, interleaver: Interleaver) -> Sequence[Violation]:
        """Put the actors on `interleaver`; what it returns holds the violations once the run is over."""


class ScenarioSubject:
    """A topology file, booted anew for each schedule."""

    def __init__(self, scenario: Scenario) -> None:
        self.scenario = scenario
        self._folder = Path(scenario.source).parent if scenario.source else None

    def begin(self, interleaver: Interleaver) -> Sequence[Violation]:
        """Boot the machine."""
        return boot(self.scenario, interleaver, folder=self._folder).machine.violations


class Schedule(NamedTuple):
    """What decides one run: strategy and seed, and the seed of the pilot run whose counts the strategy works from.

    ``number`` is its place in a campaign.
    """

    number: int
    strategy: str
    seed: int
    pilot: int = 0


@dataclass(frozen=True, slots=True)
class Executed:
    """One schedule, run.  ``digest`` is its behaviour, ``failure`` what went wrong in us or in a patch file."""

    schedule: Schedule
    outcome: Outcome
    violations: tuple[Violation, ...] = ()
    steps: int = 0
    decisions: int = 0
    digest: int = 0
    failure: str = ""


def run_subject(
    subject: Subject, strategy: Strategy, *, steps_max: int = STEPS_MAX, observers: Sequence[Observer] = ()
) -> tuple[BareInterleaver, Sequence[Violation]]:
    """Run one schedule of `subject` to its end."""
    interleaver = BareInterleaver(strategy, limits=RunLimits(steps_max))
    for observer in observers:
        interleaver.observe(observer)
    violations = subject.begin(interleaver)
    interleaver.run_bare()
    return interleaver, violations


class Pilot:
    """The run before the first: a random walk from `seed`, whose counts some strategies want.

    It depends on the subject and the seed only, not on how long other schedules may be: a token has to lead to the
    same counts.
    """

    def __init__(self, subject: Subject, seed: int = 0) -> None:
        self.seed = seed
        self.executed, self.profile = _run_pilot(subject, seed)


def _run_pilot(subject: Subject, seed: int) -> tuple[Executed, Profile]:
    interleaver = BareInterleaver(RandomWalk(seed), limits=RunLimits(PILOT_STEPS_MAX))
    profile = Profile(interleaver)
    interleaver.observe(profile)
    interleaver.on_spawn = profile.on_spawn
    schedule = Schedule(0, RandomWalk.name, seed, seed)
    return _executed(subject, interleaver, schedule), profile


def execute(subject: Subject, schedule: Schedule, pilot: Pilot | None, *, steps_max: int = STEPS_MAX) -> Executed:
    """Run one schedule; a failure of ours is part of the result, not an exception."""
    forget_last_run()  # before anything is made for this one
    strategy = make_strategy(schedule.strategy, schedule.seed, pilot.profile if pilot is not None else None)
    return _executed(subject, BareInterleaver(strategy, limits=RunLimits(steps_max)), schedule)


def _executed(subject: Subject, interleaver: BareInterleaver, schedule: Schedule) -> Executed:
    fingerprint = Fingerprint(interleaver)
    interleaver.observe(fingerprint)
    violations = subject.begin(interleaver)
    try:
        outcome = interleaver.run_bare()
    except Exception as error:  # whatever it is, the campaign goes on and reports it
        return Executed(schedule, Outcome.FAILED, tuple(violations), interleaver.steps, failure=innermost(error))
    interleaver.strategy.on_end(violated=bool(violations))
    return Executed(
        schedule, outcome, tuple(violations), interleaver.steps, len(interleaver.tape), fingerprint.digest()
    )


def innermost(error: Exception) -> str:
    """What went wrong and where, of an exception that may be wrapped in groups."""
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    frames = traceback.extract_tb(error.__traceback__)
    where = f" ({Path(frames[-1].filename).name}:{frames[-1].lineno} in {frames[-1].name})" if frames else ""
    return f"{type(error).__name__}: {error}{where}"


def needs_pilot(strategy: str) -> bool:
    """Whether the strategy called `strategy` works from the counts of a pilot run."""
    return BY_NAME[strategy].needs_profile


def signature(violation: Violation) -> str:
    """What makes two violations the same bug: their kind and where they show, but no address, number or time."""
    if violation.bug:
        return f"{violation.kind} {violation.bug}"
    where = re.sub(r"0x[0-9a-f]+|\b[0-9a-f]{8,}\b|\d+", "#", violation.title)
    return " ".join([violation.kind, where, *violation.site])


def many_schedules() -> AbstractContextManager[None]:
    """Around many schedules: every one leaves a whole machine of reference cycles behind, and nothing else does."""
    return rare_garbage_collection(100_000, 5, 100)
