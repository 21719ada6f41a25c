"""Options that several commands share, and what they make of a topology file."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..token import Origin
    from ..topology import Scenario

F = TypeVar("F", bound="Callable[..., Any]")

JOBS_MAX = 256


def processors() -> int:
    """How many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _paths(_: click.Context, __: click.Parameter, names: tuple[str, ...]) -> tuple[str, ...]:
    """What the names of files stand for; checked before anything runs."""
    if not names:
        return ()
    from ..end_files import FileNameError, path_of

    try:
        return tuple(path_of(name) for name in names)
    except FileNameError as error:
        raise click.UsageError(f"--proc {error}") from error


def _empty_folder(_: click.Context, __: click.Parameter, folder: str | None) -> str | None:
    if folder is not None:
        from ..end_files import FileNameError, check_folder

        try:
            check_folder(folder)
        except FileNameError as error:
            raise click.UsageError(f"--proc-out {error}") from error
    return folder


_SCENARIO = (
    click.option("--set", "overrides", multiple=True, metavar="PATH=VALUE", help="Change one value of the file."),
    click.option("--release", default="", metavar="vN.N", help="Run this kernel release instead of the file's."),
    click.option(
        "--apply", "apply", multiple=True, metavar="PATCH", help="Apply a historic patch or ./file.py on top."
    ),
    click.option("--revert", "revert", multiple=True, metavar="PATCH", help="Leave a historic patch out."),
    click.option(
        "--machine",
        default="",
        metavar="FILE",
        help="Run on another machine: a topology file's, or an hwloc XML export.",
    ),
)
_RUN = (
    click.option("--trace", metavar="FILE|unix:PATH|tcp:HOST:PORT|-", help="Write the msgpack trace there."),
    click.option(
        "--on-slow",
        type=click.Choice(["drop", "block", "disconnect"]),
        default="drop",
        show_default=True,
        help="What a socket reader gets that does not keep up.",
    ),
    click.option(
        "--log",
        type=click.Choice(["auto", "console", "json", "off"]),
        default="auto",
        show_default=True,
        help="The kernel log, on standard error.",
    ),
    click.option("--json", "as_json", is_flag=True, help="Print one result object on standard output, nothing else."),
    click.option(
        "--on-violation",
        type=click.Choice(["stop", "continue"]),
        default="stop",
        show_default=True,
        help="Stop at the first violation, or go on as the kernel would.",
    ),
    click.option(
        "--steps-max",
        type=click.IntRange(1),
        default=100_000_000,
        show_default=True,
        help="Cut the run off after so many steps.",
    ),
    click.option(
        "--proc",
        "files",
        multiple=True,
        metavar="NAME",
        callback=_paths,
        help="Print a file as it is at the end of the run: slabinfo, buddyinfo, zoneinfo or slab/CACHE/FILE.",
    ),
    click.option(
        "--proc-out",
        "files_folder",
        metavar="DIR",
        callback=_empty_folder,
        help="Write those files, of every cache, into an empty folder: DIR/proc/slabinfo, DIR/sys/kernel/slab/….",
    ),
)


def scenario_options(function: F) -> F:
    """Add the options that choose and change a scenario."""
    for option in reversed(_SCENARIO):
        function = option(function)
    return function


def run_options(function: F) -> F:
    """Add the options of a single run."""
    for option in reversed(_RUN):
        function = option(function)
    return function


def load_scenario(origin: Origin) -> Scenario:
    """Load the scenario an origin names.

    Raises:
        TopologyError: the file, or what was changed in it, is unusable.
    """
    from pathlib import Path

    from ..topology import load  # slow to import: only when a file is loaded

    return load(
        origin.path,
        overrides=origin.overrides,
        machine=Path(origin.machine) if origin.machine else None,
        release=origin.release or None,
        apply=origin.apply,
        revert=origin.revert,
    )
