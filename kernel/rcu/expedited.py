"""``synchronize_rcu_expedited``: a grace period by force.

Mirrors synchronize_rcu_expedited(), exp_funnel_lock() and rcu_exp_wait_wake() of kernel/rcu/tree_exp.h (6.1).

Steps: take a snapshot of the number; ``exp_mutex``; leave if somebody's grace period has begun and ended since.
A work item starts it and interrupts the processors, waits, ends it under ``exp_wake_mutex`` and wakes everybody who
waits for it or for an earlier one.  So an expedited grace period needs a kworker: whoever holds those up holds it up.

Lock order: ``exp_mutex`` → the work → ``exp_wake_mutex``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ...actors.rcu_expedited import Expedited
from ...actors.rcu_sequence import sequence_done, sequence_snap
from ..locks import Mutex
from ..sanitizers.rcu_usage import TREE_EXP_H, illegal_wait
from .waiting import GracePeriodCompletion

if TYPE_CHECKING:
    from ..machine import Machine
    from .flavour import RcuFlavour
    from .polled import PolledSequence


class ExpeditedRcu:
    """Expedited grace periods of one flavour."""

    def __init__(self, machine: Machine, flavour: RcuFlavour, polled: PolledSequence) -> None:
        self._machine = machine
        self._polled = polled
        self.state = Expedited(flavour.domain)
        self.exp_mutex = Mutex(machine, "rcu_state.exp_mutex")
        self.wake_mutex = Mutex(machine, "rcu_state.exp_wake_mutex")
        self._readers_done = GracePeriodCompletion(machine, "rcu_state.expedited_wq", self.state.blockers)
        self._waiting: dict[int, GracePeriodCompletion] = {}
        self.state.on_complete = self._complete

    def _complete(self) -> None:
        if not self._readers_done.done:
            self._readers_done.complete_all()

    async def synchronize_rcu_expedited(self) -> None:
        """Sleep until every reader that has begun is over, and make the processors hurry."""
        machine = self._machine
        if machine.rcu.readers_held():
            illegal_wait(machine, "synchronize_rcu_expedited", TREE_EXP_H)
        self.state.domain.changes()
        wanted = sequence_snap(self.state.sequence)
        self.state.trace(wanted, "snap")
        async with self.exp_mutex:
            self.state.domain.changes()
            if sequence_done(self.state.sequence, wanted):
                self.state.trace(wanted, "done")
                return
            finished = GracePeriodCompletion(machine, "rnp->exp_wq", self.state.blockers)

            async def run(_: Any) -> None:
                await self.wait_rcu_exp_gp()
                finished.complete_all()

            work = machine.workqueues.make_work("(work_completion)(&rew.rew_work)", run, queue="rcu_gp")
            await machine.workqueues.queue_work_on(machine.smp_processor_id(), work)
            await finished.wait()
        machine.count("rcu_expedited_grace_periods")

    async def wait_rcu_exp_gp(self) -> None:
        """The work: one grace period from start to end."""
        self._readers_done.done = 0
        snap = self._polled.start()
        self.state.start()
        await self._readers_done.wait()
        async with self.wake_mutex:
            self.state.end()
            self._polled.end(snap)
