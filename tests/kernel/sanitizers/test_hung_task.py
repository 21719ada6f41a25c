"""Hung tasks: who is told of, when, and in which words."""

from __future__ import annotations

import pytest
from slubloom.actors import Outcome
from slubloom.kernel.locks import Mutex
from slubloom.kernel.machine import FunctionThread, Machine
from slubloom.topology import loads

from slubloom.run import RunOptions, run_scenario

from ..helpers import TWO_NODES, bare_machine, run, start

SECOND_NS = 1_000_000_000

REPORT = """\
INFO: task waiter:3 blocked for more than 149 seconds.
      Not tainted 6.1-slubloom #1
"echo 0 > /proc/sys/kernel/hung_task_timeout_secs" disables this message.
task:waiter          state:D stack:0     pid:3     ppid:2      flags:0x00000000
Call Trace:
 <TASK>
 </TASK>

Showing all locks held in the system:
1 lock held by holder/2:
 #0: ffffffff82000000 (big_lock){+.+.}-{3:3}, at: unknown
1 lock held by waiter/3:
 #0: ffffffff82000000 (big_lock){+.+.}-{3:3}, at: unknown

=============================================

"""


def holding_for(seconds: float) -> Machine:
    """One thread holds a mutex for so long, another one waits for it."""
    machine = bare_machine(cpus=2)
    mutex = Mutex(machine, "big_lock")

    async def holder() -> None:
        async with mutex:
            await machine.current.sleep(int(seconds * SECOND_NS))

    async def waiter() -> None:
        await machine.current.sleep(SECOND_NS // 2)
        async with mutex:
            pass

    start(machine, 0, "holder", holder)
    start(machine, 1, "waiter", waiter)
    return machine


def test_a_wait_of_more_than_two_minutes_has_the_kernels_layout() -> None:
    machine = holding_for(150)
    run(machine)
    (violation,) = machine.violations
    assert violation.kind == "hung-task"
    assert violation.report == REPORT


@pytest.mark.parametrize("seconds", [1, 60, 120])
def test_shorter_waits_are_silent(seconds: float) -> None:
    machine = holding_for(seconds)
    assert run(machine) is Outcome.FINISHED
    assert machine.violations == []


def test_who_sleeps_as_long_as_it_wants_to_is_not_hung() -> None:
    machine = bare_machine()

    async def work() -> None:
        await machine.current.sleep(1000 * SECOND_NS)

    start(machine, 0, "sleeper", work)
    assert run(machine) is Outcome.FINISHED
    assert machine.violations == []


def test_a_task_is_told_of_once_and_ten_of_them_at_most() -> None:
    machine = bare_machine(cpus=1)
    machine.stop_at_violation = False
    mutex = Mutex(machine, "big_lock")

    async def holder() -> None:
        async with mutex:
            for _ in range(5):
                await machine.current.sleep(100 * SECOND_NS)

    async def waiter() -> None:
        await machine.current.sleep(SECOND_NS)
        async with mutex:
            pass

    machine.spawn(FunctionThread(machine, machine.cpus[0], "holder", holder))
    for number in range(12):
        start(machine, 0, f"waiter/{number}", waiter)
    assert run(machine) is Outcome.FINISHED
    told = [line for violation in machine.violations for line in violation.report.splitlines() if "blocked for" in line]
    assert len(told) == 10
    assert len(set(told)) == 10


def test_the_timeout_is_the_topologys() -> None:
    program = """
[[lock]]
name = "big_lock"
[[task]]
name = "holder"
cpu = 0
program = [{op="lock",lock="big_lock"},{op="sleep",ns=30000000000},{op="unlock",lock="big_lock"}]
[[task]]
name = "waiter"
cpu = 1
program = [{op="sleep",ns=1000},{op="lock",lock="big_lock"},{op="unlock",lock="big_lock"}]
[kernel.boot]
hung_task_timeout_secs = SECONDS
"""
    found = {
        seconds: run_scenario(loads(TWO_NODES + program.replace("SECONDS", str(seconds))), RunOptions()).kinds()
        for seconds in (0, 20, 40)
    }
    assert found == {0: (), 20: ("hung-task",), 40: ()}
