"""Running one scenario once: topology and options in, a result out.

This is what ``slubloom run`` and ``slubloom replay`` are made of, and what a program that embeds the emulator calls:

    from slubloom.run import RunOptions, run_scenario
    result = run_scenario(scenario, RunOptions(strategy="random", seed=17))
"""

from __future__ import annotations

import sys
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import trio

from . import __version__
from .actors import Interleaver, Outcome, RunLimits
from .actors.free import FreeRunner
from .actors.strategies import BY_NAME, Replay, Steady, TapeError, TolerantReplay, make_strategy
from .end_files import EndFiles, read_end_files, write_tree
from .explore.subject import Pilot, ScenarioSubject, signature
from .kernel import boot
from .token import STEADY, Origin, make_token
from .traces import StreamWriter, make_logger, open_sink

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from .actors.strategies import Strategy
    from .actors.strategies.steady import Deviation
    from .kernel import Machine, Violation
    from .topology import Scenario

RESULT_SCHEMA = "slubloom-result/1"


class UsageError(Exception):
    """Options that cannot be; the message says which and what would be right."""

    exit_status = 2


@dataclass(frozen=True, slots=True)
class RunOptions:
    """How to run a scenario.

    ``tape`` replays recorded decisions (with ``costed`` as in the recorded run; ``tolerant`` where the scenario has
    changed since), ``deviations`` the canonical schedule with these: either takes the place of strategy and seed.
    ``pilot`` is the seed of the pilot run, for strategies that work from one.  ``trace`` is FILE, ``-``, ``unix:PATH``
    or ``tcp:HOST:PORT``; ``log`` is auto, console, json or off.  ``files`` are paths of /proc and /sys to read when the
    run is over, ``files_folder`` is where to write all of them then.
    """

    strategy: str = "timed"
    seed: int = 0
    pilot: int = 0
    tape: Sequence[int] | None = None
    tolerant: bool = False
    deviations: Sequence[Deviation] | None = None
    costed: bool = False
    interleaver: str = "detached"
    stop_at_violation: bool = True
    steps_max: int = RunLimits().steps_max
    trace: str | None = None
    on_slow: str = "drop"
    log: str = "off"
    log_stream: TextIO | None = None
    count_events: bool = False
    files: Sequence[str] = ()
    files_folder: str | None = None
    on_pause: Callable[[Interleaver], object] | None = None
    on_start: Callable[[Interleaver], object] | None = None
    origin: Origin = field(default_factory=Origin)


@dataclass(frozen=True, slots=True)
class RunResult:
    """What came out of a run.

    ``tape`` and ``costed`` replay it.  ``files`` are those of `RunOptions.files`; ``tree`` what ``files_folder`` got.
    ``kept_alive`` is what the sanitizer ``existence`` has counted: uses by type of structure and what kept it alive.
    """

    outcome: Outcome
    violations: tuple[Violation, ...]
    token: str
    steps: int
    events: int
    time_ns: int
    counters: dict[str, int]
    files_read: dict[str, str]
    tape: tuple[int, ...]
    costed: bool
    kept_alive: tuple[tuple[str, str, int], ...] = ()
    followed: str = ""  # how far a tolerant replay came
    files: EndFiles = field(default_factory=EndFiles)
    tree: EndFiles = field(default_factory=EndFiles)

    @property
    def verdict(self) -> str:
        """``clean`` or ``violated``."""
        return "violated" if self.violations else "clean"

    def kinds(self) -> tuple[str, ...]:
        """The distinct kinds found, in order."""
        return tuple(dict.fromkeys(violation.kind for violation in self.violations))

    def as_json(self) -> dict[str, Any]:
        """The machine-readable result object of the command line."""
        document = {
            "schema": RESULT_SCHEMA,
            "verdict": self.verdict,
            "outcome": self.outcome.name.lower(),
            "violations": [violation.as_json() | {"token": self.token} for violation in self.violations],
            "steps": self.steps,
            "events": self.events,
            "schedules": 1,
            "time_ns": self.time_ns,
            "counters": dict(sorted(self.counters.items())),
            "token": self.token,
        }
        if self.kept_alive:
            document["kept_alive"] = [
                {"structure": structure, "kept_by": reason, "uses": uses} for structure, reason, uses in self.kept_alive
            ]
        return document


