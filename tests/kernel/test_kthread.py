"""Kernel threads of one's own, and several locks around one block."""

from __future__ import annotations

from typing import Any

import pytest
from slubloom.actors import Op, OpKind, Outcome
from slubloom.kernel.kthread import kthread_run
from slubloom.kernel.locks import Mutex, Together

from .helpers import bare_machine, run, start

STEP = Op(OpKind.LOCAL, "step")


async def nap(steps: int) -> None:
    """Take a while."""
    for _ in range(steps):
        await STEP


def joined(seed: int, *, work: int, wait: int) -> list[str]:
    """A thread that works for so many steps is joined after so many; in what order things happened."""
    machine = bare_machine(seed)
    log: list[str] = []

    async def worker() -> None:
        await nap(work)
        log.append("ended")

    async def waiter() -> None:
        thread = kthread_run(machine, worker, cpu=1)
        await nap(wait)
        log.append("joining")
        await thread.join()
        log.append("joined")

    start(machine, 0, "waiter", waiter)
    assert run(machine) is Outcome.FINISHED
    assert machine.violations == []
    return log


def test_a_thread_is_joined_before_its_end_and_after_it() -> None:
    early, late = ["joining", "ended", "joined"], ["ended", "joining", "joined"]
    seen = [joined(seed, work=3, wait=3) for seed in range(40)]
    assert early in seen
    assert late in seen
    assert all(log in (early, late) for log in seen)


def test_a_thread_may_be_joined_by_several_and_more_than_once() -> None:
    for seed in range(20):
        machine = bare_machine(seed)
        log: list[str] = []

        async def worker(log: list[str] = log) -> None:
            await nap(4)
            log.append("ended")

        thread = kthread_run(machine, worker, cpu=1)

        async def waiter(thread: Any = thread, log: list[str] = log) -> None:
            await thread.join()
            await thread.join()
            log.append("joined")

        start(machine, 0, "one", waiter)
        start(machine, 1, "other", waiter)
        assert run(machine) is Outcome.FINISHED
        assert log == ["ended", "joined", "joined"]


def test_a_thread_runs_on_the_processor_it_was_given_and_is_called_as_its_function_or_as_said() -> None:
    machine = bare_machine(cpus=3)
    seen: list[tuple[str, int]] = []

    async def worker() -> None:
        await STEP
        seen.append((machine.current.name, machine.this_cpu.cpu_id))

    assert kthread_run(machine, worker, cpu=2).name == "worker"
    assert kthread_run(machine, worker, name="kswapd").cpu_id == 0
    assert run(machine) is Outcome.FINISHED
    assert sorted(seen) == [("kswapd", 0), ("worker", 2)]


@pytest.mark.parametrize("cpu", [1, 5, -1])
def test_a_processor_that_is_offline_or_not_there_is_refused_with_those_that_are_online(cpu: int) -> None:
    machine = bare_machine(cpus=3)
    machine.cpus[1].online = False

    async def worker() -> None:
        await STEP

    with pytest.raises(ValueError, match=rf"processor {cpu} is not online; those that are: \[0, 2\]"):
        kthread_run(machine, worker, cpu=cpu)


def test_a_thread_that_died_in_an_oops_is_waited_for_for_ever() -> None:
    machine = bare_machine()
    machine.stop_at_violation = False

    async def worker() -> None:
        await STEP
        machine.null.list_lock  # noqa: B018

    thread = kthread_run(machine, worker, cpu=1)

    async def waiter() -> None:
        await thread.join()

    start(machine, 0, "waiter", waiter)
    assert run(machine) is Outcome.DEADLOCK
    assert machine.violations[0].kind == "null-deref"


# --- several locks around one block


def pair(name: str, log: list[str]) -> Any:
    async def take() -> None:
        await STEP
        log.append(f"take {name}")

    async def leave() -> None:
        await STEP
        log.append(f"leave {name}")

    return take, leave


def test_locks_are_taken_in_order_and_left_in_reverse() -> None:
    machine = bare_machine()
    log: list[str] = []

    async def work() -> None:
        async with Together(pair("cpus", log), pair("mems", log), pair("mutex", log)):
            log.append("inside")

    start(machine, 0, "t", work)
    assert run(machine) is Outcome.FINISHED
    assert log == ["take cpus", "take mems", "take mutex", "inside", "leave mutex", "leave mems", "leave cpus"]


def test_locks_are_left_when_the_block_raises() -> None:
    machine = bare_machine()
    log: list[str] = []

    async def fail() -> None:
        await STEP
        raise LookupError

    async def work() -> None:
        try:
            async with Together(pair("a", log), pair("b", log)):
                await fail()
        except LookupError:
            log.append("caught")

    start(machine, 0, "t", work)
    assert run(machine) is Outcome.FINISHED
    assert log == ["take a", "take b", "leave b", "leave a", "caught"]


def test_a_thread_that_dies_inside_keeps_all_locks() -> None:
    machine = bare_machine()
    machine.stop_at_violation = False
    mutexes = [Mutex(machine, name) for name in ("first", "second")]

    async def dies() -> None:
        async with Together(*((mutex.lock, mutex.unlock) for mutex in mutexes)):
            machine.null.list_lock  # noqa: B018

    thread = start(machine, 0, "dies", dies)
    assert run(machine) is Outcome.FINISHED
    assert [mutex.holder for mutex in mutexes] == [thread, thread]


# --- waking, parking, stopping


def keeping_busy(machine: Any, log: list[str]) -> Any:
    """A thread that says what it is woken for until it is stopped, and parks when it must."""

    async def body() -> None:
        thread = machine.running
        while not thread.should_stop:
            if thread.should_park:
                log.append("parks")
                await thread.parkme()
                log.append("goes on")
                continue
            await thread.schedule
            log.append("woken")
        log.append("stops")

    return body


def test_a_wake_up_before_the_sleep_is_not_lost() -> None:
    for seed in range(20):
        machine = bare_machine(seed)
        log: list[str] = []

        async def control(machine: Any = machine, log: list[str] = log) -> None:
            thread = kthread_run(machine, keeping_busy(machine, log), cpu=1)
            await thread.wake_up()
            while "woken" not in log:
                await STEP
            await thread.stop()
            assert log[-1] == "stops"

        start(machine, 0, "control", control)
        assert run(machine) is Outcome.FINISHED
        assert machine.violations == []


def test_a_thread_is_parked_when_park_returns_and_does_nothing_until_it_is_unparked() -> None:
    for seed in range(20):
        machine = bare_machine(seed)
        log: list[str] = []

        async def control(machine: Any = machine, log: list[str] = log) -> None:
            thread = kthread_run(machine, keeping_busy(machine, log), cpu=1)
            await thread.park()
            assert log[-1] == "parks"
            await thread.wake_up()
            await nap(20)
            assert log[-1] == "parks"
            await thread.unpark()
            while "goes on" not in log:
                await STEP
            await thread.stop()

        start(machine, 0, "control", control)
        assert run(machine) is Outcome.FINISHED
        assert machine.violations == []
        assert log[-1] == "stops"


def test_a_parked_thread_can_be_stopped() -> None:
    for seed in range(20):
        machine = bare_machine(seed)
        log: list[str] = []

        async def control(machine: Any = machine, log: list[str] = log) -> None:
            thread = kthread_run(machine, keeping_busy(machine, log), cpu=1)
            await thread.park()
            await thread.stop()

        start(machine, 0, "control", control)
        assert run(machine) is Outcome.FINISHED
        assert log[-3:] == ["parks", "goes on", "stops"]
        assert log[:-3] in ([], ["woken"])
