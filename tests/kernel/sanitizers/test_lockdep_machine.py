"""lockdep on a machine that runs: what locks announce, and what a recorded trace tells afterwards."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner
from slubloom.kernel import operations
from slubloom.kernel.locks import Completion, Mutex, RwSemaphore, Spinlock, lock_class
from slubloom.kernel.memory import free_structure
from slubloom.topology import loads
from slubloom.traces import EventSpec, StreamWriter, TraceError, open_sink

from slubloom.commands.trace import command
from slubloom.run import RunOptions, run_scenario

from ..helpers import TWO_NODES, bare_machine, booted, run, start

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from slubloom.kernel import Machine


def told(*functions: Callable[[Machine], Awaitable[None]], full: bool = False) -> list[tuple[str, str]]:
    """What the functions, run one after another by a thread each, make the machine say."""
    machine = booted() if full else bare_machine(cpus=2)
    for number, function in enumerate(functions):

        async def work(function: Callable[[Machine], Awaitable[None]] = function, number: int = number) -> None:
            await machine.current.sleep(1_000_000 * number + 1)
            await function(machine)

        start(machine, number % 2, f"t{number}", work)
    run(machine)
    return [(violation.kind, violation.title) for violation in machine.violations]


def test_a_lock_of_a_soft_interrupt_taken_with_them_enabled() -> None:
    locks: list[Spinlock] = []

    async def action(_: Any) -> None:
        async with locks[0]:
            pass

    async def raises(machine: Machine) -> None:
        locks.append(Spinlock(machine, "&dev->lock"))
        machine.this_cpu.raise_softirq(3, action)
        await machine.current.sleep(1000)

    async def takes(_: Machine) -> None:
        async with locks[0]:
            pass

    async def saves(_: Machine) -> None:
        async with locks[0].irqsave():
            pass

    assert told(raises, takes) == [
        ("lockdep-irq", "inconsistent lock state: {IN-SOFTIRQ-W} -> {SOFTIRQ-ON-W} usage of &dev->lock")
    ]
    locks.clear()
    assert told(raises, saves) == []


def test_soft_interrupts_are_off_in_a_reader_of_rcu_bh() -> None:
    locks: list[Spinlock] = []

    async def action(_: Any) -> None:
        async with locks[0]:
            pass

    async def raises(machine: Machine) -> None:
        locks.append(Spinlock(machine, "&dev->lock"))
        machine.this_cpu.raise_softirq(3, action)
        await machine.current.sleep(1000)

    async def reads(machine: Machine) -> None:
        await machine.rcu.read_lock_bh()
        async with locks[0]:
            pass
        await machine.rcu.read_unlock_bh()

    assert told(raises, reads, full=True) == []


def test_subclasses_make_an_order_among_locks_of_one_class() -> None:
    async def nested(machine: Machine) -> None:
        outer, inner = Mutex(machine, "&parent->mutex"), Mutex(machine, "&parent->mutex")
        await outer.lock()
        await inner.lock_nested(1)
        await inner.unlock()
        await outer.unlock()

    async def not_nested(machine: Machine) -> None:
        outer, inner = Mutex(machine, "&parent->mutex"), Mutex(machine, "&parent->mutex")
        async with outer, inner:
            pass

    async def under_another(machine: Machine) -> None:
        all_of_them, first, second = (Mutex(machine, name) for name in ("all", "&m->mutex", "&m->mutex"))
        async with all_of_them:
            await first.lock_nest_lock(all_of_them)
            await second.lock_nest_lock(all_of_them)
            await first.unlock()
            await second.unlock()

    async def other_locks(machine: Machine) -> None:
        spin, spun = Spinlock(machine, "s"), Spinlock(machine, "s")
        sem, seen = RwSemaphore(machine, "r"), RwSemaphore(machine, "r")
        await sem.down_write()
        await seen.down_read_nested(2)
        await spin.lock()
        await spun.lock_nested(1)
        await spun.unlock()
        await spin.unlock()
        await seen.up_read()
        await sem.up_write()

    assert told(nested, nested) == []
    assert told(under_another) == []
    assert told(other_locks) == []
    assert told(nested, not_nested) == [("lockdep-recursive", "possible recursive locking: &parent->mutex")]


def test_there_are_eight_subclasses() -> None:
    machine = bare_machine()
    with pytest.raises(ValueError, match="m: there is no subclass 8; there are 0 to 7"):
        Mutex(machine, "m").lock_nested(8)


def test_classes_of_one_name_are_told_apart_by_number() -> None:
    machine = bare_machine()
    names = [lock_class(machine, "kn->active", "0:0", key=key) for key in ("shrink", "order", "shrink")]
    assert names == ["kn->active", "kn->active#2", "kn->active"]
    assert machine.lock_classes["kn->active#2"] == "0:0"


def test_waiting_where_nothing_may_sleep() -> None:
    async def with_interrupts_off(machine: Machine) -> None:
        mutex = Mutex(machine, "m")
        machine.local_irq_disable()
        await mutex.lock()

    async def under_a_spinlock(machine: Machine) -> None:
        done = Completion(machine, "done")
        done.complete_all()
        async with Spinlock(machine, "s"):
            await done.wait()

    async def in_the_right_order(machine: Machine) -> None:
        done, mutex = Completion(machine, "done"), Mutex(machine, "m")
        done.complete_all()
        async with mutex:
            await done.wait()
            async with Spinlock(machine, "s").irqsave():
                pass
            async with Spinlock(machine, "s2"):
                assert await Mutex(machine, "tried").trylock()

    assert told(with_interrupts_off)[0][0] == "sleep-in-atomic"
    assert told(under_a_spinlock) == [
        ("sleep-in-atomic", "BUG: sleeping function called from invalid context: wait_for_completion")
    ]
    assert ("sleep-in-atomic" not in dict(told(in_the_right_order))) is True


def test_the_report_of_a_sleeping_function_has_the_kernels_layout() -> None:
    machine = bare_machine(cpus=1)
    mutex, lock = Mutex(machine, "m"), Spinlock(machine, "s")

    async def work() -> None:
        machine.local_irq_disable()
        await lock.trylock()
        await mutex.lock()

    start(machine, 0, "t", work)
    run(machine)
    assert machine.violations[0].report.splitlines()[:12] == [
        "BUG: sleeping function called from invalid context at m (unknown)",
        "in_atomic(): 1, irqs_disabled(): 1, non_block: 0, pid: 2, name: t",
        "preempt_count: 1, expected: 0",
        "RCU nest depth: 0, expected: 0",
        "1 lock held by t/2:",
        " #0: ffffffff82000020 (s){....}-{2:2}, at: unknown",
        "irq event stamp: 1",
        "hardirqs last  enabled at (0): 0.000000000 s",
        "hardirqs last disabled at (1): 0.000000001 s",
        "softirqs last  enabled at (0): 0.000000000 s",
        "softirqs last disabled at (0): 0.000000000 s",
        "CPU: 0 PID: 2 Comm: t Not tainted 6.1-slubloom #1",
    ]


def test_a_structure_is_freed_with_its_lock_held() -> None:
    async def frees(machine: Machine) -> None:
        node = machine.slab.names["kmem_cache"].node[0]
        await node.list_lock.lock()
        free_structure(node)

    assert told(frees, full=True)[0] == ("kernel-bug", "held lock freed: &n->list_lock")


PATCHED = """
[[lock]]
name = "A"
[[lock]]
name = "B"
[[task]]
name = "one"
cpu = 0
program = [FIRST]
[[task]]
name = "two"
cpu = 1
program = [
    {op="sleep",ns=9000000},
    {op="lock",lock="B"},{op="lock",lock="A"},{op="unlock",lock="A"},{op="unlock",lock="B"}
]
"""
ORDERED = '{op="lock",lock="A"},{op="lock",lock="B"},{op="unlock",lock="B"},{op="unlock",lock="A"}'
LEAKING = '{op="lock",lock="A"},{op="kmem_cache_create",cache="c",size=64}'
CLEAN = '{op="lock",lock="A"},{op="kmem_cache_create",cache="c",size=64},{op="unlock",lock="A"}'


def test_a_kernel_function_that_forgets_a_lock_shows_when_the_task_is_back_in_user_space(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def forgetful_shrink(task: Any, _: Any) -> None:
        await task.machine.slab.slab_mutex.lock()

    monkeypatch.setitem(operations.PERFORM, "kmem_cache_shrink", forgetful_shrink)
    program = """
