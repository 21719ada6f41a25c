"""What cgroups put off: work items on their own queues, and callbacks after a grace period.

The one place where this package meets workqueues and RCU.  Both queues, ``cgroup_destroy`` and ``memcg_kmem_cache``,
run one item at a time on each processor (``max_active`` 1): an item is handed to the processor's pool when the one
before it is done.  Grace periods are those of RCU-sched up to 4.19, which also wait for whoever has merely switched
preemption off.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from ...actors import Op, OpKind
from ..locks import Completion
from ..rcu import RcuHead

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from ...actors.worker_pool import WorkItem
    from ..machine import Machine

    Job = Callable[[], Awaitable[None]]


class Queue:
    """A named workqueue of bound workers; with `serial` one item at a time on each processor.

    ``waiting`` holds, for each processor, the items that are not the pool's yet; the head is, where there is one.
    """

    def __init__(self, machine: Machine, name: str, *, serial: bool) -> None:
        self._machine = machine
        self.name = name
        self._serial = serial
        self._change = Op(OpKind.UPDATE, machine.interleaver.resource(name))
        self.waiting: dict[int, deque[WorkItem]] = {}

    async def queue(self, name: str, function: Job) -> None:
        """Have a new item, shown as `name`, run on this processor; any context."""
        await self._queue_on(self._machine.smp_processor_id(), name, function)

    async def _queue_on(self, cpu: int, name: str, function: Job) -> None:
        workqueues = self._machine.workqueues
        if not self._serial:

            async def run(_: WorkItem) -> None:
                await function()

            await workqueues.queue_work_on(cpu, workqueues.make_work(name, run, queue=self.name))
            return

        async def run_and_hand_on(_: WorkItem) -> None:
            await function()
            await self._change
            waiting.popleft()
            if waiting:
                await workqueues.queue_work_on(cpu, waiting[0])

        work = workqueues.make_work(name, run_and_hand_on, queue=self.name)
        await self._change
        waiting = self.waiting.setdefault(cpu, deque())
        waiting.append(work)
        if len(waiting) == 1:
            await workqueues.queue_work_on(cpu, work)

    async def flush(self) -> None:
        """Sleep until every item queued so far, on any processor, is done (``flush_workqueue``)."""
        await self._change
        barriers: list[Completion] = []
        for cpu in [cpu for cpu, waiting in self.waiting.items() if waiting]:
            done = Completion(self._machine, f"flush of {self.name}")
            barriers.append(done)
            await self._queue_on(cpu, "wq_barrier_func", _completing(done))
        for done in barriers:
            await done.wait()


def _completing(done: Completion) -> Job:
    async def wq_barrier_func() -> None:
        done.complete_now()

    return wq_barrier_func


class Deferred:
    """The queues of one machine, and its grace periods."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self.cgroup_destroy = Queue(machine, "cgroup_destroy", serial=True)
        self.memcg_kmem_cache = Queue(machine, "memcg_kmem_cache", serial=True)
        self.system = Queue(machine, "events", serial=False)

    async def call_rcu(self, function: Job) -> None:
        """Run `function` in a soft interrupt, after a grace period."""
        await self._machine.rcu.call_rcu(RcuHead(function))

    async def call_rcu_sched(self, function: Job) -> None:
        """The same, where the grace period also waits for sections with preemption off."""
        await self._machine.rcu.call_rcu(RcuHead(function))

    async def synchronize_sched(self) -> None:
        """Sleep until every section with preemption off that has begun is over."""
        await self._machine.rcu.synchronize_rcu()

    async def rcu_barrier(self) -> None:
        """Sleep until every callback queued so far has been run."""
        await self._machine.rcu.rcu_barrier()
