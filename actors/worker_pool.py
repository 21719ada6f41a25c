"""Worker pools: bound to a processor or roaming on a node, each running work items in kworker threads.

Mirrors ``struct worker_pool``, __queue_work(), insert_work(), wake_up_worker(), maybe_create_worker(), send_mayday(),
idle_worker_timeout() of kernel/workqueue.c (6.1).

Who meets here: whoever queues, flushes or cancels an item, in a step that declares the pool's ``resource``, which
stands for ``pool->lock``; the pool's workers, which take items off the ``worklist``; and the `WorkerPool` actor, the
pool's manager, which makes a worker when it is told that one is needed (`NeedWorker`).

Concurrency: a worker of a bound pool counts in ``nr_running`` while it runs items and does not sleep.  An item that is
added while nobody counts wakes the worker that went idle last; a counted worker that goes to sleep wakes one if there
is work left; one that ends an item takes the next unless another runs too.  So there is one runnable worker while
there is work.  Workers of unbound pools, and those of a processor that is offline, do not count: every item that is
added, and every worker that takes one and leaves others, wakes one more.

Workers are made when they are needed and none is idle (the kernel keeps a spare one).  Where that fails, the pool
calls the rescuers of the queues that have items waiting: after 10 ms and then every 100 ms, until a worker can be made,
which is tried every second.

* P1  ``busy[work].item is work`` for each, and no item is in two workers of one pool.
* P2  ``nr_running`` is the number of workers without a flag of ``NOT_RUNNING`` and not ``sleeping``; 0 for pools that
  are not bound to a processor that is online.
* P3  An item is on one list at most: ``work.on``.

Lock order of the steps: the item, then the pool, then the queue.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .actor import Actor
from .mailbox import Mailbox, Message
from .operation import Op, OpKind
from .resource import Access
from .work_item import Barrier, WorkItem
from .work_queue import PoolQueue, WorkQueue
from .work_thread import DIE, IDLE, PREP, REBOUND, UNBOUND, KernelWorker, Rescuer

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .cpu import Cpu
    from .interleaver import Interleaver

MANAGER_ACTIVE = 1 << 0
DISASSOCIATED = 1 << 2
"""Flags of a pool: its manager makes a worker; its processor is offline, or it has none."""

IDLE_TIMEOUT_NS = 300_000_000_000
MAYDAY_INITIAL_NS = 10_000_000
MAYDAY_INTERVAL_NS = 100_000_000
CREATE_COOLDOWN_NS = 1_000_000_000
IDLE_MAX_RATIO = 4
IDLE_MIN = 2


@dataclass(frozen=True, slots=True)
class NeedWorker(Message):
    """To a pool: there is work, and no worker for it."""


@dataclass(frozen=True, slots=True)
class PoolMakers:
    """How threads are made: a worker of a pool with the given number, or None where that fails; a queue's rescuer."""

    worker: Callable[[WorkerPool, int], KernelWorker | None]
    rescuer: Callable[[WorkQueue, WorkerPool], Rescuer]


