"""What cgroups put off: work items on their own queues, and callbacks after a grace period.

The one place where this package meets workqueues and RCU.  The queues ``cgroup_destroy`` and ``memcg_kmem_cache`` run
one item at a time on each processor (``max_active`` 1).  Up to 4.19 a grace period of RCU-sched, which waits for
whoever has merely switched preemption off, is another one than that of RCU.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..rcu import RcuHead

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from ...actors.worker_pool import WorkItem
    from ..machine import Machine

    Job = Callable[[], Awaitable[None]]

CGROUP_DESTROY = "cgroup_destroy"
MEMCG_KMEM_CACHE = "memcg_kmem_cache"
SYSTEM = "events"


class Deferred:
    """The queues of one machine, and its grace periods."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine

    async def queue(self, queue: str, name: str, function: Job) -> None:
        """Have a new item, shown as `name`, run on this processor; any context."""
        await self.queue_on(None, queue, name, function)

    async def queue_on(self, cpu: int | None, queue: str, name: str, function: Job) -> None:
        """Have a new item run on a processor."""

        async def work_fn(_: WorkItem) -> None:
            await function()

        workqueues = self._machine.workqueues
        await workqueues.queue_work_on(cpu, workqueues.make_work(name, work_fn, queue=queue))

    async def flush(self, queue: str) -> None:
        """Sleep until every item queued so far, on any processor, is done (``flush_workqueue``)."""
        await self._machine.workqueues.flush_workqueue(queue)

    async def call_rcu(self, function: Job) -> None:
        """Run `function` in a soft interrupt, after a grace period."""
        await self._machine.rcu.call_rcu(RcuHead(function))

    async def call_rcu_sched(self, function: Job) -> None:
        """The same, where the grace period also waits for sections with preemption off."""
        await self._machine.rcu.call_rcu_sched(RcuHead(function))

    async def synchronize_sched(self) -> None:
        """Sleep until every section with preemption off that has begun is over."""
        await self._machine.rcu.synchronize_sched()

    async def rcu_barrier(self) -> None:
        """Sleep until every callback of either kind queued so far has been run."""
        rcu = self._machine.rcu
        await rcu.rcu_barrier()
        if rcu.sched is not rcu.normal:
            await rcu.rcu_barrier_sched()
