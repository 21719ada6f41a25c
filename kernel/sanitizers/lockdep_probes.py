"""Which records lockdep listens to: one table for a machine that runs and for a recorded trace."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from .lockdep import Lockdep, Record


def lockdep_probes(lockdep: Lockdep) -> dict[str, Callable[[Record], None]]:
    """The probe of `lockdep` for each event, by the event's full name."""
    return {
        "lock:lock_acquire": lockdep.acquire,
        "lock:lock_release": lockdep.release,
        "lock:lock_nest": lockdep.nest,
        "irq:irq_handler_entry": lockdep.irq_entry,
        "irq:irq_handler_exit": lockdep.irq_exit,
        "irq:softirq_entry": lockdep.softirq_entry,
        "irq:softirq_exit": lockdep.softirq_exit,
        "irq:softirq_disable": lockdep.softirq_disable,
        "irq:softirq_enable": lockdep.softirq_enable,
        "preemptirq:irq_disable": lockdep.irq_disable,
        "preemptirq:irq_enable": lockdep.irq_enable,
        "preemptirq:preempt_disable": lockdep.preempt_disable,
        "preemptirq:preempt_enable": lockdep.preempt_enable,
        "raw_syscalls:sys_exit": lockdep.to_user_space,
        "pointer:structure_free": lockdep.freed,
        "sched:might_sleep": lockdep.might_sleep,
        "sched:sched_process_exit": lockdep.task_ends,
        "violation:violation_report": lockdep.reported,
    }
