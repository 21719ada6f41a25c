"""What completions depend on: found by cross-release though nobody had to wait, and where it keeps still."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner
from slubloom.actors import Cpu, Interleaver, Outcome
from slubloom.actors.strategies import RandomWalk
from slubloom.kernel.boot import DEFAULT_SANITIZERS, BootError, enable_sanitizers
from slubloom.kernel.kthread import Kthread, kthread_run
from slubloom.kernel.locks import Completion, Mutex, Spinlock
from slubloom.kernel.machine import Machine
from slubloom.traces import StreamWriter, open_sink

from slubloom.commands.trace import command

from ..helpers import run, start

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

WITH_CROSSRELEASE = (*DEFAULT_SANITIZERS, "lockdep-crossrelease")
SECOND_NS = 1_000_000_000


def machine_with(*sanitizers: str, seed: int = 0) -> Machine:
    """Three processors, no memory."""
    interleaver = Interleaver(RandomWalk(seed))
    machine = Machine(interleaver, release="v6.1")
    enable_sanitizers(machine, sanitizers)
    for number in range(3):
        cpu = Cpu(interleaver, number, 0, preempt_model="full", tick_ns=4_000_000)
        cpu.online = True
        machine.cpus[number] = cpu
        interleaver.spawn(cpu)
    return machine


def in_turn(machine: Machine, *functions: Callable[[], Awaitable[object]]) -> list[tuple[str, str]]:
    """What the machine says when threads run the functions, each starting long after the one before; all must end."""
    for number, function in enumerate(functions):

        async def work(function: Callable[[], Awaitable[object]] = function, number: int = number) -> None:
            await machine.current.sleep(number * SECOND_NS + 1)
            await function()

        start(machine, number, f"t{number}", work)
    outcome = run(machine)
    assert machine.violations or outcome is Outcome.FINISHED
    return [(violation.kind, violation.title) for violation in machine.violations]


def lock_and_completion(machine: Machine) -> tuple[Callable[[], Awaitable[None]], Callable[[], Awaitable[None]]]:
    """A completer that takes L first, and a waiter that holds L."""
    lock, done = Mutex(machine, "L"), Completion(machine, "done")

    async def completes() -> None:
        async with lock:
            pass
        await done.complete()

    async def waits() -> None:
        async with lock:
            await done.wait()

    return completes, waits


def test_a_completer_that_needs_what_the_waiter_holds_is_found_when_it_came_in_time() -> None:
    machine = machine_with(*WITH_CROSSRELEASE)
    assert in_turn(machine, *lock_and_completion(machine)) == [
        ("lockdep-circular", "possible circular locking dependency: (completion)done under L")
    ]
    report = machine.violations[0].report
    assert "-> #1 (L){+.+.}-{3:3}:" in report
    assert "-> #0 ((completion)done){+.+.}-{0:0}:" in report


def test_without_crossrelease_nothing_is_said_of_it() -> None:
    machine = machine_with(*DEFAULT_SANITIZERS)
    assert in_turn(machine, *lock_and_completion(machine)) == []


def test_what_is_still_held_when_completing_counts() -> None:
    machine = machine_with(*WITH_CROSSRELEASE)
    lock, done = Mutex(machine, "L"), Completion(machine, "done")

    async def completes() -> None:
        async with lock:
            await done.complete()

    async def waits() -> None:
        async with lock:
            await done.wait()

    assert in_turn(machine, completes, waits)[0][0] == "lockdep-circular"


def test_the_completer_is_told_in_the_words_of_a_crosslock() -> None:
    """The order under which the waiter waits is known first; other locks of the classes concerned have made it."""
    machine = machine_with(*WITH_CROSSRELEASE)
    first, second = (Completion(machine, f"done {number}", lock_class="&x->done") for number in (1, 2))
    outer, inner = Mutex(machine, "M"), Mutex(machine, "L")
    first.complete_all()

    async def waits() -> None:
        async with outer, inner:
            await first.wait()

    async def completes() -> None:
        async with outer:
            pass
        await second.complete()

    assert in_turn(machine, waits, completes) == [
        ("lockdep-circular", "possible circular locking dependency: M under (completion)&x->done")
    ]
    lines = machine.violations[0].report.splitlines()
    said = lines.index("but now in release context of a crosslock acquired at the following:")
    assert "((completion)&x->done){+.+.}-{0:0}, at: " in lines[said + 1]
    box = lines.index(" Possible unsafe locking scenario by crosslock:")
    assert lines[box - 3 : box] == ["Chain exists of:", "  M --> L --> (completion)&x->done", ""]
    assert lines[box + 4 : box + 10] == [
        "  lock(L);",
        "  lock((completion)&x->done);",
        "                               lock(M);",
        "                               unlock((completion)&x->done);",
        "",
        " *** DEADLOCK ***",
    ]


@pytest.mark.parametrize("seed", range(4))
def test_waiting_after_the_lock_is_left_is_in_order(seed: int) -> None:
    machine = machine_with(*WITH_CROSSRELEASE, seed=seed)
    lock, done = Mutex(machine, "L"), Completion(machine, "done")

    async def completes() -> None:
        async with lock:
            pass
        await done.complete()

    async def waits() -> None:
        async with lock:
            pass
        await done.wait()

    assert in_turn(machine, completes, waits) == []


def test_what_was_taken_before_the_completion_was_there_does_not_count() -> None:
    machine = machine_with(*WITH_CROSSRELEASE)
    lock = Mutex(machine, "L")
    made: list[Completion] = []

    async def completes() -> None:
        async with lock:
            made.append(Completion(machine, "done"))
            await made[0].complete()

    async def waits() -> None:
        async with lock:
            await made[0].wait()

    assert in_turn(machine, completes, waits) == []


@pytest.mark.parametrize(("used_before", "kinds"), [(True, []), (False, ["lockdep-circular"])])
def test_an_episode_ends_when_the_waiter_goes_on(used_before: bool, kinds: list[str]) -> None:
    machine = machine_with(*WITH_CROSSRELEASE)
    setup, done = Mutex(machine, "setup"), Completion(machine, "done")

    async def sets_up_and_completes_much_later() -> None:
        async with setup:
            pass
        await machine.current.sleep(2 * SECOND_NS + SECOND_NS // 2)
        await done.complete()

    async def uses_it_meanwhile() -> None:
        if used_before:
            await done.complete()
            await done.wait()

    async def waits() -> None:
        async with setup:
            await done.wait()

    found = in_turn(machine, sets_up_and_completes_much_later, uses_it_meanwhile, waits)
    assert [kind for kind, _ in found] == kinds


def test_handing_a_turn_back_and_forth_is_no_deadlock() -> None:
    machine = machine_with(*WITH_CROSSRELEASE)
    ping, pong, lock = Completion(machine, "ping"), Completion(machine, "pong"), Mutex(machine, "L")

    async def asks() -> None:
        for _ in range(3):
            async with lock:
                await ping.complete()
                await pong.wait()

    async def answers() -> None:
        for _ in range(3):
            await ping.wait()
            await pong.complete()

    assert in_turn(machine, asks, answers) == []


@pytest.mark.parametrize("seed", range(4))
def test_stopping_and_parking_threads_under_a_lock_they_do_not_take_is_in_order(seed: int) -> None:
    machine = machine_with(*WITH_CROSSRELEASE, seed=seed)
    control, own = Mutex(machine, "control"), Mutex(machine, "own")

    async def loop() -> None:
        thread = machine.current
        assert isinstance(thread, Kthread)
        while not thread.should_stop:
            async with own:
                pass
            if thread.should_park:
                await thread.parkme()
            else:
                await thread.schedule

    async def controls() -> None:
        for _ in range(2):
            async with control:
                thread = kthread_run(machine, loop, cpu=1, name="loop")
                await thread.park()
                await thread.unpark()
                await thread.stop()

    assert in_turn(machine, controls) == []


def test_what_a_thread_did_before_it_was_idle_does_not_count() -> None:
    machine = machine_with(*WITH_CROSSRELEASE)
    own = Mutex(machine, "own")

    async def loop() -> None:
        thread = machine.current
        assert isinstance(thread, Kthread)
        async with own:
            pass
        while not thread.should_stop:
            await thread.schedule
            await thread.parkme()

    async def controls() -> None:
        thread = kthread_run(machine, loop, cpu=1, name="loop")
        await machine.current.sleep(SECOND_NS)
        async with own:
            await thread.park()
            await thread.stop()

    assert in_turn(machine, controls) == []


def test_stopping_a_thread_under_a_lock_that_it_takes_is_found() -> None:
    machine = machine_with(*WITH_CROSSRELEASE)
    shared = Mutex(machine, "shared")

    async def once() -> None:
        async with shared:
            pass

    async def controls() -> None:
        thread = kthread_run(machine, once, cpu=1, name="once")
        await machine.current.sleep(SECOND_NS)
        async with shared:
            await thread.stop()

    assert in_turn(machine, controls) == [
        ("lockdep-circular", "possible circular locking dependency: (completion)&kthread->exited under shared")
    ]


def test_an_interrupt_commits_what_it_has_taken_itself() -> None:
    machine = machine_with(*WITH_CROSSRELEASE)
    in_interrupt, of_thread = Spinlock(machine, "in interrupt"), Mutex(machine, "of thread")
    done = Completion(machine, "done")

    async def action(_: object) -> None:
        async with in_interrupt:
            pass
        done.complete_now()

    async def raises() -> None:
        async with of_thread:
            machine.this_cpu.raise_softirq(3, action)
            await machine.current.sleep(1000)

    async def waits() -> None:
        async with of_thread:
            await done.wait()

    assert in_turn(machine, raises, waits) == []


def test_it_needs_lockdep() -> None:
    with pytest.raises(BootError, match="lockdep-crossrelease needs lockdep beside it"):
        machine_with("lockdep-crossrelease")


@pytest.mark.parametrize("in_run", [DEFAULT_SANITIZERS, WITH_CROSSRELEASE])
def test_a_recorded_trace_tells_the_same_also_of_a_run_without_it(in_run: tuple[str, ...], tmp_path: Path) -> None:
    path = str(tmp_path / "run.trace")
    machine = machine_with(*in_run)
    points = machine.tracepoints
    writer = StreamWriter(open_sink(path), {"release": "v6.1"}, [point.spec for point in points])
    points.attach("*", writer.probe)
    for name, wait_type in machine.lock_classes.items():
        points.lock_class.fire(name, wait_type)  # type: ignore[misc]  # a probe is attached
    in_turn(machine, *lock_and_completion(machine))
    writer.finish({})
    outcome = CliRunner().invoke(command, ["check", "--crossrelease", path])
    assert outcome.exit_code == 1, outcome.output
    assert "is trying to acquire lock:" in outcome.output
    assert "((completion)done){+.+.}-{0:0}, at: unknown" in outcome.output
    assert CliRunner().invoke(command, ["check", path]).exit_code == 0
