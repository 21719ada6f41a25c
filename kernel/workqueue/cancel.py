"""Cancelling work items.

Mirrors try_to_grab_pending(), __cancel_work_timer() and __cancel_work() of kernel/workqueue.c (6.1).  To cancel an item
is to take its pending bit: set it where it is not set, or take the item away from its timer or its pool and keep it.
While somebody else is just queueing it one spins; while somebody else is cancelling it one sleeps.  Whoever holds the
bit so keeps others from queueing the item, waits for the instance that may be running, and gives the bit back.

One difference: who flushes an instance that is cancelled goes on at once, where in the kernel the barrier behind it
still waits for a worker.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ...actors.worker_pool import WorkItem
    from .api import Workqueues


class Cancelling:
    """How to cancel items on one machine."""

    def __init__(self, workqueues: Workqueues) -> None:
        self._workqueues = workqueues
        self._machine = workqueues.machine

    async def cancel_work(self, work: WorkItem) -> bool:
        """Cancel `work` if it is pending, without waiting for an instance that runs; whether it was."""
        was_pending = await self.try_to_grab_pending(work)
        self._give_back(work)
        return was_pending

    async def cancel_work_sync(self, work: WorkItem) -> bool:
        """Cancel `work` and wait until it does not run anywhere; whether it was pending.

        An item that queues itself is over too when this returns, whatever timer or queue it was on.
        """
        was_pending = await self.try_to_grab_pending(work)
        work.canceling = self._machine.running
        await self._workqueues.flushing.wait_for_instance(work, cancelling=True)
        await work.set_pending
        work.canceling = None
        self._give_back(work)
        return was_pending

    async def try_to_grab_pending(self, work: WorkItem) -> bool:
        """Take the pending bit of `work` off whoever has it, as part of the last step; whether it was set."""
        while True:
            await work.grab
            if not work.pending:
                work.pending = True
                return False
            if work.timer is not None:
                self._machine.interleaver.cancel_timer(work.timer)
                work.timer = None
                return True
            if (share := work.pool_queue) is not None:
                share.pool.changes()
                share.pool.remove(work)
                work.release_barriers()
                return True

    @staticmethod
    def _give_back(work: WorkItem) -> None:
        work.pending = False
        work.settle()
