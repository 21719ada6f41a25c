"""Page allocation: which nodes and zones are asked for pages, in which order, and what is done when none has them.

Mirrors alloc_pages_node(), get_page_from_freelist(), __alloc_pages_slowpath(), build_all_zonelists() and
init_per_zone_wmark_min() of mm/page_alloc.c (6.1).

Each node decides about its own zones (actors/numa.py): asking one is a message and its reply, and covers all its
zones from the highest allowed one down, so a zonelist is a list of nodes here, from near to far.  A caller that must
not sleep spins while it waits.  The first pass stops at the *low* watermark, where kswapd is woken; the second goes
down to *min*, and below it for GFP_ATOMIC and others with privileges; then who may sleep reclaims, and tries again
while there is hope.

The zonelists, and the watermarks and reserves that are computed from the sizes of zones, change when memory comes or
goes, in one step that declares ``zonelists`` and the zones of every node.  Left out: migrate types and compaction
(every free block serves everybody), per-CPU page lists, memory policies and cpusets, the reserves of PF_MEMALLOC, and
the OOM killer: where the kernel would have to kill somebody, the allocation fails.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from ..actors import COND_RESCHED, Access, Op, OpKind
from ..actors.buddy import MAX_ORDER
from ..actors.numa import AllocatePages, FreePages
from ..actors.signal import Reply, ask
from ..actors.zone import (
    ALLOC_HARDER,
    KBYTES_PER_PAGE,
    WMARK_HIGH,
    WMARK_LOW,
    WMARK_MIN,
    ZONE_DMA,
    ZONE_NORMAL,
    calculate_min_free_kbytes,
    pages_beyond_high,
    setup_per_zone_lowmem_reserve,
    setup_per_zone_wmarks,
)
from .gfp import (
    GFP_ATOMIC,
    GFP_COMP,
    GFP_DIRECT_RECLAIM,
    GFP_DMA,
    GFP_KERNEL,
    GFP_KSWAPD_RECLAIM,
    GFP_MAY_DIP,
    GFP_NOFAIL,
    GFP_NORETRY,
    GFP_NOWAIT,
    GFP_NOWARN,
    GFP_RETRY_MAYFAIL,
    GFP_THISNODE,
    gfp_names,
    gfp_to_alloc_flags,
    gfp_zone,
)
from .locks import Mutex
from .locks.base import might_alloc
from .machine import DIRECT_MAP_BASE, PAGE_SHIFT
from .node_states import NodeMask, NodeStates
from .proc_pages import node_list, show_free_areas
from .stack import kernel_name

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping, Sequence

    from ..actors import Actor
    from .machine import Machine

__all__ = [
    "GFP_ATOMIC",
    "GFP_COMP",
    "GFP_DIRECT_RECLAIM",
    "GFP_DMA",
    "GFP_KERNEL",
    "GFP_KSWAPD_RECLAIM",
    "GFP_NOFAIL",
    "GFP_NORETRY",
    "GFP_NOWAIT",
    "GFP_NOWARN",
    "GFP_RETRY_MAYFAIL",
    "GFP_THISNODE",
    "NUMA_NO_NODE",
    "PageAllocator",
    "fallback_orders",
    "page_address",
    "page_frame",
]

NUMA_NO_NODE = -1
MIGRATE_UNMOVABLE = 0
PAGE_ALLOC_COSTLY_ORDER = 3
MAX_RECLAIM_RETRIES = 16
MAX_NUMNODES = 1024
PENALTY_FOR_NODE_WITH_CPUS = 1
WARN_INTERVAL_NS = 10_000_000_000
"""A failed allocation is described at most this often."""


def page_address(pfn: int) -> int:
    """The kernel address of a page frame, in the direct map."""
    return DIRECT_MAP_BASE + (pfn << PAGE_SHIFT)


def page_frame(address: int) -> int:
    """The page frame number of an address in the direct map."""
    return (address - DIRECT_MAP_BASE) >> PAGE_SHIFT


def fallback_orders(
    distances: Mapping[int, Mapping[int, int]], memory: Sequence[int], with_cpus: Collection[int]
) -> dict[int, list[int]]:
    """For each node itself and then the nodes in `memory`, from near to far (``build_zonelists``, node order).

    Equally far nodes are tried in increasing order, beginning behind the node itself, those without processors before
    the others.  Whoever comes first in such a group is put behind the others of its kind in the lists of later nodes,
    so that the load spreads (``find_next_best_node``).  `distances` and `memory` are in increasing order of nodes.
    """
    load = dict.fromkeys(memory, 0)
    burden = {node: PENALTY_FOR_NODE_WITH_CPUS if node in with_cpus else 0 for node in memory}
    orders: dict[int, list[int]] = {}
    for home, distance in distances.items():
        # A node's own load grows only when it is taken, which is once in a list: sorting is the same as searching.
        values = [
            ((distance[node] + (node < home) + burden[node]) * MAX_NUMNODES + load[node], node)
            for node in memory
            if node != home
        ]
        values.sort()
        orders[home] = order = [home, *(node for _, node in values)]
        before = distance[home]
        for node in order:
            if distance[node] != before:
                load[node] += 1
                before = distance[node]
    return orders


class AllocContext(NamedTuple):
    """Where a request may be served (``struct alloc_context``): ``lowest`` has the lowest zone of each node."""

    nodes: Sequence[int]
    lowest: dict[int, int]
    highest_zone: int

    def allowed(self) -> Iterator[int]:
        """The nodes with a zone that the request may use, in order of preference."""
        return (node for node in self.nodes if self.lowest[node] <= self.highest_zone)


class PageAllocator:
    """The pages of all nodes.  ``zonelists`` has, for each node, the nodes with memory from near to far.

    ``kswapd`` functions are told (node, order, highest zone) when a node's kswapd is woken.  ``reclaimers`` are awaited
    with (gfp, order, nodes) when an allocation that may sleep finds nothing, and return how many pages they freed.
    """

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self.states = NodeStates(machine)
        self.zonelists: dict[int, list[int]] = {}
        self.min_free_kbytes = 0
        self.kswapd: list[Callable[[int, int, int], object]] = []
        self.reclaimers: list[Callable[[int, int, list[int]], Awaitable[int]]] = []
        self.pcp_batch_high_lock = Mutex(machine, "pcp_batch_high_lock")
        self.kswapds = NodeMask()  # nodes that have one
        self.reclaimed: dict[Actor, int] | None = None  # for each who reclaims, the pages it has freed
        self._lowest: dict[int, int] = {}  # of the nodes in zonelists, the lowest zone that has memory
        self._warn_again_ns = 0
        zonelists = machine.interleaver.resource("zonelists")
        self.read_zonelists = Op(OpKind.READ, zonelists)
        self.write_zonelists = Op(OpKind.WRITE, zonelists)
        self._ratelimit = machine.interleaver.resource("nopage_rs")

    # --- what changes when memory comes or goes

    def build_all_zonelists(self) -> None:
        """Let allocations find all zones that have pages, and set the watermarks for what there is: when booting."""
        self.rebuild_zonelists()
        self.init_per_zone_wmark_min()
        for node in self.states.memory:
            self.kswapd_run(node)

    def rebuild_zonelists(self) -> None:
        """Let allocations find the nodes whose zones have pages, nearest first.

        A node that is leaving still has its place among the others while this happens, as in the kernel.
        """
        nodes = self._machine.nodes
        with_cpus = dict.fromkeys(cpu.node for cpu in self._machine.online_cpus())
        memory = list(self.states.memory)
        orders = fallback_orders({n: nodes[n].distances for n in sorted(nodes)}, memory, with_cpus)
        for node in memory:
            nodes[node].touched(Access.READ)
        zones = {node: [zone.index for zone in nodes[node].zones if zone.managed_pages] for node in memory}
        self._lowest = lowest = {node: indices[0] for node, indices in zones.items() if indices}
        self.zonelists = {node: [other for other in order if other in lowest] for node, order in orders.items()}

    def kswapd_run(self, node: int) -> None:
        """Have a kswapd for `node` from now on; nothing where there is one.  In a step that declares ``zonelists``."""
        self.kswapds.set(node)

    def kswapd_stop(self, node: int) -> None:
        """Have none any more: nobody wakes it.  In a step that declares ``zonelists``."""
        self.kswapds.clear(node)

    def init_per_zone_wmark_min(self) -> None:
        """Compute how much is to be kept free, and from it the watermarks and reserves of all zones."""
        nodes = self._machine.nodes.values()
        zones = [zone for node in nodes for zone in node.zones if zone.managed_pages or zone.watermarks[WMARK_HIGH]]
        self.min_free_kbytes = calculate_min_free_kbytes(pages_beyond_high(zones, ZONE_NORMAL) * KBYTES_PER_PAGE)
        setup_per_zone_wmarks(zones, self.min_free_kbytes)
        for node in nodes:
            setup_per_zone_lowmem_reserve(node.zones)
            if not self._machine.booting:
                node.touched(Access.WRITE)

    # --- per-CPU page lists: there are none, but their sizes have a lock, whose place in the order matters

    async def zone_pcp_disable(self) -> None:
        """Have freed pages go to the free lists at once, until `zone_pcp_enable` (5.11, ec6e8c7e0314)."""
        await self.pcp_batch_high_lock.lock()

    async def zone_pcp_enable(self) -> None:
        """Undo `zone_pcp_disable`."""
        await self.pcp_batch_high_lock.unlock()

    # --- allocation

    async def alloc_pages_node(
        self, node: int, gfp: int, order: int, nodemask: Collection[int] | None = None
    ) -> tuple[int, int] | None:
        """Allocate 2^`order` pages, from `node` (`NUMA_NO_NODE`: the processor's) or else the next nearest.

        Only from nodes in `nodemask`, if there is one (``__alloc_pages_nodemask``).  Returns (page frame number, node
        they came from), or None where no allowed node has them.  Sleeps only with ``__GFP_DIRECT_RECLAIM``, and then
        only in a reclaimer, beside waiting for the nodes' answers.
        """
        machine = self._machine
        if order >= MAX_ORDER:
            if not gfp & GFP_NOWARN:
                machine.printk("warning", f"WARNING: __alloc_pages: order {order} is not below {MAX_ORDER}")
            return None
        if node == NUMA_NO_NODE:
            node = machine.this_cpu.node
        highest_zone = gfp_zone(gfp)
        if highest_zone is None:
            machine.kernel_bug(f"zones that exclude each other in gfp {gfp:#x}")
        might_alloc(machine, gfp, "__alloc_pages")
        await self.read_zonelists
        context = self._context(node, gfp, highest_zone, nodemask)
        got = await self.get_page_from_freelist(context, order, WMARK_LOW)
        if got is None:
            got = await self._slow_path(node, gfp, order, highest_zone, nodemask)
        if got is not None and (fire := machine.tracepoints.mm_page_alloc.fire) is not None:
            fire(got[0], order, gfp, MIGRATE_UNMOVABLE)
        return got

    def _context(self, home: int, gfp: int, highest_zone: int, nodemask: Collection[int] | None) -> AllocContext:
        """Who may serve a request, as of now: lists are replaced and never changed, so this stays as it is."""
        nodes: Sequence[int] = self.zonelists[home]
        if nodemask is not None:
            nodes = [node for node in nodes if node in nodemask]
        if gfp & GFP_THISNODE:
            nodes = (home,) if home in self._lowest else ()
        return AllocContext(nodes, self._lowest, highest_zone)

    async def get_page_from_freelist(
        self, context: AllocContext, order: int, alloc_flags: int
    ) -> tuple[int, int] | None:
        """Ask one node after the other."""
        machine = self._machine
        nodes, lowest, highest_zone = context
        for node in nodes:
            if lowest[node] > highest_zone:
                continue
            actor = machine.nodes[node]
            if machine.booting:
                pfn = actor.allocate(order, highest_zone, alloc_flags)
            else:
                reply = Reply(machine.interleaver, f"pages of node {node}")
                pfn = await ask(actor.mailbox, AllocatePages(reply, order, highest_zone, alloc_flags))
            if pfn is not None:
                return pfn, node
        return None

    @kernel_name("__alloc_pages_slowpath")
    async def _slow_path(
        self, home: int, gfp: int, order: int, highest_zone: int, nodemask: Collection[int] | None
    ) -> tuple[int, int] | None:
        """Wake kswapd, use privileges, reclaim; None when there is no more to try.

        The kernel's second look between waking kswapd and reclaiming, which is for those with PF_MEMALLOC, is left out.
        """
        can_reclaim = bool(gfp & GFP_DIRECT_RECLAIM)
        costly = order > PAGE_ALLOC_COSTLY_ORDER
        alloc_flags = gfp_to_alloc_flags(gfp & ~GFP_MAY_DIP if can_reclaim else gfp)
        fruitless = 0
        while True:
            await self.read_zonelists
            context = self._context(home, gfp, highest_zone, nodemask)
            if gfp & GFP_KSWAPD_RECLAIM:
                self._wake_all_kswapds(context, gfp, order)
            got = await self.get_page_from_freelist(context, order, alloc_flags)
            if got is not None:
                return got
            if not can_reclaim:
                break
            # With nothing to compact, a costly request that must not be retried is given up before it reclaims.
            if not (costly and gfp & GFP_NORETRY):
                progress = await self._direct_reclaim(context, gfp, order)
                if progress and (got := await self.get_page_from_freelist(context, order, alloc_flags)) is not None:
                    return got
                fruitless = 0 if progress and not costly else fruitless + 1
                may_retry = not gfp & GFP_NORETRY and (not costly or gfp & GFP_RETRY_MAYFAIL)
                if may_retry and self._should_reclaim_retry(context, order, alloc_flags, fruitless):
                    await COND_RESCHED
                    continue
            if not gfp & GFP_NOFAIL or self._machine.booting:
                break
            got = await self.get_page_from_freelist(context, order, WMARK_MIN | ALLOC_HARDER)
            if got is not None:
                return got
            await COND_RESCHED
        self._warn_alloc(context, gfp, order)
        return None

    def _wake_all_kswapds(self, context: AllocContext, gfp: int, order: int) -> None:
        """Wake the kswapd of every allowed node that is short of pages (``wakeup_kswapd``)."""
        machine = self._machine
        for node in context.allowed():
            actor = machine.nodes[node]
            actor.touched(Access.READ)
            if node not in self.kswapds or actor.balanced(order, context.highest_zone):
                continue
            machine.count("kswapd_wakeups")
            if (fire := machine.tracepoints.mm_vmscan_wakeup_kswapd.fire) is not None:
                fire(node, context.highest_zone, order, gfp)
            for wake in self.kswapd:
                wake(node, order, context.highest_zone)

    @kernel_name("__alloc_pages_direct_reclaim")
    async def _direct_reclaim(self, context: AllocContext, gfp: int, order: int) -> int:
        """Have pages freed by the caller itself; how many were."""
        freed = 0
        for reclaim in self.reclaimers:
            freed += await reclaim(gfp, order, list(context.allowed()))
        return freed

    def _should_reclaim_retry(self, context: AllocContext, order: int, alloc_flags: int, fruitless: int) -> bool:
        """Whether some zone would serve the request now: somebody else may have freed pages (``should_reclaim_retry``).

        What could still be reclaimed does not count: there are no lists of pages in use to estimate it from.
        """
        if fruitless > MAX_RECLAIM_RETRIES:
            return False
        for node in context.allowed():
            actor = self._machine.nodes[node]
            actor.touched(Access.READ)
            for zone in actor.zones[: context.highest_zone + 1]:
                mark = zone.watermarks[WMARK_MIN]
                if zone.managed_pages and zone.watermark_ok(order, mark, context.highest_zone, alloc_flags):
                    return True
        return False

    def _warn_alloc(self, context: AllocContext, gfp: int, order: int) -> None:
        """Describe a failed allocation, and the state of memory, in the kernel log (``warn_alloc``)."""
        machine = self._machine
        machine.count("page_allocation_failures")
        if gfp & GFP_NOWARN or (gfp & GFP_DMA and ZONE_DMA not in context.lowest.values()):
            return
        interleaver = machine.interleaver
        if interleaver.touch is not None:
            interleaver.touch(self._ratelimit, Access.WRITE)
            interleaver.touch(self.states.resource, Access.READ)
        now_ns = interleaver.timer_ns()
        if now_ns < self._warn_again_ns:
            return
        self._warn_again_ns = now_ns + WARN_INTERVAL_NS
        machine.printk(
            "warning",
            f"{machine.running.comm}: page allocation failure: order:{order}, mode:{gfp:#x}({gfp_names(gfp)}), "
            f"nodemask=(null),cpuset=/,mems_allowed={node_list(self.states.memory)}",
        )
        for line in show_free_areas(machine, context.highest_zone):
            machine.printk("warning", line)

    # --- freeing

    async def free_pages(self, node: int, pfn: int, order: int) -> None:
        """Give 2^`order` pages back to the zone of `node` they came from (``__free_pages``)."""
        machine = self._machine
        if (fire := machine.tracepoints.mm_page_free.fire) is not None:
            fire(pfn, order)
        if self.reclaimed and machine.running in self.reclaimed:
            self.reclaimed[machine.running] += 1 << order
        if machine.booting:
            machine.nodes[node].free(pfn)
        else:
            await machine.nodes[node].mailbox.send(FreePages(pfn))
