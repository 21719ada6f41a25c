"""`slubloom trace`: look into a recorded trace, or one that is being served."""

import json
from collections.abc import Callable
from fnmatch import fnmatchcase
from itertools import islice

import click

from slubloom.traces import (
    EventSpec,
    Record,
    TraceError,
    TraceReader,
    collect_statistics,
    json_formatter,
    line_formatter,
)

_SOURCE = "FILE may also be `-` for standard input, or `unix:PATH` or `tcp:HOST:PORT` to attach to a run."


@click.group(name="trace")
def command() -> None:
    """Look into a trace."""


@command.command(epilog=_SOURCE)
@click.argument("file")
@click.option("--event", "events", multiple=True, metavar="GLOB", help="Only events like this: lock:*, kfree.")
@click.option("--cpu", "cpus", multiple=True, type=int, metavar="N", help="Only this CPU; -1 for records of none.")
@click.option("--comm", metavar="GLOB", help="Only threads with a name like this.")
@click.option("--limit", type=click.IntRange(min=0), metavar="N", help="Stop after N records.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a record.")
def cat(
    *,
    file: str,
    events: tuple[str, ...],
    cpus: tuple[int, ...],
    comm: str | None,
    limit: int | None,
    as_json: bool,
) -> None:
    """Print the records of a trace, one a line.

    Everything readable is printed.  A trace that is damaged or cut off inside a block then ends with a message and
    status 2; one that merely was not closed, because the run was killed, with a warning.
    """
    with TraceReader(file) as reader:
        keep = _filter(reader, events, cpus, comm)
        line = (json_formatter if as_json else line_formatter)(reader.specs)
        for record in islice(filter(keep, reader), limit):
            click.echo(line(record))
        if limit is None:
            _judge(reader)
        elif reader.damage:
            raise TraceError(f"{reader.name}: {reader.damage[0]}")


@command.command(epilog=_SOURCE)
@click.argument("file")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def stats(file: str, as_json: bool) -> None:
    """Count what is in a trace: events, CPUs, time, bytes, losses."""
    with TraceReader(file) as reader:
        statistics = collect_statistics(reader)
        if as_json:
            click.echo(json.dumps(statistics.as_dict(), default=repr))
        else:
            click.echo(statistics.as_text())
        _judge(reader)


@command.command(epilog=_SOURCE)
@click.argument("file")
@click.option("--lockdep", is_flag=True, help="Check the order of locks, and interrupts; the default.")
@click.option("--crossrelease", is_flag=True, help="Also check what completions depend on, which tells too much.")
@click.option(
    "--lockdep-report", "reports", is_flag=True, help="FILE is a kernel's log: explain the lockdep reports in it."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.pass_context
def check(
    context: click.Context, file: str, *, lockdep: bool, crossrelease: bool, reports: bool, as_json: bool
) -> None:
    """Run sanitizers that need nothing but events over a trace.

    What lockdep says is what it said, or would have said, in the run, but for stacks, which no record has.  The status
    is 1 where it has found something.
    """
    from slubloom.commands import check as checks  # with the kernel behind it, which `cat` and `stats` do without

    if reports:
        if lockdep or crossrelease or as_json:
            raise click.UsageError("--lockdep-report goes with no other option")
        with click.open_file(file, errors="replace") as log:
            click.echo("\n".join(checks.explain_reports(file, log.read())))
        return
    with TraceReader(file) as reader:
        found, acquisitions = checks.check_lockdep(reader, crossrelease=crossrelease)
        violations = checks.lockdep_texts(reader, found)
        click.echo((checks.as_json if as_json else checks.as_text)(violations, acquisitions))
        _judge(reader)
    if violations:
        context.exit(1)


def _judge(reader: TraceReader) -> None:
    """Say on stderr what was wrong with a trace that has been read to its end.

    Raises:
        TraceError: part of it was unreadable.
    """
    if lost := sum(reader.lost.values()):
        click.echo(f"warning: {reader.name}: {lost} records were lost to this reader", err=True)
    if reader.damage:
        more = f" and {len(reader.damage) - 1} more" if len(reader.damage) > 1 else ""
        raise TraceError(f"{reader.name}: {reader.damage[0]}{more}")
    if not reader.closed_cleanly:
        click.echo(
            f"warning: {reader.name}: the trace was not closed; all {reader.clean_length} bytes are readable", err=True
        )


def _filter(
    reader: TraceReader, events: tuple[str, ...], cpus: tuple[int, ...], comm: str | None
) -> Callable[[Record], bool]:
    ids = _matching_ids(reader.name, reader.specs, events)

    def keep(record: Record) -> bool:
        event_id, _, cpu, _, name = record[:5]
        return event_id in ids and (not cpus or cpu in cpus) and (comm is None or fnmatchcase(name, comm))

    return keep


def _matching_ids(name: str, specs: dict[int, EventSpec], patterns: tuple[str, ...]) -> frozenset[int]:
    """Return the ids of events whose full or bare name fits a pattern; all when there is none."""
    ids: set[int] = set() if patterns else set(specs)
    for pattern in patterns:
        found = [
            event_id
            for event_id, spec in specs.items()
            if fnmatchcase(spec.full_name, pattern) or fnmatchcase(spec.name, pattern)
        ]
        if not found:
            raise TraceError(f"{name}: no event of this trace matches {pattern!r}")
        ids.update(found)
    return frozenset(ids)
