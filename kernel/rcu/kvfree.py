"""kfree_rcu(): freeing memory after a grace period, many pieces at a time.

Mirrors kvfree_call_rcu(), kfree_rcu_monitor(), kfree_rcu_work() of kernel/rcu/tree.c (6.1) and kvfree_rcu_barrier()
of 6.12.  It does not use the lists of call_rcu(): rcu_barrier() does not wait for it.

Life of a piece: noted in a block of `BULK_MAX` pointers of its processor, or, where there is no block left, on a list
through its own rcu_head (channel 3; channel 2 is for vmalloc(), which there is none of here) → after 5 seconds, or a
jiffy where a block is full, the monitor work moves all of it into one of two batches → a grace period → the batch's
work frees it.  While both batches are on their way, pieces are collected further.

Under a clock without costs the delay of the monitor is up to the scheduling of its kworker: it is queued at once.

``krcp->lock`` is a step here: each of `add`, `detach` and `take` is one.  Blocks for pointers are kept apart, up to
`CACHED_BLOCKS` of them; that each is a page of memory is left out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ...actors import Message, Op, OpKind
from ..sanitizers.rcu_usage import double_kvfree
from ..stack import kernel_name
from .head import RcuHead

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from ...actors import Cpu
    from ...actors.worker_pool import WorkItem
    from ..machine import Machine
    from .api import Rcu

BULK_MAX = 510
"""Pointers in a block: a page less its head (``KVFREE_BULK_MAX_ENTR``)."""
CACHED_BLOCKS = 5
"""``rcu_min_cached_objs``."""
BATCHES = 2
DRAIN_S = 5


@dataclass(frozen=True, slots=True)
class MonitorDue(Message):
    """To a processor: the timer of a monitor work has expired, of its own or of one that is gone."""

    number: int


class Batch:
    """Pieces that wait for one grace period together, and the work that frees them (``kfree_rcu_cpu_work``)."""

    __slots__ = ("blocks", "cpu", "head", "heads", "pending", "under_way", "work")

    def __init__(self, kvfree: KvfreeRcu, cpu: KvfreeCpu, number: int) -> None:
        self.cpu = cpu
        self.blocks: list[list[int]] = []
        self.heads: list[int] = []
        self.under_way = False  # from leaving the processor's lists until all is freed
        self.pending = False  # until the work has begun (WORK_STRUCT_PENDING_BIT of the rcu_work)

        async def free(_: Any) -> None:
            await kvfree.kfree_rcu_work(self)

        async def queue() -> None:
            await kvfree.machine.workqueues.queue_work_on(cpu.number, self.work)

        self.work: WorkItem = kvfree.machine.workqueues.make_work(
            f"kfree_rcu_work {cpu.number}/{number}", free, queue=kvfree.queue
        )
        self.head = RcuHead(queue, name="rcu_work_rcufn")


class KvfreeCpu:
    """``kfree_rcu_cpu``: what one processor has collected."""

    __slots__ = ("alarm", "batches", "blocks", "cached", "change", "count", "heads", "monitor", "number", "waiting")

    def __init__(self, kvfree: KvfreeRcu, cpu: Cpu) -> None:
        machine = kvfree.machine
        self.number = cpu.cpu_id
        self.blocks: list[list[int]] = []
        self.heads: list[int] = []
        self.cached = CACHED_BLOCKS
        self.count = 0
        self.waiting = False  # for a batch to become free
        self.change = Op(OpKind.UPDATE, machine.interleaver.resource(f"krcp->lock of cpu {cpu.cpu_id}"))
        due = MonitorDue(self.number)
        self.alarm = machine.interleaver.alarm(lambda: machine.online_cpu_for(cpu).mailbox.post(due))

        async def monitor(_: Any) -> None:
            await kvfree.kfree_rcu_monitor(self)

        self.monitor = machine.workqueues.make_work(f"kfree_rcu_monitor {cpu.cpu_id}", monitor, queue=kvfree.queue)
        self.batches = [Batch(kvfree, self, number) for number in range(BATCHES)]

    def add(self, address: int) -> None:
        """Collect a piece."""
        if not self.blocks or len(self.blocks[-1]) >= BULK_MAX:
            if not self.cached:
                self.heads.append(address)
                self.count += 1
                return
            self.cached -= 1
            self.blocks.append([])
        self.blocks[-1].append(address)
        self.count += 1

    def detach(self) -> Batch | None:
        """Move all that is collected into a free batch; None where there is nothing, or no batch."""
        batch = next((batch for batch in self.batches if not batch.under_way), None)
        if not self.count or batch is None:
            return None
        batch.blocks, self.blocks = self.blocks, []
        batch.heads, self.heads = self.heads, []
        self.count = 0
        return batch


class KvfreeRcu:
    """kfree_rcu() of one machine."""

    def __init__(self, machine: Machine, rcu: Rcu) -> None:
        self.machine = machine
        self._rcu = rcu
        self._cpus: dict[int, KvfreeCpu] = {}
        self.queue = "events"  # of the monitors and the batches' works; set by boot
        self.kfree: Callable[[int], Awaitable[None]]  # set by boot: SLUB comes later
        self.queued: dict[int, None] = {}  # what DEBUG_OBJECTS_RCU_HEAD knows
        for cpu in machine.cpus.values():
            cpu.handlers[MonitorDue] = self._due

    def of_cpu(self, cpu: int) -> KvfreeCpu:
        """What a processor has; made on first use."""
        found = self._cpus.get(cpu)
        if found is None:
            found = self._cpus[cpu] = KvfreeCpu(self, self.machine.cpus[cpu])
        return found

    async def kvfree_call_rcu(self, address: int) -> None:
        """Give `address`, which kmalloc or a cache has returned, back after a grace period (``kfree_rcu``)."""
        krcp = self.of_cpu(self.machine.smp_processor_id())
        await krcp.change
        if address in self.queued:
            double_kvfree(self.machine, address)
            return
        self.queued[address] = None
        if (fire := self.machine.tracepoints.rcu_kvfree_callback.fire) is not None:
            fire(self._rcu.name, address, 0, krcp.count)
        krcp.add(address)
        self.machine.count("rcu_kvfree_calls")
        await self._schedule_monitor(krcp)

    async def _schedule_monitor(self, krcp: KvfreeCpu) -> None:
        """``schedule_delayed_monitor_work``."""
        if not self.machine.interleaver.costed:
            await self.machine.workqueues.queue_work_on(krcp.number, krcp.monitor)
        elif krcp.count >= BULK_MAX:
            krcp.alarm.set(self.machine.jiffy_ns)
        elif not krcp.alarm.is_set:
            krcp.alarm.set(DRAIN_S * 1_000_000_000)

    async def _due(self, _: Cpu, message: MonitorDue) -> None:
        krcp = self.of_cpu(message.number)
        await self.machine.workqueues.queue_work_on(krcp.number, krcp.monitor)

    async def kfree_rcu_monitor(self, krcp: KvfreeCpu) -> None:
        """The monitor work: start a batch; what comes while both are on their way waits for the first to be done."""
        if not await self.queue_batch(krcp):
            krcp.waiting = krcp.count > 0

    async def queue_batch(self, krcp: KvfreeCpu) -> bool:
        """Send what is collected on its way, if a batch is free (``kvfree_rcu_queue_batch``)."""
        await krcp.change
        batch = krcp.detach()
        if batch is None:
            return False
        batch.under_way = batch.pending = True
        await self.queue_rcu_work(batch)
        return True

    async def queue_rcu_work(self, batch: Batch) -> None:
        """After a grace period, queue the batch's work."""
        await self._rcu.call_rcu(batch.head)

    async def kfree_rcu_work(self, batch: Batch) -> None:
        """The work of a batch: free everything in it."""
        krcp = batch.cpu
        await krcp.change
        batch.pending = False
        blocks, batch.blocks = batch.blocks, []
        heads, batch.heads = batch.heads, []
        points = self.machine.tracepoints
        for block in blocks:
            if (fire := points.rcu_invoke_kfree_bulk_callback.fire) is not None:
                fire(self._rcu.name, len(block), block[0])
            for address in block:
                await self._free(address)
        for address in heads:
            if (fire := points.rcu_invoke_kvfree_callback.fire) is not None:
                fire(self._rcu.name, address, 0)
            await self._free(address)
        await krcp.change
        krcp.cached = min(CACHED_BLOCKS, krcp.cached + len(blocks))
        batch.under_way = False
        if krcp.waiting:
            krcp.waiting = False
            await self._schedule_monitor(krcp)

    async def _free(self, address: int) -> None:
        self.queued.pop(address, None)
        await self.kfree(address)

    async def kvfree_rcu_barrier(self) -> None:
        """Sleep until everything given to kfree_rcu() so far has been freed."""
        for krcp in list(self._cpus.values()):
            await krcp.change
            while krcp.count and not await self.queue_batch(krcp):
                await self._flush_rcu_work(krcp.batches[0])
        for krcp in list(self._cpus.values()):
            for batch in krcp.batches:
                await self._flush_rcu_work(batch)

    @kernel_name("flush_rcu_work")
    async def _flush_rcu_work(self, batch: Batch) -> None:
        """Wait for the grace period whose callback queues the work, if it is not over, then for the work."""
        await batch.cpu.change
        if batch.pending:
            await self._rcu.rcu_barrier()
            await batch.cpu.change
        if batch.under_way:
            await self.machine.workqueues.flush_work(batch.work)
