"""The state of free memory as text: /proc/buddyinfo, /proc/zoneinfo, and what a failed allocation prints.

Mirrors frag_show_print(), zoneinfo_show_print(), calculate_normal_threshold() of mm/vmstat.c, and zone_batchsize(),
zone_highsize(), __show_free_areas() of mm/page_alloc.c (6.1), so that tools which read these files can read ours.

A node is read in one step, under no lock: nodes may differ in age within one text, as in the kernel, where each zone is
locked by itself.  What the emulated machine does not have, such as page cache, per-CPU page lists, or counts of who got
pages from which node, is 0; pages that a kernel would keep in per-CPU lists are free blocks here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..actors import Access
from ..actors.buddy import MAX_ORDER
from ..actors.zone import KBYTES_PER_PAGE, WMARK_HIGH, WMARK_LOW, WMARK_MIN

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from ..actors import NumaNode
    from ..actors.zone import Zone
    from .machine import Machine

_NODE_STATS = """
    nr_inactive_anon nr_active_anon nr_inactive_file nr_active_file nr_unevictable
    nr_slab_reclaimable nr_slab_unreclaimable nr_isolated_anon nr_isolated_file
    workingset_nodes workingset_refault_anon workingset_refault_file workingset_activate_anon workingset_activate_file
    workingset_restore_anon workingset_restore_file workingset_nodereclaim
    nr_anon_pages nr_mapped nr_file_pages nr_dirty nr_writeback nr_writeback_temp nr_shmem nr_shmem_hugepages
    nr_shmem_pmdmapped nr_file_hugepages nr_file_pmdmapped nr_anon_transparent_hugepages
    nr_vmscan_write nr_vmscan_immediate_reclaim nr_dirtied nr_written nr_throttled_written nr_kernel_misc_reclaimable
    nr_foll_pin_acquired nr_foll_pin_released nr_kernel_stack nr_page_table_pages nr_sec_page_table_pages
    nr_swapcached pgpromote_success pgpromote_candidate
"""
_ZONE_STATS = """
    nr_free_pages nr_zone_inactive_anon nr_zone_active_anon nr_zone_inactive_file nr_zone_active_file
    nr_zone_unevictable nr_zone_write_pending nr_mlock nr_bounce nr_zspages nr_free_cma
    numa_hit numa_miss numa_foreign numa_interleave numa_local numa_other
"""
NODE_STATS = tuple(_NODE_STATS.split())
"""``enum node_stat_item``, with swap and NUMA balancing."""

ZONE_STATS = tuple(_ZONE_STATS.split())
"""``enum zone_stat_item`` and ``enum numa_stat_item``, with zsmalloc."""

BATCH_PAGES_MAX = 256
THRESHOLD_MAX = 125


def zone_batchsize(managed_pages: int) -> int:
    """How many pages a per-CPU list takes from a zone of this size, or gives back, at a time."""
    batch = max(1, min(managed_pages >> 10, BATCH_PAGES_MAX) // 4)
    batch += batch // 2
    return max(1, (1 << (batch.bit_length() - 1)) - 1)


def zone_highsize(low_watermark: int, batch: int, local_cpus: int, online_cpus: int) -> int:
    """How many pages a per-CPU list may hold: the low watermark, divided among the node's processors, or else all."""
    return max(low_watermark // (local_cpus or online_cpus or 1), batch * 4)


def stat_threshold(managed_pages: int, online_cpus: int) -> int:
    """How far a processor's own counters may run ahead of a zone's (``calculate_normal_threshold``)."""
    return min(THRESHOLD_MAX, 2 * online_cpus.bit_length() * (1 + (managed_pages >> 15).bit_length()))


def node_list(nodes: Iterable[int]) -> str:
    """Node numbers as the kernel prints a mask: ``0-1,4``."""
    runs: list[list[int]] = []
    for node in nodes:
        if runs and runs[-1][1] == node - 1:
            runs[-1][1] = node
        else:
            runs.append([node, node])
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in runs)


async def buddyinfo_text(machine: Machine) -> str:
    """Free blocks by order: a line for each zone that has memory (``/proc/buddyinfo``)."""
    lines = []
    await machine.pages.states.read
    for number in list(machine.pages.states.online):
        node = machine.nodes[number]
        await node.read_zones
        for zone in node.zones:
            if zone.managed_pages:
                counts = "".join(f"{count:6} " for count in zone.buddy.counts())
                lines.append(f"Node {number}, zone {zone.name:>8} {counts}\n")
    return "".join(lines)


