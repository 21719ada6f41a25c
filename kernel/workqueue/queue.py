"""``struct workqueue_struct`` as kernel code sees it: its flags, its mutex, its lock class.

Mirrors alloc_workqueue() and the flags of include/linux/workqueue.h (6.1).  Queues are not frozen here, and those that
save power are per processor, as by default in the kernel.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from ...actors.work_queue import WorkQueue
from ..locks import Mutex

if TYPE_CHECKING:
    from ...actors import Resource
    from ..machine import Machine
    from ..memory import Shadow

WQ_UNBOUND = 1 << 1
WQ_FREEZABLE = 1 << 2
WQ_MEM_RECLAIM = 1 << 3
WQ_HIGHPRI = 1 << 4
WQ_CPU_INTENSIVE = 1 << 5
WQ_SYSFS = 1 << 6
WQ_POWER_EFFICIENT = 1 << 7
WQ_DRAINING = 1 << 16
WQ_ORDERED = 1 << 17
WQ_LEGACY = 1 << 18

FLAGS = {
    "WQ_UNBOUND": WQ_UNBOUND,
    "WQ_FREEZABLE": WQ_FREEZABLE,
    "WQ_MEM_RECLAIM": WQ_MEM_RECLAIM,
    "WQ_HIGHPRI": WQ_HIGHPRI,
    "WQ_CPU_INTENSIVE": WQ_CPU_INTENSIVE,
    "WQ_SYSFS": WQ_SYSFS,
    "WQ_POWER_EFFICIENT": WQ_POWER_EFFICIENT,
    "__WQ_ORDERED": WQ_ORDERED,
    "__WQ_LEGACY": WQ_LEGACY,
}
"""What a topology's ``flags`` may be; what is __WQ_… there follows from how a queue is allocated in the kernel."""

WQ_MAX_ACTIVE = 512
WQ_DFL_ACTIVE = WQ_MAX_ACTIVE // 2
WQ_MAX_UNBOUND_PER_CPU = 4

SYSTEM_QUEUES: dict[str, tuple[int, int]] = {
    "events": (0, 0),
    "events_highpri": (WQ_HIGHPRI, 0),
    "events_long": (0, 0),
    "events_unbound": (WQ_UNBOUND, WQ_MAX_ACTIVE),
    "events_freezable": (WQ_FREEZABLE, 0),
    "events_power_efficient": (WQ_POWER_EFFICIENT, 0),
    "events_freezable_power_efficient": (WQ_FREEZABLE | WQ_POWER_EFFICIENT, 0),
    "rcu_gp": (WQ_MEM_RECLAIM, 0),
    "rcu_par_gp": (WQ_MEM_RECLAIM, 0),
    "slub_flushwq": (WQ_MEM_RECLAIM, 0),
    "kvfree_rcu_reclaim": (WQ_UNBOUND | WQ_MEM_RECLAIM, 0),
    "cgroup_destroy": (0, 1),
    "memcg_kmem_cache": (0, 1),
}
"""Queues that are there from the start, where the release has them: flags, and how many items may run at once."""


def clamp_max_active(max_active: int, flags: int, nr_cpus: int) -> int:
    """How many items may run at once on each pool, where `max_active` was asked for; 0 asks for the default."""
    highest = max(WQ_MAX_ACTIVE, nr_cpus * WQ_MAX_UNBOUND_PER_CPU) if flags & WQ_UNBOUND else WQ_MAX_ACTIVE
    return min(max(max_active or WQ_DFL_ACTIVE, 1), highest)


class Workqueue(WorkQueue):
    """A workqueue; made by `Workqueues.alloc_workqueue`."""

    __slots__ = ("flags", "machine", "mutex", "shadow")

    embedded: ClassVar[tuple[str, ...]] = ("mutex",)

    def __init__(self, machine: Machine, name: str, flags: int, max_active: int) -> None:
        if flags & WQ_UNBOUND and max_active == 1:
            flags |= WQ_ORDERED
        super().__init__(
            machine.interleaver,
            name,
            clamp_max_active(max_active, flags, len(machine.cpus)),
            unbound=bool(flags & WQ_UNBOUND),
            ordered=bool(flags & WQ_ORDERED),
            highpri=bool(flags & WQ_HIGHPRI),
            cpu_intensive=bool(flags & WQ_CPU_INTENSIVE),
            mem_reclaim=bool(flags & WQ_MEM_RECLAIM),
            address=machine.static_address(32),
        )
        self.machine = machine
        self.flags = flags
        self.mutex = Mutex(machine, "&wq->mutex")
        self.shadow: Shadow | None = None
        machine.lock_classes[self.lock_name] = "0:0"

    def resources(self) -> tuple[Resource, ...]:
        """What steps that use it declare."""
        return (self.resource,)

    @property
    def shown_flags(self) -> int:
        """The flags as the kernel's listings have them."""
        return self.flags | (WQ_DRAINING if self.nr_drainers else 0)