class _EventCounter:
    """A probe that only counts."""

    def __init__(self) -> None:
        self.events = 0

    def __call__(self, _: Any) -> None:
        self.events += 1


def run_scenario(scenario: Scenario, options: RunOptions | None = None) -> RunResult:
    """Boot `scenario`, run it to its end, and say what was found.

    Raises:
        UsageError: an option is not one there is.
        ReleaseError, BootError: the scenario asks for a kernel that does not exist.
        TraceError: the trace cannot be written where it should.
        TapeError: a tape does not fit the scenario.
        ExceptionGroup: an actor failed: a mistake of the emulator or of a patch file.  The trace is complete up to
            there.
    """
    return trio.run(run_scenario_async, scenario, options or RunOptions())


async def run_scenario_async(scenario: Scenario, options: RunOptions) -> RunResult:
    """`run_scenario` for a program that is inside trio already."""
    interleaver = _make_interleaver(scenario, options)
    if options.on_start is not None:
        options.on_start(interleaver)
    folder = Path(scenario.source).parent if scenario.source else None
    writer = _open_trace(scenario, options, interleaver) if options.trace else None
    counter = _EventCounter()
    machine: Machine | None = None
    failure = ""
    try:
        if writer is not None:
            interleaver.tracepoints.attach("*", writer.probe)
            interleaver.on_pause.append(writer.poll)
        elif options.count_events:
            interleaver.tracepoints.attach("*", counter)
        if options.on_pause is not None:
            told = options.on_pause
            interleaver.on_pause.append(lambda: told(interleaver))
        log = make_logger(
            options.log,  # type: ignore[arg-type]  # checked by the command line; make_logger refuses others
            options.log_stream or sys.stderr,
            interleaver,
            (lambda: writer.chunk_number) if writer is not None else (lambda: 0),
        )
        booted = boot(scenario, interleaver, stop_at_violation=options.stop_at_violation, folder=folder, log=log)
        machine = booted.machine
        outcome = await interleaver.run()
        if writer is not None:
            writer.flush()
        events = writer.statistics().events if writer is not None else counter.events
        return RunResult(
            outcome=outcome,
            violations=tuple(machine.violations),
            token=_token(scenario, options, machine.violations),
            steps=interleaver.steps,
            events=events,
            time_ns=interleaver.now_ns,
            counters=machine.counters,
            files_read=booted.workload.files_read,
            tape=tuple(interleaver.tape),
            costed=interleaver.costed,
            kept_alive=machine.existence.tally() if machine.existence is not None else (),
            followed=_followed(interleaver.strategy),
            files=read_end_files(machine, options.files),
            tree=write_tree(machine, options.files_folder) if options.files_folder is not None else EndFiles(),
        )
    except BaseException as error:
        failure = f"{type(error).__name__}: {error}"
        raise
    finally:
        if writer is not None:
            writer.finish(_end_record(interleaver, machine, failure))


def _followed(strategy: Strategy) -> str:
    """How far a replay that may not fit has come, in words; empty where it fits."""
    if isinstance(strategy, TolerantReplay) and strategy.position < strategy.length:
        return f"{strategy.position:,} of {strategy.length:,} recorded decisions"
    if isinstance(strategy, Steady) and len(strategy.followed) < strategy.given:
        return f"{len(strategy.followed)} of {strategy.given} recorded deviations"
    return ""