class WorkerPool(Actor):
    """A pool: of one processor where there is a `cpu`, else of several.

    Workers that are not bound run on the processors of the pool's node, or on any of `cpus` where none of those is
    usable (`usable` says which are).
    """

    daemon = True

    __slots__ = (
        "_makers",
        "busy",
        "cpu",
        "cpus",
        "flags",
        "idle",
        "lock",
        "mailbox",
        "nice",
        "node",
        "nr_running",
        "on_take",
        "pool_id",
        "prepared",
        "resource",
        "usable",
        "watchdog_ns",
        "workers",
        "workers_made",
        "worklist",
    )

    def __init__(
        self,
        interleaver: Interleaver,
        pool_id: int,
        makers: PoolMakers,
        *,
        cpus: Sequence[Cpu],
        usable: Callable[[Cpu], bool],
        cpu: Cpu | None = None,
        node: int = -1,
        nice: int = 0,
        prepared: bool = True,
    ) -> None:
        super().__init__(interleaver, f"pool/{pool_id}", cpu_id=-1 if cpu is None else cpu.cpu_id)
        self.pool_id = pool_id
        self._makers = makers
        self.cpu = cpu
        self.cpus = cpus
        self.usable = usable
        self.node = node
        self.nice = nice
        if cpu is not None:
            self.host = cpu.host
        self.prepared = prepared  # may have workers
        self.on_take: Callable[[WorkerPool], object] | None = None  # told that a worker takes an item
        self.resource = interleaver.resource(f"work on {self.name}")
        self.lock = Op(OpKind.UPDATE, self.resource)
        self.mailbox = Mailbox(self)
        # Under the pool's lock.
        self.flags = 0 if cpu is not None and usable(cpu) else DISASSOCIATED
        self.worklist: deque[WorkItem] = deque()
        self.busy: dict[WorkItem, KernelWorker] = {}
        self.workers: list[KernelWorker] = []
        self.idle: list[KernelWorker] = []  # the one that became idle last is last
        self.nr_running = 0
        self.workers_made = 0
        self.watchdog_ns = 0  # when it last got on with its work, or first had some

    def changes(self) -> None:
        """Declare that the step being made changes the pool's state."""
        touch = self.interleaver.touch
        if touch is not None:
            touch(self.resource, Access.WRITE)

    @property
    def bound(self) -> bool:
        """Whether its workers must run on its own processor, one at a time."""
        return not self.flags & DISASSOCIATED

    def places(self) -> list[Cpu]:
        """The processors its workers may run on now."""
        if self.cpu is not None and self.bound:
            return [self.cpu]
        usable = [cpu for cpu in self.cpus if self.usable(cpu)]
        return [cpu for cpu in usable if self.node in (cpu.node, -1)] or usable

    # --- items

    def add(self, work: WorkItem, share: PoolQueue) -> None:
        """Put `work` behind what is queued already; the step declares the item and the pool."""
        work.pool_queue = share
        work.color, active = share.enter()
        work.queued += 1
        if active:
            self.activate(work)
        else:
            work.on = share.inactive
            share.inactive.append(work)
        if active and not self.nr_running:
            self.wake_up_worker()
        work.settle()

    def activate(self, work: WorkItem) -> None:
        """`work` may run."""
        if (fire := self.interleaver.tracepoints.workqueue_activate_work.fire) is not None:
            fire(work.address)
        if not self.worklist:
            self.watchdog_ns = self.interleaver.now_ns
        work.on = self.worklist
        self.worklist.append(work)

    def remove(self, work: WorkItem) -> None:
        """Take a pending item off the list it is on; it has left the pool as if it had run."""
        share = work.pool_queue
        if share is None or work.on is None:
            raise AssertionError(f"{work.name} is on no list")
        active = work.on is not share.inactive
        work.on.remove(work)
        work.on = None
        work.pool_queue = None
        work.pool = self
        self.left(share, work.color, was_active=active)

    def left(self, share: PoolQueue, color: int, *, was_active: bool = True) -> None:
        """An item has ended, or was cancelled: the next one of its queue may run."""
        activated = share.leave(color, was_active=was_active)
        if activated is not None:
            self.activate(activated)

    def take(self, work: WorkItem) -> None:
        """A worker takes `work`, the first of the list it is on."""
        if self.on_take is not None:
            self.on_take(self)
        self.watchdog_ns = self.interleaver.now_ns
        if work.on is not None:
            work.on.popleft()

    # --- who runs them

    def need_more_worker(self) -> bool:
        """Whether there is work, and nobody who will get to it."""
        return bool(self.worklist) and not self.nr_running

    def keep_working(self) -> bool:
        """Whether a worker that has ended an item should take the next one."""
        return bool(self.worklist) and self.nr_running <= 1

    def need_to_create_worker(self) -> bool:
        """Whether there is work, and no worker for it."""
        return self.need_more_worker() and not self.idle

    def wake_up_worker(self) -> None:
        """Have one more worker look for work: the one that became idle last, or a new one."""
        if self.idle:
            worker = self.idle[-1]
            if worker.blocked:
                worker.unblock()
        elif self.prepared and not self.flags & MANAGER_ACTIVE:
            self.flags |= MANAGER_ACTIVE
            self.mailbox.post(NeedWorker())

    async def body(self) -> None:
        """Make workers when they are needed."""
        while True:
            await self.mailbox.receive()
            self.changes()
            if self.need_to_create_worker() and not self.create_worker():
                await self._call_for_help()
            self.flags &= ~MANAGER_ACTIVE

    def create_worker(self) -> bool:
        """Make an idle worker that is about to look for work; false where there is no memory for it."""
        worker = self._makers.worker(self, self.workers_made)
        if worker is None:
            return False
        self.workers_made += 1
        worker.flags |= IDLE | (0 if self.bound else UNBOUND)
        worker.last_active_ns = self.interleaver.now_ns
        self.workers.append(worker)
        self.idle.append(worker)
        self.interleaver.spawn(worker)
        return True

    async def _call_for_help(self) -> None:
        """Try until a worker can be made, or is needed no more, and call the rescuers meanwhile."""
        slept_ns, pause_ns = 0, MAYDAY_INITIAL_NS
        while self.need_to_create_worker():
            await self.sleep(pause_ns)
            slept_ns += pause_ns
            pause_ns = MAYDAY_INTERVAL_NS
            self.changes()
            if not self.need_to_create_worker():
                return
            if slept_ns >= CREATE_COOLDOWN_NS:
                slept_ns = 0
                if self.create_worker():
                    return
            for work in self.worklist:
                self.send_mayday(work.pool_queue)

    def send_mayday(self, share: PoolQueue | None) -> None:
        """Call the rescuer of the queue of `share`, if it may have one."""
        if share is None or not share.queue.mem_reclaim or share.calls_for_help:
            return
        queue = share.queue
        queue.changes()
        share.calls_for_help = True
        queue.maydays.append(share)
        if queue.rescuer is None:
            queue.rescuer = self._makers.rescuer(queue, self)
            self.interleaver.spawn(queue.rescuer)
        elif queue.rescuer.blocked and queue.rescuer.at_rest:
            queue.rescuer.unblock()

    # --- idle workers, and processors that come and go

    def reap_idle(self) -> None:
        """End workers that have been idle for long, where there are many; the step declares the pool."""
        now_ns = self.interleaver.now_ns
        while self._too_many() and now_ns - self.idle[0].last_active_ns >= IDLE_TIMEOUT_NS and self.idle[0].blocked:
            worker = self.idle.pop(0)
            self.workers.remove(worker)
            worker.flags |= DIE
            worker.unblock()

    def _too_many(self) -> bool:
        busy = len(self.workers) - len(self.idle)
        return len(self.idle) > IDLE_MIN and (len(self.idle) - IDLE_MIN) * IDLE_MAX_RATIO >= busy

    def unbind(self) -> None:
        """Its processor goes: workers may run anywhere, and are not counted any more (``unbind_workers``)."""
        self.changes()
        for worker in self.workers:
            worker.flags |= UNBOUND
        self.flags |= DISASSOCIATED
        self.nr_running = 0
        for worker in self.workers:
            worker.leave_processor()
        if self.worklist:
            self.wake_up_worker()

    def rebind(self) -> None:
        """Its processor is back: workers return to it, and count again from their next item on (``rebind_workers``)."""
        self.changes()
        self.prepared = True
        self.flags &= ~DISASSOCIATED
        for worker in self.workers:
            worker.flags = (worker.flags | REBOUND) & ~UNBOUND
            worker.leave_processor()
        if self.need_more_worker():
            self.wake_up_worker()


__all__ = ["PREP", "Barrier", "KernelWorker", "NeedWorker", "PoolMakers", "Rescuer", "WorkItem", "WorkerPool"]
