"""A campaign: many schedules of one subject, until something is found or the budget is used up.

Schedules are numbered and assigned in rounds.  What is assigned depends only on the results of earlier rounds, and
results are taken in in order of their numbers, so a campaign of N schedules finds the same with any number of workers.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from ..actors import Outcome
from .portfolio import ROUND_FIRST, ROUND_MAX, Portfolio
from .subject import STEPS_MAX, Executed, Pilot, Schedule, execute, many_schedules, signature

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from ..kernel import Violation
    from .subject import Subject

PORTFOLIO = "portfolio"

SEEDS_APART = 1_000_000
"""Between the seeds of schedules of campaigns with successive seeds: they have no schedule in common."""


@dataclass(frozen=True, slots=True)
class CampaignOptions:
    """What to search, and for how long: ``schedules`` runs or ``budget_s`` seconds, whichever ends first.

    ``strategy`` is a strategy's name or `PORTFOLIO`; ``find_all`` goes on after the first violation.
    """

    strategy: str = PORTFOLIO
    schedules: int | None = None
    budget_s: float | None = None
    seed: int = 0
    jobs: int = 1
    find_all: bool = False
    steps_max: int = STEPS_MAX


@dataclass(slots=True)
class Finding:
    """One distinct violation: the schedule that showed it first, and how many did."""

    violation: Violation
    schedule: Schedule
    signature: str
    times: int = 1


@dataclass(slots=True)
class Tally:
    """How far a campaign has come."""

    schedules: int = 0
    steps: int = 0
    seconds: float = 0.0
    seen: dict[int, int] = field(default_factory=dict)  # behaviours, and how often each was seen
    seen_once: int = 0
    findings: dict[str, Finding] = field(default_factory=dict)
    lost: list[Schedule] = field(default_factory=list)  # their worker died
    failures: list[Executed] = field(default_factory=list)
    cut_off: int = 0  # schedules that came to the step limit
    why: str = ""
    interrupted: bool = False

    @property
    def behaviours(self) -> int:
        """Distinct behaviours seen."""
        return len(self.seen)

    @property
    def chance_of_new(self) -> float:
        """How likely the next schedule is to show a behaviour not seen yet (Good-Turing)."""
        return self.seen_once / self.schedules if self.schedules else 1.0

    @property
    def rate(self) -> float:
        """Schedules per second."""
        return self.schedules / self.seconds if self.seconds else 0.0

    def take_in(self, executed: Executed) -> bool:
        """Count a result; whether its behaviour is new."""
        self.schedules += 1
        self.steps += executed.steps
        if executed.failure:
            self.failures.append(executed)
            return False
        if executed.outcome is Outcome.STEP_LIMIT:
            self.cut_off += 1
        times = self.seen.get(executed.digest, 0)
        self.seen[executed.digest] = times + 1
        self.seen_once += (times == 0) - (times == 1)
        for violation in executed.violations:
            key = signature(violation)
            if key in self.findings:
                self.findings[key].times += 1
            else:
                self.findings[key] = Finding(violation, executed.schedule, key)
        return times == 0


class Search:
    """What every search of a subject's schedules has.

    ``on_progress`` is called after every schedule with the tally; `stop` ends the search after the schedule that runs.
    """

    tally: Tally

    def __init__(
        self, subject: Subject, options: CampaignOptions, *, on_progress: Callable[[Tally], object] | None = None
    ) -> None:
        self.subject = subject
        self.options = options
        self._on_progress = on_progress
        self._stopped = False
        self._begun = time.monotonic()

    def stop(self) -> None:
        """End after the schedule that runs now."""
        self._stopped = True

    def _note_progress(self) -> None:
        self.tally.seconds = time.monotonic() - self._begun
        if self._on_progress is not None:
            self._on_progress(self.tally)

    def _cut_short(self) -> str:
        """Why the search ends before its bounds, if it does."""
        if self._stopped:
            self.tally.interrupted = True
            return "interrupted"
        if self.tally.failures:
            return "slubloom or a patch file failed"
        if self.tally.findings and not self.options.find_all:
            return "a violation was found"
        return ""


class Campaign(Search):
    """Runs the schedules of `options` on `subject`, in this process."""

    def __init__(
        self, subject: Subject, options: CampaignOptions, *, on_progress: Callable[[Tally], object] | None = None
    ) -> None:
        super().__init__(subject, options, on_progress=on_progress)
        self.tally = Tally()
        self._seed = options.seed * SEEDS_APART
        self._portfolio = Portfolio() if options.strategy == PORTFOLIO else Portfolio({options.strategy: 1.0})
        self._assigned = 0
        self._round = ROUND_FIRST

    def run(self) -> Tally:
        """Search; what was found."""
        self._begun = time.monotonic()
        with many_schedules():
            pilot = Pilot(self.subject, self._seed)
            self._assigned = 1
            self._take_in(self._within_bounds(pilot.executed))
            while not self._over():
                for executed in self._execute_round(self._next_round(), pilot):
                    self._take_in(executed)
                    if self._over():
                        break
                self._portfolio.rebalance()
        return self.tally

    def _within_bounds(self, executed: Executed) -> Executed:
        """The pilot run as one of the campaign's schedules: what came after the step limit does not count."""
        steps_max = self.options.steps_max
        if executed.steps <= steps_max:
            return executed
        return replace(executed, outcome=Outcome.STEP_LIMIT, violations=(), steps=steps_max)

    def _execute_round(self, schedules: Sequence[Schedule], pilot: Pilot) -> Iterator[Executed]:
        for schedule in schedules:
            yield execute(self.subject, schedule, pilot, steps_max=self.options.steps_max)

    def _next_round(self) -> list[Schedule]:
        size = self._round
        self._round = min(2 * size, ROUND_MAX)
        if self.options.schedules is not None:
            size = min(size, self.options.schedules - self._assigned)
        first, self._assigned = self._assigned, self._assigned + size
        next_strategy = self._portfolio.next_strategy
        seed = self._seed
        return [Schedule(number, next_strategy(), seed + number, seed) for number in range(first, first + size)]

    def _take_in(self, executed: Executed) -> None:
        tally = self.tally
        new = tally.take_in(executed)
        self._portfolio.learn(executed, new=new)
        self._note_progress()

    def _over(self) -> bool:
        options, tally = self.options, self.tally
        if why := self._cut_short():
            tally.why = why
        elif options.schedules is not None and tally.schedules + len(tally.lost) >= options.schedules:
            tally.why = f"all {options.schedules:,} schedules were run"
        elif options.budget_s is not None and time.monotonic() - self._begun >= options.budget_s:
            tally.why = f"the budget of {options.budget_s:g} s is used up"
        return bool(tally.why)
