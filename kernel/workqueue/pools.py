"""The worker pools of a machine, and the threads in them.

Mirrors get_unbound_pool(), create_worker() and init_rescuer() of kernel/workqueue.c (6.1): each processor has a pool
of normal and one of high priority, each node with processors has one of each for unbound queues, and ordered queues
share one of each for the whole machine, as unbound ones do where there is one node.  Pools are made on first use;
their numbers are the kernel's for processors, and follow in order of first use for the others.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...actors import Access, WorkerPool
from ...actors.work_thread import KernelWorker, Rescuer
from ...actors.worker_pool import IDLE_TIMEOUT_NS, PoolMakers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ...actors import Cpu
    from ...actors.work_queue import WorkQueue
    from ..machine import Machine

HIGHPRI_NICE = -20
ANY_NODE = -1
NR_STD_WORKER_POOLS = 2


class Pools:
    """All pools.  ``may_create_worker`` says whether there is memory for one more worker of a pool: always, unless set.

    ``offline`` holds the processors whose pools are unbound from them, or not bound yet, ``unprepared`` those that have
    never been about to come online: their pools have no workers.
    """

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.bound: dict[tuple[int, int], WorkerPool] = {}  # by processor and nice
        self.unbound: dict[tuple[int, int], WorkerPool] = {}  # by node and nice
        self.offline: dict[int, bool] = {}
        self.unprepared: dict[int, bool] = {}
        self.may_create_worker: Callable[[WorkerPool], bool] = lambda _: True
        self._makers = PoolMakers(self._create_worker, self._create_rescuer)
        self._registry = machine.interleaver.resource("unbound worker pools")
        machine.interleaver.on_time.append(self.reap_idle)

    def all(self) -> list[WorkerPool]:
        """Every pool that was used so far, in order of their numbers."""
        return sorted([*self.bound.values(), *self.unbound.values()], key=lambda pool: pool.pool_id)

    def each(self) -> Iterator[WorkerPool]:
        """The same in order of first use."""
        yield from self.bound.values()
        yield from self.unbound.values()

    def reap_idle(self) -> None:
        """End workers that are idle for long and too many."""
        if self.machine.interleaver.now_ns >= IDLE_TIMEOUT_NS:
            for pool in self.each():
                pool.changes()
                pool.reap_idle()

    def of(self, queue: WorkQueue, cpu: int) -> WorkerPool:
        """Where items of `queue` go that are queued for processor `cpu`; the step being made looks at that."""
        nice = HIGHPRI_NICE if queue.highpri else 0
        return self._unbound(queue, cpu, nice) if queue.unbound else self._bound(cpu, nice)

    def _bound(self, cpu: int, nice: int) -> WorkerPool:
        pool = self.bound.get((cpu, nice))
        processor = self.machine.cpus[cpu]
        if (touch := self.machine.interleaver.touch) is not None:
            touch(processor.host, Access.READ if pool is not None else Access.WRITE)
        if pool is None:
            number = [*self.machine.cpus].index(cpu) * NR_STD_WORKER_POOLS + (nice == HIGHPRI_NICE)
            pool = WorkerPool(
                self.machine.interleaver,
                number,
                self._makers,
                cpus=[*self.machine.cpus.values()],
                usable=self.usable,
                cpu=processor,
                node=processor.node,
                nice=nice,
                prepared=not self.unprepared.get(cpu, not processor.online),
            )
            if processor.online and not self.offline.get(cpu, False):
                pool.flags = 0  # also while the processor is about to go: that will unbind the pool
            self.bound[cpu, nice] = self._start(pool)
        return pool

    def _unbound(self, queue: WorkQueue, cpu: int, nice: int) -> WorkerPool:
        machine = self.machine
        node = ANY_NODE
        if len(machine.nodes) > 1 and not queue.ordered:
            node = machine.cpus[cpu].node
            if not any(self.usable(other) for other in machine.cpus.values() if other.node == node):
                node = ANY_NODE
        pool = self.unbound.get((node, nice))
        if (touch := machine.interleaver.touch) is not None:
            touch(self._registry, Access.READ if pool is not None else Access.WRITE)
        if pool is None:
            number = len(machine.cpus) * NR_STD_WORKER_POOLS + len(self.unbound)
            cpus = [*machine.cpus.values()]
            pool = WorkerPool(
                machine.interleaver, number, self._makers, cpus=cpus, usable=self.usable, node=node, nice=nice
            )
            self.unbound[node, nice] = self._start(pool)
        return pool

    def _start(self, pool: WorkerPool) -> WorkerPool:
        if (watchdog := self.machine.workqueue_watchdog) is not None:
            pool.on_take = watchdog.taking
        self.machine.interleaver.spawn(pool)
        return pool

    def usable(self, cpu: Cpu) -> bool:
        """Whether workers that are not bound to it may run on `cpu` (``is_cpu_allowed``)."""
        return cpu.online and not cpu.dying and not self.offline.get(cpu.cpu_id, False)

    def user_time(self, cpu: int, duration_ns: int) -> None:
        """Processor `cpu` was in user mode for so long, in one step: nobody had to wait for that."""
        for (number, _), pool in self.bound.items():
            if number == cpu:
                pool.watchdog_ns += duration_ns

    # --- threads

    def _create_worker(self, pool: WorkerPool, number: int) -> KernelWorker | None:
        if not self.may_create_worker(pool):
            return None
        owner = f"u{pool.pool_id}" if pool.cpu is None else f"{pool.cpu.cpu_id}"
        priority = "H" if pool.nice < 0 and pool.cpu is not None else ""
        return KernelWorker(pool, f"kworker/{owner}:{number}{priority}", pid=self.machine.next_pid())

    def _create_rescuer(self, queue: WorkQueue, pool: WorkerPool) -> Rescuer:
        return Rescuer(queue, pool, pid=self.machine.next_pid())
