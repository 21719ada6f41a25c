"""Interrupts, soft interrupts, workers and hotplug requests: who may run when, and what happens on failure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from slubloom.actors import Message, Op, OpKind, Outcome
from slubloom.kernel.locks import Mutex, Spinlock
from slubloom.kernel.workqueue import Workqueues
from slubloom.topology import gallery_path, load, loads

from slubloom.run import RunOptions, run_scenario

from .helpers import bare_machine, booted, run, start

if TYPE_CHECKING:
    from slubloom.actors import Cpu

STEP = Op(OpKind.LOCAL, "step")


@dataclass(frozen=True, slots=True)
class Ring(Message):
    """Do something."""


def test_an_interrupt_waits_while_interrupts_are_off_and_then_comes() -> None:
    for seed in range(40):
        machine = bare_machine(seed)
        log: list[str] = []
        machine.cpus[0].handlers[Ring] = lambda cpu, message, log=log: log.append("irq")

        async def protected(log: list[str] = log, machine: Any = machine) -> None:
            machine.local_irq_disable()
            for _ in range(4):
                log.append("off")
                await STEP
            machine.local_irq_enable()
            for _ in range(4):
                await STEP

        async def ring(machine: Any = machine) -> None:
            await machine.cpus[0].mailbox.send(Ring())

        start(machine, 0, "protected", protected)
        start(machine, 1, "ring", ring)
        assert run(machine) is Outcome.FINISHED
        assert log.count("irq") == 1
        where = log.index("irq")
        assert where in (0, 4)


def test_while_an_interrupt_is_handled_its_processor_runs_nothing_else() -> None:
    interrupted = 0
    for seed in range(60):
        machine = bare_machine(seed)
        log: list[str] = []

        async def handle(cpu: Cpu, message: Ring, log: list[str] = log) -> None:
            log.append("enter")
            await STEP
            await STEP
            log.append("exit")

        machine.cpus[0].handlers[Ring] = handle

        async def work(log: list[str] = log) -> None:
            for _ in range(6):
                log.append("thread")
                await STEP

        async def ring(machine: Any = machine) -> None:
            await machine.cpus[0].mailbox.send(Ring())

        start(machine, 0, "work", work)
        start(machine, 1, "ring", ring)
        run(machine)
        where = log.index("enter")
        assert log[where + 1] == "exit"
        interrupted += 0 < where < 6
    assert interrupted > 10


def test_a_spinlock_held_with_interrupts_off_and_taken_in_an_interrupt_does_not_deadlock() -> None:
    for seed in range(60):
        machine = bare_machine(seed)
        lock = Spinlock(machine, "lock")

        async def handle(cpu: Cpu, message: Ring, lock: Spinlock = lock) -> None:
            async with lock:
                await STEP

        machine.cpus[0].handlers[Ring] = handle

        async def work(lock: Spinlock = lock) -> None:
            for _ in range(3):
                async with lock.irqsave():
                    await STEP

        async def ring(machine: Any = machine) -> None:
            for _ in range(3):
                await machine.cpus[0].mailbox.send(Ring())

        start(machine, 0, "work", work)
        start(machine, 1, "ring", ring)
        assert run(machine) is Outcome.FINISHED
        assert machine.violations == []


def test_the_same_with_interrupts_on_deadlocks_in_some_schedules() -> None:
    outcomes = {}
    kinds = set()
    for seed in range(100):
        machine = bare_machine(seed)
        machine.stop_at_violation = False  # lockdep says so in all of them
        lock = Spinlock(machine, "lock")

        async def handle(cpu: Cpu, message: Ring, lock: Spinlock = lock) -> None:
            async with lock:
                pass

        machine.cpus[0].handlers[Ring] = handle

        async def work(lock: Spinlock = lock) -> None:
            async with lock:
                await STEP
                await STEP

        async def ring(machine: Any = machine) -> None:
            await machine.cpus[0].mailbox.send(Ring())

        start(machine, 0, "work", work)
        start(machine, 1, "ring", ring)
        outcomes[run(machine)] = None
        kinds.add(tuple(violation.kind for violation in machine.violations))
    assert kinds == {("lockdep-irq",)}
    assert set(outcomes) == {Outcome.FINISHED, Outcome.DEADLOCK}


def test_a_raised_softirq_runs_once_on_its_processor() -> None:
    for seed in range(30):
        machine = bare_machine(seed)
        ran: list[int] = []

        async def action(cpu: Cpu, ran: list[int] = ran) -> None:
            await STEP
            ran.append(cpu.cpu_id)

        async def work(machine: Any = machine, action: Any = action) -> None:
            machine.this_cpu.raise_softirq(3, action)
            machine.this_cpu.raise_softirq(3, action)
            await STEP

        start(machine, 1, "work", work)
        assert run(machine) is Outcome.FINISHED
        assert ran == [1]


def pool_machine(seed: int) -> tuple[Any, Workqueues]:
    machine = bare_machine(seed)
    machine.workqueues = Workqueues(machine)
    return machine, machine.workqueues


def test_an_item_runs_on_the_processor_it_was_queued_on_and_never_twice_at_once() -> None:
    for seed in range(60):
        machine, workqueues = pool_machine(seed)
        inside: list[int] = []
        ran: list[int] = []

        async def function(_: Any, machine: Any = machine, inside: list[int] = inside, ran: list[int] = ran) -> None:
            assert inside == []
            inside.append(1)
            ran.append(machine.smp_processor_id())
            await STEP
            await STEP
            inside.clear()

        work = workqueues.make_work("item", function)
        queued: list[bool] = []

        async def queue(workqueues: Any = workqueues, work: Any = work, queued: list[bool] = queued) -> None:
            mine = [await workqueues.queue_work_on(1, work) for _ in range(3)]
            queued.extend(mine)
            await workqueues.flush_work(work)
            assert work.done >= 1 or not any(mine)  # what another is just queueing is not waited for

        start(machine, 0, "a", queue)
        start(machine, 1, "b", queue)
        assert run(machine) is Outcome.FINISHED
        assert ran == [1] * sum(queued)
        assert 1 <= len(ran) <= 6


def test_flushing_waits_for_the_instance_that_was_queued_and_an_idle_item_is_not_waited_for() -> None:
    machine, workqueues = pool_machine(0)
    log: list[str] = []

    async def function(_: Any) -> None:
        await STEP
        log.append("ran")

    work = workqueues.make_work("item", function)

    async def body() -> None:
        assert not await workqueues.flush_work(work)
        await workqueues.queue_work_on(0, work)
        assert await workqueues.flush_work(work)
        log.append("flushed")

    start(machine, 1, "t", body)
    run(machine)
    assert log == ["ran", "flushed"]


def test_when_a_worker_sleeps_another_takes_over() -> None:
    for seed in range(40):
        machine, workqueues = pool_machine(seed)
        mutex = Mutex(machine, "m")
        log: list[str] = []

        async def sleeps(_: Any, mutex: Mutex = mutex, log: list[str] = log) -> None:
            async with mutex:
                log.append("slept")

        async def quick(_: Any, log: list[str] = log) -> None:
            log.append("quick")

        first, second = workqueues.make_work("sleeps", sleeps), workqueues.make_work("quick", quick)

        async def holder(
            mutex: Mutex = mutex, workqueues: Any = workqueues, first: Any = first, second: Any = second
        ) -> None:
            async with mutex:
                await workqueues.queue_work_on(1, first)
                await workqueues.queue_work_on(1, second)
                await workqueues.flush_work(second)

        start(machine, 0, "holder", holder)
        assert run(machine) is Outcome.FINISHED
        assert log == ["quick", "slept"]


NO_ROOM = """
[machine]
offline_nodes = [1]
[[machine.node]]
id = 0
cpus = "0"
memory = "1M"
[[machine.node]]
id = 1
memory = "64M"
[[cache]]
name = "filler"
size = 4096
[[task]]
name = "t"
program = [
    {op = "kmem_cache_alloc", cache = "filler", count = 300},
    {op = "repeat", count = 200, program = [{op = "kmem_cache_create", cache = "c{i}", size = 64}]},
    {op = "memory_online", node = 1},
]
"""


def test_a_callback_that_fails_cancels_the_onlining_for_all() -> None:
    from slubloom.actors.hotplug import NotifierBlock

    machine = booted(0, NO_ROOM.replace("count = 300", "count = 1").replace("count = 200", "count = 1"))
    told: list[tuple[str, str]] = []

    def block(name: str, priority: int, answer: int) -> NotifierBlock:
        async def call(event: Any, _: Any) -> int:
            told.append((name, event.name))
            return answer if event.name == "GOING_ONLINE" else 0

        return NotifierBlock(name, priority, call)

    chain = machine.memory_hotplug.chain.notifiers
    chain.register(block("early", 100, 0))
    chain.register(block("refuses", 0, -12))
    chain.register(block("never asked", -1, 0))
    assert run(machine) is Outcome.FINISHED
    assert told == [
        ("early", "GOING_ONLINE"),
        ("refuses", "GOING_ONLINE"),
        ("early", "CANCEL_ONLINE"),
        ("refuses", "CANCEL_ONLINE"),
        ("never asked", "CANCEL_ONLINE"),
    ]
    assert 1 not in machine.pages.states.memory
    assert 1 not in machine.slab.slab_nodes


def test_running_out_of_memory_in_the_middle_of_a_scenario_is_no_crash() -> None:
    result = run_scenario(loads(NO_ROOM), RunOptions())
    assert result.outcome is Outcome.FINISHED
    assert result.counters["failed_allocations"] == 1
    assert result.violations == ()


@pytest.mark.parametrize("seed", range(12))
def test_going_on_after_a_violation_never_hangs(seed: int) -> None:
    scenario = load(gallery_path("node-offline-uaf"))
    result = run_scenario(scenario, RunOptions(strategy="random", seed=seed, stop_at_violation=False))
    assert result.outcome in (Outcome.FINISHED, Outcome.DEADLOCK)
    assert set(result.kinds()) <= {"use-after-free", "deadlock", "kernel-bug"}
