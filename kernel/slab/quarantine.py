"""KASAN's quarantine: freed objects rest for a while before the allocator gets them, so that late uses are seen.

Mirrors mm/kasan/quarantine.c (6.1), with CONFIG_KASAN_GENERIC: an object freed goes to a list of its processor; when
that is longer than `PERCPU_BYTES` the whole of it moves to the global queue, a ring of batches under
``quarantine_lock``; whoever allocates and may sleep takes the oldest batch and frees it for good while the queue is
too long.

A cache that is destroyed or shrunk must have all its objects back first: every processor is interrupted and frees
what its list has of the cache, then the batches are searched.  An object that is on its way from one place to
another, on a list that only its mover knows, must not be missed:

========== ======================================================================================= ============
from       on the way to the global queue, and out of it
========== ======================================================================================= ============
v4.8       with interrupts on: the destroyer's interrupt comes, and finds nothing                   80a9201a5965
v4.11      the first with interrupts off, until it is in the queue; the second in an SRCU reader,
           for which the destroyer waits                                                            (see below)
========== ======================================================================================= ============

What was missed is freed later, into a cache that is gone; SLUB notices when it counts the slabs of the dying cache.
The second change is "kasan: fix races in quarantine_remove_cache()"; that it is of 4.11 is from the patch as sent, how
it was before and the first commit are from memory.

Lock order: ``slab_mutex`` → ``quarantine_lock`` (raw, interrupts off).  Left out: memory that comes online later does
not raise the limit.  Processors that go offline keep their list; from 5.11 they free it (cpu_hotplug/quarantine.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ...actors import Access, Message, Op, OpKind
from ...actors.signal import Signal
from ..gfp import GFP_ACCOUNT, GFP_DIRECT_RECLAIM
from ..locks import Spinlock
from ..machine import PAGE_SHIFT
from ..pages import page_frame
from ..stack import kernel_name, part_of_caller
from .allocate import kmem_cache_alloc_bulk, slab_alloc_node
from .flags import SLAB_ACCOUNT, SLAB_TYPESAFE_BY_RCU
from .free import free_for_good

if TYPE_CHECKING:
    from ...actors import Cpu
    from .cache import KmemCache, Slab
    from .slub import Slub

PERCPU_BYTES = 1 << 20
BATCHES = 1024
FRACTION = 32
"""The quarantine gets this part of the memory."""

MOVED_ALL = Op(OpKind.LOCAL, "qlist of the mover")


@dataclass(frozen=True, slots=True)
class RemoveCache(Message):
    """To a processor: free what is quarantined there of ``cache`` (``per_cpu_remove_cache``)."""

    cache: KmemCache
    removed: Signal


class QuarantineList:
    """``struct qlist_head``: addresses of objects, the oldest first."""

    __slots__ = ("addresses", "bytes")

    def __init__(self) -> None:
        self.addresses: list[int] = []
        self.bytes = 0

    def put(self, address: int, size: int) -> None:
        """Add an object that takes `size` bytes."""
        self.addresses.append(address)
        self.bytes += size

    def move_all(self) -> QuarantineList:
        """Empty it; what was in it."""
        moved = QuarantineList()
        moved.addresses, self.addresses = self.addresses, []
        moved.bytes, self.bytes = self.bytes, 0
        return moved

    def append_all(self, other: QuarantineList) -> None:
        """Take what another one has."""
        self.addresses += other.addresses
        self.bytes += other.bytes


class QuarantineWithIrqsOn:
    """4.8 to 4.10."""

    def __init__(self, slub: Slub) -> None:
        self._slub = slub
        machine = slub.machine
        # Each processor's own, with interrupts off or from its interrupt.
        self.of_cpu: dict[int, QuarantineList] = {cpu: QuarantineList() for cpu in machine.cpus}
        # quarantine_lock:
        self.batches: dict[int, QuarantineList] = {}
        self.head = 0
        self.tail = 0
        self.bytes = 0  # also read without
        self.bytes_max = 0  # until somebody has looked for the first time
        self.batch_bytes = 0
        self.lock = Spinlock(machine, "quarantine_lock")
        self._size = machine.interleaver.resource("quarantine_size")
        self._read_size = Op(OpKind.READ, self._size)
        self._memory_bytes = sum(
            zone.managed_pages << PAGE_SHIFT for node in machine.nodes.values() for zone in node.zones
        )
        for cpu in machine.cpus.values():
            cpu.handlers[RemoveCache] = self._per_cpu_remove_cache

    async def cpu_quarantine_init(self) -> None:
        """Nothing is done when a processor goes."""

    # --- allocating: the detour

    @part_of_caller
    async def kmem_cache_alloc(self, cache: KmemCache, gfp: int, node: int) -> int | None:
        """Allocate as without a quarantine; then help to empty it."""
        slub = self._slub
        if slub.memcg is not None and (cache.flags & SLAB_ACCOUNT or gfp & GFP_ACCOUNT):
            address = await slub.memcg.kmem_cache_alloc(cache, gfp, node)
        else:
            address = await slab_alloc_node(slub, cache, gfp, node)
        if gfp & GFP_DIRECT_RECLAIM:
            await self.reduce()
        return address

    @part_of_caller
    async def kmem_cache_alloc_bulk(self, cache: KmemCache, gfp: int, count: int) -> list[int]:
        """The same for many."""
        slub = self._slub
        if slub.memcg is not None and (cache.flags & SLAB_ACCOUNT or gfp & GFP_ACCOUNT):
            addresses = await slub.memcg.kmem_cache_alloc_bulk(cache, gfp, count)
        else:
            addresses = await kmem_cache_alloc_bulk(slub, cache, gfp, count, accounted=False)
        if gfp & GFP_DIRECT_RECLAIM:
            await self.reduce()
        return addresses

    # --- freeing

    @kernel_name("kasan_quarantine_put")
    async def put(self, cache: KmemCache, slab: Slab, index: int) -> bool:
        """Keep an object that was freed; whether it is kept.  Whoever touches it from here on uses it after free.

        One that readers may look at for a grace period is not kept: KASAN has nothing to say about those uses.
        """
        if cache.flags & SLAB_TYPESAFE_BY_RCU:
            return False
        slab.live &= ~(1 << index)
        await self._put(slab.base + index * cache.size, cache.size)
        return True

    async def _put(self, address: int, size: int) -> None:
        q = self.of_cpu[self._slub.machine.smp_processor_id()]
        q.put(address, size)
        if q.bytes <= PERCPU_BYTES:
            return
        moved = q.move_all()
        await MOVED_ALL  # interrupts come here
        async with self.lock.irqsave():
            self._to_global_queue(moved)

    def _to_global_queue(self, moved: QuarantineList) -> None:
        """Under ``quarantine_lock``."""
        self.bytes += moved.bytes
        self._size_changes()
        batch = self.batches.setdefault(self.tail, QuarantineList())
        batch.append_all(moved)
        if batch.bytes >= self.batch_bytes and (self.tail + 1) % BATCHES != self.head:
            self.tail = (self.tail + 1) % BATCHES

    def _size_changes(self) -> None:
        if (touch := self._slub.machine.interleaver.touch) is not None:
            touch(self._size, Access.WRITE)

    @kernel_name("kasan_quarantine_reduce")
    async def reduce(self) -> None:
        """Free the oldest batch for good if there is too much in the global queue."""
        await self._read_size
        if self.bytes > self.bytes_max:
            await self._reduce()

    @part_of_caller
    async def _reduce(self) -> None:
        machine = self._slub.machine
        async with self.lock.irqsave():
            self._size_changes()
            total = self._memory_bytes // FRACTION
            self.bytes_max = max(total - PERCPU_BYTES * len(machine.online_cpus()), 0)
            self.batch_bytes = max(PERCPU_BYTES, 2 * total // BATCHES)
            oldest = QuarantineList()
            if self.bytes > self.bytes_max:
                oldest = self.batches.pop(self.head, oldest)
                self.bytes -= oldest.bytes
                self.head = (self.head + 1) % BATCHES
        await self._free_all(oldest)

    # --- a cache goes

    @kernel_name("kasan_quarantine_remove_cache")
    async def remove_cache(self, cache: KmemCache) -> None:
        """Free every quarantined object of `cache` for good.  May sleep."""
        machine = self._slub.machine
        asked: list[Signal] = []
        machine.running.preempt_disable()
        for cpu in machine.online_cpus():
            removed = Signal(machine.interleaver, f"removal of {cache.name} on {cpu.name}")
            asked.append(removed)
            if (fire := machine.tracepoints.ipi_raise.fire) is not None:
                fire(f"{1 << cpu.cpu_id:x}", "per_cpu_remove_cache")
            await cpu.mailbox.send(RemoveCache(cache, removed))
        for removed in asked:
            await removed.wait
        machine.running.preempt_enable()
        theirs = QuarantineList()
        async with self.lock.irqsave():
            for batch in self.batches.values():
                theirs.append_all(self._move_cache(batch, cache))
        await self._free_all(theirs)

    async def _per_cpu_remove_cache(self, cpu: Cpu, message: RemoveCache) -> None:
        await self._free_all(self._move_cache(self.of_cpu[cpu.cpu_id], message.cache))
        message.removed.set()

    def _move_cache(self, q: QuarantineList, cache: KmemCache) -> QuarantineList:
        """Take the objects of `cache` out of a list (``qlist_move_cache``)."""
        theirs, rest = QuarantineList(), QuarantineList()
        for address in q.addresses:
            of = self._slab_of(address).cache
            (theirs if of is cache else rest).put(address, of.size)
        q.addresses, q.bytes = rest.addresses, rest.bytes
        return theirs

    async def _free_all(self, q: QuarantineList) -> None:
        """``qlist_free_all``: each object to the cache whose slab it lies in."""
        for address in q.addresses:
            await free_for_good(self._slub, self._slab_of(address), address)

    def _slab_of(self, address: int) -> Slab:
        slab = self._slub.slabs.get(page_frame(address))
        if slab is None:
            self._slub.machine.kernel_bug(f"quarantined object {address:#x} lies in no slab any more")
        return slab


class Quarantine(QuarantineWithIrqsOn):
    """From 4.11."""

    def __init__(self, slub: Slub) -> None:
        super().__init__(slub)
        self._remove_cache_srcu = slub.machine.rcu.srcu_struct("remove_cache_srcu")

    async def _put(self, address: int, size: int) -> None:
        machine = self._slub.machine
        machine.local_irq_disable()
        q = self.of_cpu[machine.smp_processor_id()]
        q.put(address, size)
        if q.bytes > PERCPU_BYTES:
            moved = q.move_all()
            async with self.lock:
                self._to_global_queue(moved)
        machine.local_irq_enable()

    @part_of_caller
    async def _reduce(self) -> None:
        index = await self._remove_cache_srcu.read_lock()
        await super()._reduce()
        await self._remove_cache_srcu.read_unlock(index)

    @kernel_name("kasan_quarantine_remove_cache")
    async def remove_cache(self, cache: KmemCache) -> None:
        """The same; then wait for those who free a batch that has some."""
        await super().remove_cache(cache)
        await self._remove_cache_srcu.synchronize()
