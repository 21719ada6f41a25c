"""What flushing waits for: lock classes, forward progress, and what an item must not leave behind."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from slubloom.actors import Outcome
from slubloom.kernel.locks import Mutex
from slubloom.kernel.workqueue.queue import WQ_LEGACY, WQ_MEM_RECLAIM, WQ_UNBOUND

from .helpers import STEP, machine_with_workqueues, run, start

if TYPE_CHECKING:
    from slubloom.kernel import Violation

TITLE = "possible circular locking dependency: {} under {}"


def flush_under_lock(seed: int, *, sanitize: bool = True, asleep: bool = False) -> tuple[Any, Outcome]:
    """A thread flushes an item under a lock that the item takes; if `asleep`, only when the item is long over."""
    machine = machine_with_workqueues(seed, sanitizers=("lockdep",) if sanitize else ())
    lock = Mutex(machine, "lock")

    async def function(_: Any) -> None:
        async with lock:
            await STEP

    work = machine.workqueues.make_work("work_fn", function)

    async def flusher() -> None:
        await machine.workqueues.queue_work_on(1, work)
        if asleep:
            await machine.current.sleep(1_000_000)
        async with lock:
            await machine.workqueues.flush_work(work)

    start(machine, 0, "flusher", flusher)
    return machine, run(machine)


def test_flushing_under_a_lock_that_the_item_takes_deadlocks_in_some_schedules() -> None:
    titles: dict[str, None] = {}
    for seed in range(40):
        machine, _ = flush_under_lock(seed, sanitize=False)
        titles.update(dict.fromkeys(violation.title for violation in machine.violations))
    assert list(titles) == ["deadlock: flusher/2 -> kworker/1:0/3 -> flusher/2"]


def test_lockdep_says_so_though_nobody_had_to_wait() -> None:
    machine, _ = flush_under_lock(0, asleep=True)
    (violation,) = machine.violations
    assert violation.kind == "lockdep-circular"
    assert violation.title == TITLE.format("(work_completion)(work_fn)", "lock")
    assert "((work_completion)(work_fn)){+.+.}-{0:0}, at: " in violation.report


@pytest.mark.parametrize(
    ("flags", "max_active", "reported"),
    [(0, 0, False), (0, 1, True), (WQ_UNBOUND, 1, True), (WQ_MEM_RECLAIM, 0, True), (WQ_UNBOUND, 4, False)],
)
def test_in_a_queue_of_one_or_with_a_rescuer_an_item_stands_for_the_queue(
    flags: int, max_active: int, reported: bool
) -> None:
    machine = machine_with_workqueues(1)
    lock = Mutex(machine, "lock")
    queue = machine.workqueues.make_queue("q", flags, max_active)

    async def takes(_: Any) -> None:
        async with lock:
            await STEP

    async def harmless(_: Any) -> None:
        await STEP

    first = machine.workqueues.make_work("takes", takes, queue=queue)
    second = machine.workqueues.make_work("harmless", harmless, queue=queue)

    async def flusher() -> None:
        await machine.workqueues.queue_work(queue, first)
        await machine.current.sleep(1_000_000)
        async with lock:
            await machine.workqueues.queue_work(queue, second)
            await machine.workqueues.flush_work(second)

    start(machine, 0, "flusher", flusher)
    run(machine)
    expected = [TITLE.format("(wq_completion)q", "lock")] if reported else []
    assert [violation.title for violation in machine.violations] == expected


def flush_from_item(flags: int, target_flags: int, *, whole_queue: bool = False) -> list[Violation]:
    """An item of one queue flushes one of another, or the other queue."""
    machine = machine_with_workqueues(2)
    workqueues = machine.workqueues
    outer_queue = workqueues.make_queue("outer", flags)
    target_queue = workqueues.make_queue("target", target_flags)

    async def inner_fn(_: Any) -> None:
        await machine.current.sleep(1000)

    inner = workqueues.make_work("inner_fn", inner_fn, queue=target_queue)

    async def outer_fn(_: Any) -> None:
        await workqueues.queue_work(target_queue, inner)
        await (workqueues.flush_workqueue(target_queue) if whole_queue else workqueues.flush_work(inner))

    outer = workqueues.make_work("outer_fn", outer_fn, queue=outer_queue)

    async def body() -> None:
        for _ in range(2):
            await workqueues.queue_work(outer_queue, outer)
            await workqueues.flush_work(outer)

    start(machine, 0, "t", body)
    machine.stop_at_violation = False
    assert run(machine) is Outcome.FINISHED
    violations: list[Violation] = machine.violations
    return violations


@pytest.mark.parametrize(("whole_queue", "waited_for"), [(False, "inner_fn"), (True, "0x0")])
def test_an_item_that_memory_depends_on_must_not_wait_for_one_that_may_need_memory(
    whole_queue: bool, waited_for: str
) -> None:
    (violation,) = flush_from_item(WQ_MEM_RECLAIM, 0, whole_queue=whole_queue)  # once only
    assert violation.kind == "kernel-bug"
    assert (
        violation.title == f"workqueue: WQ_MEM_RECLAIM outer:outer_fn is flushing !WQ_MEM_RECLAIM target:{waited_for}"
    )
    assert " at kernel/workqueue.c check_flush_dependency" in violation.report


@pytest.mark.parametrize(
    ("flags", "target_flags"),
    [(0, 0), (WQ_MEM_RECLAIM, WQ_MEM_RECLAIM), (0, WQ_MEM_RECLAIM), (WQ_MEM_RECLAIM | WQ_LEGACY, 0)],
)
def test_other_dependencies_are_in_order(flags: int, target_flags: int) -> None:
    assert flush_from_item(flags, target_flags) == []


def test_a_lock_left_behind_is_reported_with_the_function() -> None:
    machine = machine_with_workqueues(0)
    lock = Mutex(machine, "forgotten")

    async def leaky_fn(_: Any) -> None:
        await lock.lock()

    work = machine.workqueues.make_work("leaky_fn", leaky_fn)
    start(machine, 0, "t", lambda: machine.workqueues.queue_work_on(1, work))
    run(machine)
    (violation,) = machine.violations
    assert violation.title == "BUG: workqueue leaked lock or atomic: kworker/1:0/0x00000000/3"
    lines = violation.report.splitlines()
    assert lines[1:3] == ["     last function: leaky_fn", "1 lock held by kworker/1:0/3:"]
    assert lines[3].startswith(" #0: ") and "(forgotten){+.+.}-{3:3}" in lines[3]


def test_preemption_left_disabled_is_reported() -> None:
    machine = machine_with_workqueues(0)

    async def atomic_fn(_: Any) -> None:
        await STEP
        machine.current.preempt_disable()

    work = machine.workqueues.make_work("atomic_fn", atomic_fn)
    start(machine, 0, "t", lambda: machine.workqueues.queue_work_on(1, work))
    run(machine)
    assert [violation.title for violation in machine.violations] == [
        "BUG: workqueue leaked lock or atomic: kworker/1:0/0x00000001/3"
    ]
