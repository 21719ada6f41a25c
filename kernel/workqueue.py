"""Workqueues: queueing work items on a processor's pool, and waiting for them.

Mirrors queue_work_on(), flush_work() of kernel/workqueue.c (6.1) on the bound pools of actors/worker_pool.py.  A
named queue only names the work in traces here; max_active, rescuers and draining come with the workqueue issue.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..actors import Access, WorkerPool
from ..actors.worker_pool import KernelWorker, QueueWork, WorkItem

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from .machine import Machine


class Workqueues:
    """The bound pools of a machine; a pool is made when its processor first gets work."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self.pools: dict[int, WorkerPool] = {}

    def make_work(
        self, name: str, function: Callable[[WorkItem], Awaitable[None]], *, queue: str = "events"
    ) -> WorkItem:
        """A work item of workqueue `queue` (``INIT_WORK``)."""
        work = WorkItem(self._machine.interleaver, name, function, address=self._machine.static_address(32))
        work.queue_name = queue
        return work

    async def queue_work_on(self, cpu: int, work: WorkItem) -> bool:
        """Have `work` run on processor `cpu`; false, and nothing done, where it is pending already."""
        await work.set_pending
        if work.pending:
            return False
        work.pending = True
        work.queued += 1
        machine = self._machine
        if (fire := machine.tracepoints.workqueue_queue_work.fire) is not None:
            fire(work.address, work.address, work.queue_name, cpu, cpu)
        pool = self.pools.get(cpu)
        if (touch := machine.interleaver.touch) is not None:
            touch(machine.cpus[cpu].host, Access.READ if pool is not None else Access.WRITE)
        if pool is None:
            pool = self.pools[cpu] = WorkerPool(machine.cpus[cpu], self._make_worker)
            machine.interleaver.spawn(pool)
        await pool.mailbox.send(QueueWork(work))
        machine.count("work_items")
        return True

    def _make_worker(self, pool: WorkerPool, number: int) -> KernelWorker:
        return KernelWorker(pool, number, pid=self._machine.next_pid())

    async def flush_work(self, work: WorkItem) -> bool:
        """Wait for the instance of `work` that is queued or running now; false where there is none."""
        await work.look
        if not work.pending and work.running is None:
            return False
        await work.flush
        return True