def _make_interleaver(scenario: Scenario, options: RunOptions) -> Interleaver:
    limits = RunLimits(options.steps_max)
    if options.interleaver == "free":
        if options.tape is not None:
            raise UsageError("--interleaver free cannot replay: trio decides, and nothing is recorded")
        return FreeRunner(limits)
    if options.deviations is not None:
        return Interleaver(Steady(options.deviations), limits=limits)
    if options.tape is not None:
        replay = TolerantReplay if options.tolerant else Replay
        return Interleaver(replay(options.tape, costed=options.costed), limits=limits)
    if options.strategy not in BY_NAME:
        raise UsageError(f"--strategy {options.strategy}: there is no such strategy; there are: {', '.join(BY_NAME)}")
    profile = None
    if BY_NAME[options.strategy].needs_profile:
        profile = Pilot(ScenarioSubject(scenario), options.pilot).profile
    return Interleaver(make_strategy(options.strategy, options.seed, profile), limits=limits)


def _open_trace(scenario: Scenario, options: RunOptions, interleaver: Interleaver) -> StreamWriter:
    origin = options.origin
    header = {
        "producer": "slubloom",
        "version": __version__,
        "ncpu": len(scenario.machine.cpus),
        "clock": {"id": "virtual", "unit": "ns", "epoch": 0},
        "scenario": {
            "path": origin.path,
            "digest": scenario.digest,
            "overrides": list(origin.overrides),
            "machine": origin.machine,
            "release": origin.release,
            "apply": list(origin.apply),
            "revert": list(origin.revert),
            "document": scenario.document,
        },
        "release": scenario.kernel.release,
        "strategy": "free" if options.interleaver == "free" else options.strategy,
        "seed": options.seed,
        "pilot": options.pilot,
        "costed": interleaver.costed,
        "stop_at_violation": options.stop_at_violation,
    }
    if options.deviations is not None:
        header["strategy"] = STEADY
    if options.tape is not None:
        header["tape"] = pack_tape(options.tape)
    sink = open_sink(options.trace or "-", on_slow=options.on_slow)  # type: ignore[arg-type]  # checked by the command line
    return StreamWriter(sink, header)


def _end_record(interleaver: Interleaver, machine: Machine | None, failure: str) -> dict[str, Any]:
    violations = machine.violations if machine is not None else []
    record: dict[str, Any] = {
        "outcome": interleaver.outcome.name.lower() if interleaver.outcome else "failed",
        "verdict": "violated" if violations else "clean",
        "violations": [violation.as_json() for violation in violations],
        "steps": interleaver.steps,
        "tape": pack_tape(interleaver.tape),
    }
    if failure:
        record["failure"] = failure
    return record


def pack_tape(tape: Sequence[int]) -> bytes:
    """A tape as bytes: each decision as a variable-length integer of seven bits a byte, lowest first."""
    packed = bytearray()
    for decision in tape:
        rest = decision
        while rest >> 7:
            packed.append(rest & 0x7F | 0x80)
            rest >>= 7
        packed.append(rest)
    return bytes(packed)


def unpack_tape(packed: bytes) -> list[int]:
    """The inverse of `pack_tape`.

    Raises:
        TapeError: the bytes end in the middle of a decision.
    """
    tape: list[int] = []
    value = shift = 0
    for byte in packed:
        value |= (byte & 0x7F) << shift
        if byte & 0x80:
            shift += 7
        else:
            tape.append(value)
            value = shift = 0
    if shift:
        raise TapeError("the tape ends in the middle of a decision")
    return tape


def _token(scenario: Scenario, options: RunOptions, violations: Sequence[Violation]) -> str:
    if options.interleaver == "free" or options.tape is not None:
        return ""
    return make_token(
        options.strategy,
        options.seed,
        scenario.section_digests,
        options.origin,
        pilot=options.pilot,
        deviations=options.deviations,
        found=signature(violations[0]) if violations else "",
    )


@contextmanager
def interruptible(stop: Callable[[], object]) -> Iterator[None]:
    """Call `stop` on Ctrl-C, which ends what runs at a point of its own choosing; a second one raises."""
    import signal  # only the command line wants it

    previous = signal.getsignal(signal.SIGINT)

    def interrupt(_: int, __: Any) -> None:
        signal.signal(signal.SIGINT, previous)
        stop()

    signal.signal(signal.SIGINT, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)
