"""``slubloom gallery``: the scenarios that come with slubloom."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from ..topology.scenario import ExpectWhere


@click.group("gallery", invoke_without_command=True)
@click.pass_context
def command(context: click.Context) -> int | None:
    """The shipped scenarios: what there is (also without a subcommand), a file's text, where it lies."""
    return list_all.callback(as_json=False) if context.invoked_subcommand is None and list_all.callback else None


@command.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print one result object.")
def list_all(as_json: bool) -> int:
    """Each scenario with its kernel, and what is expected of it there."""
    from ..expectation import expected_kinds
    from ..topology import gallery_names, gallery_path, load

    rows: list[dict[str, Any]] = []
    for name in gallery_names():
        scenario = load(gallery_path(name))
        kernel = "+".join([scenario.kernel.release, *scenario.kernel.apply])
        expects = list(expected_kinds(scenario))
        elsewhere = [_elsewhere(where) for where in scenario.expect.where]
        row = {"name": name, "kernel": kernel, "expects": expects, "elsewhere": elsewhere, "title": scenario.title}
        rows.append(row)
    if as_json:
        click.echo(json.dumps({"schema": "slubloom-gallery/1", "scenarios": rows}, indent=2))
        return 0
    for row in rows:
        click.echo(f"{row['name']:<28}{', '.join(row['expects']) or 'clean':<20}{row['title']} ({row['kernel']})")
        if not row["expects"]:
            for where in row["elsewhere"]:
                click.echo(f"{'':<28}{where}")
    return 0


def _elsewhere(where: ExpectWhere) -> str:
    """Where what is expected."""
    conditions = [
        where.release and f"in {where.release}",
        where.from_release and f"from {where.from_release}",
        where.until and f"until {where.until}",
        where.having and f"with {' and '.join(where.having)}",
        where.lacking and f"without {' or '.join(where.lacking)}",
    ]
    return f"{', '.join(where.violations)} {', '.join(condition for condition in conditions if condition)}"


@command.command("show")
@click.argument("name")
def show(name: str) -> None:
    """The text of a scenario's file, which begins with its story."""
    from ..topology import gallery_path

    click.echo(gallery_path(name).read_text(), nl=False)


@command.command("path")
@click.argument("name")
def path(name: str) -> None:
    """Where a scenario's file lies, to run it from an installed slubloom."""
    from ..topology import gallery_path

    click.echo(str(gallery_path(name)))
