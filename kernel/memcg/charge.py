"""Charging pages to a cgroup, with the limits of all above it.

Mirrors try_charge() and what follows a failure of mm/memcontrol.c (6.1), without its per-processor stock of pages: the
counters are exact.  Whoever may wait has the hierarchy below the full counter reclaimed, and tries again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..gfp import GFP_DIRECT_RECLAIM, GFP_NOFAIL

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from ..machine import Machine
    from .memcg import MemCgroup
    from .page_counter import PageCounter

    Reclaim = Callable[[PageCounter, int, int], Awaitable[int]]
    """Of what is charged to a counter, with these gfp flags, that many pages: how many were reclaimed."""
    Drain = Callable[[MemCgroup], Awaitable[None]]

MAX_RECLAIM_RETRIES = 16


class Charging:
    """Charges of one machine.  ``reclaim`` is None as long as there is nothing that can reclaim for a cgroup."""

    def __init__(self, machine: Machine, drain: Drain | None = None) -> None:
        self._machine = machine
        self._drain = drain
        self.reclaim: Reclaim | None = None

    async def try_charge(self, memcg: MemCgroup, gfp: int, pages: int) -> bool:
        """Charge pages of kernel memory to `memcg` and all above it; false, and nothing charged, where none is left."""
        if memcg.parent is None:
            return True
        drained = False
        for _ in range(1 + MAX_RECLAIM_RETRIES):
            full = await memcg.memory.try_charge(pages)
            if full is None:
                memcg.kmem.add(pages)
                return True
            if not gfp & GFP_DIRECT_RECLAIM:
                break
            reclaimed = 0 if self.reclaim is None else await self.reclaim(full, gfp, pages)
            if reclaimed:
                continue
            if drained or self._drain is None:
                break
            await self._drain(memcg)
            drained = True
        if gfp & GFP_NOFAIL:
            await memcg.memory.charge(pages)
            memcg.kmem.add(pages)
            return True
        self._machine.count("charge_failures")
        return False

    async def uncharge(self, memcg: MemCgroup, pages: int) -> None:
        """Take a charge back, from the root too: it has counted what was charged below it."""
        await memcg.memory.uncharge(pages)
        memcg.kmem.add(-pages)
