"""Every behaviour of a small configuration: the search that ends with a proof, or says what stopped it."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ..actors import BareInterleaver, Fingerprint, Outcome, RunLimits
from ..actors.strategies import ExhaustiveSearch
from .campaign import Tally
from .subject import Executed, Schedule, innermost, rare_garbage_collection

if TYPE_CHECKING:
    from collections.abc import Callable

    from .campaign import CampaignOptions
    from .subject import Subject

DFS = "dfs"


@dataclass(slots=True)
class ExhaustiveTally(Tally):
    """How far the search has come.  ``schedules`` were run to their end, ``pruned`` were cut off as known.

    ``tapes`` has the tape of each finding: there is no seed from which to make it again.
    """

    pruned: int = 0
    complete: bool = False
    tapes: dict[str, tuple[int, ...]] = field(default_factory=dict)


class ExhaustiveCampaign:
    """Depth first through all schedules of `subject`, in this process."""

    def __init__(
        self, subject: Subject, options: CampaignOptions, *, on_progress: Callable[[Tally], object] | None = None
    ) -> None:
        self.subject = subject
        self.options = options
        self.tally = ExhaustiveTally()
        self._on_progress = on_progress
        self._stopped = False

    def stop(self) -> None:
        """End after the schedule that runs now."""
        self._stopped = True

    def run(self) -> ExhaustiveTally:
        """Search; what was found."""
        begun = time.monotonic()
        search = ExhaustiveSearch()
        tally = self.tally
        with rare_garbage_collection():
            more = True
            while more and not tally.why:
                executed, tape = self._execute(search)
                pruned = executed.outcome is Outcome.PRUNED
                if pruned:
                    tally.pruned += 1
                else:
                    tally.take_in(executed)
                for key in tally.findings:
                    tally.tapes.setdefault(key, tape)
                more = not executed.failure and search.advance(pruned=pruned)
                tally.seconds = time.monotonic() - begun
                if self._on_progress is not None:
                    self._on_progress(tally)
                self._judge(more)
        return tally

    def _execute(self, search: ExhaustiveSearch) -> tuple[Executed, tuple[int, ...]]:
        interleaver = BareInterleaver(search.strategy(), limits=RunLimits(self.options.steps_max))
        fingerprint = Fingerprint(interleaver)
        interleaver.observe(fingerprint)
        violations = self.subject.begin(interleaver)
        schedule = Schedule(search.completed + search.pruned, DFS, 0)
        try:
            outcome = interleaver.run_bare()
        except Exception as error:  # reported with the tally
            failed = Executed(schedule, Outcome.FAILED, tuple(violations), failure=innermost(error))
            return failed, tuple(interleaver.tape)
        executed = Executed(
            schedule,
            outcome,
            tuple(violations),
            interleaver.steps,
            len(interleaver.tape),
            fingerprint.digest(),
        )
        return executed, tuple(interleaver.tape)

    def _judge(self, more: bool) -> None:
        """Whether to go on, and why not."""
        options, tally = self.options, self.tally
        if self._stopped:
            tally.interrupted = True
            tally.why = "interrupted"
        elif tally.failures:
            tally.why = "slubloom or a patch file failed"
        elif tally.findings and not options.find_all:
            tally.why = "a violation was found"
        elif not more:
            tally.complete = not tally.cut_off
            tally.why = (
                "every schedule was run"
                if tally.complete
                else f"{tally.cut_off:,} schedules came to the bound of {options.steps_max:,} steps (--steps-max)"
            )
        elif options.schedules is not None and tally.schedules + tally.pruned >= options.schedules:
            tally.why = f"the bound of {options.schedules:,} schedules (--schedules) was reached"
        elif options.budget_s is not None and tally.seconds >= options.budget_s:
            tally.why = f"the budget of {options.budget_s:g} s (--budget) is used up"
