"""Kworkers and rescuers: the threads that run work items.

Mirrors worker_thread(), process_one_work(), rescuer_thread(), wq_worker_sleeping() and wq_worker_running() of
kernel/workqueue.c (6.1).

A worker is *idle* (on its pool's list, blocked), *preparing* (``PREP``: woken, or about to rest), or it runs items.
Taking an item, running the function's first part, and what its end makes true are each part of the step before or
after: one operation per item is the worker's own.  A worker that takes an item which another worker of its pool runs
already hands it over, so that an item never runs twice at once in one pool.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from .operation import Op, OpKind
from .resource import Access
from .thread import KernelThread

if TYPE_CHECKING:
    from .actor import Actor
    from .work_item import Barrier, WorkItem
    from .work_queue import PoolQueue, WorkQueue
    from .worker_pool import WorkerPool

DIE = 1 << 1
IDLE = 1 << 2
PREP = 1 << 3
CPU_INTENSIVE = 1 << 6
UNBOUND = 1 << 7
REBOUND = 1 << 8
NOT_RUNNING = PREP | CPU_INTENSIVE | UNBOUND | REBOUND
"""Flags of a worker; one of the last does not count in ``nr_running``."""


class KernelWorker(KernelThread):
    """A kworker of one pool.  ``item`` is what it runs, ``share`` that item's queue on this pool."""

    daemon = True

    __slots__ = (
        "_more",
        "_next",
        "barriers",
        "color",
        "flags",
        "item",
        "last_active_ns",
        "pool",
        "scheduled",
        "share",
        "sleeping",
    )

    def __init__(self, pool: WorkerPool, name: str, *, pid: int) -> None:
        super().__init__(pool.places()[0], name, pid=pid)
        self.pool = pool
        self.flags = PREP
        self.sleeping = False
        self.last_active_ns = 0
        self.item: WorkItem | None = None
        self.share: PoolQueue | None = None
        self.color = 0
        self.barriers: list[Barrier] = []  # behind the instance it runs
        self.scheduled: deque[WorkItem] = deque()  # handed over, because it runs them already
        self._more = Op(OpKind.WAIT, pool.resource, access=Access.WRITE, admit=self._rest)
        self._next = Op(OpKind.UPDATE, pool.resource)
        self.idle_op = self._more

    # --- being counted

    def set_flags(self, flags: int) -> None:
        """Set flags; the worker may not count any more."""
        if flags & NOT_RUNNING and not self.flags & NOT_RUNNING:
            self.pool.nr_running -= 1
        self.flags |= flags

    def clear_flags(self, flags: int) -> None:
        """Clear flags; the worker may count again."""
        before = self.flags
        self.flags &= ~flags
        if flags & before & NOT_RUNNING and not self.flags & NOT_RUNNING:
            self.pool.nr_running += 1

    def goes_to_sleep(self) -> None:
        """The pool may need another worker meanwhile (``wq_worker_sleeping``)."""
        if self.flags & NOT_RUNNING or self.sleeping:
            return
        pool = self.pool
        pool.changes()
        self.sleeping = True
        pool.nr_running -= 1
        if pool.need_more_worker():
            pool.wake_up_worker()

    def goes_on(self) -> None:
        """It has its processor again (``wq_worker_running``)."""
        self.pool.changes()
        self.sleeping = False
        if not self.flags & NOT_RUNNING:
            self.pool.nr_running += 1

    def block(self) -> None:
        """Sleep in the middle of an item."""
        self.goes_to_sleep()
        super().block()

    def block_spinning(self) -> None:
        """Wait for a lock: unless it is a spinlock, this becomes a sleep when its owner sleeps."""
        if not self.preempt_count:
            self.goes_to_sleep()
        super().block_spinning()

    def unblock(self) -> None:
        """Become runnable, on the pool's processor or, where it has none, on any of its node."""
        if self.cpu.current is self:
            if self.sleeping:
                self.goes_on()
        else:
            self._choose_processor()
        super().unblock()

    def take_processor(self) -> None:
        """Run, or run again."""
        super().take_processor()
        if self.sleeping:
            self.goes_on()

    def on_finished(self) -> None:
        """End; after an oops in an item the pool goes on without it."""
        super().on_finished()
        if self.item is not None and self.interleaver.outcome is None:
            self.goes_to_sleep()

    # --- where it runs

    def _choose_processor(self) -> None:
        """It has no processor, and is about to be put in the queue of one."""
        pool = self.pool
        if not self.flags & UNBOUND and self.cpu is pool.cpu:
            return
        touch = self.interleaver.touch
        if touch is not None and pool.cpu is not None:
            touch(pool.resource, Access.READ)
        places = pool.places()
        if self.cpu in places:
            places.remove(self.cpu)
            places.insert(0, self.cpu)
        self.move_to(places[self.interleaver.choose("which processor runs a worker", len(places))])

    def find_processor(self) -> None:
        """That is done already, by rules of its own."""

    def push_away(self) -> None:
        """A worker that is bound to the processor stays until its pool is unbound."""
        if self.flags & UNBOUND or self.cpu is not self.pool.cpu:
            self.leave_processor()

    def change_processor(self) -> None:
        """Give the processor up, and go on elsewhere."""
        KernelThread.block(self)
        if self.cpu.current is self:
            self.cpu.put_current()
        self._choose_processor()
        super().unblock()

    def leave_processor(self) -> None:
        """It may not stay on the run queue it waits in; one that has the processor stays until it blocks."""
        if self.blocked or self.cpu.current is self or self not in self.cpu.queue:
            return
        self.interleaver.disable(self)
        self.cpu.queue.remove(self)
        if self.cpu.preempting is self:
            self.cpu.preempting = None
        self._choose_processor()
        super().unblock()

    # --- running items

    def _rest(self, _: Actor) -> None:
        """There is nothing to do: be idle, until there is (a newborn one looks first)."""
        pool = self.pool
        pool.changes()
        if self.flags & DIE:
            return
        if not self.flags & IDLE:
            self.flags |= IDLE
            self.last_active_ns = self.interleaver.now_ns
            pool.idle.append(self)
        if not pool.need_more_worker():
            KernelThread.block(self)
        elif pool.bound and self.cpu is not pool.cpu:
            self.change_processor()

    async def body(self) -> None:
        """Run items until told to die."""
        pool = self.pool
        while True:
            await self._more
            if self.flags & DIE:
                return
            self.flags &= ~IDLE
            pool.idle.remove(self)
            if not pool.need_more_worker():
                continue
            self.clear_flags(PREP | REBOUND)
            work: WorkItem | None = pool.worklist[0]
            while work is not None:
                await self.process_one_work(work)
                if not self._next_item():
                    break
                await self._next
                work = self._next_item()
            self.set_flags(PREP)

    def _next_item(self) -> WorkItem | None:
        if self.scheduled:
            return self.scheduled[0]
        return self.pool.worklist[0] if self.pool.keep_working() else None

    async def process_one_work(self, work: WorkItem) -> None:
        """Take `work`, the first of its list, and run it; or hand it to who runs it already."""
        pool = self.pool
        runner = pool.busy.get(work)
        work.changes()
        pool.take(work)
        if runner is not None:
            work.on = runner.scheduled
            runner.scheduled.append(work)
            return
        share = self._claim(work)
        queue, address = share.queue, work.address
        points = self.interleaver.tracepoints
        if (fire := points.lock_acquire.fire) is not None:
            fire(0, queue.lock_name, queue.lock_address)
            fire(0, work.lock_name, address)
        if (fire := points.workqueue_execute_start.fire) is not None:
            fire(address, address)
        await work.function(work)
        if (fire := points.workqueue_execute_end.fire) is not None:
            fire(address, address)
        if (fire := points.lock_release.fire) is not None:
            fire(work.lock_name, address)
            fire(queue.lock_name, queue.lock_address)
        self._finish(work, share)

    def _claim(self, work: WorkItem) -> PoolQueue:
        """`work` is running from here on, and may be queued again."""
        pool, share = self.pool, work.pool_queue
        if share is None:
            raise AssertionError(f"{work.name} is on no queue")
        pool.busy[work] = self
        self.item, self.share, self.color = work, share, work.color
        self.barriers, work.barriers = work.barriers, []
        for barrier in self.barriers:
            barrier.worker = self
        work.on = None
        work.pool_queue = None
        work.pool = pool
        if share.queue.cpu_intensive:
            self.set_flags(CPU_INTENSIVE)
        if pool.need_more_worker():
            pool.wake_up_worker()
        work.pending = False
        work.settle()
        return share

    def _finish(self, work: WorkItem, share: PoolQueue) -> None:
        """The function is over: count it, and let those go on who wait for it."""
        pool = self.pool
        pool.changes()
        work.changes()
        if share.queue.cpu_intensive:
            self.clear_flags(CPU_INTENSIVE)
        del pool.busy[work]
        self.item = self.share = None
        work.done += 1
        pool.left(share, self.color)
        barriers, self.barriers = self.barriers, []
        for barrier in barriers:
            barrier.set()


