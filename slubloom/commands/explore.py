"""``slubloom explore``: search schedules for a violation."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from .options import load_scenario, scenario_options

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ..explore.campaign import Campaign, CampaignOptions, Finding, Tally
    from ..explore.exhaustive import ExhaustiveCampaign
    from ..explore.findings import Smallest
    from ..explore.subject import Executed
    from ..token import Origin
    from ..topology import Scenario

JOBS_MAX = 256
DRAWN_EVERY_S = 0.2
FAILURES_SHOWN = 3


@click.command("explore")
@click.argument("file", metavar="FILE")
@scenario_options
@click.option("--seed", type=click.IntRange(0), default=None, help="Where all randomness comes from.  [default: 0]")
@click.option(
    "--strategy",
    default=None,
    metavar="NAME",
    help="portfolio, or one of random, pct, pct10, pos, urw, surw, kin.  [default: portfolio]",
)
@click.option("--schedules", type=click.IntRange(1), metavar="N", help="Run so many schedules at most.")
@click.option("--budget", metavar="TIME", help="Search for so long at most: 60s, 5m, 1h.")
@click.option(
    "--jobs", type=click.IntRange(1, JOBS_MAX), default=None, metavar="N", help="Worker processes.  [default: CPUs]"
)
@click.option("--all", "find_all", is_flag=True, help="Go on after the first violation; report every distinct one.")
@click.option(
    "--exhaustive", is_flag=True, help="Run every schedule of a small scenario once, up to order of independent steps."
)
@click.option("--audit", is_flag=True, help="Check that every step declares what it touches; slow.")
@click.option("--explain/--no-explain", default=True, help="Find and tell the smallest schedule.", show_default=True)
@click.option(
    "--steps-max", type=click.IntRange(1), default=1_000_000, show_default=True, help="Steps of one schedule."
)
@click.option("--json", "as_json", is_flag=True, help="Print one result object on standard output, nothing else.")
def command(  # the options are described where they are declared
    file: str,
    overrides: tuple[str, ...],
    release: str,
    apply: tuple[str, ...],
    revert: tuple[str, ...],
    machine: str,
    seed: int | None,
    strategy: str | None,
    schedules: int | None,
    budget: str | None,
    jobs: int | None,
    find_all: bool,
    exhaustive: bool,
    audit: bool,
    explain: bool,
    steps_max: int,
    as_json: bool,
) -> int:
    """Run the scenario of FILE under many schedules and report what breaks, how to see it again, and why it happens.

    Without --schedules and --budget the file's [explore] section says how many schedules, or 1000.  Exit status: 0
    clean (or exactly what the file expects), 1 violation, 2 unusable input, 3 internal failure, 130 interrupted.
    """
    from ..explore.campaign import CampaignOptions
    from ..token import Origin
    from ..topology.units import parse_duration

    origin = Origin(file, overrides, machine, release, apply, revert)
    scenario = load_scenario(origin)
    try:
        budget_s = parse_duration(budget) if budget is not None else None
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--budget") from error
    if schedules is None and budget_s is None and not exhaustive:
        schedules = scenario.explore.schedules
    options = CampaignOptions(
        strategy=_known(strategy or scenario.explore.strategy, "--strategy" if strategy else "explore.strategy"),
        schedules=schedules,
        budget_s=budget_s,
        seed=scenario.explore.seed if seed is None else seed,
        jobs=jobs or len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else jobs or 1,
        find_all=find_all,
        steps_max=steps_max,
    )
    if audit:
        from .audit import run_audit

        return run_audit(scenario, origin, options, as_json=as_json)
    return _explore(scenario, origin, options, exhaustive=exhaustive, explain=explain, as_json=as_json)


def _known(strategy: str, place: str) -> str:
    from ..actors.strategies import BY_NAME
    from ..explore.campaign import PORTFOLIO

    if strategy not in (PORTFOLIO, *BY_NAME):
        raise click.UsageError(
            f"{place} {strategy}: there is no such strategy; there are: {', '.join((PORTFOLIO, *BY_NAME))}"
        )
    return strategy


def _explore(
    scenario: Scenario,
    origin: Origin,
    options: CampaignOptions,
    *,
    exhaustive: bool,
    explain: bool,
    as_json: bool,
) -> int:
    from ..explore.subject import ScenarioSubject
    from ..explore.workers import WorkersDiedError
    from .report import CLEAN, INTERNAL, INTERRUPTED, VIOLATED, headline

    subject = ScenarioSubject(scenario)
    line = ProgressLine(options, shown=sys.stderr.isatty() and not as_json)
    campaign = _make_campaign(subject, options, line, exhaustive=exhaustive)
    how = "every schedule" if exhaustive else f"strategy {options.strategy}, seed {options.seed}"
    workers = f", {options.jobs} workers" if options.jobs > 1 and not exhaustive else ""
    if not as_json:
        for text in headline(scenario, origin, how + workers):
            click.echo(text)
    broken = ""
    try:
        with _interruptible(campaign.stop):
            campaign.run()
    except WorkersDiedError as error:
        broken = str(error)
    finally:
        line.clear()
    tally = campaign.tally
    reports = [_Report(scenario, origin, subject, options, tally, finding) for finding in tally.findings.values()]
    for report in reports:
        if explain and not tally.interrupted:
            try:
                report.work_out(line)
            except KeyboardInterrupt:  # what was found is told all the same
                tally.interrupted = True
            line.clear()
        if not as_json:
            report.print()
    if as_json:
        click.echo(json.dumps(_as_json(tally, reports, exhaustive=exhaustive), indent=2))
    else:
        _print_end(tally, reports, exhaustive=exhaustive)
    if broken:
        click.echo(f"slubloom: {broken}", err=True)
    for executed in tally.failures[:FAILURES_SHOWN]:
        _say_failure(scenario, origin, executed)
    if broken or tally.failures:
        return INTERNAL
    if tally.interrupted:
        return INTERRUPTED
    kinds = sorted({finding.violation.kind for finding in tally.findings.values()})
    if not kinds:
        return CLEAN
    return CLEAN if kinds == sorted(scenario.expected(scenario.kernel.release)) else VIOLATED


def _make_campaign(
    subject: Any, options: CampaignOptions, line: ProgressLine, *, exhaustive: bool
) -> Campaign | ExhaustiveCampaign:
    if exhaustive:
        from ..explore.exhaustive import ExhaustiveCampaign

        return ExhaustiveCampaign(subject, options, on_progress=line)
    if options.jobs > 1:
        from ..explore.workers import WorkersCampaign

        return WorkersCampaign(subject, options, on_progress=line)
    from ..explore.campaign import Campaign

    return Campaign(subject, options, on_progress=line)


@contextmanager
def _interruptible(stop: Callable[[], object]) -> Iterator[None]:
    """End the search at the next schedule on Ctrl-C; a second one raises."""
    previous = signal.getsignal(signal.SIGINT)

    def interrupt(_: int, __: Any) -> None:
        signal.signal(signal.SIGINT, previous)
        stop()

    signal.signal(signal.SIGINT, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)


class ProgressLine:
    """The live line on the terminal: schedules, rate, behaviours, chance of a new one, time left."""

    def __init__(self, options: CampaignOptions, *, shown: bool) -> None:
        self._options = options
        self._shown = shown
        self._next = time.monotonic() + DRAWN_EVERY_S
        self._drawn = False

    def __call__(self, tally: Tally) -> None:
        """Draw the line again, now and then."""
        if self._shown and time.monotonic() >= self._next:
            self._draw(progress_text(tally, self._options))

    def minimising(self, trial: Any) -> None:
        """Say how small the schedule has become."""
        if self._shown and time.monotonic() >= self._next:
            self._draw(f"making it smaller: {trial.preemptions} preemptions, {len(trial.deviations)} deviations")

    def _draw(self, text: str) -> None:
        self._next = time.monotonic() + DRAWN_EVERY_S
        self._drawn = True
        click.echo(f"\r{text:<100}", err=True, nl=False)

    def clear(self) -> None:
        """Leave an empty line behind."""
        if self._drawn:
            self._drawn = False
            click.echo("\r" + " " * 100 + "\r", err=True, nl=False)


def progress_text(tally: Tally, options: CampaignOptions) -> str:
    """One line about how far a campaign has come."""
    left: list[float] = []
    if options.schedules is not None and tally.rate:
        left.append((options.schedules - tally.schedules) / tally.rate)
    if options.budget_s is not None:
        left.append(options.budget_s - tally.seconds)
    parts = [
        f"{tally.schedules:,} schedules",
        f"{tally.rate:,.0f}/s",
        f"{tally.behaviours:,} behaviours",
        f"next is new: {tally.chance_of_new:.0%}",
        f"{len(tally.findings)} found",
    ]
    if left:
        parts.append(f"{max(min(left), 0):.0f} s left")
    return ", ".join(parts)


class _Report:
    """What is told about one finding."""

    def __init__(
        self,
        scenario: Scenario,
        origin: Origin,
        subject: Any,
        options: CampaignOptions,
        tally: Tally,
        finding: Finding,
    ) -> None:
        self.finding = finding
        self.smallest: Smallest | None = None
        self._scenario = scenario
        self._origin = origin
        self._subject = subject
        self._options = options
        self._tape: tuple[int, ...] | None = getattr(tally, "tapes", {}).get(finding.signature)
        self.handle = self._handle()

    def _handle(self) -> str:
        """The argument of ``slubloom replay``: a token, or the name of a file where a token would be too long."""
        from ..token import TOKEN_MAX, make_token

        schedule, scenario = self.finding.schedule, self._scenario
        if self._tape is None:
            token = make_token(
                schedule.strategy,
                schedule.seed,
                scenario.section_digests,
                self._origin,
                pilot=schedule.pilot,
                found=self.finding.signature,
            )
            if len(token) <= TOKEN_MAX:
                return token
        return self._save()

    def _save(self) -> str:
        """Record the run into a trace that can be replayed; its name."""
        from ..explore.findings import record
        from ..run import RunOptions, run_scenario

        tape = self._tape
        if tape is None:
            tape = record(self._subject, self.finding.schedule, steps_max=self._options.steps_max)
        number = self.finding.schedule.number
        path = f"slubloom-{self.finding.violation.kind}-{self._scenario.digest[:8]}-{number}.slabtrc"
        run_scenario(self._scenario, RunOptions(tape=tape, trace=path, origin=self._origin))
        return path

    def work_out(self, line: ProgressLine) -> None:
        """Find the smallest schedule that shows it."""
        from ..explore.findings import record, work_out

        finding, steps_max = self.finding, self._options.steps_max
        tape = self._tape or record(self._subject, finding.schedule, steps_max=steps_max)
        self.smallest = work_out(
            self._subject, finding.signature, tape, steps_max=steps_max, on_progress=line.minimising
        )

    def print(self) -> None:
        """Tell it to a person."""
        from ..explore.story import summary
        from .report import smallest_token

        finding = self.finding
        click.echo("\n" + finding.violation.report.rstrip("\n"))
        schedule = finding.schedule
        times = f", {finding.times} times" if finding.times > 1 else ""
        click.echo(f"\nfound by {schedule.strategy} as schedule {schedule.number + 1:,}{times}")
        click.echo(f"replay:   slubloom replay '{self.handle}'")
        if self.smallest is not None:
            click.echo()
            for text in summary(self.smallest.explanation):
                click.echo(text)
            click.echo(f"\nsmallest: slubloom replay '{smallest_token(self._scenario, self._origin, self.smallest)}'")

    def as_json(self) -> dict[str, Any]:
        """The finding for the result object."""
        from .report import smallest_as_json

        finding = self.finding
        violation = finding.violation
        document: dict[str, Any] = {
            "kind": violation.kind,
            "title": violation.title,
            "report": violation.report,
            "step": violation.step,
            "time_ns": violation.time_ns,
            "token": self.handle,
            "schedule": finding.schedule.number + 1,
            "strategy": finding.schedule.strategy,
            "times": finding.times,
        }
        if self.smallest is not None:
            document["smallest"] = smallest_as_json(self._scenario, self._origin, self.smallest)
        return document


def _as_json(tally: Tally, reports: list[_Report], *, exhaustive: bool) -> dict[str, Any]:
    from ..run import RESULT_SCHEMA

    document: dict[str, Any] = {
        "schema": RESULT_SCHEMA,
        "verdict": "violated" if tally.findings else "clean",
        "outcome": tally.why,
        "violations": [report.as_json() for report in reports],
        "steps": tally.steps,
        "events": 0,
        "schedules": tally.schedules,
        "behaviours": tally.behaviours,
        "chance_of_new": round(tally.chance_of_new, 4),
        "lost": len(tally.lost),
        "cut_off": tally.cut_off,
        "counters": {},
    }
    if exhaustive:
        document |= {"complete": getattr(tally, "complete", False), "pruned": getattr(tally, "pruned", 0)}
    return document


def _print_end(tally: Tally, reports: list[_Report], *, exhaustive: bool) -> None:
    """The last lines: what was found, how much was searched, what ended it."""
    click.echo()
    if reports:
        kinds = ", ".join(dict.fromkeys(report.finding.violation.kind for report in reports))
        click.echo(f"violated: {kinds} ({len(reports)} distinct)" if len(reports) > 1 else f"violated: {kinds}")
    elif tally.failures:
        click.echo(f"failed in schedule {tally.schedules:,}; no violation before")
    elif tally.interrupted:
        click.echo(f"interrupted: no violation in {tally.schedules:,} schedules")
    elif exhaustive and getattr(tally, "complete", False):
        click.echo(f"clean: no violation in all {tally.schedules:,} schedules within the bound")
    else:
        click.echo(f"clean: no violation in {tally.schedules:,} schedules")
    parts = [f"{tally.schedules:,} schedules in {tally.seconds:.1f} s ({tally.rate:,.0f}/s)"]
    parts.append(f"{tally.behaviours:,} behaviours")
    if exhaustive:
        parts.append(f"{getattr(tally, 'pruned', 0):,} cut off as known")
    else:
        parts.append(f"the next is new with {tally.chance_of_new:.0%}")
    if tally.cut_off:
        parts.append(f"{tally.cut_off:,} came to the step limit")
    click.echo(f"{', '.join(parts)}; ended because {tally.why}")
    if tally.lost:
        numbers = ", ".join(f"{schedule.number + 1} ({schedule.strategy} {schedule.seed})" for schedule in tally.lost)
        click.echo(f"warning: workers died; schedules lost with them: {numbers}", err=True)


def _say_failure(scenario: Scenario, origin: Origin, executed: Executed) -> None:
    """The schedule failed in us or in a patch file: it is deterministic, so the same again leaves a trace."""
    from ..explore.exhaustive import DFS
    from ..run import RunOptions, run_scenario

    schedule = executed.schedule
    click.echo(
        f"slubloom: schedule {schedule.number + 1} ({schedule.strategy}, seed {schedule.seed}) failed: "
        f"{executed.failure}",
        err=True,
    )
    if schedule.strategy == DFS:
        return
    path = f"slubloom-failure-{scenario.digest[:12]}-{schedule.seed}.slabtrc"
    options = RunOptions(
        strategy=schedule.strategy, seed=schedule.seed, pilot=schedule.pilot, trace=path, origin=origin
    )
    try:
        run_scenario(scenario, options)
    except Exception:  # the same failure, this time recorded
        click.echo(f"slubloom: the run up to the failure was saved: {path}", err=True)
