"""``slubloom topology``: check files, import machines, print the schema."""

from __future__ import annotations

import json
from pathlib import Path

import click

from ..words import plural


@click.group("topology")
def command() -> None:
    """Topology files: check, import a real machine, print the JSON Schema."""


@command.command("check")
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@click.option("--set", "overrides", multiple=True, metavar="PATH=VALUE", help="Change one value of each file.")
@click.option("--json", "as_json", is_flag=True, help="Print one result object.")
def check(files: tuple[str, ...], overrides: tuple[str, ...], as_json: bool) -> int:
    """Check topology files; all that is wrong with a file is said together.  Exit status 2 if one is unusable."""
    from ..topology import TopologyError, load

    results = []
    for file in files:
        try:
            scenario = load(file, overrides=overrides)
        except TopologyError as error:
            problems = [{"place": problem.place, "message": problem.message} for problem in error.problems]
            results.append({"file": file, "ok": False, "problems": problems})
            if not as_json:
                click.echo(f"slubloom: {error}", err=True)
            continue
        machine = scenario.machine
        summary = {"cpus": len(machine.cpus), "nodes": len(machine.nodes), "tasks": len(scenario.tasks)}
        results.append({"file": file, "ok": True, "digest": scenario.digest, **summary})
        if not as_json:
            click.echo(f"{file}: ok, " + ", ".join(f"{value} {name}" for name, value in summary.items()))
    if as_json:
        click.echo(json.dumps({"schema": "slubloom-check/1", "files": results}, indent=2))
    return 0 if all(result["ok"] for result in results) else 2


@command.command("import")
@click.argument("file", metavar="FILE.xml")
@click.option("-o", "--output", metavar="OUT.toml", help="Write there instead of to standard output.")
def import_machine(file: str, output: str | None) -> int:
    """Turn an hwloc XML export (version 2 or 3) into the [machine] part of a topology file."""
    from ..topology import Machine, import_hwloc, to_toml

    machine = Machine.model_validate(import_hwloc(Path(file)))
    text = f"# Imported from {Path(file).name}.\n{to_toml(machine)}"
    if output is None:
        click.echo(text, nl=False)
        return 0
    try:
        Path(output).write_text(text)
    except OSError as error:
        raise click.UsageError(f"cannot write {output}: {error.strerror}") from error
    click.echo(f"{output}: {plural(len(machine.cpus), 'CPU')}, {plural(len(machine.nodes), 'node')}")
    return 0


@command.command("schema")
def schema() -> int:
    """Print the JSON Schema of topology files."""
    from ..topology import json_schema

    click.echo(json.dumps(json_schema(), indent=2))
    return 0
