"""An async test as something to explore: its body is a thread of the machine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..actors import BareInterleaver, Outcome, RunLimits
from ..actors.strategies import Steady, make_strategy
from ..kernel import Violation, boot
from ..kernel.kthread import Kthread
from ..token import Origin, TokenError, make_token, parse_token
from .campaign import Campaign
from .findings import Smallest, record, work_out
from .story import summary
from .subject import STEPS_MAX, Pilot, Schedule, needs_pilot, signature

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence

    from ..actors import Interleaver
    from ..actors.strategies import Strategy
    from ..kernel import Machine
    from ..topology import Scenario
    from .campaign import CampaignOptions, Tally

STORY_LINES_MAX, STORY_LINES_MIN = 30, 4
REPORT_LINES_MAX = 40
ASSERTION = "assertion"


class ScheduleFailedError(AssertionError):
    """A test fails under some schedule; the message is the report."""


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a test fails: the text for the person, the token to see it again, the exception the test raised, if any."""

    text: str
    token: str
    cause: BaseException | None = None

    def exception(self) -> ScheduleFailedError:
        """What to raise."""
        return ScheduleFailedError(self.text)


class AsyncTest:
    """A test function of a machine, with all its other arguments given; `name` is how tokens call it.

    An exception of ``endings`` raised in the test, or in a thread it has started, is none of its failures but ends it
    altogether: a skip, an exit.  Every other exception in any thread is a failure of the schedule.
    """

    def __init__(
        self,
        scenario: Scenario,
        function: Callable[[Machine], Coroutine[Any, Any, None]],
        name: str,
        *,
        endings: tuple[type[BaseException], ...] = (KeyboardInterrupt, SystemExit),
    ) -> None:
        self.scenario = scenario
        self.name = name
        self.raised: BaseException | None = None
        self._ending: BaseException | None = None
        self._endings = endings
        self._function = function

    def begin(self, interleaver: Interleaver) -> Sequence[Violation]:
        """Boot the machine and start the test's thread on its first processor."""
        self.raised = None
        machine = boot(self.scenario, interleaver).machine

        def failed(error: BaseException) -> bool:
            """A thread has ended with an exception."""
            self.raised = error
            if isinstance(error, self._endings):
                self._ending = error
            machine.violations.append(_violation(error, interleaver))
            interleaver.stop(Outcome.STOPPED)
            return True

        interleaver.on_failure = failed
        cpu = machine.online_cpus()[0].cpu_id
        machine.spawn(Kthread(machine, cpu, "test", lambda: self._function(machine)))
        return machine.violations

    def _raise_ending(self) -> None:
        if self._ending is not None:
            raise self._ending

    # --- one schedule

    def run_once(self) -> Failure | None:
        """Run it in the order of the virtual clocks."""
        return self._run(make_strategy("timed", 0), Schedule(0, "timed", 0))

    def is_meant(self, token: str) -> bool:
        """Whether a token is of this test; it may have been made from another folder.

        Raises:
            TokenError: it is no token.
        """
        path = parse_token(token).path
        return path.endswith(self.name) or self.name.endswith(path)

    def replay(self, token: str, *, known: bool = False) -> Failure | None:
        """Run it under the schedule a token names; `known` ones that do not fit the test any more mean nothing.

        Raises:
            TokenError: it is no token, or one of another machine.
        """
        try:
            parsed = parse_token(token)
        except TokenError:
            if known:
                return None
            raise
        digests = self.scenario.section_digests
        changed = [name for name, part in parsed.digests.items() if not digests[name].startswith(part)]
        if known and (changed or parsed.path != self.name):
            return None
        if changed:
            raise TokenError(f"the token was made with another topology: {', '.join(changed)} changed since")
        if parsed.deviations is not None:
            return self._run(Steady(parsed.deviations), None, token)
        schedule = Schedule(0, parsed.strategy, parsed.seed, parsed.pilot)
        return self._run(self._strategy(schedule), schedule, token)

    def _strategy(self, schedule: Schedule) -> Strategy:
        profile = Pilot(self, schedule.pilot).profile if needs_pilot(schedule.strategy) else None
        return make_strategy(schedule.strategy, schedule.seed, profile)

    def _run(self, strategy: Strategy, schedule: Schedule | None, token: str = "") -> Failure | None:
        interleaver = BareInterleaver(strategy, limits=RunLimits(STEPS_MAX))
        violations = self.begin(interleaver)
        outcome = interleaver.run_bare()
        self._raise_ending()
        if outcome is Outcome.STEP_LIMIT and not violations:
            return Failure(f"the test did not end within {STEPS_MAX:,} steps", token)
        if not violations:
            return None
        if schedule is not None:
            token = token or self._token(schedule, signature(violations[0]))
        how = f"fails under strategy {schedule.strategy}, seed {schedule.seed}" if schedule else "fails as recorded"
        return self._failure(violations[0], token, interleaver.tape, how, costed=interleaver.costed)

    # --- many schedules

    def explore(self, options: CampaignOptions) -> Failure | None:
        """Search; the first schedule that fails, if any."""
        tally = self._search(options)
        if tally.cut_off and not tally.findings:
            return self._never_ends(tally)
        for finding in tally.findings.values():
            how = f"fails in schedule {finding.schedule.number + 1} of {tally.schedules} ({finding.schedule.strategy})"
            tape = record(self, finding.schedule)
            token = self._token(finding.schedule, finding.signature)
            return self._failure(finding.violation, token, tape, how)
        return None

    def expect(self, options: CampaignOptions, kind: str) -> Failure | None:
        """Search for a violation of `kind`, which must be there."""
        tally = self._search(options)
        if tally.cut_off and not tally.findings:
            return self._never_ends(tally)
        for finding in tally.findings.values():
            if finding.violation.kind == kind:
                return None
            tape = record(self, finding.schedule)
            token = self._token(finding.schedule, finding.signature)
            return self._failure(finding.violation, token, tape, f"fails, but not with the expected {kind}")
        return Failure(f"no {kind} in {tally.schedules} schedules, but one was expected", "")

    def _search(self, options: CampaignOptions) -> Tally:
        """Run the campaign; a schedule that does not end is enough, the others would not either."""
        campaign = Campaign(self, options, on_progress=lambda tally: campaign.stop() if tally.cut_off else None)
        tally = campaign.run()
        self._raise_ending()
        if tally.failures:
            failed = tally.failures[0]
            raise RuntimeError(f"schedule {failed.schedule.number + 1} could not be run: {failed.failure}")
        return tally

    def _never_ends(self, tally: Tally) -> Failure:
        return Failure(f"schedule {tally.schedules} did not end within {STEPS_MAX:,} steps", "")

    def _token(self, schedule: Schedule, found: str) -> str:
        digests = self.scenario.section_digests
        origin = Origin(self.name)
        return make_token(schedule.strategy, schedule.seed, digests, origin, pilot=schedule.pilot, found=found)

    def _failure(
        self, violation: Violation, token: str, tape: Sequence[int], how: str, *, costed: bool = False
    ) -> Failure:
        cause = self.raised
        smallest = work_out(self, signature(violation), tape, costed=costed)
        lines = [f"{how}: {violation.title}", ""]
        report = violation.report.rstrip("\n").splitlines()
        if report:
            lines += report[:REPORT_LINES_MAX]
            lines += [f"… {len(report) - REPORT_LINES_MAX} lines more", ""] if len(report) > REPORT_LINES_MAX else [""]
        if smallest is not None:
            lines += _story(smallest)
        lines += ["", f"replay: pytest '{self.name}' --slubloom-token '{token}'"]
        return Failure("\n".join(lines), token, cause)


def _story(smallest: Smallest) -> list[str]:
    """The explanation in at most `STORY_LINES_MAX` lines."""
    lines = summary(smallest.explanation)
    if len(lines) > STORY_LINES_MAX:
        rest = len(summary(smallest.explanation, lines_max=STORY_LINES_MIN)) - STORY_LINES_MIN
        lines = summary(smallest.explanation, lines_max=max(STORY_LINES_MAX - rest, STORY_LINES_MIN))
    return lines[:STORY_LINES_MAX]


def _violation(error: BaseException, interleaver: Interleaver) -> Violation:
    """An exception as a finding."""
    first = str(error).partition("\n")[0]
    title = f"{type(error).__name__}: {first}" if first else type(error).__name__
    return Violation(ASSERTION, title, "", interleaver.steps, interleaver.now_ns, _site(error))


def _site(error: BaseException) -> tuple[str, ...]:
    """Where it was raised: the function and the line, as two failures of one test are told apart."""
    traceback = error.__traceback__
    while traceback is not None and traceback.tb_next is not None:
        traceback = traceback.tb_next
    if traceback is None:
        return ()
    return (f"{traceback.tb_frame.f_code.co_name}:{traceback.tb_lineno}",)
