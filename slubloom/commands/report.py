"""What a single run looks like to a person, and its exit status."""

from __future__ import annotations

import json
import sys
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from ..actors import Outcome
from ..actors.strategies import TapeError
from ..run import RunOptions, interruptible, run_scenario

if TYPE_CHECKING:
    from ..actors import Interleaver
    from ..run import RunResult
    from ..token import Origin
    from ..topology import Scenario

CLEAN, VIOLATED, UNUSABLE, INTERNAL, INTERRUPTED = 0, 1, 2, 3, 130
PROGRESS_EVERY_S = 0.5


class Progress:
    """A line on the terminal while a run is long."""

    def __init__(self, *, shown: bool) -> None:
        self._shown = shown
        self._next = time.monotonic() + PROGRESS_EVERY_S
        self._drawn = False

    def __call__(self, interleaver: Interleaver) -> None:
        """Draw the line again, now and then."""
        if self._shown and time.monotonic() >= self._next:
            self._next = time.monotonic() + PROGRESS_EVERY_S
            self._drawn = True
            text = f"{interleaver.steps:,} steps, virtual time {interleaver.now_ns / 1e9:.6f} s"
            click.echo(f"\r{text:<78}", err=True, nl=False)

    def clear(self) -> None:
        """Leave an empty line behind."""
        if self._drawn:
            click.echo("\r" + " " * 78 + "\r", err=True, nl=False)


def run_and_report(
    scenario: Scenario, origin: Origin, *, as_json: bool, on_violation: str, log: str, **how: Any
) -> int:
    """Run, print, and return the exit status of design §8."""
    running: list[Interleaver] = []
    progress = Progress(shown=sys.stderr.isatty() and not as_json)

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
        with interruptible(running):
            result = run_scenario(scenario, options)
    except TapeError as error:
        raise click.UsageError(f"the recorded decisions do not fit: {error}") from error
    except Exception as error:
        if getattr(error, "exit_status", None) is None and not options.trace and options.interleaver != "free":
            _save_failure(scenario, options)
        raise
    finally:
        progress.clear()
    # The trace may be going to standard output: then what is for people goes to standard error.
    to_stderr = options.trace == "-"
    if as_json:
        click.echo(json.dumps(result.as_json(), indent=2), err=to_stderr)
    else:
        _print(scenario, options, result, err=to_stderr)
    if result.outcome is Outcome.INTERRUPTED:
        return INTERRUPTED
    if not result.violations:
        return CLEAN
    expected = scenario.expected(scenario.kernel.release)
    return CLEAN if sorted(result.kinds()) == sorted(expected) else VIOLATED


def _save_failure(scenario: Scenario, options: RunOptions) -> None:
    """The run failed in us: it is deterministic, so the same again leaves a trace."""
    path = f"slubloom-failure-{scenario.digest[:12]}-{options.seed}.slabtrc"
    try:
        run_scenario(scenario, replace(options, trace=path, log="off", on_pause=None, on_start=None))
    except Exception:  # the same failure, this time recorded
        click.echo(f"slubloom: the run up to the failure was saved: {path}", err=True)


def _print(scenario: Scenario, options: RunOptions, result: RunResult, *, err: bool) -> None:
    def say(text: str = "") -> None:
        click.echo(text, err=err)

    kernel = scenario.kernel
    machine = scenario.machine
    say(f"{scenario.title or options.origin.path}")
    patches = "".join([*(f" +{name}" for name in kernel.apply), *(f" -{name}" for name in kernel.revert)])
    how = "free-running" if options.interleaver == "free" else f"strategy {options.strategy}, seed {options.seed}"
    say(f"  {kernel.release}{patches}, {len(machine.cpus)} CPUs, {len(machine.nodes)} nodes, {how}")
    for violation in result.violations:
        say()
        say(violation.report.rstrip("\n"))
    say()
    if result.violations:
        expected = sorted(result.kinds()) == sorted(scenario.expected(kernel.release))
        say(f"violated: {', '.join(result.kinds())}{' (as this scenario expects)' if expected else ''}")
        if result.token:
            say(f"replay:   slubloom replay '{result.token}'")
    else:
        say(f"clean: {result.outcome.value}")
    counters = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in sorted(result.counters.items()))
    say(f"{result.steps:,} steps, virtual time {result.time_ns / 1e9:.9f} s" + (f"; {counters}" if counters else ""))
