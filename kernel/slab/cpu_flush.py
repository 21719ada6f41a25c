"""Flushing processors' slabs: the variants of seed 003.

Up to 5.14 the flusher interrupts every processor that has a slab of the cache (``on_each_cpu_cond``), and the
interrupt handler gives it back.  Later it queues one work item per processor and waits for each; ``flush_lock`` keeps
the items, which every flusher shares, from being used twice, and the read side of ``cpu_hotplug_lock`` the processors.
In which order these are taken was found in three attempts:

================ ======================================================================== ==========================
version          order                                                                    what is wrong with it
================ ======================================================================== ==========================
v4 of the series flush_lock → cpu_hotplug_lock → the work; for who holds slab_mutex too   memory hotplug: M05
its first fixup  cpu_hotplug_lock → flush_lock → the work, and memory hotplug, which has  destroying: slab_mutex →
                 cpu_hotplug_lock, does not take it again                                 cpu_hotplug_lock: M06
5.15, as merged  cpu_hotplug_lock → slab_mutex → flush_lock → the work (5a836bf6b09f)     the queue, ``events``: M07
6.0              the same, with a queue of its own that has a rescuer (e45cc288724f):
                 who destroys a cache may be an item that memory depends on
================ ======================================================================== ==========================
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Protocol

from ...actors import Access, Message
from ...actors.signal import Signal
from ..stack import kernel_name, part_of_caller
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
        """The same for memory hotplug, which holds ``cpu_hotplug_lock`` already, under ``slab_mutex``."""
        ...

    async def flush_for_shutdown(self, cache: KmemCache) -> None:
        """The same for who shuts a cache down, under ``slab_mutex``."""
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

    @kernel_name("__kmem_cache_shrink")
    async def flush_all_cpus_locked(self, cache: KmemCache) -> None:
        """No lock is involved here."""
        await self.flush_all(cache)

    flush_for_shutdown = flush_all

    async def _flush_cpu_slab(self, cpu: Cpu, message: FlushCpuSlab) -> None:
        await flush_cpu_slab(self._slub, message.cache, cpu.cpu_id)
        message.flushed.set()


class SlubFlushWork:
    """``struct slub_flush_work``: there is one for each processor, for all caches; under ``flush_lock``."""

    __slots__ = ("cache", "skip", "work")

    def __init__(self, slub: Slub, cpu: int, queue: str) -> None:
        self.cache: KmemCache | None = None
        self.skip = True

        async def flush(_: WorkItem) -> None:
            if self.cache is not None:
                await flush_cpu_slab(slub, self.cache, cpu)

        self.work = slub.machine.workqueues.make_work(
            "flush_cpu_slab", flush, queue=queue, lock_name="(work_completion)(&sfw->work)"
        )


class FlushByWork:
    """5.15 to 5.19, in the order that was merged."""

    queue: ClassVar[str] = "events"

    def __init__(self, slub: Slub) -> None:
        self._slub = slub
        self._slub_flush: dict[int, SlubFlushWork] = {}

    async def flush_all(self, cache: KmemCache) -> None:
        """Take ``cpu_hotplug_lock``, then flush."""
        async with self._slub.machine.cpu_hotplug.cpus_read_lock():
            await self.flush_all_cpus_locked(cache)

    async def flush_all_cpus_locked(self, cache: KmemCache) -> None:
        """Take ``flush_lock``, queue the flush on every processor that has something of `cache`, wait for each."""
        async with self._slub.flush_lock:
            await self._queue_and_wait(cache)

    flush_for_shutdown = flush_all_cpus_locked

    @part_of_caller
    async def _queue_and_wait(self, cache: KmemCache) -> None:
        workqueues = self._slub.machine.workqueues
        await self._slub.read_cpu_slabs
        for cpu in self._slub.machine.online_cpus():
            sfw = self._work_of(cpu.cpu_id)
            # Looked at from here, without a lock: who gets a slab after this keeps it.
            sfw.skip = not has_cpu_slab(cache, cpu)
            if not sfw.skip:
                sfw.cache = cache
                await workqueues.queue_work_on(cpu.cpu_id, sfw.work)
        for cpu in self._slub.machine.online_cpus():
            sfw = self._work_of(cpu.cpu_id)
            if not sfw.skip:
                await workqueues.flush_work(sfw.work)

    def _work_of(self, cpu: int) -> SlubFlushWork:
        sfw = self._slub_flush.get(cpu)
        if sfw is None:
            sfw = self._slub_flush[cpu] = SlubFlushWork(self._slub, cpu, self.queue)
        return sfw


class FlushByOwnQueue(FlushByWork):
    """From 6.0."""

    queue: ClassVar[str] = "slub_flushwq"


class FlushLockFirst(FlushByWork):
    """No release: v4 of the series.  There is one function for all, which takes both locks, ``flush_lock`` first."""

    async def flush_all(self, cache: KmemCache) -> None:
        """Take ``flush_lock``, then ``cpu_hotplug_lock``, then flush."""
        async with self._slub.flush_lock, self._slub.machine.cpu_hotplug.cpus_read_lock():
            await self._queue_and_wait(cache)

    @kernel_name("__kmem_cache_shrink")
    async def flush_all_cpus_locked(self, cache: KmemCache) -> None:
        """Nobody thinks of what the caller holds."""
        await self.flush_all(cache)

    flush_for_shutdown = flush_all


class CpusLockUnderSlabMutex(FlushByWork):
    """No release: the first fixup of that.  Whoever shuts a cache down takes ``cpu_hotplug_lock`` in ``flush_all``."""

    flush_for_shutdown = FlushByWork.flush_all
