"""``slubloom replay``: the same run again, from a token or a recorded trace."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import click

from .options import load_scenario, run_options

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from ..token import Origin
    from ..topology import Scenario

PLACES_MAX = 6
"""Differences that are listed one by one."""


@dataclass
class Recorded:
    """What a token or a trace says of its run.

    ``digests`` are the beginnings of the section digests, ``document`` the whole scenario where the trace has it,
    ``found`` a check number of the violation.
    """

    origin: Origin
    settings: dict[str, Any]
    version: str = ""
    digests: dict[str, str] = field(default_factory=dict)
    document: Mapping[str, Any] | None = None
    digest: str = ""
    found: str = ""


@click.command("replay")
@click.argument("what", metavar="TOKEN|FILE")
@run_options
@click.option("--explain", is_flag=True, help="Find the smallest schedule that still fails, and tell it.")
@click.option(
    "--tolerant", is_flag=True, help="Where something has changed since, follow the recorded run as far as it goes."
)
def command(what: str, explain: bool, tolerant: bool, **how: Any) -> int:
    """Run again what a replay TOKEN or a recorded trace FILE describes, with the same decisions.

    Where the topology file, an option or slubloom itself has changed since, that is said; --tolerant goes on all the
    same.
    """
    from ..token import PREFIX
    from .report import run_and_report

    recorded = _from_token(what) if what.startswith(PREFIX) else _from_trace(what)
    scenario = load_scenario(recorded.origin)
    changes = list(_changes(recorded, scenario))
    if changes and not tolerant:
        listed = "".join(f"\n  {change}" for change in changes)
        raise click.UsageError(
            f"{recorded.origin.path} is not the scenario that was recorded; changed since then:{listed}\n"
            "--tolerant follows the recorded run as far as it goes"
        )
    for change in changes:
        click.echo(f"changed since this was recorded: {change}", err=True)
    return run_and_report(
        scenario,
        recorded.origin,
        explained=explain,
        found=recorded.found,
        tolerant=tolerant,
        **recorded.settings,
        **how,
    )


def _changes(recorded: Recorded, scenario: Scenario) -> Iterator[str]:
    """What is not as it was, a line for each."""
    from .. import __version__

    if recorded.version and recorded.version != __version__:
        yield f"slubloom: {recorded.version} then, {__version__} now"
    if recorded.document is not None:
        places = list(_differences("", recorded.document, scenario.document))
        yield from places[:PLACES_MAX]
        if len(places) > PLACES_MAX:
            yield f"and {len(places) - PLACES_MAX} more"
    elif recorded.digests:
        for name, digest in recorded.digests.items():
            now = scenario.section_digests[name][: len(digest)]
            if now != digest:
                yield f"{name}: digest {digest} then, {now} now"
    elif not scenario.digest.startswith(recorded.digest):
        yield f"the scenario: digest {recorded.digest[:12]} then, {scenario.digest[:12]} now"


def _differences(place: str, then: Any, now: Any) -> Iterator[str]:
    if isinstance(then, dict) and isinstance(now, dict):
        for key in [*then, *(key for key in now if key not in then)]:
            if place or key not in ("title", "description", "explore", "compare", "expect"):
                yield from _differences(f"{place}.{key}" if place else str(key), then.get(key), now.get(key))
    elif isinstance(then, list) and isinstance(now, list) and len(then) == len(now):
        for number, (first, second) in enumerate(zip(then, now, strict=True)):
            yield from _differences(f"{place}[{number}]", first, second)
    elif then != now:
        yield f"{place}: {_short(then)} then, {_short(now)} now"


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 else text[:37] + "..."  # noqa: PLR2004  # what fits in a line


def _from_token(text: str) -> Recorded:
    from ..token import parse_token

    token = parse_token(text)
    settings = {
        "seed": token.seed,
        "pilot": token.pilot,
        "deviations": token.deviations,
        "strategy": token.strategy,
        "interleaver": "detached",
    }
    return Recorded(token.origin, settings, token.one("v"), token.digests, found=token.one("f"))


def _from_trace(path: str) -> Recorded:
    from ..run import unpack_tape
    from ..token import Origin
    from ..traces import TraceReader

    with TraceReader(path) as reader:
        for _ in reader.chunks():
            pass  # the end record, which has the tape, comes last
        header, end = reader.header, reader.end
    scenario = _described(header, path)
    origin = Origin(
        str(scenario.get("path", "")),
        tuple(scenario.get("overrides", ())),
        str(scenario.get("machine", "")),
        str(scenario.get("release", "")),
        tuple(scenario.get("apply", ())),
        tuple(scenario.get("revert", ())),
    )
    settings: dict[str, Any] = {
        "seed": int(header.get("seed", 0)),
        "pilot": int(header.get("pilot", 0)),
        "strategy": str(header.get("strategy", "timed")),
        "interleaver": "detached",
    }
    tape = (end or {}).get("tape", header.get("tape"))
    if tape is not None:
        settings |= {"tape": unpack_tape(tape), "costed": bool(header.get("costed"))}
    elif settings["strategy"] == "free":
        raise click.UsageError(f"{path} was recorded free-running and is not complete: there is nothing to replay")
    return Recorded(
        origin,
        settings,
        str(header.get("version", "")),
        document=scenario.get("document"),
        digest=str(scenario["digest"]),
    )


def _described(header: Mapping[str, Any], path: str) -> Mapping[str, Any]:
    scenario = header.get("scenario")
    if not isinstance(scenario, dict) or "digest" not in scenario or not scenario.get("path"):
        raise click.UsageError(f"{path} does not say which topology file it was recorded from; it cannot be replayed")
    return scenario