[[task]]
name = "shrinks"
program = [{op="kmem_cache_shrink",cache="kmem_cache"},{op="sleep",ns=1}]
"""
    (violation,) = run_scenario(loads(TWO_NODES + program), RunOptions()).violations
    assert violation.title == "lock held when returning to user space: slab_mutex"
    assert "shrinks/2 is leaving the kernel with locks still held!" in violation.report


def without_stacks(report: str) -> str:
    """A report as a recorded trace can tell it."""
    report = re.sub(r"(, at: ).*", r"\1unknown", report)
    return re.sub(r"^ {7}\w+\n|^ \w+\n", "", report, flags=re.MULTILINE)


@pytest.mark.parametrize(
    ("first", "kinds"),
    [(ORDERED, ("lockdep-circular",)), (LEAKING, ("kernel-bug",)), (CLEAN, ())],
)
def test_a_recorded_trace_tells_what_the_run_has_told(first: str, kinds: tuple[str, ...], tmp_path: Path) -> None:
    path = str(tmp_path / "run.trace")
    result = run_scenario(loads(TWO_NODES + PATCHED.replace("FIRST", first)), RunOptions(trace=path))
    assert result.kinds() == kinds
    outcome = CliRunner().invoke(command, ["check", "--lockdep", path])
    assert outcome.exit_code == (1 if kinds else 0), outcome.output
    if kinds:
        assert outcome.output == f"{without_stacks(result.violations[0].report)}\nviolated: {', '.join(kinds)}\n"
    else:
        assert re.fullmatch(r"clean: lockdep has seen [1-9]\d+ acquisitions\n", outcome.output)


def test_a_trace_without_lock_events_cannot_be_checked(tmp_path: Path) -> None:
    path = tmp_path / "other.trace"
    writer = StreamWriter(open_sink(str(path)), {}, [EventSpec("kmem", "kfree", (("ptr", "const void *"),))])
    writer.finish({})
    outcome = CliRunner().invoke(command, ["check", str(path)])
    assert isinstance(outcome.exception, TraceError)
    assert "expected the event lock:lock_acquire" in str(outcome.exception)


def test_the_reports_of_a_kernels_log_are_explained(tmp_path: Path) -> None:
    path = tmp_path / "dmesg"
    path.write_text(
        "[    1.0] WARNING: possible circular locking dependency detected\n"
        "[    1.0] cat/7 is trying to acquire lock:\n"
        "[    1.0] ffff888000000010 (&a->lock){+.+.}-{3:3}, at: one+0x1/0x2\n"
        "[    1.0] but task is already holding lock:\n"
        "[    1.0] ffff888000000020 (&b->lock){+.+.}-{3:3}, at: two+0x1/0x2\n"
        "[    1.0] -> #1 (&b->lock){+.+.}-{3:3}:\n"
        "[    1.0]        __mutex_lock+0x1/0x2\n"
        "[    1.0] -> #0 (&a->lock){+.+.}-{3:3}:\n"
        "[    1.0]        one+0x1/0x2\n"
        "[    1.0]  Possible unsafe locking scenario:\n[    1.0] \n"
        "[    1.0]        CPU0                    CPU1\n"
        "[    1.0]        ----                    ----\n"
        "[    1.0]   lock(&b->lock);\n"
        "[    1.0]                                lock(&a->lock);\n"
        "[    1.0]                                lock(&b->lock);\n"
        "[    1.0]   lock(&a->lock);\n[    1.0] \n"
        "[    1.0]  *** DEADLOCK ***\n"
        "[    2.0] WARNING: possible recursive locking detected\n"
    )
    outcome = CliRunner().invoke(command, ["check", "--lockdep-report", str(path)])
    assert outcome.output == (
        "WARNING: possible circular locking dependency detected\n"
        "  &b->lock was taken under &a->lock (__mutex_lock)\n"
        "  &a->lock is taken under &b->lock (one): cat/7\n"
        "  from these orders alone the same follows\n"
        "WARNING: possible recursive locking detected\n"
        "  incomplete: it lacks the lock that is wanted, the lock that is held, the scenario\n"
    )
