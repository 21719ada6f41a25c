"""Bound worker pools: one per processor, running work items in kworker threads of that processor.

Mirrors ``__queue_work()``, ``process_one_work()``, ``worker_thread()``, ``wq_worker_sleeping()`` of
kernel/workqueue.c (6.1). Left out until the workqueue issue: unbound pools, rescuers, colours, delayed work, idle
timeout.

Who meets here: whoever queues an item (`QueueWork`, a message to the pool), the `WorkerPool` actor, which decides
that a worker must wake or be made, and the workers.  A pool keeps one runnable worker while there is work: when the
running one sleeps, the next is woken.

States of an item: idle → pending (on the pool's list) → running → idle; it may be queued again as soon as it runs,
and then is pending and running at once, but never runs twice at the same time: a worker that finds the item running
hands it to that worker.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .actor import Actor
from .mailbox import Mailbox, Message
from .operation import Op, OpKind
from .resource import Access
from .thread import KernelThread

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from .cpu import Cpu
    from .interleaver import Interleaver


class WorkItem:
    """``work_struct``: a function to be run by a worker.  ``function`` gets the item itself."""

    __slots__ = (
        "address",
        "done",
        "flush",
        "function",
        "interleaver",
        "look",
        "name",
        "pending",
        "queue_name",
        "queued",
        "resource",
        "running",
        "set_pending",
        "waiters",
    )

    def __init__(
        self,
        interleaver: Interleaver,
        name: str,
        function: Callable[[WorkItem], Awaitable[None]],
        *,
        address: int = 0,
    ) -> None:
        self.interleaver = interleaver
        self.resource = interleaver.resource(name)
        self.set_pending = Op(OpKind.UPDATE, self.resource)
        self.look = Op(OpKind.READ, self.resource)
        self.flush = Op(OpKind.WAIT, self.resource, admit=self._admit_flush)
        self.name = name
        self.function = function
        self.address = address
        self.queue_name = ""
        self.pending = False
        self.running: KernelWorker | None = None
        self.queued = 0  # instances queued so far
        self.done = 0  # instances finished so far
        self.waiters: list[tuple[int, Actor]] = []

    def _admit_flush(self, actor: Actor) -> None:
        """Whoever flushes waits for the instance queued last so far."""
        if self.done < self.queued:
            self.waiters.append((self.queued, actor))
            actor.block()

    def changes(self) -> None:
        """Declare that the step being made changes the item's state."""
        touch = self.interleaver.touch
        if touch is not None:
            touch(self.resource, Access.WRITE)

    def finished_one(self) -> None:
        """An instance has ended: let those go on who waited for it."""
        self.changes()
        self.done += 1
        due = [actor for instance, actor in self.waiters if instance <= self.done]
        self.waiters = [(instance, actor) for instance, actor in self.waiters if instance > self.done]
        for actor in due:
            actor.unblock()


@dataclass(frozen=True, slots=True)
class QueueWork(Message):
    """Run ``work`` on this pool's processor."""

    work: WorkItem


@dataclass(frozen=True, slots=True)
class WorkerSlept(Message):
    """The running worker has gone to sleep in the middle of an item."""


class WorkerPool(Actor):
    """The pool of one processor; ``make_worker`` makes a kworker thread with the given number in the pool."""

    daemon = True

    __slots__ = ("_make_worker", "cpu", "idle", "mailbox", "workers", "worklist", "worklist_resource")

    def __init__(self, cpu: Cpu, make_worker: Callable[[WorkerPool, int], KernelWorker]) -> None:
        super().__init__(cpu.interleaver, f"pool/{cpu.cpu_id}", cpu_id=cpu.cpu_id)
        self.cpu = cpu
        self.host = cpu.host
        self._make_worker = make_worker
        self.worklist: deque[WorkItem] = deque()
        self.worklist_resource = cpu.interleaver.resource(f"work on {self.name}")
        self.workers: list[KernelWorker] = []
        self.idle: list[KernelWorker] = []
        self.mailbox = Mailbox(self)

    async def body(self) -> None:
        """Take items in and see to it that somebody runs them."""
        while True:
            match await self.mailbox.receive():
                case QueueWork(work):
                    self.worklist.append(work)
                case WorkerSlept():
                    pass
            if self.worklist and not self.nr_running():
                self.wake_one()

    def nr_running(self) -> int:
        """Workers that have or want the processor."""
        return sum(worker.works for worker in self.workers)

    def wake_one(self) -> None:
        """Have one more worker run, an idle one if there is one."""
        if self.idle:
            worker = self.idle.pop()
            worker.works = True
            worker.unblock()
        else:
            worker = self._make_worker(self, len(self.workers))
            worker.works = True
            self.workers.append(worker)
            self.interleaver.spawn(worker)


class KernelWorker(KernelThread):
    """A kworker: runs items of its pool, one after the other, and sleeps when there are none.

    ``works`` is false while it sleeps, between items or in the middle of one.
    """

    daemon = True

    __slots__ = ("_more", "handed_over", "item", "pool", "works")

    def __init__(self, pool: WorkerPool, number: int, *, pid: int) -> None:
        super().__init__(pool.cpu, f"kworker/{pool.cpu.cpu_id}:{number}", pid=pid)
        self.pool = pool
        self.works = False
        self.item: WorkItem | None = None
        self.handed_over: deque[WorkItem] = deque()
        self._more = Op(OpKind.WAIT, pool.worklist_resource, access=Access.WRITE, admit=self._rest)
        self.idle_op = self._more

    def _rest(self, _: Actor) -> None:
        if not self.pool.worklist and not self.handed_over:
            self.pool.idle.append(self)
            self.works = False
            KernelThread.block(self)

    def block(self) -> None:
        """Sleep; the pool may need another worker meanwhile (``wq_worker_sleeping``)."""
        self._out_of_action()
        super().block()

    def block_spinning(self) -> None:
        """Wait for a lock: unless it is a spinlock, this becomes a sleep when its owner sleeps."""
        if not self.preempt_count:
            self._out_of_action()
        super().block_spinning()

    def _out_of_action(self) -> None:
        if self.item is not None and self.works:
            self.works = False
            if self.pool.worklist:
                self.pool.mailbox.post(WorkerSlept())

    def unblock(self) -> None:
        """Wake up (``wq_worker_running``)."""
        if self.item is not None:
            self.works = True
        super().unblock()

    async def body(self) -> None:
        """Run items for ever."""
        while True:
            await self._more
            while self.handed_over or self.pool.worklist:
                await self._process_one()
                if not self.handed_over and self.pool.nr_running() > 1:
                    break

    async def _process_one(self) -> None:
        work = self.handed_over.popleft() if self.handed_over else self.pool.worklist.popleft()
        work.changes()
        if work.running is not None and work.running is not self:
            work.running.handed_over.append(work)  # never in two workers at once
            return
        tracepoints = self.interleaver.tracepoints
        work.running = self
        self.item = work
        work.pending = False  # from here on it may be queued again
        if (fire := tracepoints.workqueue_execute_start.fire) is not None:
            fire(work.address, work.address)
        await work.function(work)
        self.item = None
        work.changes()
        work.running = None
        if (fire := tracepoints.workqueue_execute_end.fire) is not None:
            fire(work.address, work.address)
        work.finished_one()
