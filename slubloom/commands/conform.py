"""``slubloom conform``: recordings of real kernels against the emulated one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .report import CLEAN, UNUSABLE, VIOLATED

if TYPE_CHECKING:
    from ..conform import FileReport

SCHEMA = "slubloom-conform/1"


@click.command("conform")
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@click.option("--json", "as_json", is_flag=True, help="Print one result object.")
def command(files: tuple[str, ...], as_json: bool) -> int:
    """Make the emulated kernel do what was recorded on a real one, and compare what came of it.

    FILE is a recording of JSON lines (.jsonl), also compressed (.jsonl.xz): of single caches, of merging, of the
    caches of a system, or of a sequence of operations.

    Exit status: 0 all that was run matches, 1 something does not, 2 a file cannot be used (the others are run),
    3 internal failure, 130 interrupted.
    """
    from ..conform import VectorError, check_file

    reports: list[FileReport] = []
    results: list[dict[str, Any]] = []
    unusable = 0
    for file in files:
        try:
            report = check_file(Path(file))
        except VectorError as error:
            unusable += 1
            results.append(_unusable(file, error))
            click.echo(f"slubloom: {error}", err=True)
            continue
        reports.append(report)
        results.append({**report.as_json(), "error": None})
        if not as_json:
            for line in report.lines():
                click.echo(line)
    mismatch = any(report.first_mismatch is not None for report in reports)
    if as_json:
        verdict = "unusable" if unusable else "mismatch" if mismatch else "match"
        click.echo(json.dumps({"schema": SCHEMA, "verdict": verdict, "files": results}, indent=2))
    else:
        click.echo(_totals(reports, unusable))
    if unusable:
        return UNUSABLE
    return VIOLATED if mismatch else CLEAN


def _unusable(file: str, error: Exception) -> dict[str, Any]:
    """What the result object says of a file that was not run."""
    nothing: dict[str, Any] = {"kind": None, "total": 0, "matched": 0, "not_run": 0, "reason": "", "relaxations": []}
    return {"file": file, **nothing, "first_mismatch": None, "error": str(error)}


def _totals(reports: list[FileReport], unusable: int) -> str:
    total, matched, not_run = (
        sum(getattr(report, name) for report in reports) for name in ("total", "matched", "not_run")
    )
    files = len(reports) + unusable
    text = f"{files} file{'s' * (files != 1)}: {matched:,} of {total:,} records match"
    if total - matched - not_run:
        text += f", {total - matched - not_run:,} do not"
    if not_run:
        text += f", {not_run:,} not run"
    return text + (f"; {unusable} unusable" if unusable else "")