async def zoneinfo_text(machine: Machine, node_stats: Callable[[int], Mapping[str, int]] | None = None) -> str:
    """Everything about every zone of every online node (``/proc/zoneinfo``).

    `node_stats` gives the counters of a node by name (`NODE_STATS`), those that are not 0; it is called in the step
    that reads the node's zones, and must declare what else it looks at.
    """
    lines: list[str] = []
    await machine.pages.states.read
    for number in list(machine.pages.states.online):
        node = machine.nodes[number]
        await node.read_zones
        first = next((zone for zone in node.zones if zone.managed_pages), None)
        for zone in node.zones:
            lines.append(f"Node {number}, zone {zone.name:>8}")
            if zone is first:
                stats = node_stats(number) if node_stats is not None else {}
                lines.append("  per-node stats")
                lines += (f"      {name:<12} {stats.get(name, 0)}" for name in NODE_STATS)
            lines += _zone_pages(zone)
            if zone.managed_pages:
                lines += _zone_details(machine, node, zone)
    return "".join(f"{line}\n" for line in lines)


def _zone_pages(zone: Zone) -> list[str]:
    """What is shown of a zone even when it is empty."""
    return [
        f"  pages free     {zone.free_pages}",
        "        boost    0",
        f"        min      {zone.watermarks[WMARK_MIN]}",
        f"        low      {zone.watermarks[WMARK_LOW]}",
        f"        high     {zone.watermarks[WMARK_HIGH]}",
        f"        spanned  {zone.spanned_pages}",
        f"        present  {zone.managed_pages}",
        f"        managed  {zone.managed_pages}",
        "        cma      0",
        f"        protection: ({', '.join(map(str, zone.lowmem_reserve))})",
    ]


def _zone_details(machine: Machine, node: NumaNode, zone: Zone) -> list[str]:
    """Counters, and the per-CPU lists there would be."""
    online = machine.online_cpus()
    batch = zone_batchsize(zone.managed_pages)
    local = sum(cpu.node == node.node for cpu in online)
    high = zone_highsize(zone.watermarks[WMARK_LOW], batch, local, len(online))
    threshold = stat_threshold(zone.managed_pages, len(online))
    lines = [f"      {name:<12} {zone.free_pages if name == 'nr_free_pages' else 0}" for name in ZONE_STATS]
    lines.append("  pagesets")
    for cpu in online:
        lines += [
            f"    cpu: {cpu.cpu_id}",
            "              count: 0",
            f"              high:  {high}",
            f"              batch: {batch}",
            f"  vm stats threshold: {threshold}",
        ]
    return [*lines, "  node_unreclaimable:  0", f"  start_pfn:           {zone.start_pfn}"]


def show_free_areas(machine: Machine, highest_zone: int) -> list[str]:
    """What the kernel log says about memory after a failure: zones up to `highest_zone`, read in this step."""
    zones = []
    for number, node in machine.nodes.items():
        node.touched(Access.READ)
        zones += [(number, zone) for zone in node.zones[: highest_zone + 1] if zone.managed_pages]
    lines = ["Mem-Info:"]
    for number, zone in zones:
        least, low, high = (mark * KBYTES_PER_PAGE for mark in zone.watermarks)
        managed = zone.managed_pages * KBYTES_PER_PAGE
        lines.append(
            f"Node {number} {zone.name} free:{zone.free_pages * KBYTES_PER_PAGE}kB boost:0kB min:{least}kB low:{low}kB "
            f"high:{high}kB present:{managed}kB managed:{managed}kB"
        )
        lines.append(f"lowmem_reserve[]: {' '.join(map(str, zone.lowmem_reserve))}")
    for number, zone in zones:
        counts = zone.buddy.counts()
        blocks = " ".join(f"{counts[order]}*{KBYTES_PER_PAGE << order}kB" for order in range(MAX_ORDER))
        lines.append(f"Node {number} {zone.name}: {blocks} = {zone.free_pages * KBYTES_PER_PAGE}kB")
    return lines
