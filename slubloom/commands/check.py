"""`slubloom trace check`: sanitizers that need nothing but events, over a recorded trace."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from slubloom.kernel.sanitizers.lockdep import Lockdep
from slubloom.kernel.sanitizers.lockdep_crossrelease import CrossRelease
from slubloom.kernel.sanitizers.lockdep_probes import lockdep_probes
from slubloom.kernel.sanitizers.lockdep_report import report_text
from slubloom.kernel.sanitizers.lockdep_splat import read_splats, rederive, scenario_of
from slubloom.traces import TraceError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from slubloom.kernel.sanitizers.lockdep_findings import Report
    from slubloom.traces import Probe, TraceReader

CHECK_SCHEMA = "slubloom-check/1"


def check_lockdep(reader: TraceReader, *, crossrelease: bool = False) -> tuple[list[Report], int]:
    """Run lockdep over all records; what it finds, and how many acquisitions it has seen.

    With `crossrelease` it also looks at what completions depend on.

    Raises:
        TraceError: the trace has no lock events to check.
    """
    found: list[Report] = []
    wait_types: dict[str, str] = {}
    lockdep = Lockdep(found.append, wait_types=wait_types)

    def learn(record: tuple[Any, ...]) -> None:
        wait_types[record[5]] = record[6]

    tables: list[Mapping[str, Probe]] = [{"lock:lock_class": learn}, lockdep_probes(lockdep)]
    if crossrelease:
        tables.append(CrossRelease(lockdep).probes())
    listening = {
        number: [table[spec.full_name] for table in tables if spec.full_name in table]
        for number, spec in reader.specs.items()
    }
    acquire = next((number for number, spec in reader.specs.items() if spec.full_name == "lock:lock_acquire"), None)
    if acquire is None:
        raise TraceError(f"{reader.name}: expected the event lock:lock_acquire, which this trace does not declare")
    acquisitions = 0
    for record in reader:
        acquisitions += record[0] == acquire
        for probe in listening.get(record[0], ()):
            probe(record)
    return found, acquisitions


def lockdep_texts(reader: TraceReader, found: list[Report]) -> list[dict[str, Any]]:
    """Kind, title and report of each finding; the release is the header's, and nothing is known of taint."""
    ident = f"Not tainted {str(reader.header.get('release', 'unknown')).removeprefix('v')}-slubloom #1"
    return [{"kind": finding.kind, "title": finding.title, "report": report_text(finding, ident)} for finding in found]


def as_text(violations: list[dict[str, Any]], acquisitions: int) -> str:
    """What the command prints."""
    if not violations:
        return f"clean: lockdep has seen {acquisitions} acquisitions"
    kinds = ", ".join(dict.fromkeys(violation["kind"] for violation in violations))
    return "\n".join([*(violation["report"] for violation in violations), f"violated: {kinds}"])


def as_json(violations: list[dict[str, Any]], acquisitions: int) -> str:
    """The same as one object."""
    return json.dumps(
        {
            "schema": CHECK_SCHEMA,
            "verdict": "violated" if violations else "clean",
            "violations": violations,
            "acquisitions": acquisitions,
        }
    )


def explain_reports(name: str, text: str) -> list[str]:
    """What a kernel's own lockdep reports in `text` say, and whether ours comes to the same.

    Raises:
        TraceError: there is no such report in it.
    """
    splats = read_splats(text)
    if not splats:
        raise TraceError(f"{name}: expected a report 'possible circular locking dependency' or 'recursive locking'")
    lines = []
    for splat in splats:
        lines.append(splat.title)
        if splat.missing:
            lines.append(f"  incomplete: it lacks {', '.join(splat.missing)}")
            continue
        for number in range(1, len(splat.entries)):
            outer, inner = splat.entries[number - 1], splat.entries[number]
            lines.append(f"  {inner.name} was taken under {outer.name} ({inner.site or 'nobody says where'})")
        if splat.wanted is not None and splat.holding is not None:
            at = f" ({splat.wanted.site})" if splat.wanted.site else ""
            lines.append(f"  {splat.wanted.name} is taken under {splat.holding.name}{at}: {splat.task}")
        found = rederive(splat)
        agrees = scenario_of(found, splat) == splat.scenario
        lines.append("  from these orders alone " + ("the same follows" if agrees else "something else follows:"))
        if not agrees:
            lines += ["    nothing"] if found is None else [f"    {line}" for line in scenario_of(found, splat)]
    return lines
