"""lockdep as a fold over records: what it reports, in which words, and when it is silent."""

from __future__ import annotations

from typing import Any

from slubloom.kernel.locks import Mutex, Spinlock
from slubloom.kernel.sanitizers.lockdep import READ, TRYLOCK, Finding, Lockdep
from slubloom.kernel.sanitizers.lockdep_findings import Recursion, Report

from .helpers import bare_machine, run, start


class Recorder:
    """Feeds lockdep the records of threads that take (+) and leave (-) locks."""

    def __init__(self) -> None:
        self.findings: list[Report] = []
        self.lockdep = Lockdep(self.findings.append, wait_types=dict.fromkeys("ABC", "2:2"))

    def feed(self, pid: int, story: str, *, cpu: int = 0) -> None:
        for word in story.split():
            sign, name = word[0], word[1:]
            flags = 0
            if name.endswith("?"):
                name, flags = name[:-1], TRYLOCK
            elif name.endswith("r"):
                name, flags = name[:-1], READ
            head: tuple[Any, ...] = (1, 0, cpu, pid, f"task{pid}")
            address = sum(map(ord, name))
            if sign == "+":
                self.lockdep.acquire((*head, flags, name, address))
            elif sign == "-":
                self.lockdep.release((*head, name, address))
            elif word == "off":
                self.lockdep.irq_disable((*head, 0))
            elif word == "on":
                self.lockdep.irq_enable((*head, 0))
            elif word == "[irq":
                self.lockdep.irq_entry((*head, 0, "x"))
            elif word == "irq]":
                self.lockdep.irq_exit((*head, 0, 1))

    def path(self) -> list[str]:
        """The reported chain of class names, from the wanted lock to the held one."""
        (finding,) = self.findings
        assert isinstance(finding, Finding)
        return [finding.wanted.lock_class.name, *(edge.to.name for edge in finding.path)]


def test_a_consistent_order_is_silent() -> None:
    recorder = Recorder()
    for pid in range(1, 5):
        recorder.feed(pid, "+A +B +C -C -B -A +B +C -B -C")
    assert recorder.findings == []


def test_opposite_orders_are_reported_though_nobody_waited() -> None:
    recorder = Recorder()
    recorder.feed(1, "+A +B -B -A")
    recorder.feed(2, "+B +A")
    assert recorder.path() == ["A", "B"]
    assert [held.lock_class.name for held in recorder.findings[0].held] == ["B"]


def test_a_cycle_of_three_is_found_through_the_middle() -> None:
    recorder = Recorder()
    recorder.feed(1, "+A +B -B -A")
    recorder.feed(2, "+B +C -C -B")
    recorder.feed(3, "+C +A")
    assert recorder.path() == ["A", "B", "C"]


def test_readers_count_as_much_as_writers() -> None:
    recorder = Recorder()
    recorder.feed(1, "+Ar +B -B -A")
    recorder.feed(2, "+B +Ar")
    assert recorder.path() == ["A", "B"]


def test_a_trylock_makes_no_edge_to_its_lock_but_one_from_it() -> None:
    recorder = Recorder()
    recorder.feed(1, "+A +B? -B -A")
    recorder.feed(2, "+B +A -A -B")
    assert recorder.findings == []
    recorder.feed(3, "+A +B")
    assert recorder.path() == ["B", "A"]


def test_the_same_class_twice_is_recursion() -> None:
    recorder = Recorder()
    recorder.feed(1, "+A +B +A")
    (finding,) = recorder.findings
    assert isinstance(finding, Recursion)
    assert finding.wanted.lock_class.name == "A"


def test_only_the_first_finding_is_reported() -> None:
    recorder = Recorder()
    recorder.feed(1, "+A +B -B -A +B +A -A -B +A +A")
    assert len(recorder.findings) == 1


def test_locks_may_be_left_in_any_order() -> None:
    recorder = Recorder()
    recorder.feed(1, "+A +B +C -A -C -B +C -C")
    assert recorder.findings == []
    recorder.feed(1, "+B +A")
    assert recorder.path() == ["A", "B"]


def test_what_an_interrupt_takes_does_not_depend_on_the_thread_it_interrupted() -> None:
    recorder = Recorder()
    recorder.feed(1, "+A [irq +B -B irq] -A")
    recorder.feed(2, "off +B +A -A -B on")
    assert [finding.kind for finding in recorder.findings] == ["lockdep-irq"]  # and not a circle through A


REPORT = """
======================================================
WARNING: possible circular locking dependency detected
Not tainted 6.1-slubloom #1
------------------------------------------------------
ba/3 is trying to acquire lock:
ffffffff82000000 (A){+.+.}-{3:3}, at: inner

but task is already holding lock:
ffffffff82000040 (C){+.+.}-{3:3}, at: outer

which lock already depends on the new lock.


the existing dependency chain (in reverse order) is:

-> #2 (C){+.+.}-{3:3}:
       bc

-> #1 (B){+.+.}-{3:3}:
       ab

-> #0 (A){+.+.}-{3:3}:
       inner
       outer

other info that might help us debug this:

Chain exists of:
  A --> B --> C

 Possible unsafe locking scenario:

       CPU0                    CPU1
       ----                    ----
  lock(C);
                               lock(B);
                               lock(C);
  lock(A);

 *** DEADLOCK ***

1 lock held by ba/3:
 #0: ffffffff82000040 (C){+.+.}-{3:3}, at: outer

stack backtrace:
CPU: 0 PID: 3 Comm: ba Not tainted 6.1-slubloom #1
Hardware name: slubloom emulated machine
Call Trace:
 <TASK>
 inner
 outer
 </TASK>
"""


def test_the_report_has_the_kernels_layout() -> None:
    machine = bare_machine(cpus=1)
    a, b, c = (Mutex(machine, name) for name in "ABC")
    # Functions that count as the kernel's in stacks.
    code = """
async def ab():
    async with a:
        async with b:
            pass

async def bc():
    async with b:
        async with c:
            pass

async def inner():
    await a.lock()

async def outer():
    async with c:
        await inner()
"""
    scope: dict[str, Any] = {"a": a, "b": b, "c": c, "__name__": "slubloom.kernel.example"}
    exec(code, scope)

    async def first() -> None:
        await scope["ab"]()
        await scope["bc"]()

    async def second() -> None:
        await machine.current.sleep(1000)
        await scope["outer"]()

    start(machine, 0, "ab", first)
    start(machine, 0, "ba", second)
    run(machine)
    (violation,) = machine.violations
    assert violation.kind == "lockdep-circular"
    assert violation.report == REPORT


def test_a_spinlock_taken_with_interrupts_off_shows_it() -> None:
    machine = bare_machine(cpus=1)
    lock = Spinlock(machine, "irqsafe")

    async def work() -> None:
        async with lock.irqsave(), lock:
            pass

    start(machine, 0, "t", work)
    run(machine)
    (violation,) = machine.violations
    assert violation.kind == "lockdep-recursive"
    assert "(irqsafe){....}-{2:2}" in violation.report
    assert "May be due to missing lock nesting notation" in violation.report
