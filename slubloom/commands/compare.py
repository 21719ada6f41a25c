"""``slubloom compare``: one scenario under several kernels, in one table."""

from __future__ import annotations

import json
import sys
import time
from typing import TYPE_CHECKING

import click

from .options import JOBS_MAX, load_scenario, processors
from .progress import TerminalLine

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..compare.columns import Column
    from ..compare.result import Comparison
    from ..compare.runs import Options, Run

SEEDS_MAX = 10_000


@click.command("compare")
@click.argument("file", metavar="FILE")
@click.option(
    "--release",
    "kernels",
    multiple=True,
    metavar="vN.N[+PATCH][-PATCH]",
    help="A column: a release, with patches applied (+) and left out (-).  [default: the file's compare.releases]",
)
@click.option(
    "--apply", "apply", multiple=True, metavar="PATCH", help="Apply a historic patch or ./file.py everywhere."
)
@click.option("--revert", "revert", multiple=True, metavar="PATCH", help="Leave a historic patch out everywhere.")
@click.option("--set", "overrides", multiple=True, metavar="PATH=VALUE", help="Change one value of the file.")
@click.option(
    "--machine", default="", metavar="FILE", help="Run on another machine: a topology file's, or an hwloc XML export."
)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Where all randomness comes from.")
@click.option(
    "--seeds",
    "seed_count",
    type=click.IntRange(1, SEEDS_MAX),
    default=1,
    show_default=True,
    metavar="N",
    help="Run with so many seeds, from --seed on: medians and ranges.",
)
@click.option(
    "--strategy",
    default="timed",
    show_default=True,
    metavar="NAME",
    help="Who goes next: timed; or random, pct, pct10, pos, urw, surw or kin, where times are steps.",
)
@click.option(
    "--lock",
    "locks",
    multiple=True,
    metavar="CLASS",
    help="A lock class to tell of.  [default: the file's compare.locks, or the three with the most time]",
)
@click.option("--jobs", type=click.IntRange(1, JOBS_MAX), default=None, metavar="N", help="Processes.  [default: CPUs]")
@click.option(
    "--steps-max",
    type=click.IntRange(1),
    default=100_000_000,
    show_default=True,
    help="Cut a run off after so many steps.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one result object on standard output, nothing else.")
def command(  # the options are described where they are declared
    file: str,
    kernels: tuple[str, ...],
    apply: tuple[str, ...],
    revert: tuple[str, ...],
    overrides: tuple[str, ...],
    machine: str,
    seed: int,
    seed_count: int,
    strategy: str,
    locks: tuple[str, ...],
    jobs: int | None,
    steps_max: int,
    as_json: bool,
) -> int:
    """Run the scenario of FILE under each kernel and print what it took: barriers, grace periods, locks held, time.

    Before and after one patch: --release v5.11 --release v5.11+666716fd267d, or v5.12 and v5.12-666716fd267d.  A
    patch is a commit, a name such as keep-cache-nodes, or ./my_patch.py.

    Exit status: 0 every kernel is clean (or exactly what the file expects of it), 1 a violation, 2 unusable input,
    3 internal failure, 130 interrupted: what is finished is printed.
    """
    from ..compare.columns import make_columns
    from ..compare.runs import Options
    from ..token import Origin

    origin = Origin(file, overrides, machine, "", apply, revert)
    section = load_scenario(Origin(file, overrides, machine)).compare
    if not kernels and not section.releases:
        raise click.UsageError(
            f"{file} does not say what to compare; expected --release vN.N, once for each column, or compare.releases"
        )
    columns = make_columns(kernels or section.releases, origin)
    options = Options(_known(strategy), tuple(range(seed, seed + seed_count)), steps_max)
    return _compare(columns, options, locks or section.locks, jobs or processors(), as_json=as_json)


def _known(strategy: str) -> str:
    from ..actors.strategies import BY_NAME

    if strategy not in BY_NAME:
        raise click.UsageError(f"--strategy {strategy}: there is no such strategy; there are: {', '.join(BY_NAME)}")
    return strategy


def _compare(
    columns: Sequence[Column], options: Options, locks: Sequence[str], processes: int, *, as_json: bool
) -> int:
    from ..compare.result import Comparison
    from .report import CLEAN, INTERNAL, INTERRUPTED, UNUSABLE, VIOLATED

    runs, interrupted = _run_all(columns, options, processes, shown=sys.stderr.isatty() and not as_json)
    unusable = [run for run in runs if run.unusable]
    for run in unusable:
        click.echo(f"slubloom: column {columns[run.number].label}: {run.unusable}", err=True)
    if unusable:
        return UNUSABLE
    failed = [run for run in runs if run.failure]
    comparison = Comparison(
        columns, options, [run for run in runs if not run.failure], locks=locks, interrupted=interrupted
    )
    if as_json:
        click.echo(json.dumps(comparison.as_json(), indent=2))
    else:
        _print(comparison)
    for run in failed:
        _say_failure(columns[run.number], options, run)
    if failed:
        return INTERNAL
    if interrupted:
        click.echo("slubloom: interrupted", err=True)
        return INTERRUPTED
    return CLEAN if comparison.passes else VIOLATED


def _run_all(columns: Sequence[Column], options: Options, processes: int, *, shown: bool) -> tuple[list[Run], bool]:
    """The runs that were finished, until one is unusable; and whether Ctrl-C ended them."""
    from ..compare.processes import run_jobs
    from ..compare.runs import make_jobs
    from ..run import interruptible

    jobs = make_jobs(columns, options)
    runs: list[Run] = []
    interrupts: list[None] = []
    line = TerminalLine(shown=shown, every_s=0.5, width=60)
    begun = time.monotonic()

    def go_on() -> bool:
        if line.due:
            line.draw(f"{len(runs)} of {len(jobs)} runs, {time.monotonic() - begun:.0f} s")
        return not interrupts and not any(run.unusable for run in runs)

    try:
        with interruptible(lambda: interrupts.append(None)):
            for run in run_jobs(jobs, processes, go_on):
                runs.append(run)
    finally:
        line.clear()
    return runs, bool(interrupts)


def _print(comparison: Comparison) -> None:
    from ..compare.table import headline, notes, table

    for line in [*headline(comparison), "", *table(comparison)]:
        click.echo(line)
    for number, line in enumerate(notes(comparison)):
        click.echo(line if number else f"\n{line}")


def _say_failure(column: Column, options: Options, run: Run) -> None:
    """Say that a run failed, in us or in a patch file, and save it."""
    from ..run import RunOptions
    from .report import save_failure

    click.echo(f"slubloom: column {column.label}, seed {run.seed} failed: {run.failure}", err=True)
    if not run.died:  # the same again would take us with it
        how = RunOptions(strategy=options.strategy, seed=run.seed, steps_max=options.steps_max, origin=column.origin)
        save_failure(column.scenario, how)
