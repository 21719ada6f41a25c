"""What memory offlining does about pages that processors keep to themselves: variants by release.

Up to 5.10 the batches of pages on their way to the lists of movable pages (kernel/lru.py) are drained in the loop that
migrates, and per-CPU page lists where pages are still missing.  From 5.11 (ec6e8c7e0314) the latter are switched off
from before the isolation to after it, under ``pcp_batch_high_lock``, which is the lock that CPU hotplug takes when it
computes their sizes; from 5.13 (d479960e44f2) the batches are switched off too.  Source: catalogue 5.3.

There are no per-CPU page lists here, so of draining them the lock is what there is to see.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from ..machine import Machine


class OfflineDrains(Protocol):
    """Seam: what offline_pages() does at three places."""

    async def before_isolation(self, machine: Machine) -> None:
        """Before the block is isolated."""
        ...

    async def in_loop(self, machine: Machine) -> None:
        """Each time before it looks for pages that can move."""
        ...

    async def afterwards(self, machine: Machine) -> None:
        """When the pages are gone, or it has given up."""
        ...


class DrainInLoop:
    """Up to 5.10."""

    async def before_isolation(self, machine: Machine) -> None:
        """Nothing."""

    async def in_loop(self, machine: Machine) -> None:
        """Get pages that are on their way to the lists there."""
        await machine.lru.lru_add_drain_all()

    async def afterwards(self, machine: Machine) -> None:
        """Nothing."""


class PcpListsOff(DrainInLoop):
    """5.11 and 5.12."""

    async def before_isolation(self, machine: Machine) -> None:
        """Per-CPU page lists off."""
        await machine.pages.zone_pcp_disable()

    async def afterwards(self, machine: Machine) -> None:
        """And on."""
        await machine.pages.zone_pcp_enable()


class PcpListsAndBatchesOff:
    """From 5.13."""

    async def before_isolation(self, machine: Machine) -> None:
        """Per-CPU page lists off, then batches."""
        await machine.pages.zone_pcp_disable()
        await machine.lru.lru_cache_disable()

    async def in_loop(self, machine: Machine) -> None:
        """Nothing: there are no batches."""

    async def afterwards(self, machine: Machine) -> None:
        """Both on again."""
        await machine.lru.lru_cache_enable()
        await machine.pages.zone_pcp_enable()
