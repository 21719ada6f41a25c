"""One run of one column, measured."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from ..actors import Outcome
from ..actors.strategies import make_strategy
from ..explore.subject import (
    Pilot,
    ScenarioSubject,
    innermost,
    many_schedules,
    needs_pilot,
    run_subject,
    signature,
)
from ..kernel import boot
from ..token import make_token
from .locks import LockTimes
from .probes import EventCounts

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..actors import Interleaver
    from ..kernel import Machine, Violation
    from ..topology import Scenario
    from .columns import Column
    from .locks import LockFigures, Mode


@dataclass(frozen=True, slots=True)
class Options:
    """How every column is run: with each of `seeds`, by one strategy."""

    strategy: str = "timed"
    seeds: tuple[int, ...] = (0,)
    steps_max: int = 100_000_000


@dataclass(frozen=True, slots=True)
class Job:
    """One run to be made: `column` is its place among the columns."""

    column: int
    seed: int
    scenario: Scenario
    token: str
    strategy: str
    steps_max: int


@dataclass(frozen=True, slots=True)
class Run:
    """One run that is over.

    ``unusable`` says why the topology cannot be booted, ``failure`` what went wrong in us or in a patch file; then there
    are no figures.
    """

    column: int
    seed: int
    outcome: Outcome = Outcome.FAILED
    violations: tuple[Violation, ...] = ()
    token: str = ""
    metrics: dict[str, int | None] = field(default_factory=dict)
    locks: dict[tuple[str, Mode], LockFigures] = field(default_factory=dict)
    counters: dict[str, int] = field(default_factory=dict)
    unusable: str = ""
    failure: str = ""


class _Measured:
    """A scenario with probes on it.  They listen from when booting is over: that takes no virtual time."""

    machine: Machine

    def __init__(self, scenario: Scenario) -> None:
        self._scenario = scenario
        self._folder = Path(scenario.source).parent if scenario.source else None
        self.events = EventCounts()
        self.locks = LockTimes()

    def begin(self, interleaver: Interleaver) -> Sequence[Violation]:
        """Boot the machine, then listen."""
        self.machine = boot(self._scenario, interleaver, folder=self._folder).machine
        self.events.attach(interleaver.tracepoints)
        self.locks.attach(interleaver.tracepoints)
        return self.machine.violations


def make_jobs(columns: Sequence[Column], options: Options) -> list[Job]:
    """Every run there is to make; those of one seed together, so that columns can be compared early."""
    return [
        Job(
            number,
            seed,
            column.scenario,
            make_token(options.strategy, seed, column.scenario.section_digests, column.origin),
            options.strategy,
            options.steps_max,
        )
        for seed in options.seeds
        for number, column in enumerate(columns)
    ]


def measure(job: Job) -> Run:
    """Make one run; what goes wrong is part of the result, not an exception."""
    subject = _Measured(job.scenario)
    try:
        with many_schedules():
            pilot = Pilot(ScenarioSubject(job.scenario)).profile if needs_pilot(job.strategy) else None
            strategy = make_strategy(job.strategy, job.seed, pilot)
            interleaver, violations = run_subject(subject, strategy, steps_max=job.steps_max)
    except Exception as error:  # whatever it is, the other columns are run and it is reported
        if getattr(error, "exit_status", None) is not None:
            return Run(job.column, job.seed, unusable=str(error))
        return Run(job.column, job.seed, failure=innermost(error))
    return Run(
        job.column,
        job.seed,
        interleaver.outcome or Outcome.FAILED,
        tuple(violations),
        _with_finding(job.token, violations),
        {**subject.events.figures()._asdict(), "steps": interleaver.steps, "time_ns": interleaver.now_ns},
        subject.locks.figures(interleaver.now_ns),
        dict(sorted(subject.machine.counters.items())),
    )
