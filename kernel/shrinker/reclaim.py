"""Reclaim: who asks the shrinkers, and when.

Mirrors kswapd(), balance_pgdat(), shrink_node_memcgs(), try_to_free_pages(), try_to_free_mem_cgroup_pages(),
do_try_to_free_pages(), drop_slab() and drop_slab_node() of mm/vmscan.c (6.1), without page cache and anonymous pages:
what can be reclaimed here is what shrinkers give back.

Priorities fall from 12 to 0 (kswapd: to 1) until enough pages are free.  What a reclaimer gets is counted in pages that
it has freed itself (``reclaim_state``), so objects that leave a slab half empty are no progress, nor are those that RCU
frees later.  A reclaimer that allocates does not reclaim again (PF_MEMALLOC).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from ...actors import COND_RESCHED, Access, KernelThread, Mailbox, Message
from ..gfp import GFP_KERNEL
from ..stack import kernel_name
from .arithmetic import DEF_PRIORITY

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from ...actors import Actor, Cpu
    from ..machine import Machine
    from ..memcg import Cgroups, MemCgroup
    from ..memcg.page_counter import PageCounter
    from .shrinkers import Shrinkers

    CgroupWalk = Callable[[Cgroups, MemCgroup | None, MemCgroup | None], Awaitable[MemCgroup | None]]
    """Seam: the cgroup after another, at or below a root; None behind the last one."""

SWAP_CLUSTER_MAX = 32
"""Pages that a reclaimer wants at least (``SWAP_CLUSTER_MAX``)."""


class Reclaim:
    """Reclaim of one machine.  ``reclaimed`` counts, for each reclaimer that is at it, the pages it has freed."""

    def __init__(self, machine: Machine, shrinkers: Shrinkers, cgroup_walk: CgroupWalk) -> None:
        self.machine = machine
        self.cgroup_walk = cgroup_walk
        self.shrinkers = shrinkers
        self.reclaimed: dict[Actor, int] = {}
        self.memcgs: dict[PageCounter, MemCgroup] = {}  # whose counter it is
        self.kswapd: dict[int, Kswapd] = {}

    def start(self) -> None:
        """Bring kswapd to life on every node, and be there when pages, or a cgroup's, run out."""
        machine = self.machine
        machine.pages.kswapd.append(self.wakeup_kswapd)
        machine.pages.reclaimers.append(self.try_to_free_pages)
        machine.pages.reclaimed = self.reclaimed
        online = machine.online_cpus()
        for nid in sorted(machine.nodes):
            cpu = next((cpu for cpu in online if cpu.node == nid), online[0])
            self.kswapd[nid] = thread = Kswapd(self, nid, cpu)
            machine.spawn(thread)
        cgroups = machine.cgroups
        if cgroups is not None and cgroups.kmem is not None:
            cgroups.kmem.charging.reclaim = self.reclaim_for_counter

    # --- what is asked

    @kernel_name("shrink_node_memcgs")
    async def shrink_node_memcgs(self, nid: int, target: MemCgroup | None, gfp: int, priority: int) -> int:
        """Ask about a node, for a cgroup and all below it; how many objects were given back."""
        shrink_slab = self.shrinkers.protocol.shrink_slab
        cgroups = self.machine.cgroups
        if cgroups is None:
            return await shrink_slab(gfp, nid, None, priority)
        freed = 0
        memcg = await self.cgroup_walk(cgroups, target, None)
        while memcg is not None:
            await COND_RESCHED
            freed += await shrink_slab(gfp, nid, memcg, priority)
            memcg = await self.cgroup_walk(cgroups, target, memcg)
        return freed

    @kernel_name("drop_slab")
    async def drop_slab(self) -> int:
        """Have everything given back that can be, on every node (``echo 2 > drop_caches``); how many objects were."""
        total = 0
        for nid in list(self.machine.pages.states.online):
            total += await self._drop_slab_node(nid)
        return total

    @kernel_name("drop_slab_node")
    async def _drop_slab_node(self, nid: int) -> int:
        """Again and again, until there is less to get each time."""
        total = shift = 0
        while True:
            freed = await self.shrink_node_memcgs(nid, None, GFP_KERNEL, 0)
            total += freed
            if freed >> shift <= 1:
                return total
            shift += 1

    # --- who asks

    @kernel_name("try_to_free_pages")
    async def try_to_free_pages(self, gfp: int, order: int, nodes: list[int]) -> int:
        """Direct reclaim for an allocation that found nothing on `nodes`; how many pages were freed."""
        return await self.do_try_to_free_pages(nodes, None, gfp, max(SWAP_CLUSTER_MAX, 1 << order))

    @kernel_name("try_to_free_mem_cgroup_pages")
    async def try_to_free_mem_cgroup_pages(self, memcg: MemCgroup, pages: int, gfp: int) -> int:
        """Reclaim what is charged to `memcg` and below, which the caller holds; how many pages were freed."""
        nodes = list(self.machine.pages.states.memory)
        return await self.do_try_to_free_pages(nodes, memcg, gfp, max(SWAP_CLUSTER_MAX, pages))

    @kernel_name("do_try_to_free_pages")
    async def do_try_to_free_pages(self, nodes: list[int], target: MemCgroup | None, gfp: int, wanted: int) -> int:
        """Harder and harder."""
        actor = self.machine.running
        if actor in self.reclaimed:
            return 0
        self.reclaimed[actor] = 0
        self.machine.count("direct_reclaims")
        try:
            for priority in range(DEF_PRIORITY, -1, -1):
                for nid in nodes:
                    await self.shrink_node_memcgs(nid, target, gfp, priority)
                if self.reclaimed[actor] >= wanted:
                    break
        finally:
            freed = self.reclaimed.pop(actor)
        return freed

    async def reclaim_for_counter(self, counter: PageCounter, gfp: int, pages: int) -> int:
        """A cgroup is at its limit; progress is also what room there is below it now (``mem_cgroup_margin``)."""
        memcg = self.memcgs.get(counter)
        if memcg is None or not await memcg.css.hold():
            return 0
        freed = await self.try_to_free_mem_cgroup_pages(memcg, pages, gfp)
        room = await counter.read_max() - await counter.read()
        await memcg.css.let_go()
        return freed or (room if room >= pages else 0)

    def wakeup_kswapd(self, nid: int, order: int, highest_zone: int) -> None:
        """Wake the kswapd of a node, as part of the step being made; one that is at it is not told twice."""
        mailbox = self.kswapd[nid].mailbox
        touch = self.machine.interleaver.touch
        if touch is not None:
            touch(mailbox.resource, Access.WRITE)
        if not mailbox:
            mailbox.post(WakeKswapd(order, highest_zone))

    @kernel_name("balance_pgdat")
    async def balance_pgdat(self, nid: int, order: int, highest_zone: int) -> None:
        """Reclaim on a node until one of its zones is above its high watermark, or nothing helps."""
        node, actor = self.machine.nodes[nid], self.machine.running
        self.reclaimed[actor] = 0
        try:
            for priority in range(DEF_PRIORITY, 0, -1):
                await node.read_zones
                if node.balanced(order, highest_zone):
                    break
                await self.shrink_node_memcgs(nid, None, GFP_KERNEL, priority)
        finally:
            self.machine.count("kswapd_reclaimed", self.reclaimed.pop(actor))


@dataclass(frozen=True, slots=True)
class WakeKswapd(Message):
    """To a kswapd: a request for 2^``order`` pages has not found them above the low watermark."""

    order: int
    highest_zone: int


class Kswapd(KernelThread):
    """``kswapd``: reclaims on one node when it is woken."""

    daemon: ClassVar[bool] = True

    __slots__ = ("_reclaim", "mailbox", "nid")

    def __init__(self, reclaim: Reclaim, nid: int, cpu: Cpu) -> None:
        super().__init__(cpu, f"kswapd{nid}", pid=reclaim.machine.next_pid())
        self._reclaim = reclaim
        self.nid = nid
        self.mailbox = Mailbox(self)

    async def body(self) -> None:
        """Sleep, reclaim, for ever."""
        while True:
            message: WakeKswapd = await self.mailbox.receive()
            await self._reclaim.balance_pgdat(self.nid, message.order, message.highest_zone)
