"""What a single run looks like to a person, and its exit status."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from ..actors import Outcome
from ..actors.strategies import TapeError
from ..expectation import expected_kinds
from ..explore.findings import work_out
from ..explore.story import summary, tell
from ..explore.subject import ScenarioSubject, signature
from ..run import RunOptions, interruptible, run_scenario
from ..token import STEADY, check_number, make_token
from ..words import plural
from .progress import RunProgress

if TYPE_CHECKING:
    from ..actors import Interleaver
    from ..explore.findings import Smallest
    from ..run import RunResult
    from ..token import Origin
    from ..topology import Scenario

CLEAN, VIOLATED, UNUSABLE, INTERNAL, INTERRUPTED = 0, 1, 2, 3, 130


def run_and_report(
    scenario: Scenario,
    origin: Origin,
    *,
    as_json: bool,
    on_violation: str,
    log: str,
    explained: bool = False,
    found: str = "",
    **how: Any,
) -> int:
    """Run, print, and return the exit status of design §8.

    With ``explained`` the smallest schedule of what was found follows; `found` is the check number of what a replay is
    to find again.
    """
    running: list[Interleaver] = []

    def interrupt() -> None:
        for interleaver in running:
            interleaver.stop(Outcome.INTERRUPTED)

    progress = RunProgress(shown=sys.stderr.isatty() and not as_json)

    options = RunOptions(
        origin=origin,
        stop_at_violation=on_violation == "stop",
        log=log,
        count_events=as_json,
        on_pause=progress,
        on_start=running.append,
        **how,
    )
    if options.trace is not None and options.trace.startswith(("unix:", "tcp:")) and not as_json:
        click.echo(f"trace to {options.trace}: waiting for a reader for up to 10 s if nobody listens there", err=True)
    try:
        with interruptible(interrupt):
            result = run_scenario(scenario, options)
    except TapeError as error:
        raise click.UsageError(f"the recorded decisions do not fit: {error}") from error
    except Exception as error:
        if getattr(error, "exit_status", None) is None and not options.trace and options.interleaver != "free":
            save_failure(scenario, options)
        raise
    finally:
        progress.clear()
    # The trace may be going to standard output: then what is for people goes to standard error.
    to_stderr = options.trace == "-"
    smallest = _explain(scenario, result) if explained and result.violations else None
    if explained and result.violations and smallest is None:
        click.echo("no smaller schedule: it does not show without the clocks of the timed strategy", err=True)
    if as_json:
        document = result.as_json()
        if smallest is not None:
            document["violations"][0]["smallest"] = smallest_as_json(scenario, origin, smallest)
        if options.files:
            document["files"] = result.files.texts
            document["unreadable"] = result.files.missing | result.files.unreadable
        click.echo(json.dumps(document, indent=2), err=to_stderr)
    else:
        _print(scenario, options, result, smallest, err=to_stderr)
        _say_whether_found(result, found, err=to_stderr)
        for path, text in result.files.texts.items():
            click.echo(f"\n==> {path} <==\n{text}", err=to_stderr, nl=False)
    _say_what_is_unreadable(result)
    if result.outcome is Outcome.INTERRUPTED:
        return INTERRUPTED
    if not result.violations:
        return UNUSABLE if result.files.missing else CLEAN
    expected = expected_kinds(scenario)
    return CLEAN if sorted(result.kinds()) == sorted(expected) else VIOLATED


def _explain(scenario: Scenario, result: RunResult) -> Smallest | None:
    subject = ScenarioSubject(scenario)
    return work_out(subject, signature(result.violations[0]), result.tape, costed=result.costed)


def smallest_as_json(scenario: Scenario, origin: Origin, smallest: Smallest) -> dict[str, Any]:
    """The smallest schedule for the result object."""
    trial, explanation = smallest.trial, smallest.explanation
    return {
        "token": smallest_token(scenario, origin, smallest),
        "preemptions": trial.preemptions,
        "steps": trial.steps,
        "replays": explanation.replays,
        "story": tell(explanation.events, explanation.order, end=trial.violation.title if trial.violation else ""),
        "order": [f"{event.actor}, {event.text}" for event in explanation.order],
        "nearest_passing": [
            {"step": f"{flip.step.actor}, {flip.step.text}", "before": f"{flip.than.actor}, {flip.than.text}"}
            for flip in explanation.flips[:1]
        ],
    }


def smallest_token(scenario: Scenario, origin: Origin, smallest: Smallest) -> str:
    """The token that replays the smallest schedule."""
    trial = smallest.trial
    return make_token(
        STEADY,
        0,
        scenario.section_digests,
        origin,
        deviations=trial.deviations,
        found=signature(trial.violation) if trial.violation is not None else "",
    )


def _say_what_is_unreadable(result: RunResult) -> None:
    """Files that were asked for and cannot be shown; of a whole tree with one reason for many, the number."""
    told = result.files.missing | result.files.unreadable
    for path, reason in told.items():
        click.echo(f"cannot read {path}: {reason}", err=True)
    paths: dict[str, list[str]] = {}
    for path, reason in result.tree.unreadable.items():
        if path not in told:
            paths.setdefault(reason, []).append(path)
    for reason, (first, *others) in paths.items():
        more = f" and {len(others)} more" if others else ""
        click.echo(f"cannot read {first}{more}: {reason}", err=True)


def _say_whether_found(result: RunResult, found: str, *, err: bool) -> None:
    if result.followed:
        click.echo(f"followed: {result.followed}", err=err)
    if found:
        again = any(check_number(signature(violation)) == found for violation in result.violations)
        click.echo("the same violation as recorded" if again else "NOT the violation that was recorded", err=err)


def save_failure(scenario: Scenario, options: RunOptions) -> None:
    """The run failed in us: it is deterministic, so the same again leaves a trace."""
    path = f"slubloom-failure-{scenario.digest[:12]}-{options.seed}.slabtrc"
    try:
        run_scenario(scenario, replace(options, trace=path, log="off", on_pause=None, on_start=None, files_folder=None))
    except Exception:  # the same failure, this time recorded
        click.echo(f"slubloom: the run up to the failure was saved: {path}", err=True)


def headline(scenario: Scenario, origin: Origin, how: str) -> list[str]:
    """What is run, in two lines."""
    kernel, machine = scenario.kernel, scenario.machine
    size = f"{plural(len(machine.cpus), 'CPU')}, {plural(len(machine.nodes), 'node')}"
    patches = "".join([*(f" +{name}" for name in kernel.apply), *(f" -{name}" for name in kernel.revert)])
    return [
        f"{scenario.title or origin.path}",
        f"  {kernel.release}{patches}, {size}, {how}",
    ]


def _kept_alive(result: RunResult) -> list[str]:
    """The tally of the sanitizer ``existence``, as a table."""
    if not result.kept_alive:
        return []
    wide = max(len(structure) for structure, _, _ in result.kept_alive)
    rows = [f"  {structure:<{wide}} {uses:>9,}  {reason}" for structure, reason, uses in result.kept_alive]
    return ["what kept structures alive when they were used:", *rows]


def _print(scenario: Scenario, options: RunOptions, result: RunResult, smallest: Smallest | None, *, err: bool) -> None:
    def say(text: str = "") -> None:
        click.echo(text, err=err)

    how = f"strategy {options.strategy}, seed {options.seed}"
    if options.interleaver == "free":
        how = "free-running"
    elif options.deviations is not None or options.tape is not None:
        how = "replayed"
    for line in headline(scenario, options.origin, how):
        say(line)
    for violation in result.violations:
        say()
        say(violation.report.rstrip("\n"))
    say()
    if result.violations:
        expected = sorted(result.kinds()) == sorted(expected_kinds(scenario))
        say(f"violated: {', '.join(result.kinds())}{' (as this scenario expects)' if expected else ''}")
        if result.token:
            say(f"replay:   slubloom replay '{result.token}'")
        if smallest is not None:
            say()
            for line in summary(smallest.explanation):
                say(line)
            say(f"\nsmallest: slubloom replay '{smallest_token(scenario, options.origin, smallest)}'")
            say()
    else:
        say(f"clean: {result.outcome.value}")
    for line in _kept_alive(result):
        say(line)
    counters = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in sorted(result.counters.items()))
    say(f"{result.steps:,} steps, virtual time {result.time_ns / 1e9:.9f} s" + (f"; {counters}" if counters else ""))
