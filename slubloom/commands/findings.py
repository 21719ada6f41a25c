"""What a search has found, told to a person or as a result object."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from ..explore.exhaustive import DFS
from ..explore.findings import record, work_out
from ..explore.story import summary
from ..run import RESULT_SCHEMA, RunOptions, run_scenario
from ..token import TOKEN_MAX, make_token
from ..traces import TraceError
from .report import save_failure, smallest_as_json, smallest_token

if TYPE_CHECKING:
    from ..explore.campaign import CampaignOptions, Finding, Tally
    from ..explore.findings import Smallest
    from ..explore.subject import Executed
    from ..token import Origin
    from ..topology import Scenario
    from .progress import ProgressLine


class Report:
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
            try:
                return self._save()
            except (TraceError, OSError):  # a token that is long is better than none
                return token
        return self._save()

    def _save(self) -> str:
        """Record the run into a trace that can be replayed; its name."""
        tape = self._tape
        if tape is None:
            tape = record(self._subject, self.finding.schedule, steps_max=self._options.steps_max)
        number = self.finding.schedule.number
        path = f"slubloom-{self.finding.violation.kind}-{self._scenario.digest[:8]}-{number}.slabtrc"
        run_scenario(self._scenario, RunOptions(tape=tape, trace=path, origin=self._origin))
        return path

    def work_out(self, line: ProgressLine) -> None:
        """Find the smallest schedule that shows it."""
        finding, steps_max = self.finding, self._options.steps_max
        tape = self._tape or record(self._subject, finding.schedule, steps_max=steps_max)
        self.smallest = work_out(
            self._subject, finding.signature, tape, steps_max=steps_max, on_progress=line.minimising
        )

    def print(self) -> None:
        """Tell it to a person."""
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
        finding = self.finding
        document: dict[str, Any] = {
            **finding.violation.as_json(),
            "token": self.handle,
            "schedule": finding.schedule.number + 1,
            "strategy": finding.schedule.strategy,
            "times": finding.times,
        }
        if self.smallest is not None:
            document["smallest"] = smallest_as_json(self._scenario, self._origin, self.smallest)
        return document


def as_json_document(tally: Tally, reports: list[Report], *, exhaustive: bool) -> dict[str, Any]:
    """The result object of a search."""
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
        "interrupted": tally.interrupted,
        "failures": [executed.failure for executed in tally.failures],
        "cut_off": tally.cut_off,
        "counters": {},
    }
    if exhaustive:
        document |= {"complete": getattr(tally, "complete", False), "pruned": getattr(tally, "pruned", 0)}
    return document


def print_end(tally: Tally, reports: list[Report], *, exhaustive: bool) -> None:
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
    schedules = "1 schedule" if tally.schedules == 1 else f"{tally.schedules:,} schedules"
    parts = [f"{schedules} in {tally.seconds:.1f} s ({tally.rate:,.0f}/s)"]
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


def say_failure(scenario: Scenario, origin: Origin, executed: Executed) -> None:
    """Say that a schedule failed, in us or in a patch file, and save it."""
    schedule = executed.schedule
    click.echo(
        f"slubloom: schedule {schedule.number + 1} ({schedule.strategy}, seed {schedule.seed}) failed: "
        f"{executed.failure}",
        err=True,
    )
    if schedule.strategy == DFS:
        return
    how = RunOptions(strategy=schedule.strategy, seed=schedule.seed, pilot=schedule.pilot, origin=origin)
    save_failure(scenario, how)
