"""Schedules to the first bug: each strategy on each ported program, beside the published figures.

    python -m tests.yardsticks.measure [--seeds 20] [--schedules 10000] [--strategy NAME] [--program GLOB] [--jobs N]

A trial is a campaign with a seed of its own; its figure counts every schedule up to the one that failed, the pilot run
included.  A trial that finds nothing within the limit counts as the limit in the geometric mean, and the mean of the
others is shown with how many they were, as the published tables do.
"""

from __future__ import annotations

import argparse
import math
import multiprocessing
import os
import sys
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, NamedTuple

from slubloom.kernel import Violation

from slubloom.explore.campaign import PORTFOLIO, Campaign, CampaignOptions

from .programs import PROGRAMS
from .published import PUBLISHED, SCTBENCH_36
from .world import World

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from slubloom.actors import Interleaver

    from .programs import Program

STRATEGIES = ("random", "pct", "pct10", "pos", "urw", "surw", "kin", PORTFOLIO)
COLUMN = {"random": "RW", "pct": "PCT3", "pct10": "PCT10", "pos": "POS", "urw": "URW", "surw": "SURW"}


class ProgramSubject:
    """A ported program as something to explore: its first failure is its violation."""

    def __init__(self, program: Program) -> None:
        self._program = program

    def begin(self, interleaver: Interleaver) -> Sequence[Violation]:
        """Start the main thread."""
        violations: list[Violation] = []
        world = World(interleaver, on_failure=lambda what: violations.append(Violation("assertion", what, "", 0, 0)))
        world.start(self._program)
        return violations


class Trial(NamedTuple):
    """One campaign to be made."""

    program: str
    strategy: str
    seed: int
    schedules: int


def first_bug(trial: Trial) -> int | None:
    """How many schedules it took; None where the limit came first."""
    options = CampaignOptions(strategy=trial.strategy, schedules=trial.schedules, seed=trial.seed, steps_max=20_000)
    tally = Campaign(ProgramSubject(PROGRAMS[trial.program]), options).run()
    if tally.failures:
        raise RuntimeError(f"{trial}: {tally.failures[0].failure}")
    return tally.schedules if tally.findings else None


def measure(trials: Sequence[Trial], *, jobs: int) -> dict[tuple[str, str], list[int | None]]:
    """The figures of all trials, by program and strategy."""
    found: dict[tuple[str, str], list[int | None]] = {}
    with multiprocessing.Pool(jobs) as pool:
        for number, (trial, figure) in enumerate(zip(trials, pool.imap(first_bug, trials, chunksize=1), strict=True)):
            found.setdefault((trial.program, trial.strategy), []).append(figure)
            if sys.stderr.isatty():
                print(f"\r{number + 1}/{len(trials)} {trial.program} {trial.strategy:<20}", end="", file=sys.stderr)
    return found


def shown(figures: Iterable[int | None]) -> str:
    """Mean over the trials that found the bug, and how many those were if not all."""
    every = list(figures)
    hits = [figure for figure in every if figure is not None]
    if not hits:
        return "-"
    mean = f"{sum(hits) / len(hits):.0f}"
    return mean if len(hits) == len(every) else f"{mean} ({len(hits)}/{len(every)})"


def geometric_mean(found: dict[tuple[str, str], list[int | None]], strategy: str, limit: int) -> tuple[float, int, int]:
    """Over the programs of the published comparison: the mean, how many were found at all, how many were measured.

    A program's figure is the mean over its trials; trials that found nothing count as the limit.
    """
    logs: list[float] = []
    hits = 0
    for program in SCTBENCH_36:
        figures = found.get((program, strategy))
        if figures:
            logs.append(math.log(sum(limit if figure is None else figure for figure in figures) / len(figures)))
            hits += any(figure is not None for figure in figures)
    return (math.exp(sum(logs) / len(logs)) if logs else math.nan), hits, len(logs)


def report(found: dict[tuple[str, str], list[int | None]], strategies: Sequence[str], limit: int) -> str:
    """The table."""
    head = f"{'program':<42}" + "".join(f"{name:>14}" for name in strategies)
    lines = [f"{head}   published: {'  '.join(COLUMN.values())}  RFF"]
    for program in dict.fromkeys(program for program, _ in found):
        ours = "".join(f"{shown(found.get((program, strategy), [])):>14}" for strategy in strategies)
        theirs = PUBLISHED.get(program, {})
        published = "  ".join(theirs.get(column, "") or "." for column in (*COLUMN.values(), "RFF"))
        lines.append(f"{program:<42}{ours}   {published}")
    means = [geometric_mean(found, strategy, limit) for strategy in strategies]
    lines.append(f"{'geometric mean over SCTBench-36':<42}" + "".join(f"{mean:>14.2f}" for mean, _, _ in means))
    lines.append(f"{'found':<42}" + "".join(f"{f'{hits}/{count}':>14}" for _, hits, count in means))
    lines.append(f"published geometric means: SURW 12.4 (35/36), RFF 6.7 (36/36); not found counts as {limit}")
    return "\n".join(lines)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--schedules", type=int, default=10_000)
    parser.add_argument("--strategy", action="append", choices=STRATEGIES)
    parser.add_argument("--program", action="append", default=[])
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    chosen = parser.parse_args()
    strategies = chosen.strategy or list(STRATEGIES)
    programs = [name for name in PROGRAMS if not chosen.program or any(fnmatchcase(name, g) for g in chosen.program)]
    trials = [
        Trial(program, strategy, seed, chosen.schedules)
        for program in programs
        for strategy in strategies
        for seed in range(1, chosen.seeds + 1)
    ]
    print(report(measure(trials, jobs=chosen.jobs), strategies, chosen.schedules))


if __name__ == "__main__":
    main()
