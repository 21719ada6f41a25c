"""What changed in RCU from release to release, apart from `barrier.BarrierSection`.

Up to 4.19 a kernel has several flavours: rcu_read_lock() is protected by the default one, preempt-off regions only by
rcu_sched, with a grace-period thread of its own where the default one is preemptible.  With 4.20 and 5.0 the default
flavour waits for both kinds of reader, and call_rcu_sched() became another name of call_rcu() (45975c7d21a1,
a8bb74acd8ef).  rcu_bh is left out: nobody here waits for its grace periods.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Flavours:
    """Which regions a grace period of the default flavour waits for."""

    consolidated: bool

    def waits_preempt_off(self, *, preemptible: bool) -> bool:
        """Whether call_rcu() waits for regions with preemption off."""
        return self.consolidated or not preemptible

    def separate_sched(self, *, preemptible: bool) -> bool:
        """Whether rcu_sched is a flavour of its own."""
        return preemptible and not self.consolidated
