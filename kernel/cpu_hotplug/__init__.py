"""CPU hotplug: processors that come and go.

Mirrors kernel/cpu.c (6.1).  Everybody who must not see the set of online processors change holds the read side of
``cpu_hotplug_lock``; a transition holds the write side from beginning to end.
"""

from .api import CpuHotplug

__all__ = ["CpuHotplug"]
