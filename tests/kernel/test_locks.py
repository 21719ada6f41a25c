"""Locks: what they exclude, in what order they are granted, and how misuse is reported."""

from __future__ import annotations

from typing import Any

import pytest
from slubloom.actors import COND_RESCHED, Op, OpKind, Outcome
from slubloom.kernel.locks import Completion, Mutex, PercpuRwsem, RwSemaphore, Spinlock

from .helpers import bare_machine, run, start

STEP = Op(OpKind.LOCAL, "step")
SEEDS = range(60)


@pytest.mark.parametrize("kind", [Mutex, Spinlock])
def test_one_thread_at_a_time_holds_an_exclusive_lock(kind: Any) -> None:
    for seed in SEEDS:
        machine = bare_machine(seed, cpus=3)
        lock = kind(machine, "lock")
        inside: list[int] = []
        passed: list[int] = []

        def work(number: int, lock: Any = lock, inside: list[int] = inside, passed: list[int] = passed) -> Any:
            async def body() -> None:
                for _ in range(4):
                    async with lock:
                        inside.append(number)
                        await STEP
                        assert inside == [number]
                        inside.clear()
                    passed.append(number)

            return body

        for number in range(6):
            start(machine, number % 3, f"t{number}", work(number))
        assert run(machine) is Outcome.FINISHED
        assert len(passed) == 24
        assert machine.violations == []


def test_a_spinlock_holder_is_never_preempted() -> None:
    for seed in SEEDS:
        machine = bare_machine(seed, cpus=1)
        lock = Spinlock(machine, "lock")
        log: list[str] = []

        async def holds() -> None:
            async with lock:  # noqa: B023
                for _ in range(3):
                    log.append("holder")  # noqa: B023
                    await STEP

        async def other() -> None:
            for _ in range(3):
                log.append("other")  # noqa: B023
                await STEP

        start(machine, 0, "holds", holds)
        start(machine, 0, "other", other)
        run(machine)
        assert "holder,holder,holder" in ",".join(log)


def test_readers_share_and_writers_exclude() -> None:
    shared = 0
    for seed in SEEDS:
        machine = bare_machine(seed, cpus=4)
        rwsem = RwSemaphore(machine, "rwsem")
        readers: list[str] = []
        writers: list[str] = []

        async def read() -> None:
            nonlocal shared
            async with rwsem.read():  # noqa: B023
                readers.append("r")  # noqa: B023
                await STEP
                assert not writers  # noqa: B023
                shared = max(shared, len(readers))  # noqa: B023
                readers.pop()  # noqa: B023

        async def write() -> None:
            async with rwsem:  # noqa: B023
                writers.append("w")  # noqa: B023
                await STEP
                assert writers == ["w"]  # noqa: B023
                assert not readers  # noqa: B023
                writers.clear()  # noqa: B023

        for number, function in enumerate((read, write, read, write)):
            start(machine, number, f"t{number}", function)
        assert run(machine) is Outcome.FINISHED
    assert shared == 2


@pytest.mark.parametrize("kind", [RwSemaphore, PercpuRwsem])
def test_a_second_read_side_deadlocks_with_a_writer_that_waits_in_between(kind: Any) -> None:
    outcomes = {}
    for seed in range(100):
        machine = bare_machine(seed, cpus=2)
        lock = kind(machine, "lock")

        async def twice() -> None:
            await lock.down_read()  # noqa: B023
            await STEP
            await lock.down_read()  # noqa: B023
            await lock.up_read()  # noqa: B023
            await lock.up_read()  # noqa: B023

        async def write() -> None:
            async with lock:  # noqa: B023
                pass

        start(machine, 0, "twice", twice)
        start(machine, 1, "write", write)
        machine.stop_at_violation = False  # lockdep warns of the recursion; see what comes of it
        outcomes[run(machine)] = None
    assert set(outcomes) == {Outcome.FINISHED, Outcome.DEADLOCK}


def test_a_trylock_takes_a_free_lock_and_leaves_a_taken_one() -> None:
    machine = bare_machine(cpus=1)
    mutex, rwsem = Mutex(machine, "mutex"), RwSemaphore(machine, "rwsem")
    got: list[bool] = []

    async def work() -> None:
        got.append(await mutex.trylock())
        got.append(await mutex.trylock())
        await mutex.unlock()
        got.append(await rwsem.down_read_trylock())
        got.append(await rwsem.down_write_trylock())
        got.append(await rwsem.down_read_trylock())

    start(machine, 0, "t", work)
    run(machine)
    assert got == [True, False, True, False, True]


def test_each_complete_lets_one_waiter_go_and_is_remembered() -> None:
    for seed in SEEDS:
        machine = bare_machine(seed)
        done = Completion(machine, "done")
        gone: list[str] = []

        async def waits() -> None:
            await done.wait()  # noqa: B023
            gone.append("x")  # noqa: B023

        async def completes() -> None:
            await done.complete()  # noqa: B023
            await done.complete()  # noqa: B023

        for _ in range(3):
            start(machine, 0, "waits", waits)
        start(machine, 1, "completes", completes)
        assert run(machine) is Outcome.DEADLOCK  # the third waits for ever
        assert len(gone) == 2


def test_unlocking_what_another_thread_holds_is_a_kernel_bug() -> None:
    machine = bare_machine(cpus=1)
    mutex = Mutex(machine, "m")

    async def work() -> None:
        await mutex.unlock()

    start(machine, 0, "t", work)
    machine.stop_at_violation = False
    run(machine)
    assert [violation.kind for violation in machine.violations] == ["kernel-bug", "kernel-bug"]
    assert machine.violations[0].title == "bad unlock balance detected: m"
    assert "mutex_unlock of m" in machine.violations[1].title


def test_a_thread_that_dies_keeps_its_locks() -> None:
    machine = bare_machine(cpus=2)
    machine.stop_at_violation = False
    mutex = Mutex(machine, "m")

    async def dies() -> None:
        async with mutex:
            machine.kernel_bug("on purpose")

    async def waits() -> None:
        async with mutex:
            raise AssertionError("got the lock of a dead thread")

    async def late() -> None:
        await machine.current.sleep(1000)
        await waits()

    start(machine, 0, "dies", dies)
    start(machine, 1, "waits", late)
    assert run(machine) is Outcome.DEADLOCK


def test_without_preemption_a_thread_runs_until_it_sleeps_or_offers_its_processor() -> None:
    for seed in SEEDS:
        machine = bare_machine(seed, cpus=1, preempt="none")
        log: list[str] = []

        def work(name: str, log: list[str] = log) -> Any:
            async def body() -> None:
                for _ in range(3):
                    log.append(name)
                    await STEP

            return body

        start(machine, 0, "a", work("a"))
        start(machine, 0, "b", work("b"))
        run(machine)
        assert "".join(log) in ("aaabbb", "bbbaaa")


def test_cond_resched_lets_another_thread_have_the_processor() -> None:
    seen = {}
    for seed in SEEDS:
        machine = bare_machine(seed, cpus=1, preempt="none")
        log: list[str] = []

        def work(name: str, log: list[str] = log) -> Any:
            async def body() -> None:
                for _ in range(2):
                    log.append(name)
                    await COND_RESCHED

            return body

        start(machine, 0, "a", work("a"))
        start(machine, 0, "b", work("b"))
        run(machine)
        seen["".join(log)] = None
    assert {"aabb", "abab", "baba"} <= set(seen)
