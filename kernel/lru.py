"""Pages of processes: movable, found through page tables, on their node's list of pages that can be moved.

Mirrors folio_add_lru(), lru_add_drain_all() and lru_cache_disable() of mm/swap.c (6.1), and as much of ``struct page``
as they need.  A page that somebody has just got is not on its node's list yet: it waits, with up to 14 others, in a
batch of the processor it was got on, and until that is drained nobody can move it.  Who wants to empty a memory block
therefore drains the batches of all processors, or has none be used (5.13).

References: one of the user, one of the batch or of who has isolated the page; the last one gives the pages back.  Who
may touch what: a batch is its processor's own, also while a work item drains it; ``node.lru`` and where a page is
belong to the node's zones (``node.write_zones``); the references and the user's mapping to the page.  Lock order: the
draining mutex is taken with nothing inside but the wait for work items.

Left out: which pages have not been used for long, as nothing is reclaimed from these lists.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..actors import Op, OpKind
from .gfp import GFP_COMP, GFP_HIGHUSER_MOVABLE
from .locks import Mutex
from .workqueue.queue import WQ_MEM_RECLAIM

if TYPE_CHECKING:
    from ..actors.work_item import WorkItem
    from .machine import Machine

PAGEVEC_SIZE = 15


class UserPage:
    """2^`order` pages of a process, at page frame ``pfn`` of ``node`` as long as nobody moves them."""

    __slots__ = ("node", "order", "pfn", "references", "update")

    def __init__(self, machine: Machine, place: tuple[int, int], order: int) -> None:
        self.pfn, self.node = place
        self.order = order
        self.references = 1
        self.update = Op(OpKind.UPDATE, machine.interleaver.resource("page"))


class LruLists:
    """The lists of movable pages of all nodes, and the processors' batches before them."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._batches: dict[int, list[UserPage]] = {cpu: [] for cpu in machine.cpus}
        resources = {cpu: machine.interleaver.resource(f"lru_add batch of CPU {cpu}") for cpu in machine.cpus}
        self._own = {cpu: Op(OpKind.UPDATE, resource) for cpu, resource in resources.items()}
        self._look = {cpu: Op(OpKind.READ, resource) for cpu, resource in resources.items()}
        self._drain_mutex = Mutex(machine, "lock")  # a static one of __lru_add_drain_all(), called just that
        self.disable_count = 0
        disabled = machine.interleaver.resource("lru_disable_count")
        self._read_disabled = Op(OpKind.READ, disabled)
        self._write_disabled = Op(OpKind.UPDATE, disabled)
        self._works: dict[int, WorkItem] = {}

    # --- the life of a page

    async def alloc_user_page(self, node: int, order: int) -> UserPage | None:
        """Pages for a process, from `node` or else the next nearest, where it touches them first."""
        machine = self._machine
        gfp = GFP_HIGHUSER_MOVABLE | (GFP_COMP if order else 0)
        place = await machine.pages.alloc_pages_node(node, gfp, order)
        if place is None:
            return None
        page = UserPage(machine, place, order)
        await self.folio_add_lru(page)
        return page

    async def put_page(self, page: UserPage) -> None:
        """Give up a reference; the last one frees the pages."""
        await page.update
        page.references -= 1
        if page.references:
            return
        node = self._machine.nodes[page.node]
        await node.write_zones
        node.lru.pop(page.pfn, None)
        await self._machine.pages.free_pages(page.node, page.pfn, page.order)

    async def folio_add_lru(self, page: UserPage) -> None:
        """Put a page into this processor's batch; that goes to the lists when it is full, or where batches are off."""
        machine = self._machine
        await page.update
        page.references += 1
        machine.running.preempt_disable()
        cpu = machine.smp_processor_id()
        await self._read_disabled
        disabled = self.disable_count > 0
        await self._own[cpu]
        self._batches[cpu].append(page)
        if len(self._batches[cpu]) >= PAGEVEC_SIZE or page.order or disabled:
            await self._move_to_lists(cpu)
        machine.running.preempt_enable()

    async def _move_to_lists(self, cpu: int) -> None:
        """Empty the batch of a processor (``folio_batch_move_lru``)."""
        pages = self._batches[cpu][:]
        self._batches[cpu].clear()
        for page in pages:
            node = self._machine.nodes[page.node]
            await node.write_zones
            node.lru[page.pfn] = page
        for page in pages:
            await self.put_page(page)

    async def isolate_lru_page(self, node: int, pfn: int) -> UserPage | None:
        """Take a page off its list, with a reference; None where it is not on one, or nobody has it any more."""
        lru = self._machine.nodes[node].lru
        await self._machine.nodes[node].write_zones
        page: UserPage | None = lru.get(pfn)
        if page is None:
            return None
        await page.update
        if not page.references:
            return None
        page.references += 1
        await self._machine.nodes[node].write_zones
        lru.pop(pfn, None)
        return page

    # --- draining

    async def lru_add_drain_all(self) -> None:
        """Have every online processor empty its batch, and wait for all."""
        machine = self._machine
        async with self._drain_mutex:
            queued: list[WorkItem] = []
            for cpu in machine.online_cpus():
                await self._look[cpu.cpu_id]
                if self._batches[cpu.cpu_id]:
                    work = self._work_of(cpu.cpu_id)
                    await machine.workqueues.queue_work_on(cpu.cpu_id, work)
                    queued.append(work)
            for work in queued:
                await machine.workqueues.flush_work(work)

    async def lru_add_drain_cpu(self, cpu: int) -> None:
        """Empty the batch of a processor that is gone, on behalf of it."""
        await self._own[cpu]
        await self._move_to_lists(cpu)

    async def lru_cache_disable(self) -> None:
        """Have batches not be used, and empty them."""
        await self._write_disabled
        self.disable_count += 1
        await self._machine.rcu.synchronize_rcu_expedited()  # whoever has seen 0 with preemption off is through
        await self.lru_add_drain_all()

    async def lru_cache_enable(self) -> None:
        """Undo one `lru_cache_disable`."""
        await self._write_disabled
        self.disable_count -= 1

    def _work_of(self, cpu: int) -> WorkItem:
        work = self._works.get(cpu)
        if work is None:

            async def drain(_: WorkItem) -> None:
                machine = self._machine
                machine.running.preempt_disable()
                await self._own[cpu]
                await self._move_to_lists(cpu)
                machine.running.preempt_enable()

            workqueues = self._machine.workqueues
            queue = workqueues.queues.get("mm_percpu_wq") or workqueues.make_queue("mm_percpu_wq", WQ_MEM_RECLAIM)
            work = workqueues.make_work("lru_add_drain_per_cpu", drain, queue=queue)
            self._works[cpu] = work
        return work
