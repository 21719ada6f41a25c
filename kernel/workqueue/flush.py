"""Waiting for work: one item, one workqueue, a workqueue that is to stay empty.

Mirrors __flush_work(), start_flush_work(), __flush_workqueue() and drain_workqueue() of kernel/workqueue.c (6.1).
`flush_work` waits for the instance that is pending, or else the one that is running, and for nothing that is queued
later (the barriers of actors/work_item.py); `flush_workqueue` for all that was queued on the queue (the colours of
actors/work_queue.py).  In a queue of one item at a time, and in one with a rescuer, to wait for an item is to wait for
those before it too: there flushing stands for the queue's lock class beside the item's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...actors import Access
from ...actors.signal import Signal
from ...actors.work_queue import Flusher
from ...actors.worker_pool import Barrier
from ..locks.base import might_sleep
from ..sanitizers.workqueue_report import flush_dependency
from ..stack import kernel_name
from .queue import WQ_LEGACY, WQ_MEM_RECLAIM, Workqueue

if TYPE_CHECKING:
    from ...actors import Actor
    from ...actors.work_queue import WorkQueue
    from ...actors.worker_pool import WorkItem
    from .api import Workqueues

TRIES_FIRST_WARNING = 10
TRIES_BETWEEN_WARNINGS = 100
TRIES_LAST_WARNING = 1000


class FlushDone(Signal):
    """Set when everything is done that a flusher waits for."""

    __slots__ = ("queue",)

    def __init__(self, queue: WorkQueue) -> None:
        super().__init__(queue.interleaver, f"flush of {queue.name}")
        self.queue = queue

    def holders(self) -> list[Actor]:
        """The workers that run items of the queue, for the wait-for graph."""
        return [
            worker
            for pool, share in self.queue.pool_queues.items()
            for worker in pool.busy.values()
            if worker.share is share
        ]


class Flushing:
    """How to wait for work on one machine."""

    def __init__(self, workqueues: Workqueues) -> None:
        self._workqueues = workqueues
        self._machine = workqueues.machine
        self._warned = False  # of a dependency, once

    async def flush_work(self, work: WorkItem) -> bool:
        """Sleep until the instance of `work` that is queued or running now is over; false where there is none."""
        return await self.wait_for_instance(work)

    @kernel_name("__flush_work")
    async def wait_for_instance(self, work: WorkItem, *, cancelling: bool = False) -> bool:
        """`flush_work`, also for who has taken the item's pending bit to cancel it."""
        self._pass_lock_map(work.lock_name, work.address)
        might_sleep(self._machine, "start_flush_work")
        await work.look
        barrier = self._start_flush_work(work, cancelling=cancelling)
        if barrier is None:
            return False
        await barrier.wait
        return True

    def _start_flush_work(self, work: WorkItem, *, cancelling: bool) -> Barrier | None:
        machine = self._machine
        share, worker = work.pool_queue, None
        if share is not None:
            pool = share.pool
        elif work.pool is not None:
            pool = work.pool
            if (touch := machine.interleaver.touch) is not None:
                touch(pool.resource, Access.READ)
            worker = pool.busy.get(work)
            if worker is None or worker.share is None:
                return None
            share = worker.share
        else:
            return None
        pool.changes()
        work.changes()
        queue = share.queue
        self._check_dependency(queue, work)
        barrier = Barrier(machine.interleaver, f"flush of {work.name}", machine.running)
        barrier.worker = worker
        (work.barriers if worker is None else worker.barriers).append(barrier)
        if not cancelling and (queue.max_active == 1 or queue.mem_reclaim):
            self._pass_lock_map(queue.lock_name, queue.lock_address)
        return barrier

    async def flush_workqueue(self, queue: str | Workqueue) -> None:
        """Sleep until every item that is queued on `queue` now is over."""
        if isinstance(queue, str):
            queue = self._workqueues.queue(queue)
        self._pass_lock_map(queue.lock_name, queue.lock_address)
        done = FlushDone(queue)
        flusher = Flusher(done.set)
        async with queue.mutex:
            queue.changes()
            if not queue.start_flush(flusher):
                return
            self._check_dependency(queue, None)
        await done.wait
        if (touch := self._machine.interleaver.touch) is not None:
            touch(queue.resource, Access.READ)
        if queue.first_flusher is not flusher:
            return
        async with queue.mutex:
            queue.changes()
            queue.finish_flush(flusher)

    async def drain_workqueue(self, queue: str | Workqueue) -> None:
        """Flush `queue` until it is empty; meanwhile only its own items may queue more."""
        if isinstance(queue, str):
            queue = self._workqueues.queue(queue)
        async with queue.mutex:
            queue.changes()
            queue.nr_drainers += 1
        tries = 0
        while True:
            await self.flush_workqueue(queue)
            async with queue.mutex:
                queue.changes()
                if not any(share.busy for share in queue.all_shares()):
                    queue.nr_drainers -= 1
                    return
                tries += 1
                if tries == TRIES_FIRST_WARNING or (not tries % TRIES_BETWEEN_WARNINGS and tries <= TRIES_LAST_WARNING):
                    self._machine.printk(
                        "warning",
                        f"workqueue {queue.name}: drain_workqueue() isn't complete after {tries} tries",
                    )

    # --- what flushing stands for

    def _pass_lock_map(self, name: str, address: int) -> None:
        """Take and leave a lock class that nobody waits for: what its holders take must not be held here."""
        points = self._machine.tracepoints
        if (fire := points.lock_acquire.fire) is not None:
            fire(0, name, address)
        if (fire := points.lock_release.fire) is not None:
            fire(name, address)

    def _check_dependency(self, target: WorkQueue, work: WorkItem | None) -> None:
        """Work that memory may depend on must not wait for work that may need memory (``check_flush_dependency``).

        The same of a task with PF_MEMALLOC is left out: nobody is such a task here.
        """
        if target.mem_reclaim or self._warned:
            return
        worker = self._workqueues.current_worker()
        if worker is None or worker.share is None or worker.item is None:
            return
        queue = worker.share.queue
        if isinstance(queue, Workqueue) and queue.flags & (WQ_MEM_RECLAIM | WQ_LEGACY) == WQ_MEM_RECLAIM:
            self._warned = True
            flush_dependency(self._machine, queue, worker.item, target, work)
