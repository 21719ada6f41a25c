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
from .work_waits import WorkWaits

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
    """One run to be made: of `column`, which is number ``number`` of the columns."""

    number: int
    column: Column
    seed: int
    options: Options


@dataclass(frozen=True, slots=True)
class Run:
    """One run that is over, of column ``number``.

    ``unusable`` says why the topology cannot be booted, ``failure`` what went wrong in us or in a patch file; there are
    no figures then.  ``died`` is whether the whole process went with it.
    """

    number: int
    seed: int
    outcome: Outcome = Outcome.FAILED
    violations: tuple[Violation, ...] = ()
    token: str = ""
    metrics: dict[str, int | None] = field(default_factory=dict)
    locks: dict[tuple[str, Mode], LockFigures] = field(default_factory=dict)
    counters: dict[str, int] = field(default_factory=dict)
    unusable: str = ""
    failure: str = ""
    died: bool = False


class _Measured:
    """A scenario with probes on it.  They listen from when booting is over: that takes no virtual time."""

    machine: Machine

    def __init__(self, scenario: Scenario) -> None:
        self._scenario = scenario
        self._folder = Path(scenario.source).parent if scenario.source else None
        self.events = EventCounts()
        self.locks = LockTimes()
        self.work_waits = WorkWaits()

    def begin(self, interleaver: Interleaver) -> Sequence[Violation]:
        """Boot the machine, then listen."""
        self.machine = boot(self._scenario, interleaver, folder=self._folder).machine
        self.events.attach(interleaver.tracepoints)
        self.locks.attach(interleaver.tracepoints)
        self.work_waits.attach(interleaver.tracepoints)
        return self.machine.violations


def make_jobs(columns: Sequence[Column], options: Options) -> list[Job]:
    """Every run there is to make; those of one seed together, so that columns can be compared early."""
    return [Job(number, column, seed, options) for seed in options.seeds for number, column in enumerate(columns)]


def measure(job: Job) -> Run:
    """Make one run; what goes wrong is part of the result, not an exception."""
    options, scenario = job.options, job.column.scenario
    subject = _Measured(scenario)
    try:
        with many_schedules():
            pilot = Pilot(ScenarioSubject(scenario)).profile if needs_pilot(options.strategy) else None
            strategy = make_strategy(options.strategy, job.seed, pilot)
            interleaver, violations = run_subject(subject, strategy, steps_max=options.steps_max)
    except Exception as error:  # whatever it is, the other columns are run, and it is told
        if getattr(error, "exit_status", None) is not None:
            return Run(job.number, job.seed, unusable=str(error))
        return Run(job.number, job.seed, failure=innermost(error))
    found = signature(violations[0]) if violations else ""
    return Run(
        job.number,
        job.seed,
        interleaver.outcome or Outcome.FAILED,
        tuple(violations),
        make_token(options.strategy, job.seed, scenario.section_digests, job.column.origin, found=found),
        {
            **subject.events.figures()._asdict(),
            **subject.work_waits.figures(scenario.compare.workqueues),
            "steps": interleaver.steps,
            "time_ns": interleaver.now_ns,
        },
        subject.locks.figures(interleaver.now_ns),
        dict(sorted(subject.machine.counters.items())),
    )
