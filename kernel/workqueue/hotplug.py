"""What CPU hotplug does to worker pools: three callbacks of the states WORKQUEUE_PREP and WORKQUEUE_ONLINE.

Mirrors workqueue_prepare_cpu(), workqueue_online_cpu(), workqueue_offline_cpu(), unbind_workers() and rebind_workers()
of kernel/workqueue.c (6.1).  A processor that goes offline leaves its pools behind, unbound: what is queued there runs
elsewhere, as many items at once as there are.  When it is back its workers return to it: idle ones and waiting ones at
once, one that has another processor when it gives that up.  A pool whose processor was never about to come online has
no workers: what is queued there waits until it is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...actors import Access

if TYPE_CHECKING:
    from ...actors import WorkerPool
    from .api import Workqueues


class Hotplug:
    """The callbacks, on one machine."""

    def __init__(self, workqueues: Workqueues) -> None:
        self._workqueues = workqueues
        self._machine = workqueues.machine
        self._pools = workqueues.pools

    async def workqueue_prepare_cpu(self, cpu: int) -> None:
        """Processor `cpu` is about to come online: its pools may have workers."""
        self._declare(cpu)
        self._pools.unprepared[cpu] = False
        for pool in self._of(cpu):
            pool.changes()
            pool.prepared = True
            if pool.worklist:
                pool.wake_up_worker()

    async def workqueue_online_cpu(self, cpu: int) -> None:
        """Processor `cpu` is online: its workers return to it."""
        workqueues = self._workqueues
        async with workqueues.pool_mutex:
            async with workqueues.attach_mutex:
                self._declare(cpu)
                self._pools.unprepared[cpu] = False
                self._pools.offline[cpu] = False
                for pool in self._of(cpu):
                    pool.rebind()

    async def workqueue_offline_cpu(self, cpu: int) -> bool:
        """Processor `cpu`, which this must run on, goes offline: its workers may run anywhere else; false elsewhere."""
        if cpu != self._machine.smp_processor_id():
            return False
        workqueues = self._workqueues
        async with workqueues.attach_mutex:
            self._declare(cpu)
            self._pools.offline[cpu] = True
            for pool in self._of(cpu):
                pool.unbind()
        async with workqueues.pool_mutex:
            for pool in self._pools.unbound.values():
                pool.changes()
                for worker in pool.workers:
                    if worker.cpu_id == cpu:
                        worker.leave_processor()
        return True

    def _of(self, cpu: int) -> list[WorkerPool]:
        return [pool for (number, _), pool in self._pools.bound.items() if number == cpu]

    def _declare(self, cpu: int) -> None:
        """Whoever looks for a pool of `cpu`, or for a place to run, looks at the processor."""
        machine = self._machine
        if (touch := machine.interleaver.touch) is not None:
            touch(machine.cpus[cpu].host, Access.WRITE)
