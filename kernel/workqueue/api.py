"""The workqueue API: workqueues by name, work items, queueing.

Mirrors alloc_workqueue(), destroy_workqueue(), queue_work_on() and __queue_work() of kernel/workqueue.c (6.1) on the
pools of actors/worker_pool.py, where the states of an item and of a pool are told; flushing, cancelling, delayed work
and hotplug have files of their own.  Lock order: ``wq_pool_mutex`` → ``wq_pool_attach_mutex``; ``wq_pool_mutex`` →
``wq->mutex``; below all of them the step that declares the item, the pool and the queue.

Queueing takes two steps with interrupts off: setting the pending bit, and the pool's lock.  In between the item is
pending, but on no pool: a flush finds it idle, and who wants to cancel it spins.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from ...actors import Access, Actor
from ...actors.work_thread import DIE, KernelWorker
from ...actors.worker_pool import WorkItem
from ..locks import Mutex
from ..memory import Structure, allocated, free_structure
from ..rcu import RcuHead
from ..sanitizers.workqueue_report import queued_while_draining, still_busy
from ..stack import kernel_name, show_as
from .cancel import Cancelling
from .delayed import DelayedWork
from .flush import Flushing
from .hotplug import Hotplug
from .pools import Pools
from .queue import SYSTEM_QUEUES, Workqueue

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from ...actors import WorkerPool
    from ...actors.work_queue import WorkQueue
    from ..machine import Machine

show_as(KernelWorker.process_one_work, "process_one_work")
show_as(KernelWorker.body, "worker_thread")


class Workqueues:
    """The workqueues and pools of a machine."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.pools = Pools(machine)
        self.pool_mutex = Mutex(machine, "wq_pool_mutex")
        self.attach_mutex = Mutex(machine, "wq_pool_attach_mutex")
        self._registry = machine.interleaver.resource("workqueues")
        self.queues: dict[str, Workqueue] = {}
        self.system = self.make_queue("events")
        self.flushing = Flushing(self)
        self.cancelling = Cancelling(self)
        self.delayed = DelayedWork(self)
        self.hotplug = Hotplug(self)
        # What others wait with, under the kernel's names.
        self.flush_work = self.flushing.flush_work
        self.flush_workqueue = self.flushing.flush_workqueue
        self.drain_workqueue = self.flushing.drain_workqueue
        self.flush_delayed_work = self.delayed.flush_delayed_work
        self.queue_delayed_work_on = self.delayed.queue_delayed_work_on
        self.mod_delayed_work_on = self.delayed.mod_delayed_work_on
        self.cancel_work = self.cancelling.cancel_work
        self.cancel_work_sync = self.cancelling.cancel_work_sync
        self.cancel_delayed_work = self.cancelling.cancel_work
        self.cancel_delayed_work_sync = self.cancelling.cancel_work_sync
        self.workqueue_prepare_cpu = self.hotplug.workqueue_prepare_cpu
        self.workqueue_online_cpu = self.hotplug.workqueue_online_cpu
        self.workqueue_offline_cpu = self.hotplug.workqueue_offline_cpu

    # --- workqueues

    def queue(self, name: str) -> Workqueue:
        """The workqueue called `name`; those of the system are made on first use.

        Raises:
            KeyError: there is none of that name.
        """
        queue = self.queues.get(name)
        if queue is None:
            queue = self.make_queue(name, *SYSTEM_QUEUES[name])
        elif (touch := self.machine.interleaver.touch) is not None:
            touch(self._registry, Access.READ)
        return queue

    def make_queue(self, name: str, flags: int = 0, max_active: int = 0) -> Workqueue:
        """`alloc_workqueue` as part of the step being made: for booting, and what is there from then on."""
        if (touch := self.machine.interleaver.touch) is not None:
            touch(self._registry, Access.WRITE)
        queue = self.queues[name] = Workqueue(self.machine, name, flags, max_active)
        if isinstance(self.machine.running, Actor):  # not before the first step
            structure = cast("Structure", queue)
            allocated(self.machine, structure, "struct workqueue_struct", "kmalloc-512", queue.lock_address, 32)
        return queue

    async def alloc_workqueue(self, name: str, flags: int = 0, max_active: int = 0) -> Workqueue:
        """Make a workqueue; `flags` are those of `queue`, `max_active` 0 asks for the default.

        Raises:
            ValueError: there is one of that name.
        """
        async with self.pool_mutex:
            if name in self.queues:
                raise ValueError(f"there is a workqueue {name!r} already")
            return self.make_queue(name, flags, max_active)

    async def destroy_workqueue(self, queue: Workqueue) -> None:
        """Run what is queued, then give the queue back; it is still there, and warned of, if it is busy after that."""
        machine = self.machine
        await self.drain_workqueue(queue)
        async with self.pool_mutex:
            async with queue.mutex:
                busy = [share for share in queue.all_shares() if share.busy or any(share.in_flight)]
                if busy:
                    still_busy(machine, queue, busy)
                    return
            queue.changes()
            if (rescuer := queue.rescuer) is not None:
                rescuer.flags |= DIE
                if rescuer.blocked and rescuer.at_rest:
                    rescuer.unblock()
            if (touch := machine.interleaver.touch) is not None:
                touch(self._registry, Access.WRITE)
            self.queues.pop(queue.name, None)

        def rcu_free_wq() -> None:
            free_structure(cast("Structure", queue))

        await machine.rcu.call_rcu(RcuHead(rcu_free_wq, queue.lock_address))

    # --- items

    def make_work(
        self,
        name: str,
        function: Callable[[WorkItem], Awaitable[None]],
        *,
        queue: str | Workqueue = "events",
        lock_name: str = "",
    ) -> WorkItem:
        """A work item that runs `function`, called `name` in stacks (``INIT_WORK``, ``INIT_DELAYED_WORK``).

        It goes to `queue` unless another is named.  `lock_name` is its lock class, made from `name` by default.
        """
        machine = self.machine
        home = self._named(queue)
        address = machine.static_address(32)
        work = WorkItem(machine.interleaver, name, function, home, address=address, lock_name=lock_name)
        machine.lock_classes[work.lock_name] = "0:0"
        return work

    def queue_work(self, queue: str | Workqueue, work: WorkItem) -> Awaitable[bool]:
        """Have `work` run by `queue`, on this processor if it is bound (``queue_work``)."""
        return self.queue_work_on(None, work, queue)

    def schedule_work(self, work: WorkItem) -> Awaitable[bool]:
        """`queue_work` on the queue called events."""
        return self.queue_work_on(None, work, self.system)

    async def queue_work_on(self, cpu: int | None, work: WorkItem, queue: str | Workqueue | None = None) -> bool:
        """Have `work` run on processor `cpu` (None: this one), or near it; false, and nothing done, if it is pending.

        The caller must see to it that the processor stays online; where it is not, the item runs on any other.
        """
        home = work.queue if queue is None else self._named(queue)
        await work.set_pending
        if work.pending:
            return False
        work.pending = True
        await self.insert(cpu, home, work)
        return True

    def schedule_delayed_work(self, work: WorkItem, delay_ns: int) -> Awaitable[bool]:
        """`queue_delayed_work` on the queue called events."""
        return self.queue_delayed_work_on(None, work, delay_ns, self.system)

    def queue_delayed_work(self, queue: str | Workqueue, work: WorkItem, delay_ns: int) -> Awaitable[bool]:
        """Queue `work` after `delay_ns` (``queue_delayed_work``)."""
        return self.queue_delayed_work_on(None, work, delay_ns, queue)

    def mod_delayed_work(self, queue: str | Workqueue, work: WorkItem, delay_ns: int) -> Awaitable[bool]:
        """Queue `work` after `delay_ns` from now, whatever was arranged before; whether something was."""
        return self.mod_delayed_work_on(None, work, delay_ns, queue)

    @kernel_name("__queue_work")
    async def insert(self, cpu: int | None, queue: WorkQueue, work: WorkItem) -> None:
        """Put `work`, whose pending bit the caller has set, on a pool."""
        machine = self.machine
        near = machine.smp_processor_id() if cpu is None else cpu
        machine.local_irq_disable()
        pool = self.pools.of(queue, near)
        await pool.lock
        if (touch := machine.interleaver.touch) is not None:
            touch(queue.resource, Access.READ)
        if queue.nr_drainers and not self.is_chained_work(queue):
            queued_while_draining(machine, queue, work)  # and pending for ever
        else:
            work.changes()
            pool = self._where_it_runs(work, queue) or pool
            if (fire := machine.tracepoints.workqueue_queue_work.fire) is not None:
                fire(work.address, work.address, queue.name, -1 if cpu is None else cpu, near)
            pool.add(work, queue.on(pool))
            machine.count("work_items")
        machine.local_irq_enable()

    @staticmethod
    def _where_it_runs(work: WorkItem, queue: WorkQueue) -> WorkerPool | None:
        """The pool where `work` runs for this very queue: it must wait there, or it would run twice at once."""
        pool = work.pool
        if pool is None:
            return None
        pool.changes()
        runner = pool.busy.get(work)
        return pool if runner is not None and runner.share is not None and runner.share.queue is queue else None

    def current_worker(self) -> KernelWorker | None:
        """The worker whose item the running context is in."""
        running = self.machine.running
        return running if isinstance(running, KernelWorker) and running.item is not None else None

    def is_chained_work(self, queue: WorkQueue) -> bool:
        """Whether the running context is an item of `queue` itself."""
        worker = self.current_worker()
        return worker is not None and worker.share is not None and worker.share.queue is queue

    def _named(self, queue: str | Workqueue) -> Workqueue:
        return self.queue(queue) if isinstance(queue, str) else queue
