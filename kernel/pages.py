"""Page allocation: which nodes are asked for pages, and in which order.

Mirrors alloc_pages_node(), __free_pages() and the zonelists of mm/page_alloc.c (6.1).  Each node decides about its
own memory (actors/numa.py); asking one is a message and its reply.  A caller with preemption off spins while it
waits.  Left out until the allocator issue: zones below ZONE_NORMAL, watermarks, reclaim, per-CPU page lists.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..actors import Op, OpKind
from ..actors.numa import AllocatePages, FreePages
from ..actors.signal import Reply, ask
from .machine import DIRECT_MAP_BASE, PAGE_SHIFT
from .node_states import NodeStates

if TYPE_CHECKING:
    from .machine import Machine

NUMA_NO_NODE = -1

GFP_NOWARN = 0x2000
GFP_NORETRY = 0x10000
GFP_COMP = 0x40000
GFP_THISNODE = 0x200000
GFP_ATOMIC = 0xA20
GFP_KERNEL = 0xCC0
"""``gfp_t`` values of 6.1."""

MIGRATE_UNMOVABLE = 0


def page_address(pfn: int) -> int:
    """The kernel address of a page frame, in the direct map."""
    return DIRECT_MAP_BASE + (pfn << PAGE_SHIFT)


def page_frame(address: int) -> int:
    """The page frame number of an address in the direct map."""
    return (address - DIRECT_MAP_BASE) >> PAGE_SHIFT


class PageAllocator:
    """The pages of all nodes.  ``zonelists`` has, for each node, the nodes with memory from near to far."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self.states = NodeStates(machine)
        self.zonelists: dict[int, list[int]] = {}
        zonelists = machine.interleaver.resource("zonelists")
        self.read_zonelists = Op(OpKind.READ, zonelists)
        self.write_zonelists = Op(OpKind.WRITE, zonelists)

    def build_all_zonelists(self, populated: list[int]) -> None:
        """Let allocations find the nodes in `populated`, nearest first (``build_all_zonelists``)."""
        self.zonelists = {number: node.fallback_order(populated) for number, node in self._machine.nodes.items()}

    async def alloc_pages_node(self, node: int, gfp: int, order: int) -> tuple[int, int] | None:
        """Allocate 2^`order` pages, from `node` (`NUMA_NO_NODE`: the processor's) or else the next nearest.

        Returns (page frame number, node they came from), or None where no allowed node has them.
        """
        machine = self._machine
        if node == NUMA_NO_NODE:
            node = machine.this_cpu.node
        await self.read_zonelists
        for candidate in list(self.zonelists[node]):
            if gfp & GFP_THISNODE and candidate != node:
                continue
            pfn = await self._ask(candidate, order)
            if pfn is not None:
                if (fire := machine.tracepoints.mm_page_alloc.fire) is not None:
                    fire(pfn, order, gfp, MIGRATE_UNMOVABLE)
                return pfn, candidate
        if not gfp & GFP_NOWARN:
            machine.printk("warning", f"{machine.who()}: page allocation failure: order:{order}, mode:{gfp:#x}")
        return None

    async def _ask(self, node: int, order: int) -> int | None:
        machine = self._machine
        actor = machine.nodes[node]
        if machine.booting:
            return actor.buddy.allocate(order)
        pfn: int | None = await ask(
            actor.mailbox, AllocatePages(Reply(machine.interleaver, f"pages of node {node}"), order)
        )
        return pfn

    async def free_pages(self, node: int, pfn: int, order: int) -> None:
        """Give 2^`order` pages back to their node (``__free_pages``)."""
        machine = self._machine
        if (fire := machine.tracepoints.mm_page_free.fire) is not None:
            fire(pfn, order)
        if machine.booting:
            machine.nodes[node].buddy.free(pfn)
        else:
            await machine.nodes[node].mailbox.send(FreePages(pfn))
