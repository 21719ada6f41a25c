"""The interleaver without trio: for exploring, where a run lasts a millisecond and nothing else has to live meanwhile.

Actors never await trio themselves, so the same coroutines can be resumed from a plain function.  Decisions, tape,
virtual time and trace bytes are those of a run as trio tasks; only pauses, cancellation and Ctrl-C between bursts are
not there, for a run is over before anybody could want them.
"""

from __future__ import annotations

from .actor import FINISHED, Actor, Death
from .interleaver import BURST, Interleaver, Outcome
from .operation import START
from .strategies.base import TapeError


class BareInterleaver(Interleaver):
    """Runs actors to the end of a schedule in one call of `run_bare`."""

    def run_bare(self) -> Outcome:
        """Run until the end and return why it ended.

        Raises:
            ExceptionGroup: an actor failed, as from `Interleaver.run`.
            TapeError: a tape does not fit.
        """
        try:
            self._admit_bare()
            self.strategy.begin(self)
            while self.outcome is None:
                self._burst(min(BURST, self.limits.steps_max - self.steps))
                if self.outcome is None and self.steps >= self.limits.steps_max:
                    self.stop(Outcome.STEP_LIMIT)
                if self._newborn:
                    self._admit_bare()
        finally:
            self._unwind()
        failure = self._failed.failure if self._failed is not None else None
        if isinstance(failure, TapeError) or (failure is not None and not isinstance(failure, Exception)):
            raise failure
        if failure is not None:
            raise ExceptionGroup("an actor failed", [failure])
        if self.outcome is None:
            raise AssertionError("the run ended without a reason")
        return self.outcome

    def _admit_bare(self) -> None:
        newborn, self._newborn = self._newborn, []
        for actor in newborn:
            self.actors[actor] = None
            actor.coroutine = coroutine = _live(actor)
            actor.send = coroutine.send
            actor.throw = coroutine.throw
            coroutine.send(None)  # as far as START: from there on it can be unwound
        for actor in newborn:
            self.born(actor)

    def retire(self, actor: Actor) -> None:
        """Forget an actor whose body has ended, for good."""
        super().retire(actor)
        actor.throw = None


async def _live(actor: Actor) -> None:
    try:
        await START
        await actor.body()
    except Death:
        pass
    except GeneratorExit:  # the run was abandoned, not unwound
        raise
    except BaseException as error:
        actor.failure = error
    await FINISHED
