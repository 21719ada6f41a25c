"""KASAN's quarantine when a processor goes.

Mirrors kasan_cpu_online(), kasan_cpu_offline() and kasan_cpu_quarantine_init() of mm/kasan/quarantine.c (6.1; by memory
from 6c82d45c7f03, v5.11).  Up to 5.10 a processor that goes keeps its list.  Whoever destroys a cache interrupts the
processors that are online, so objects of the cache may remain on that list: SLUB says so when it counts them.

A processor frees what it has in its own callback, and from then on until it is back quarantines nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..slab.quarantine import Quarantine
from .states import CpuhpState

if TYPE_CHECKING:
    from ..slab.cache import KmemCache, Slab
    from ..slab.slub import Slub


class QuarantineOfOnlineCpus(Quarantine):
    """From 5.11."""

    def __init__(self, slub: Slub) -> None:
        super().__init__(slub)
        self._offline: dict[int, bool] = {}  # each processor's own

    async def cpu_quarantine_init(self) -> None:
        """Both ways, on the processor itself."""
        await self._slub.machine.cpu_hotplug.setup_state_nocalls(
            CpuhpState.AP_ONLINE_DYN, "mm/kasan:online", self.kasan_cpu_online, self.kasan_cpu_offline
        )

    async def kasan_cpu_online(self, cpu: int) -> None:
        """The processor may keep objects again."""
        self._offline[cpu] = False

    async def kasan_cpu_offline(self, cpu: int) -> None:
        """The processor frees what it has for good."""
        self._offline[cpu] = True
        await self._free_all(self.of_cpu[cpu].move_all())

    async def put(self, cache: KmemCache, slab: Slab, index: int) -> bool:
        """Keep an object that was freed, unless this processor is about to go; whether it is kept."""
        if self._offline.get(self._slub.machine.smp_processor_id(), False):
            return False
        return await super().put(cache, slab, index)
