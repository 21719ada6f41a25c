"""Machines with workqueues, and programs of threads that use them, judged by what the tracepoints tell."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

from slubloom.actors import BareInterleaver, Cpu, Op, OpKind, RunLimits
from slubloom.actors.strategies import RandomWalk
from slubloom.kernel import Machine
from slubloom.kernel.boot import enable_sanitizers
from slubloom.kernel.machine import FunctionThread
from slubloom.kernel.rcu import Rcu
from slubloom.kernel.sanitizers.deadlock import report_deadlock
from slubloom.kernel.workqueue import Workqueues
from slubloom.kernel.workqueue.queue import WQ_MEM_RECLAIM, WQ_UNBOUND

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from slubloom.actors import Outcome
    from slubloom.actors.strategies import Strategy

STEP = Op(OpKind.LOCAL, "step")
SANITIZERS = ("kasan", "lockdep", "workqueue")


def machine_with_workqueues(
    seed: int = 0,
    cpus: int = 2,
    strategy: Strategy | None = None,
    *,
    stop: bool = True,
    sanitizers: tuple[str, ...] = SANITIZERS,
) -> Any:
    """Processors, RCU and workqueues; no memory."""
    interleaver = BareInterleaver(strategy or RandomWalk(seed), limits=RunLimits(200_000))
    machine = Machine(interleaver, release="v6.1", stop_at_violation=stop)
    interleaver.on_deadlock = lambda stuck: report_deadlock(machine, stuck)
    enable_sanitizers(machine, sanitizers)
    for number in range(cpus):
        cpu = Cpu(interleaver, number, 0, preempt_model="full", tick_ns=4_000_000)
        cpu.online = True
        machine.cpus[number] = cpu
        interleaver.spawn(cpu)
    machine.rcu = Rcu(machine, preemptible=True, jiffy_ns=4_000_000)
    machine.workqueues = Workqueues(machine)
    machine.booting = False
    interleaver.spawn(machine.rcu.domain)
    return machine


def start(machine: Any, cpu: int, name: str, function: Callable[[], Awaitable[object]]) -> FunctionThread:
    """A thread that runs `function` on processor `cpu`."""
    thread = FunctionThread(machine, machine.cpus[cpu], name, function)  # type: ignore[arg-type]
    machine.spawn(thread)
    return thread


def run(machine: Any) -> Outcome:
    """Run to the end."""
    outcome: Outcome = machine.interleaver.run_bare()
    return outcome


class Oracle:
    """Judges a run by its ``workqueue`` events: what each instance went through, in order."""

    def __init__(self, machine: Any) -> None:
        self.machine = machine
        self.inserted: dict[int, int] = {}
        self.started: dict[int, int] = {}
        self.ended: dict[int, int] = {}
        self.running: dict[int, list[int]] = {}  # work → processors
        self.order: dict[str, list[int]] = {}  # queue → works, as they were queued
        self.queue_of: dict[int, str] = {}
        self.errors: list[str] = []
        self.limits: dict[str, int] = {}  # queue → items at once, on the whole machine
        self.per_cpu: dict[str, int] = {}  # queue → items at once on one processor
        points = machine.tracepoints
        points.workqueue_queue_work.attach(self._inserted)
        points.workqueue_execute_start.attach(self._started)
        points.workqueue_execute_end.attach(self._ended)

    def _inserted(self, record: tuple[Any, ...]) -> None:
        work, queue = record[5], record[7]
        self.inserted[work] = self.inserted.get(work, 0) + 1
        self.queue_of[work] = queue
        self.order.setdefault(queue, []).append(work)

    def _started(self, record: tuple[Any, ...]) -> None:
        work, cpu = record[5], record[2]
        self.started[work] = self.started.get(work, 0) + 1
        if self.started[work] > self.inserted.get(work, 0):
            self.errors.append("an item ran that was not queued")
        if self.running.setdefault(work, []):
            self.errors.append("an item runs twice at once")
        self.running[work].append(cpu)
        queue = self.queue_of[work]
        mates = [at for other, at in self.running.items() if at and self.queue_of[other] == queue]
        if len(mates) > self.limits.get(queue, 1000):
            self.errors.append(f"{queue} runs {len(mates)} items at once")
        if sum(at == [cpu] for at in mates) > self.per_cpu.get(queue, 1000):
            self.errors.append(f"{queue} runs too many items on processor {cpu}")
        if self.limits.get(queue) == 1 and self.order[queue].pop(0) != work:
            self.errors.append(f"{queue} is out of order")

    def _ended(self, record: tuple[Any, ...]) -> None:
        work = record[5]
        self.ended[work] = self.ended.get(work, 0) + 1
        self.running[work].pop()

    def snapshot(self, works: list[Any]) -> dict[int, int]:
        """How many instances of each were queued so far."""
        return {work.address: self.inserted.get(work.address, 0) for work in works}

    def must_have_ended(self, snapshot: dict[int, int], what: str) -> None:
        """Everything that was queued at `snapshot` is over by now; where nothing is cancelled."""
        for work, queued in snapshot.items():
            if self.ended.get(work, 0) < queued:
                self.errors.append(f"{what} returned too early")

    def at_end(self) -> None:
        """Every instance has run, where nothing is cancelled."""
        if self.inserted != self.started or self.started != self.ended:
            self.errors.append("an instance was lost")


class Program:
    """Threads that do random things with a few items, from `seed`."""

    def __init__(self, seed: int, *, cancels: bool = False, strategy: Strategy | None = None, cpus: int = 2) -> None:
        self.random = random.Random(seed)
        self.machine = machine = machine_with_workqueues(seed, cpus, strategy)
        self.oracle = Oracle(machine)
        self.cancels = cancels
        self.cancelled: dict[int, int] = {}
        workqueues = machine.workqueues
        self.queues = [
            workqueues.system,
            workqueues.make_queue("one", WQ_MEM_RECLAIM, 1),
            workqueues.make_queue("ordered", WQ_UNBOUND, 1),
            workqueues.make_queue("roaming", WQ_UNBOUND, 2),
        ]
        self.oracle.per_cpu["one"] = 1
        if not cancels:
            self.oracle.limits = {"ordered": 1, "roaming": 2}
        self.works = [self._make_work(number) for number in range(8)]
        for number in range(3):
            start(machine, number % cpus, f"t{number}", self._thread(number))

    def _make_work(self, number: int) -> Any:
        steps, naps, again = self.random.randrange(4), self.random.random() < 0.3, self.random.randrange(3)
        queue = self.queues[number % len(self.queues)]
        left = [again]

        async def function(work: Any) -> None:
            for _ in range(steps):
                await STEP
            if naps:
                await self.machine.current.sleep(1000)
            if left[0]:
                left[0] -= 1
                await self.machine.workqueues.queue_work(queue, work)

        return self.machine.workqueues.make_work(f"item{number}", function, queue=queue)

    def _thread(self, number: int) -> Callable[[], Awaitable[None]]:
        plan = [
            (self.random.random(), self.random.choice(self.works), self.random.randrange(len(self.machine.cpus)))
            for _ in range(6)
        ]

        async def body() -> None:
            for what, work, cpu in plan:
                await self._do(what, work, cpu)

        return body

    async def _do(self, what: float, work: Any, cpu: int) -> None:
        workqueues, oracle = self.machine.workqueues, self.oracle
        if what < 0.5:
            await workqueues.queue_work_on(cpu, work)
        elif what < 0.6:
            await workqueues.queue_delayed_work_on(cpu, work, 1000 * cpu)
        elif what < 0.65 and self.cancels:
            was_pending = await workqueues.mod_delayed_work_on(cpu, work, 500)
            self.cancelled[work.address] = self.cancelled.get(work.address, 0) + was_pending
        elif what < 0.8:
            before = oracle.snapshot([work])
            await workqueues.flush_work(work)
            if not self.cancels:
                oracle.must_have_ended(before, "flush_work")
        elif what < 0.9:
            before = oracle.snapshot([other for other in self.works if other.queue is work.queue])
            await workqueues.flush_workqueue(work.queue)
            if not self.cancels:
                oracle.must_have_ended(before, "flush_workqueue")
        elif self.cancels:
            await self._cancel(work)
        else:
            await self.machine.current.sleep(2000)

    async def _cancel(self, work: Any) -> None:
        inserted = self.oracle.inserted.get(work.address, 0)
        was_pending = await self.machine.workqueues.cancel_work_sync(work)
        self.cancelled[work.address] = self.cancelled.get(work.address, 0) + was_pending
        if self.oracle.running.get(work.address) and self.oracle.inserted.get(work.address, 0) == inserted:
            self.oracle.errors.append("cancel_work_sync returned while the item runs")

    def run(self) -> list[str]:
        """Run to the end: what the oracle, the sanitizers and the end have to say."""
        outcome = run(self.machine)
        if not self.cancels:
            self.oracle.at_end()
        for work, inserted in self.oracle.inserted.items():
            if inserted - self.oracle.ended.get(work, 0) > self.cancelled.get(work, 0):
                self.oracle.errors.append("an instance was lost that nobody cancelled")
        errors = [*self.oracle.errors, *(violation.title for violation in self.machine.violations)]
        if outcome.name != "FINISHED":
            errors.append(outcome.value)
        return errors + broken_invariants(self.machine)


def broken_invariants(machine: Any) -> list[str]:
    """What must hold of pools and queues when everything is over."""
    errors = []
    for pool in machine.workqueues.pools.all():
        if pool.worklist or pool.busy:
            errors.append(f"{pool.name} has work left")
        if pool.nr_running or len(pool.idle) != len(pool.workers):
            errors.append(f"{pool.name} has {pool.nr_running} running of {len(pool.workers)}, {len(pool.idle)} idle")
    for queue in machine.workqueues.queues.values():
        for share in queue.pool_queues.values():
            if share.nr_active or share.inactive or any(share.in_flight):
                errors.append(f"{queue.name} has work left on {share.pool.name}")
        if queue.flush_color != queue.work_color or queue.first_flusher or queue.flushers or queue.overflow:
            errors.append(f"{queue.name} is still being flushed")
    return errors
