"""``slubloom run``: boot a topology file, run it once, report."""

from __future__ import annotations

from typing import Any

import click

from .options import load_scenario, run_options, scenario_options


@click.command("run")
@click.argument("file", metavar="FILE")
@scenario_options
@run_options
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Where all randomness comes from.")
@click.option(
    "--strategy",
    default="timed",
    show_default=True,
    metavar="NAME",
    help="Who goes next: timed, random, pct, pct10, pos, urw, surw or kin.",
)
@click.option(
    "--interleaver",
    type=click.Choice(["detached", "free"]),
    default="detached",
    show_default=True,
    help="free leaves the order to trio: not reproducible.",
)
def command(  # the options are described where they are declared
    file: str,
    overrides: tuple[str, ...],
    release: str,
    apply: tuple[str, ...],
    revert: tuple[str, ...],
    machine: str,
    seed: int,
    strategy: str,
    interleaver: str,
    **how: Any,
) -> int:
    """Boot the machine of FILE, run its tasks and events once, and report what the sanitizers found.

    Exit status: 0 clean (or exactly what the file expects), 1 violation, 2 unusable input, 3 internal failure,
    130 interrupted.
    """
    from ..token import Origin
    from .report import run_and_report

    origin = Origin(file, overrides, machine, release, apply, revert)
    scenario = load_scenario(origin)
    return run_and_report(scenario, origin, seed=seed, strategy=strategy, interleaver=interleaver, **how)
