"""The states a processor passes, and the table of what is called at each.

Mirrors enum cpuhp_state of include/linux/cpuhotplug.h (6.1; the numbers are those of 6.1, so are the names in traces
and /sys) and cpuhp_hp_states[], cpuhp_store_callbacks(), cpuhp_reserve_state() of kernel/cpu.c.  States of other
architectures and of subsystems that do not exist here are left out.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Awaitable, Callable
from enum import IntEnum

EINVAL, EBUSY, ENOSPC = 22, 16, 28

Callback = Callable[[int], Awaitable[int | None]]
"""Called with the number of the processor; 0 or None, or a negative errno."""
InstanceCallback = Callable[[int, object], Awaitable[int | None]]
"""The same for a state with instances: called for each of them."""


class CpuhpState(IntEnum):
    """What has something here, and landmarks that others are placed by."""

    INVALID = -1
    OFFLINE = 0
    CREATE_THREADS = 1
    SLUB_DEAD = 11
    MM_WRITEBACK_DEAD = 13
    MM_VMSTAT_DEAD = 15
    SOFTIRQ_DEAD = 16
    MM_MEMCQ_DEAD = 29
    PERCPU_CNT_DEAD = 31
    RADIX_DEAD = 32
    PAGE_ALLOC = 33
    RANDOM_PREPARE = 41
    WORKQUEUE_PREP = 42
    HRTIMERS_PREPARE = 44
    SMPCFD_PREPARE = 47
    RELAY_PREPARE = 48
    SLAB_PREPARE = 49
    RCUTREE_PREP = 51
    TIMERS_PREPARE = 69
    BP_PREPARE_DYN = 71
    BP_PREPARE_DYN_END = 91
    BRINGUP_CPU = 92
    AP_IDLE_DEAD = 93
    AP_OFFLINE = 94
    AP_SCHED_STARTING = 95
    AP_RCUTREE_DYING = 96
    AP_SMPCFD_DYING = 149
    AP_ONLINE = 152
    TEARDOWN_CPU = 153
    AP_ONLINE_IDLE = 154
    AP_SCHED_WAIT_EMPTY = 155
    AP_SMPBOOT_THREADS = 156
    AP_WATCHDOG_ONLINE = 196
    AP_WORKQUEUE_ONLINE = 197
    AP_RANDOM_ONLINE = 198
    AP_RCUTREE_ONLINE = 199
    AP_ONLINE_DYN = 201
    AP_ONLINE_DYN_END = 231
    AP_MM_DEMOTION_ONLINE = 232
    AP_ACTIVE = 235
    ONLINE = 236


DYNAMIC = {
    int(CpuhpState.BP_PREPARE_DYN): int(CpuhpState.BP_PREPARE_DYN_END),
    int(CpuhpState.AP_ONLINE_DYN): int(CpuhpState.AP_ONLINE_DYN_END),
}
"""States that stand for the first free one of a range: the range's end."""

CANT_STOP = (CpuhpState.CREATE_THREADS, CpuhpState.BRINGUP_CPU, CpuhpState.AP_OFFLINE, CpuhpState.TEARDOWN_CPU)
"""States that are passed through, never stayed in."""


def is_ap_state(state: int) -> bool:
    """Whether its callbacks run on the processor concerned (``cpuhp_is_ap_state``)."""
    return state > CpuhpState.BRINGUP_CPU and state != CpuhpState.TEARDOWN_CPU


def is_atomic_state(state: int) -> bool:
    """Whether they run with interrupts off and must not fail (``cpuhp_is_atomic_state``)."""
    return CpuhpState.AP_IDLE_DEAD <= state < CpuhpState.AP_ONLINE


class Step:
    """What is called at one state (``struct cpuhp_step``); ``instances`` is None where the state has none."""

    __slots__ = ("instances", "name", "startup", "startup_instance", "teardown", "teardown_instance")

    def __init__(self, name: str, startup: Callback | None = None, teardown: Callback | None = None) -> None:
        self.name = name
        self.startup = startup
        self.teardown = teardown
        self.instances: list[object] | None = None  # the one added last is first
        self.startup_instance: InstanceCallback | None = None
        self.teardown_instance: InstanceCallback | None = None

    def empty(self, *, bringup: bool) -> bool:
        """Whether there is nothing to call in this direction."""
        if bringup:
            return self.startup is None and self.startup_instance is None
        return self.teardown is None and self.teardown_instance is None


class StateTable:
    """The steps by state; changed under ``cpuhp_state_mutex`` with ``cpu_hotplug_lock`` held."""

    def __init__(self) -> None:
        self.steps: dict[int, Step] = {}
        self._ways: dict[bool, list[int]] = {}  # the states with something to call, upward and downward

    def reserve(self, state: int) -> int:
        """`state`, or the first free one of the range that it stands for; -ENOSPC where there is none left."""
        if state not in DYNAMIC:
            return state
        return next((free for free in range(state, DYNAMIC[state] + 1) if free not in self.steps), -ENOSPC)

    def store(self, state: int, step: Step) -> int:
        """Fill a state that is empty; 0 or -EBUSY."""
        if state in self.steps:
            return -EBUSY
        self.steps[state] = step
        self._ways.clear()
        return 0

    def clear(self, state: int) -> None:
        """Empty a state."""
        self.steps.pop(state, None)
        self._ways.clear()

    def next_state(self, state: int, target: int, *, bringup: bool) -> int | None:
        """The first state with something to call on the way to `target`; None where there is none any more."""
        way = self._ways.get(bringup)
        if way is None:
            way = [number for number, step in self.steps.items() if not step.empty(bringup=bringup)]
            way = self._ways[bringup] = sorted(way)
        if bringup:
            at = bisect_right(way, state)
            return way[at] if at < len(way) and way[at] <= target else None
        at = bisect_right(way, state) - 1
        return way[at] if at >= 0 and way[at] > target else None
