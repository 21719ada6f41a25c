"""Delayed work: items that a timer queues.

Mirrors __queue_delayed_work(), delayed_work_timer_fn() and mod_delayed_work_on() of kernel/workqueue.c (6.1).  The
timer belongs to the processor it was set on or for; when it expires the processor is interrupted, and queues the item
in its timer soft interrupt.  From then on until it is queued the item is on its way: nobody can take it back.  The
timers of a processor that is offline expire on the first that is not; those that had expired when it went, and were
not run, are run by who takes it down (`timers_dead_cpu`).
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ...actors import Access, Message

if TYPE_CHECKING:
    from ...actors import Cpu
    from ...actors.work_queue import WorkQueue
    from ...actors.worker_pool import WorkItem
    from .api import Workqueues
    from .queue import Workqueue

TIMER_SOFTIRQ = 1


@dataclass(frozen=True, slots=True)
class TimerExpired(Message):
    """To a processor: queue the item of this timer."""

    timer: WorkTimer


class WorkTimer:
    """``timer_list`` of a delayed item: where it is to be queued when its time has come."""

    __slots__ = ("cpu", "delayed", "home", "queue", "work")

    def __init__(self, delayed: DelayedWork, work: WorkItem, home: int, cpu: int | None, queue: WorkQueue) -> None:
        self.delayed = delayed
        self.work = work
        self.home = home
        self.cpu = cpu
        self.queue = queue

    def unblock(self) -> None:
        """Its time has come: interrupt the processor."""
        work = self.work
        work.changes()
        work.timer = None
        self.delayed.processor(self.home).mailbox.post(TimerExpired(self))


class DelayedWork:
    """Delayed items of one machine."""

    def __init__(self, workqueues: Workqueues) -> None:
        self._workqueues = workqueues
        self._machine = workqueues.machine
        self._expired: dict[int, deque[WorkTimer]] = {number: deque() for number in workqueues.machine.cpus}
        for cpu in workqueues.machine.cpus.values():
            cpu.handlers[TimerExpired] = self._interrupt

    def processor(self, home: int) -> Cpu:
        """Who takes the timers of processor `home`."""
        return self._machine.online_cpu_for(self._machine.cpus[home])

    def _interrupt(self, cpu: Cpu, message: TimerExpired) -> None:
        self._expired[cpu.cpu_id].append(message.timer)
        cpu.raise_softirq(TIMER_SOFTIRQ, self._run_timers)

    async def _run_timers(self, cpu: Cpu) -> None:
        expired = self._expired[cpu.cpu_id]
        while expired:
            timer = expired.popleft()
            await self._workqueues.insert(timer.cpu, timer.queue, timer.work)

    async def timers_dead_cpu(self, cpu: int) -> None:
        """Take over what processor `cpu`, which is gone, has left undone (CPUHP_TIMERS_PREPARE, taking down)."""
        machine = self._machine
        here = machine.this_cpu
        if (touch := machine.interleaver.touch) is not None:
            touch(machine.cpus[cpu].host, Access.WRITE)
        left = self._expired[cpu]
        if left:
            self._expired[here.cpu_id].extend(left)
            left.clear()
            here.raise_softirq(TIMER_SOFTIRQ, self._run_timers)

    async def queue_delayed_work_on(
        self, cpu: int | None, work: WorkItem, delay_ns: int, queue: str | Workqueue | None = None
    ) -> bool:
        """Queue `work` on processor `cpu` (None: this one) after `delay_ns`; false if it is pending already."""
        home = self._queue_of(work, queue)
        await work.set_pending
        if work.pending:
            return False
        work.pending = True
        await self._arm(cpu, home, work, delay_ns)
        return True

    async def mod_delayed_work_on(
        self, cpu: int | None, work: WorkItem, delay_ns: int, queue: str | Workqueue | None = None
    ) -> bool:
        """The same, whatever was arranged before; whether something was."""
        home = self._queue_of(work, queue)
        was_pending = await self._workqueues.cancelling.try_to_grab_pending(work)
        await self._arm(cpu, home, work, delay_ns)
        return was_pending

    async def flush_delayed_work(self, work: WorkItem) -> bool:
        """Queue `work` at once if it waits for its time, then wait until it is over (``flush_delayed_work``)."""
        await work.set_pending
        timer = work.timer
        if isinstance(timer, WorkTimer):
            self._machine.interleaver.cancel_timer(timer)
            work.timer = None
            await self._workqueues.insert(timer.cpu, timer.queue, work)
        return await self._workqueues.flushing.flush_work(work)

    async def _arm(self, cpu: int | None, queue: WorkQueue, work: WorkItem, delay_ns: int) -> None:
        if not delay_ns:
            await self._workqueues.insert(cpu, queue, work)
            return
        interleaver = self._machine.interleaver
        home = self._machine.smp_processor_id() if cpu is None else cpu
        timer = WorkTimer(self, work, home, cpu, queue)
        work.timer = timer
        interleaver.set_timer(interleaver.timer_ns() + delay_ns, timer)
        work.settle()

    def _queue_of(self, work: WorkItem, queue: str | Workqueue | None) -> WorkQueue:
        if queue is None:
            return work.queue
        return self._workqueues.queue(queue) if isinstance(queue, str) else queue
