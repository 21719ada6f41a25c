"""``slubloom explore``: search schedules for a violation."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

import click

from .options import JOBS_MAX, load_scenario, processors, scenario_options
from .progress import ProgressLine

if TYPE_CHECKING:
    from ..explore.campaign import Campaign, CampaignOptions
    from ..explore.exhaustive import ExhaustiveCampaign
    from ..token import Origin
    from ..topology import Scenario

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
        jobs=jobs or processors(),
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
    from ..expectation import expected_kinds
    from ..explore.subject import ScenarioSubject
    from ..explore.workers import WorkersDiedError
    from ..run import interruptible
    from .findings import Report, as_json_document, print_end, say_failure
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
        with interruptible(campaign.stop):
            campaign.run()
    except WorkersDiedError as error:
        broken = str(error)
    finally:
        line.clear()
    tally = campaign.tally
    reports = [Report(scenario, origin, subject, options, tally, finding) for finding in tally.findings.values()]
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
        click.echo(json.dumps(as_json_document(tally, reports, exhaustive=exhaustive), indent=2))
    else:
        print_end(tally, reports, exhaustive=exhaustive)
    if broken:
        click.echo(f"slubloom: {broken}", err=True)
    for executed in tally.failures[:FAILURES_SHOWN]:
        say_failure(scenario, origin, executed)
    if broken or tally.failures:
        return INTERNAL
    if tally.interrupted:
        return INTERRUPTED
    kinds = sorted({finding.violation.kind for finding in tally.findings.values()})
    if not kinds:
        return CLEAN
    return CLEAN if kinds == sorted(expected_kinds(scenario)) else VIOLATED


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
