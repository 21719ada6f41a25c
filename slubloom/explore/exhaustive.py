"""Every behaviour of a small configuration: the search that ends with a proof, or says what stopped it."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ..actors import BareInterleaver, Fingerprint, Outcome, RunLimits
from ..actors.strategies import ExhaustiveSearch
from .campaign import Search, Tally
from .subject import Executed, Schedule, innermost, many_schedules

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


class ExhaustiveCampaign(Search):
    """Depth first through all schedules of `subject`, in this process."""

    tally: ExhaustiveTally

    def __init__(
        self, subject: Subject, options: CampaignOptions, *, on_progress: Callable[[Tally], object] | None = None
    ) -> None:
        super().__init__(subject, options, on_progress=on_progress)
        self.tally = ExhaustiveTally()

    def run(self) -> ExhaustiveTally:
        """Search; what was found."""
        self._begun = time.monotonic()
        search = ExhaustiveSearch()
        tally = self.tally
        with many_schedules():
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
                self._note_progress()
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
        if why := self._cut_short():
            tally.why = why
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
