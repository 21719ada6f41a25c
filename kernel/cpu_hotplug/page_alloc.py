"""What the page allocator does when processors come and go: the variants.

Mirrors page_alloc_cpu_online(), page_alloc_cpu_dead(), zone_pcp_update() and page_alloc_init() of mm/page_alloc.c
(6.1; the state and its lock read there, the release in which the first came by memory).

A dead processor's lists of pages are given back; there are none here, so that is nothing.  From 5.14 the size of the
others' lists depends on how many processors a node has, so it is computed anew for every zone that has pages, under
``pcp_batch_high_lock``: both ways, and for each processor that comes while booting.

Lock order: ``cpu_hotplug_lock`` (write) → ``pcp_batch_high_lock``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from .states import CpuhpState

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from ..machine import Machine


class PcpHotplug(Protocol):
    """Seam: what is registered for CPUHP_PAGE_ALLOC."""

    def page_alloc_init(self, machine: Machine) -> Awaitable[int]:
        """Register it."""
        ...


class PcpListsDrained:
    """Up to 5.13: pages of a dead processor go back (``page_alloc_cpu_dead``)."""

    async def page_alloc_init(self, machine: Machine) -> int:
        """Nothing is called when a processor comes."""

        async def page_alloc_cpu_dead(cpu: int) -> None:
            """No lists of pages and no counters of events are here, but pages on their way to a node's list."""
            await machine.lru.lru_add_drain_cpu(cpu)

        return await machine.cpu_hotplug.setup_state_nocalls(
            CpuhpState.PAGE_ALLOC, "mm/page_alloc:dead", None, page_alloc_cpu_dead
        )


class PcpListsResized:
    """From 5.14: the lists of all processors get another size, too."""

    async def page_alloc_init(self, machine: Machine) -> int:
        """Both ways."""

        async def page_alloc_cpu_online(_: int) -> None:
            await _update_populated_zones(machine)

        async def page_alloc_cpu_dead(cpu: int) -> None:
            await machine.lru.lru_add_drain_cpu(cpu)
            await _update_populated_zones(machine)

        return await machine.cpu_hotplug.setup_state_nocalls(
            CpuhpState.PAGE_ALLOC, "mm/page_alloc:pcp", page_alloc_cpu_online, page_alloc_cpu_dead
        )


async def _update_populated_zones(machine: Machine) -> None:
    if machine.booting:
        await zone_pcp_update(machine)  # once for all of them: nobody waits for the lock, and lockdep sees the same
        return
    for number in list(machine.pages.states.memory):
        node = machine.nodes[number]
        await node.read_zones
        for zone in node.zones:
            if zone.managed_pages:
                await zone_pcp_update(machine)


async def zone_pcp_update(machine: Machine) -> None:
    """Compute the sizes of a zone's lists of pages: what nobody allocates from here."""
    async with machine.pages.pcp_batch_high_lock:
        pass
