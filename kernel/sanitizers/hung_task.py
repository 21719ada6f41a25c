"""Hung tasks: a thread that has waited for two minutes without being woken.

Mirrors check_hung_task() and check_hung_uninterruptible_tasks() of kernel/hung_task.c, sched_show_task() of
kernel/sched/core.c (6.1).

The kernel looks every 120 s and reports who has not run since the look before.  Here everybody is looked at when
timers expire, and how long each has waited is known: a thread is told of once it has waited that long.  So no timer of
the watchdog's own keeps a machine going in which nothing else can go on: that is a deadlock, reported at once.  Who
sleeps for a time of its own choosing, rests until there is work, or spins is not hung.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...actors import Access, KernelThread
from ...actors.actor import SLEEP
from ...actors.worker_pool import KernelWorker
from ..stack import stack_of
from .layout import call_trace, join, kernel_ident
from .lockdep_report import show_all_locks

if TYPE_CHECKING:
    from ..machine import Machine
    from .lockdep import Lockdep

NS_PER_S = 1_000_000_000
TIMEOUT_S = 120
"""CONFIG_DEFAULT_HUNG_TASK_TIMEOUT."""
WARNINGS_MAX = 10
"""As many tasks are told of in one run (``hung_task_warnings``)."""


class HungTasks:
    """Watches the threads of one machine; `lockdep` knows what they hold, if it is on."""

    def __init__(self, machine: Machine, lockdep: Lockdep | None) -> None:
        self._machine = machine
        self._lockdep = lockdep
        self._reported: dict[KernelThread, int] = {}  # since when the thread waited that was told of
        self._warnings = WARNINGS_MAX
        self.timeout_ns = TIMEOUT_S * NS_PER_S

    def time_has_passed(self) -> None:
        """Look at every thread, once as much time has passed as one must have waited."""
        now_ns = self._machine.interleaver.now_ns
        if 0 < self.timeout_ns < now_ns and self._warnings:
            hung = [thread for thread in self._waiting() if now_ns - thread.asleep_ns > self.timeout_ns]
            hung = [thread for thread in hung if self._reported.get(thread) != thread.asleep_ns][: self._warnings]
            if hung:
                self._report(hung, now_ns)

    def _waiting(self) -> list[KernelThread]:
        """Threads in state D."""
        interleaver = self._machine.interleaver
        waiting = []
        for actor in interleaver.actors:
            if not isinstance(actor, KernelThread):
                continue
            if interleaver.touch is not None:
                interleaver.touch(actor.host, Access.READ)
            rests = actor.pending is SLEEP or actor.pending is actor.idle_op
            spins = actor.spinning and actor.preempt_count > 0
            if actor.blocked and not rests and not spins:
                waiting.append(actor)
        return waiting

    def _report(self, hung: list[KernelThread], now_ns: int) -> None:
        machine = self._machine
        lines: list[str] = []
        for thread in hung:
            self._reported[thread] = thread.asleep_ns
            self._warnings -= 1
            if (fire := machine.tracepoints.sched_process_hang.fire) is not None:
                fire(thread.comm, thread.pid)
            seconds = (now_ns - thread.asleep_ns) // NS_PER_S
            lines += [
                f"INFO: task {thread.comm}:{thread.pid} blocked for more than {seconds} seconds.",
                f"      {kernel_ident(machine)}",
                '"echo 0 > /proc/sys/kernel/hung_task_timeout_secs" disables this message.',
                f"task:{thread.comm[:15]:<15} state:D stack:{0:<5} pid:{thread.pid:<5} ppid:{2:<6} flags:0x{0:08x}",
            ]
            if isinstance(thread, KernelWorker) and thread.item is not None and thread.share is not None:
                lines.append(f"Workqueue: {thread.share.queue.name} {thread.item.name}")
            lines += call_trace(stack_of(thread))
        lines += show_all_locks(self._lockdep)
        title = f"INFO: task {hung[0].comm}:{hung[0].pid} hung" + (f" and {len(hung) - 1} more" if hung[1:] else "")
        machine.violate("hung-task", title, join(lines))
