"""Grace periods that do not end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from slubloom.actors import Interleaver, Op, OpKind, Outcome
from slubloom.actors.strategies import RandomWalk, Timed
from slubloom.kernel import boot
from slubloom.kernel.locks import Mutex
from slubloom.kernel.rcu import RcuHead
from slubloom.topology import loads

from ..helpers import run, start
from .oracle import SCENARIO, STEP

if TYPE_CHECKING:
    from slubloom.kernel import Machine

SECOND = 1_000_000_000


def machine_of(strategy: Any, preempt: str = "full", boot_line: str = "") -> Machine:
    text = SCENARIO.replace("PREEMPT", preempt) + boot_line
    return boot(loads(text), Interleaver(strategy), stop_at_violation=False).machine


def stalls(machine: Machine) -> list[Any]:
    return [violation for violation in machine.violations if violation.kind == "rcu-stall"]


def preempted_reader(machine: Machine, seconds: int) -> None:
    """A reader on CPU 0 that loses its processor and does not get it back for so long."""
    entered: list[int] = []

    async def read() -> None:
        await machine.rcu.read_lock()
        entered.append(1)
        await machine.current.sleep(seconds * SECOND)
        await machine.rcu.read_unlock()

    async def update() -> None:
        while not entered:
            await STEP
        await machine.rcu.synchronize_rcu()

    start(machine, 0, "reader", read)
    start(machine, 1, "updater", update)


@pytest.mark.parametrize("strategy", [RandomWalk(0), Timed()])
@pytest.mark.parametrize(("seconds", "count"), [(20, 0), (30, 1), (80, 1), (110, 2)])
def test_a_reader_longer_than_the_timeout_is_a_stall_and_told_again_after_three_more(
    strategy: Any, seconds: int, count: int
) -> None:
    machine = machine_of(strategy)
    preempted_reader(machine, seconds)
    assert run(machine) is Outcome.FINISHED
    assert len(stalls(machine)) == count


def test_the_report_is_the_kernels() -> None:
    machine = machine_of(Timed())
    preempted_reader(machine, 30)
    run(machine)
    (violation,) = stalls(machine)
    reader = next(line for line in violation.report.splitlines() if line.startswith("task:"))
    lines = violation.report.splitlines()
    pid = int(reader.split("pid:")[1].split()[0])
    assert lines[0] == "rcu: INFO: rcu_preempt detected stalls on CPUs/tasks:"
    assert lines[1] == f"rcu: \tTasks blocked on level-0 rcu_node (CPUs 0-3): P{pid}/1:b..l"
    assert lines[2] == "\t(detected by 0, t=5250 jiffies, g=-1199, q=1 ncpus=4)"
    assert lines[3].startswith("task:reader          state:D")
    assert violation.title == f"INFO: rcu_preempt detected stalls on CPUs/tasks: P{pid}"


def test_the_timeout_is_a_boot_parameter() -> None:
    machine = machine_of(Timed(), boot_line="boot = {rcu_cpu_stall_timeout = 60}\n")
    preempted_reader(machine, 30)
    run(machine)
    assert stalls(machine) == []


def test_a_processor_that_never_is_quiescent_is_named() -> None:
    """A thread that spins with preemption off, in a kernel in which nobody can take its processor."""
    machine = machine_of(Timed(), "none")
    burn = Op(OpKind.LOCAL, "busy", cost_ns=SECOND)

    async def spin() -> None:
        machine.current.preempt_disable()
        for _ in range(25):
            await burn
        machine.current.preempt_enable()

    async def update() -> None:
        await machine.current.sleep(1000)
        await machine.rcu.synchronize_rcu()

    start(machine, 2, "spinner", spin)
    start(machine, 1, "updater", update)
    run(machine)
    (violation,) = stalls(machine)
    lines = violation.report.splitlines()
    assert lines[0] == "rcu: INFO: rcu_sched detected stalls on CPUs/tasks:"
    assert lines[1].startswith("rcu: \t2-....: (")
    assert "Comm: spinner" in violation.report


def test_a_reader_that_ends_with_its_thread_does_not_stall() -> None:
    """``exit_rcu``."""
    machine = machine_of(RandomWalk(1))
    ran: list[int] = []

    async def read() -> None:
        await machine.rcu.read_lock()
        await STEP

    async def update() -> None:
        await STEP
        await STEP
        await machine.rcu.call_rcu(RcuHead(lambda: ran.append(1)))

    start(machine, 0, "reader", read)
    start(machine, 0, "other", update)
    assert run(machine) is Outcome.FINISHED
    assert (machine.violations, ran) == ([], [1])


def test_a_reader_that_waits_for_who_waits_for_it_is_a_deadlock_and_no_stall() -> None:
    machine = machine_of(RandomWalk(0))
    mutex = Mutex(machine, "m")
    entered: list[int] = []

    async def read() -> None:
        await machine.rcu.read_lock()
        entered.append(1)
        while len(entered) < 2:
            await STEP
        await mutex.lock()

    async def update() -> None:
        async with mutex:
            while not entered:
                await STEP
            entered.append(2)
            await machine.rcu.synchronize_rcu()

    start(machine, 0, "reader", read)
    start(machine, 1, "updater", update)
    assert run(machine) is Outcome.DEADLOCK
    assert [violation.kind for violation in machine.violations] == ["rcu-usage", "deadlock"]
    assert "updater" in machine.violations[1].title
    assert "reader" in machine.violations[1].title
