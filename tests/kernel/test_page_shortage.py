"""What the page allocator does when pages run short: watermarks, kswapd, reclaim, and the report of a failure."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest
from slubloom.actors import Interleaver
from slubloom.actors.strategies import Timed
from slubloom.actors.zone import ZONE_NORMAL
from slubloom.kernel.gfp import (
    GFP_DIRECT_RECLAIM,
    GFP_DMA,
    GFP_KERNEL,
    GFP_KSWAPD_RECLAIM,
    GFP_NOFAIL,
    GFP_NORETRY,
    GFP_NOWAIT,
    GFP_NOWARN,
    GFP_RETRY_MAYFAIL,
)
from slubloom.kernel.pages import GFP_ATOMIC

from .test_pages import GIB4, MIB, machine_of, told, use_up

if TYPE_CHECKING:
    from slubloom.kernel.machine import Machine


def small(*, left: int, **options: Any) -> Machine:
    """One node with one zone of 64 MiB, of which `left` pages are free; watermarks 256, 320, 384."""
    machine = machine_of((GIB4, 64 * MIB), **options)
    assert machine.nodes[0].zones[ZONE_NORMAL].watermarks == (256, 320, 384)
    use_up(machine, 0, left)
    return machine


@pytest.mark.parametrize(
    ("gfp", "left"),
    [
        (GFP_KERNEL, 256),
        (GFP_NOWAIT, 256),
        (GFP_KERNEL & ~GFP_KSWAPD_RECLAIM, 256),
        (GFP_ATOMIC, 96),  # a half, less a quarter of that
        (GFP_ATOMIC | GFP_DIRECT_RECLAIM, 128),  # who may wait is not atomic: a half
    ],
)
def test_how_far_memory_may_be_emptied_depends_on_what_the_caller_may_do(gfp: int, left: int) -> None:
    machine = small(left=330)

    async def body(machine: Machine) -> None:
        while await machine.pages.alloc_pages_node(0, gfp | GFP_NOWARN, 0):
            pass

    told(machine, body)
    assert machine.nodes[0].free_pages == left


def test_a_large_block_is_refused_while_there_is_none_though_enough_pages_are_free() -> None:
    machine = machine_of((GIB4, 64 * MIB))
    taken = use_up(machine, 0, 0)
    zone = machine.nodes[0].zones[ZONE_NORMAL]
    for pfn in taken[::2]:
        zone.buddy.free(pfn)

    async def body(machine: Machine) -> None:
        assert machine.nodes[0].free_pages == 8192
        assert await machine.pages.alloc_pages_node(0, GFP_KERNEL | GFP_NOWARN, 1) is None
        assert await machine.pages.alloc_pages_node(0, GFP_KERNEL, 0) is not None
        zone.buddy.free(taken[1])
        assert await machine.pages.alloc_pages_node(0, GFP_KERNEL, 1) is not None

    told(machine, body)


def test_kswapd_is_woken_below_the_low_watermark_on_every_node_that_is_short() -> None:
    machine = machine_of((GIB4, 64 * MIB), (GIB4 + 64 * MIB, 64 * MIB), (GIB4 + 128 * MIB, 64 * MIB))
    # 192 MiB keep 1773 kB free, 443 pages, a third of which is 147: low is 183.
    for node in range(3):
        assert machine.nodes[node].zones[ZONE_NORMAL].watermarks == (147, 183, 219)
        use_up(machine, node, 184)
    woken: list[Any] = []
    machine.tracepoints.mm_vmscan_wakeup_kswapd.attach(woken.append)
    heard: list[Any] = []
    machine.pages.kswapd.append(lambda *args: heard.append(args))

    async def body(machine: Machine) -> None:
        for _ in range(3):
            assert await machine.pages.alloc_pages_node(1, GFP_KERNEL, 0)
        assert woken == []
        assert await machine.pages.alloc_pages_node(1, GFP_KERNEL, 0)
        assert await machine.pages.alloc_pages_node(1, GFP_ATOMIC & ~GFP_KSWAPD_RECLAIM, 0)

    told(machine, body)
    assert [record[5:] for record in woken] == [(node, ZONE_NORMAL, 0, GFP_KERNEL) for node in (1, 2, 0)]
    assert heard == [(node, 0, ZONE_NORMAL) for node in (1, 2, 0)]
    assert machine.counters["kswapd_wakeups"] == 3


def reclaimer(machine: Machine, taken: list[int], pages: int) -> list[tuple[int, int, list[int]]]:
    """Register one that gives back `pages` of `taken` each time; the calls it got."""
    calls: list[tuple[int, int, list[int]]] = []

    async def reclaim(gfp: int, order: int, nodes: list[int]) -> int:
        calls.append((gfp, order, nodes))
        freed = 0
        while taken and freed < pages:
            await machine.pages.free_pages(0, taken.pop(), 0)
            freed += 1
        return freed

    machine.pages.reclaimers.append(reclaim)
    return calls


def test_who_may_wait_reclaims_and_tries_again() -> None:
    machine = machine_of((GIB4, 64 * MIB))
    calls = reclaimer(machine, use_up(machine, 0, 256), 32)

    async def body(machine: Machine) -> None:
        assert await machine.pages.alloc_pages_node(0, GFP_KERNEL, 0)

    told(machine, body)
    assert calls == [(GFP_KERNEL, 0, [0])]
    assert machine.nodes[0].free_pages == 256 + 32 - 1


def test_who_must_not_wait_does_not_reclaim() -> None:
    machine = machine_of((GIB4, 64 * MIB))
    calls = reclaimer(machine, use_up(machine, 0, 90), 32)

    async def body(machine: Machine) -> None:
        for gfp in (GFP_ATOMIC, GFP_NOWAIT):
            assert await machine.pages.alloc_pages_node(0, gfp | GFP_NOWARN, 0) is None

    told(machine, body)
    assert calls == []


@pytest.mark.parametrize(
    ("flags", "order", "times"),
    [
        (0, 0, 1),  # nothing came of it, and nobody else has freed anything
        (GFP_NORETRY, 0, 1),
        (GFP_NORETRY, 4, 0),  # too large to be worth reclaiming for, and wanted now or never
        (0, 4, 1),
        (GFP_RETRY_MAYFAIL, 4, 1),
    ],
)
def test_how_often_a_failing_request_reclaims(flags: int, order: int, times: int) -> None:
    machine = small(left=100)
    calls = reclaimer(machine, [], 0)

    async def body(machine: Machine) -> None:
        assert await machine.pages.alloc_pages_node(0, GFP_KERNEL | GFP_NOWARN | flags, order) is None

    told(machine, body)
    assert len(calls) == times


def test_a_request_is_tried_again_when_somebody_else_has_freed_pages_meanwhile() -> None:
    machine = machine_of((GIB4, 64 * MIB))
    taken = use_up(machine, 0, 256)

    async def reclaim(*_: Any) -> int:
        while taken:
            await machine.pages.free_pages(0, taken.pop(), 0)
        await machine.current.sleep(1000)
        return 0  # not by this one's doing

    machine.pages.reclaimers.append(reclaim)

    async def body(machine: Machine) -> None:
        assert await machine.pages.alloc_pages_node(0, GFP_KERNEL, 0)

    told(machine, body)


def test_a_request_that_must_not_fail_waits_until_somebody_frees_pages() -> None:
    machine = small(left=0, cpus=(0, 0), interleaver=Interleaver(Timed(0)))
    zone = machine.nodes[0].zones[ZONE_NORMAL]
    order: list[str] = []

    async def needs(machine: Machine) -> None:
        assert await machine.pages.alloc_pages_node(0, GFP_KERNEL | GFP_NOFAIL, 0)
        order.append("got")

    async def frees(machine: Machine) -> None:
        await machine.current.sleep(50_000)
        order.append("freed")
        for pfn in range(GIB4, GIB4 + 300):
            assert zone.buddy.holds(pfn)
            await machine.pages.free_pages(0, pfn, 0)

    told(machine, needs, frees)
    assert order == ["freed", "got"]
    assert machine.console == []


def test_a_failure_says_who_wanted_what_and_how_much_there_is() -> None:
    machine = small(left=100)

    async def body(machine: Machine) -> None:
        assert await machine.pages.alloc_pages_node(0, 0x40CC0, 2) is None

    told(machine, body)
    assert machine.console[0] == (
        "task0: page allocation failure: order:2, mode:0x40cc0(GFP_KERNEL|__GFP_COMP), "
        "nodemask=(null),cpuset=/,mems_allowed=0"
    )
    assert machine.console[1:4] == [
        "Mem-Info:",
        "Node 0 Normal free:400kB boost:0kB min:1024kB low:1280kB high:1536kB present:65536kB managed:65536kB",
        "lowmem_reserve[]: 0 0 0 0 0",
    ]
    # The last 100 of 16384 pages are 4 + 32 + 64.
    assert machine.console[4:] == [
        "Node 0 Normal: 0*4kB 0*8kB 1*16kB 0*32kB 0*64kB 1*128kB 1*256kB 0*512kB 0*1024kB 0*2048kB 0*4096kB = 400kB"
    ]
    assert machine.counters["page_allocation_failures"] == 1


def test_failures_are_described_once_in_ten_seconds_and_not_where_that_is_not_wanted() -> None:
    machine = small(left=100, interleaver=Interleaver(Timed(0)))

    async def body(machine: Machine) -> None:
        async def fail(gfp: int) -> None:
            assert await machine.pages.alloc_pages_node(0, gfp, 0) is None

        await fail(GFP_KERNEL | GFP_NOWARN)
        await fail(GFP_KERNEL | GFP_DMA)  # there is no such zone: that is no news
        assert machine.console == []
        for _ in range(3):
            await fail(GFP_KERNEL)
        await machine.current.sleep(10_000_000_000)
        await fail(GFP_NOWAIT)

    told(machine, body)
    messages = [line for line in machine.console if "failure" in line]
    assert [re.findall(r"\((GFP\w+)\)", message) for message in messages] == [["GFP_KERNEL"], ["GFP_NOWAIT"]]
    assert machine.counters["page_allocation_failures"] == 6
