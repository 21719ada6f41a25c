"""``slubloom replay``: the same run again, from a token or a recorded trace."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from .options import load_scenario, run_options

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..token import Origin


@click.command("replay")
@click.argument("what", metavar="TOKEN|FILE")
@run_options
def command(what: str, **how: Any) -> int:
    """Run again what a replay TOKEN or a recorded trace FILE describes, with the same decisions.

    The topology file must still be there, unchanged; what has changed is said.
    """
    from ..token import PREFIX
    from .report import run_and_report

    origin, digest, settings = _from_token(what) if what.startswith(PREFIX) else _from_trace(what)
    scenario = load_scenario(origin)
    if not scenario.digest.startswith(digest):
        raise click.UsageError(
            f"{origin.path} is not the scenario that was recorded: "
            f"its digest is {scenario.digest[: len(digest)]}, not {digest}; "
            "the file, an option or the version of the format has changed since"
        )
    return run_and_report(scenario, origin, **settings, **how)


def _from_token(text: str) -> tuple[Origin, str, dict[str, Any]]:
    from ..token import Origin, parse_token

    token = parse_token(text)
    origin = Origin(
        token.path,
        token.all("set"),
        token.one("machine"),
        token.one("release"),
        token.all("apply"),
        token.all("revert"),
    )
    return origin, token.digest, {"seed": token.seed, "strategy": token.strategy, "interleaver": "detached"}


def _from_trace(path: str) -> tuple[Origin, str, dict[str, Any]]:
    from ..run import unpack_tape
    from ..token import Origin
    from ..traces import TraceReader

    with TraceReader(path) as reader:
        for _ in reader.chunks():
            pass  # the end record, which has the tape, comes last
        header, end = reader.header, reader.end
    recorded = _described(header, path)
    origin = Origin(
        str(recorded.get("path", "")),
        tuple(recorded.get("overrides", ())),
        str(recorded.get("machine", "")),
        str(recorded.get("release", "")),
        tuple(recorded.get("apply", ())),
        tuple(recorded.get("revert", ())),
    )
    settings: dict[str, Any] = {
        "seed": int(header.get("seed", 0)),
        "strategy": str(header.get("strategy", "timed")),
        "interleaver": "detached",
    }
    tape = (end or {}).get("tape", header.get("tape"))
    if tape is not None:
        settings |= {"tape": unpack_tape(tape), "costed": bool(header.get("costed"))}
    elif settings["strategy"] == "free":
        raise click.UsageError(f"{path} was recorded free-running and is not complete: there is nothing to replay")
    return origin, str(recorded["digest"]), settings


def _described(header: Mapping[str, Any], path: str) -> Mapping[str, Any]:
    scenario = header.get("scenario")
    if not isinstance(scenario, dict) or "digest" not in scenario or not scenario.get("path"):
        raise click.UsageError(f"{path} does not say which topology file it was recorded from; it cannot be replayed")
    return scenario
