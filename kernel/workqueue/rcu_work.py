"""Work that is queued a grace period after it was asked for (``struct rcu_work``).

Mirrors queue_rcu_work(), rcu_work_rcufn() and flush_rcu_work() of kernel/workqueue.c (6.1).  The item is pending from
the call on: asked for again meanwhile, it is not queued twice.  Flushing one whose grace period is not over waits for
every callback of RCU (``rcu_barrier``), as there is no other way to see the queueing done.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..rcu.head import RcuHead
from ..stack import kernel_name

if TYPE_CHECKING:
    from ...actors.worker_pool import WorkItem
    from .api import Workqueues
    from .queue import Workqueue


class RcuWork:
    """One such item; ``work`` is what runs."""

    __slots__ = ("head", "queue", "work", "workqueues")

    def __init__(self, workqueues: Workqueues, work: WorkItem, queue: str | Workqueue) -> None:
        self.workqueues = workqueues
        self.work = work
        self.queue = workqueues.queue(queue) if isinstance(queue, str) else queue
        self.head = RcuHead(self._queue, work.address, name="rcu_work_rcufn")

    async def _queue(self) -> None:
        await self.workqueues.insert(None, self.queue, self.work)

    @kernel_name("queue_rcu_work")
    async def queue_after_grace_period(self) -> bool:
        """Queue the item once a grace period from now is over; false, and nothing done, if it is pending."""
        await self.work.set_pending
        if self.work.pending:
            return False
        self.work.pending = True
        await self.workqueues.machine.rcu.call_rcu(self.head)
        return True

    @kernel_name("flush_rcu_work")
    async def flush(self) -> bool:
        """Sleep until what was asked for before this has run; whether there was anything to wait for."""
        await self.work.set_pending
        flush_work = self.workqueues.flushing.flush_work
        if self.work.pending:
            await self.workqueues.machine.rcu.rcu_barrier()
            await flush_work(self.work)
            return True
        return await flush_work(self.work)
