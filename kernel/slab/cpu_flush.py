"""Flushing processors' slabs: the variants of seed 003 so far.

Up to 5.14 the flusher interrupts every processor that has a slab of the cache (``on_each_cpu_cond``), and the
interrupt handler gives it back.  From 5.15 (5a836bf6b09f with its fixes) it queues one work item per processor and
waits for each; ``flush_lock`` keeps the items, which every flusher shares, from being used twice.  Order then:
``cpu_hotplug_lock`` → ``slab_mutex`` → ``flush_lock`` → the work.  At first they were queued with everybody's, on
``events``; from 6.0 (e45cc288724f) they have a workqueue of their own, with a rescuer: who destroys a cache may be an
item that memory depends on.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Protocol

from ...actors import Access, Message
from ...actors.signal import Signal
from .cpu_slab import flush_cpu_slab

if TYPE_CHECKING:
    from ...actors import Cpu
    from ...actors.worker_pool import WorkItem
    from .cache import KmemCache
    from .slub import Slub


def has_cpu_slab(cache: KmemCache, cpu: Cpu) -> bool:
    """Whether a processor has anything of `cache`; looked at from anywhere, without a lock."""
    touch = cpu.interleaver.touch
    if touch is not None:
        touch(cpu.host, Access.READ)
    c = cache.cpu_slab.get(cpu.cpu_id)
    return c is not None and (c.slab is not None or c.partial is not None)


class CpuFlush(Protocol):
    """Seam: how `flush_all` reaches the other processors."""

    async def flush_all(self, cache: KmemCache) -> None:
        """Flush every online processor; may take ``cpu_hotplug_lock``."""
        ...

    async def flush_all_cpus_locked(self, cache: KmemCache) -> None:
        """The same for a caller that holds ``cpu_hotplug_lock`` already."""
        ...


@dataclass(frozen=True, slots=True)
class FlushCpuSlab(Message):
    """To a processor: give up your slabs of ``cache``."""

    cache: KmemCache
    flushed: Signal


class FlushByInterrupt:
    """Up to 5.14."""

    def __init__(self, slub: Slub) -> None:
        self._slub = slub
        for cpu in slub.machine.cpus.values():
            cpu.handlers[FlushCpuSlab] = self._flush_cpu_slab

    async def flush_all(self, cache: KmemCache) -> None:
        """Interrupt every processor that has something of `cache`, and wait for all of them."""
        machine = self._slub.machine
        await self._slub.read_cpu_slabs
        asked: list[Signal] = []
        machine.running.preempt_disable()
        for cpu in [cpu for cpu in machine.online_cpus() if has_cpu_slab(cache, cpu)]:
            flushed = Signal(machine.interleaver, f"flush of {cache.name} on {cpu.name}")
            asked.append(flushed)
            if (fire := machine.tracepoints.ipi_raise.fire) is not None:
                fire(f"{1 << cpu.cpu_id:x}", "flush_cpu_slab")
            await cpu.mailbox.send(FlushCpuSlab(cache, flushed))
        for flushed in asked:
            await flushed.wait
        machine.running.preempt_enable()

    async def flush_all_cpus_locked(self, cache: KmemCache) -> None:
        """No lock is involved here."""
        await self.flush_all(cache)

    async def _flush_cpu_slab(self, cpu: Cpu, message: FlushCpuSlab) -> None:
        await flush_cpu_slab(self._slub, message.cache, cpu.cpu_id)
        message.flushed.set()


class FlushByWork:
    """From 5.15, in the order that was merged."""

    queue: ClassVar[str] = "events"

    def __init__(self, slub: Slub) -> None:
        self._slub = slub
        self._works: dict[int, WorkItem] = {}
        self._cache: dict[int, KmemCache] = {}

    async def flush_all(self, cache: KmemCache) -> None:
        """Take ``cpu_hotplug_lock``, then flush."""
        async with self._slub.machine.cpu_hotplug.cpus_read_lock():
            await self.flush_all_cpus_locked(cache)

    async def flush_all_cpus_locked(self, cache: KmemCache) -> None:
        """Queue the flush on every processor that has something of `cache`, then wait for each."""
        machine = self._slub.machine
        async with self._slub.flush_lock:
            await self._slub.read_cpu_slabs
            queued: list[WorkItem] = []
            for cpu in machine.online_cpus():
                if has_cpu_slab(cache, cpu):
                    work = self._work_of(cpu.cpu_id)
                    self._cache[cpu.cpu_id] = cache
                    await machine.workqueues.queue_work_on(cpu.cpu_id, work)
                    queued.append(work)
            for work in queued:
                await machine.workqueues.flush_work(work)

    def _work_of(self, cpu: int) -> WorkItem:
        work = self._works.get(cpu)
        if work is None:

            async def flush(_: WorkItem) -> None:
                await flush_cpu_slab(self._slub, self._cache[cpu], cpu)

            work = self._slub.machine.workqueues.make_work(
                "flush_cpu_slab", flush, queue=self.queue, lock_name="(work_completion)(&sfw->work)"
            )
            self._works[cpu] = work
        return work


class FlushByOwnQueue(FlushByWork):
    """From 6.0."""

    queue: ClassVar[str] = "slub_flushwq"
