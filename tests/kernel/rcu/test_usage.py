"""PROVE_RCU: what is told, in which words, and that right use is not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from slubloom.actors import Outcome
from slubloom.kernel.locks import Mutex, Spinlock
from slubloom.kernel.rcu import RcuHead

from ..helpers import booted, run, start
from .oracle import SCENARIO, STEP

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from slubloom.kernel import Machine


def titles(body: Callable[[Machine], Awaitable[None]], preempt: str = "full", **options: Any) -> list[str]:
    machine = booted(0, SCENARIO.replace("PREEMPT", preempt), stop=False, **options)
    start(machine, 0, "t", lambda: body(machine))
    run(machine)
    assert {violation.kind for violation in machine.violations} <= {"rcu-usage", "rcu-stall", "deadlock"}
    return [violation.title for violation in machine.violations if violation.kind == "rcu-usage"]


def test_a_pointer_used_outside_of_readers_is_told_with_the_kernels_report() -> None:
    machine = booted(0, SCENARIO.replace("PREEMPT", "full"))

    async def body() -> None:
        await STEP
        machine.rcu.dereference(5, place="mm/slub.c:77")

    thread = start(machine, 1, "looker", body)
    assert run(machine) is Outcome.STOPPED
    (violation,) = machine.violations
    assert violation.kind == "rcu-usage"
    assert violation.report.splitlines() == [
        "",
        "=============================",
        "WARNING: suspicious RCU usage",
        "Not tainted 6.1-slubloom #1",
        "-----------------------------",
        "mm/slub.c:77 suspicious rcu_dereference_check() usage!",
        "",
        "other info that might help us debug this:",
        "",
        "",
        "rcu_scheduler_active = 2, debug_locks = 1",
        f"no locks held by looker/{thread.pid}.",
        "",
        "stack backtrace:",
        f"CPU: 1 PID: {thread.pid} Comm: looker Not tainted 6.1-slubloom #1",
        "Hardware name: slubloom emulated machine",
        "Call Trace:",
        " <TASK>",
        " </TASK>",
    ]


def test_inside_of_the_right_reader_or_with_the_lock_it_is_not() -> None:
    async def body(machine: Machine) -> None:
        rcu = machine.rcu
        async with rcu.reader():
            assert rcu.dereference("p") == "p"
        assert rcu.dereference("p", held=True) == "p"
        assert rcu.dereference_protected("p", held=True) == "p"
        await rcu.read_lock_bh()
        rcu.dereference("p", flavour="bh")
        await rcu.read_unlock_bh()
        async with Spinlock(machine, "l"):
            rcu.dereference("p", flavour="sched")
        await rcu.read_lock_sched()
        rcu.dereference("p", flavour="sched")
        await rcu.read_unlock_sched()
        srcu = rcu.srcu_struct("s")
        index = await srcu.read_lock()
        srcu.dereference("p")
        await srcu.read_unlock(index)

    assert titles(body) == []


@pytest.mark.parametrize("flavour", ["bh", "sched"])
def test_a_reader_of_another_flavour_does_not_protect(flavour: str) -> None:
    async def body(machine: Machine) -> None:
        async with machine.rcu.reader():
            machine.rcu.dereference("p", flavour=flavour)

    assert titles(body) == ["suspicious RCU usage: suspicious rcu_dereference_check() usage"]


def test_a_reader_of_another_srcu_domain_does_not_protect() -> None:
    async def body(machine: Machine) -> None:
        index = await machine.rcu.srcu_struct("a").read_lock()
        machine.rcu.srcu_struct("b").dereference("p")
        await machine.rcu.srcu_struct("a").read_unlock(index)

    assert titles(body) == ["suspicious RCU usage: suspicious srcu_dereference_check() usage"]


def test_an_updater_without_the_lock_is_told() -> None:
    async def body(machine: Machine) -> None:
        machine.rcu.dereference_protected("p", held=False)
        await STEP

    assert titles(body) == ["suspicious RCU usage: suspicious rcu_dereference_protected() usage"]


@pytest.mark.parametrize(
    ("wait", "message"),
    [
        ("synchronize_rcu", "Illegal synchronize_rcu() in RCU read-side critical section"),
        ("synchronize_rcu_expedited", "Illegal synchronize_rcu_expedited() in RCU read-side critical section"),
        ("synchronize_sched", "Illegal synchronize_sched() in RCU read-side critical section"),
    ],
)
def test_waiting_for_a_grace_period_inside_a_reader_is_told(wait: str, message: str) -> None:
    async def body(machine: Machine) -> None:
        await machine.rcu.read_lock()
        await getattr(machine.rcu, wait)()

    assert titles(body)[0] == f"suspicious RCU usage: {message}"


def test_waiting_for_an_srcu_grace_period_inside_its_reader_is_told() -> None:
    async def body(machine: Machine) -> None:
        srcu = machine.rcu.srcu_struct("s")
        await srcu.read_lock()
        await srcu.synchronize()

    assert "Illegal synchronize_srcu() in same-type SRCU (or in RCU) read-side critical section" in titles(body)[0]


@pytest.mark.parametrize("preempt", ["full", "none"])
def test_a_mutex_in_a_reader_is_told_though_it_is_free(preempt: str) -> None:
    async def body(machine: Machine) -> None:
        async with machine.rcu.reader(), Mutex(machine, "m"):
            pass

    expected = "suspicious RCU usage: Illegal context switch in RCU read-side critical section"
    assert titles(body, preempt) == [expected]


def test_sleeping_in_a_reader_is_told_and_lists_the_reader() -> None:
    machine = booted(0, SCENARIO.replace("PREEMPT", "full"))

    async def body() -> None:
        async with machine.rcu.reader():
            await machine.current.sleep(1000)

    thread = start(machine, 0, "t", body)
    run(machine)
    (violation,) = machine.violations
    assert violation.title == "suspicious RCU usage: Illegal context switch in RCU read-side critical section"
    assert f"1 lock held by t/{thread.pid}:\n #0: ffffffff82764ec0 (rcu_read_lock){{....}}-{{1:2}}" in violation.report


def test_srcu_readers_may_sleep_and_spinlocks_may_be_taken_in_any_reader() -> None:
    async def body(machine: Machine) -> None:
        srcu = machine.rcu.srcu_struct("s")
        index = await srcu.read_lock()
        async with Mutex(machine, "m"):
            await machine.current.sleep(1000)
        await srcu.read_unlock(index)
        async with machine.rcu.reader(), Spinlock(machine, "l"):
            await STEP

    assert titles(body) == []


@pytest.mark.parametrize(
    ("enter", "leave", "lock"),
    [
        (None, "read_unlock", "rcu_read_lock"),
        ("read_lock", "read_unlock_bh", "rcu_read_lock_bh"),
        ("read_lock_bh", "read_unlock_sched", "rcu_read_lock_sched"),
        ("read_lock_sched", "read_unlock", "rcu_read_lock"),
    ],
)
def test_leaving_what_was_not_entered_is_told(enter: str | None, leave: str, lock: str) -> None:
    async def body(machine: Machine) -> None:
        if enter:
            await getattr(machine.rcu, enter)()
        await getattr(machine.rcu, leave)()

    assert titles(body)[0] == f"bad unlock balance detected: {lock}"


def test_a_callback_queued_twice_is_told_and_leaks() -> None:
    ran: list[int] = []
    head = RcuHead(lambda: ran.append(1), 0x1000, name="free_it")

    async def body(machine: Machine) -> None:
        await machine.rcu.call_rcu(head)
        await machine.rcu.call_rcu(head)
        await machine.rcu.rcu_barrier()

    assert titles(body) == ["call_rcu(): Double-freed CB free_it"]
    assert ran == []


def test_a_callback_may_queue_itself_again() -> None:
    ran: list[int] = []

    async def body(machine: Machine) -> None:
        async def callback() -> None:
            ran.append(1)
            if len(ran) < 3:
                await machine.rcu.call_rcu(head)

        head = RcuHead(callback)
        await machine.rcu.call_rcu(head)

    assert titles(body) == []
    assert ran == [1, 1, 1]


def test_a_place_is_told_once() -> None:
    async def body(machine: Machine) -> None:
        for _ in range(3):
            machine.rcu.dereference("p", place="a.c:1")
            machine.rcu.dereference("p", place="a.c:2")
        await STEP

    assert len(titles(body)) == 2
