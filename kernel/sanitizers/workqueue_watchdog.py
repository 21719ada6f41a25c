"""The stall watchdog, and what an item must not leave behind.

Mirrors wq_watchdog_timer_fn() and the check at the end of process_one_work() of kernel/workqueue.c (6.1).

A pool that has had work for 30 s of virtual time without taking an item is stuck.  The kernel looks every 30 s; here
everybody looks for whom time has passed: when timers expire, and when a worker takes an item at last.  So no timer of
the watchdog's own keeps a machine going in which nothing else can go on: that is a deadlock, reported at once.  Where
steps take no time, only a sleep can make the time pass in which a pool is stuck.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ...actors import Access
from .layout import HARDWARE, call_trace, identity, join
from .lockdep_report import lock_line
from .workqueue_report import NS_PER_S, pool_info, show_all_workqueues

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ...actors import WorkerPool
    from ..machine import Machine
    from ..workqueue import Workqueues
    from .lockdep import Lockdep

THRESHOLD_NS = 30 * NS_PER_S
LOCK_MAPS = 2
"""Lock classes that every item holds: its queue's and its own."""


class WorkqueueWatchdog:
    """Watches the pools of one machine; a pool is reported once in 30 s."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._reported_ns: dict[int, int] = {}

    def time_has_passed(self) -> None:
        """Look at every pool, once as much time has passed as one must have been stuck for."""
        if self._machine.interleaver.now_ns > THRESHOLD_NS:
            workqueues: Workqueues | None = getattr(self._machine, "workqueues", None)
            if workqueues is not None:
                self._look(workqueues.pools.each())

    def taking(self, pool: WorkerPool) -> None:
        """Look at `pool`, a worker of which is about to take an item that has waited."""
        self._look([pool])

    def _look(self, pools: Iterable[WorkerPool]) -> None:
        now_ns = self._machine.interleaver.now_ns
        stuck = [pool for pool in pools if self._is_stuck(self._declare(pool), now_ns)]
        if not stuck:
            return
        stuck.sort(key=lambda pool: pool.pool_id)
        lines = []
        for pool in stuck:
            self._reported_ns[pool.pool_id] = now_ns
            seconds = (now_ns - pool.watchdog_ns) // NS_PER_S
            lines.append(f"BUG: workqueue lockup - pool{pool_info(pool)} stuck for {seconds}s!")
        self._machine.violate("workqueue-stall", lines[0], join([*lines, *show_all_workqueues(self._machine)]))

    @staticmethod
    def _declare(pool: WorkerPool) -> WorkerPool:
        if (touch := pool.interleaver.touch) is not None:
            touch(pool.resource, Access.READ)
        return pool

    def _is_stuck(self, pool: WorkerPool, now_ns: int) -> bool:
        if not pool.worklist or now_ns - pool.watchdog_ns <= THRESHOLD_NS:
            return False
        reported_ns = self._reported_ns.get(pool.pool_id)
        return reported_ns is None or now_ns - reported_ns > THRESHOLD_NS


class LeakedByWork:
    """Told of the end of every item, with what `lockdep` knows of the worker's locks."""

    def __init__(self, machine: Machine, lockdep: Lockdep | None) -> None:
        self._machine = machine
        self._lockdep = lockdep

    def item_ended(self, record: tuple[Any, ...]) -> None:
        """A ``workqueue:workqueue_execute_end`` record: nothing may be held, and preemption must be possible."""
        machine = self._machine
        worker = machine.current
        held = []
        if self._lockdep is not None and (context := self._lockdep.contexts.get(record[3])) is not None:
            held = self._lockdep.held_by(context)[LOCK_MAPS:]
        if not held and not worker.preempt_count:
            return
        current = machine.workqueues.current_worker()
        function = current.item.name if current is not None and current.item is not None else "unknown"
        title = f"BUG: workqueue leaked lock or atomic: {worker.comm}/0x{worker.preempt_count:08x}/{worker.pid}"
        lines = [title, f"     last function: {function}"]
        if held:
            number = len(held)
            lines.append(f"{number} lock{'' if number == 1 else 's'} held by {worker.comm}/{worker.pid}:")
            lines += [f" #{index}: {lock_line(lock)}" for index, lock in enumerate(held)]
        lines += [identity(machine), HARDWARE, *call_trace(machine.stack())]
        machine.violate("kernel-bug", title, join(lines), bug=f"{function} leaked a lock or preemption count")
