"""Memory hotplug: memory that comes and goes.

Mirrors mm/memory_hotplug.c and drivers/base/memory.c (5.10 to 6.1).
"""

from .api import HotplugSection, LockMemoryHotplug, MemHotplugBegin, MemoryHotplug, NodeWatch

__all__ = ["HotplugSection", "LockMemoryHotplug", "MemHotplugBegin", "MemoryHotplug", "NodeWatch"]