class Rescuer(KernelWorker):
    """The thread of one queue that runs its items where no worker can be made; it never counts."""

    __slots__ = ("_called", "queue")

    def __init__(self, queue: WorkQueue, pool: WorkerPool, *, pid: int) -> None:
        super().__init__(pool, queue.name, pid=pid)
        self.queue = queue
        self._called = Op(OpKind.WAIT, queue.resource, access=Access.WRITE, admit=self._wait_for_calls)
        self.idle_op = self._called

    @property
    def at_rest(self) -> bool:
        """Whether it waits to be called."""
        return self.pending is self._called

    def _wait_for_calls(self, _: Actor) -> None:
        self.queue.changes()
        if self.flags & DIE:
            return
        if not self.queue.maydays:
            KernelThread.block(self)
        elif self.cpu not in self.queue.maydays[0].pool.places():
            self.change_processor()

    def _choose_processor(self) -> None:
        """It goes to the pool that called first."""
        if self.queue.maydays and self.at_rest:
            self.pool = self.queue.maydays[0].pool
        places = self.pool.places()
        if self.cpu not in places:
            self.move_to(places[self.interleaver.choose("which processor runs a worker", len(places))])

    async def body(self) -> None:
        """Help the pools that call, one after the other, until told to die."""
        queue = self.queue
        while True:
            await self._called
            if self.flags & DIE and not queue.maydays:
                return
            if not queue.maydays:
                continue
            share = queue.maydays.popleft()
            self.pool = pool = share.pool
            pool.changes()
            share.calls_for_help = False
            mine = [work for work in pool.worklist if work.pool_queue is share]
            for work in mine:
                pool.worklist.remove(work)
                work.on = self.scheduled
            self.scheduled.extend(mine)
            while self.scheduled:
                await self.process_one_work(self.scheduled[0])
                if self.scheduled:
                    await pool.lock
            if share.nr_active and pool.need_to_create_worker():
                pool.send_mayday(share)
            if pool.need_more_worker():
                pool.wake_up_worker()
