"""What a processor has at the last moment is taken over: callbacks, expired timers, interrupts, items half done."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from slubloom.actors import Cpu, KernelThread, Outcome
from slubloom.actors.signal import Signal
from slubloom.actors.strategies import RandomWalk
from slubloom.kernel.cpu_hotplug import CpuhpState
from slubloom.kernel.rcu import RcuHead
from slubloom.kernel.rcu.hotplug import RcuHotplug
from slubloom.kernel.slab.cpu_flush import FlushCpuSlab
from slubloom.kernel.workqueue.delayed import DelayedWork, TimerExpired, WorkTimer
from slubloom.kernel.workqueue.hotplug import Hotplug

from .machines import NODES, STEP, machine_of, run, start

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from slubloom.kernel import Machine

BEFORE_SMPCFD = CpuhpState.AP_SMPCFD_DYING + 1
"""A state whose DYING callback runs while everything stands still, before the messages that wait are handled."""

Scene = tuple["Machine", "list[Any]"]


def leaves(state: int, leave: Callable[[Machine, list[Any]], Awaitable[None]], release: str = "v6.1") -> Scene:
    """Processor 3 goes for good, and `leave` is called on it in the teardown of `state`; then all is waited for."""
    machine = machine_of(NODES, RandomWalk(1), release=release)
    done: list[Any] = []

    async def teardown(_: int) -> None:
        await leave(machine, done)

    async def control() -> None:
        assert await machine.cpu_hotplug.setup_state_nocalls(state, "last moment", None, teardown) >= 0
        assert await machine.cpu_hotplug.cpu_down(3) == 0
        await machine.rcu.rcu_barrier()
        await machine.workqueues.flush_workqueue("events")
        done.append("over")

    start(machine, 0, control)
    return machine, done


async def callbacks(machine: Machine, done: list[Any]) -> None:
    for number in range(3):
        await machine.rcu.call_rcu(RcuHead(partial(done.append, number)))


async def timer(machine: Machine, done: list[Any]) -> None:
    async def run_item(_: Any) -> None:
        done.append(machine.smp_processor_id() != 3)

    queues = machine.workqueues
    work = queues.make_work("delayed", run_item)
    await queues.queue_delayed_work_on(3, work, 1_000_000_000)
    expired = work.timer
    assert isinstance(expired, WorkTimer)
    machine.interleaver.cancel_timer(expired)
    work.timer = None
    machine.cpus[3].mailbox.post(TimerExpired(expired))


async def interrupt(machine: Machine, done: list[Any]) -> None:
    cache = machine.slab.kmem_cache
    answered = Signal(machine.interleaver, "answer")
    machine.cpus[3].mailbox.post(FlushCpuSlab(cache, answered))

    async def wait() -> None:
        await answered.wait
        done.append("answered")

    start(machine, 0, wait)


async def half_done(machine: Machine, done: list[Any]) -> None:
    async def run_item(_: Any) -> None:
        done.append("begun")
        await machine.current.sleep(1_000_000)
        done.append(machine.smp_processor_id() != 3)

    work = machine.workqueues.make_work("sleepy", run_item)
    await machine.workqueues.queue_work_on(3, work)
    while not done:
        await machine.current.sleep(1000)


CASES: dict[str, tuple[int, Any, list[Any], str]] = {
    "callbacks": (BEFORE_SMPCFD, callbacks, [0, 1, 2, "over"], "v6.1"),
    "callbacks of two flavours": (BEFORE_SMPCFD, callbacks, [0, 1, 2, "over"], "v4.14"),
    "timer": (BEFORE_SMPCFD, timer, [True, "over"], "v6.1"),
    "interrupt": (BEFORE_SMPCFD, interrupt, ["answered", "over"], "v5.11"),
    "half done": (CpuhpState.AP_ONLINE_DYN, half_done, ["begun", "over", True], "v6.1"),
}


@pytest.mark.parametrize("name", CASES)
def test_what_is_left_behind_is_taken_over(name: str) -> None:
    state, leave, expected, release = CASES[name]
    machine, done = leaves(state, leave, release)
    assert run(machine) is Outcome.FINISHED
    assert machine.violations == []
    assert sorted(map(str, done)) == sorted(map(str, expected))


async def nothing(*_: Any) -> None:
    """In the place of who takes it over."""


async def stay_bound(*_: Any) -> bool:
    """The pools are left as they are."""
    return True


@pytest.mark.parametrize(
    ("name", "owner", "function", "instead"),
    [
        ("callbacks", RcuHotplug, "migrate_callbacks", nothing),
        ("timer", DelayedWork, "timers_dead_cpu", nothing),
        ("timer", Cpu, "handle_pending", nothing),
        ("interrupt", Cpu, "handle_pending", nothing),
        ("half done", Hotplug, "workqueue_offline_cpu", stay_bound),
    ],
)
def test_where_it_is_not_it_shows(
    monkeypatch: pytest.MonkeyPatch, name: str, owner: type, function: str, instead: Any
) -> None:
    monkeypatch.setattr(owner, function, instead)
    state, leave, expected, release = CASES[name]
    machine, done = leaves(state, leave, release)
    outcome = run(machine)
    assert sorted(map(str, done)) != sorted(map(str, expected)) or outcome is not Outcome.FINISHED


def test_a_reader_that_was_preempted_goes_on_elsewhere_and_is_waited_for() -> None:
    for seed in range(30):
        machine = machine_of(NODES, RandomWalk(seed))
        log: list[str] = []

        async def read(machine: Machine = machine, log: list[str] = log) -> None:
            async with machine.rcu.reader():
                for _ in range(30):
                    await STEP
                log.append("read")

        async def control(machine: Machine = machine) -> None:
            assert await machine.cpu_hotplug.cpu_down(2) == 0

        async def update(machine: Machine = machine, log: list[str] = log) -> None:
            await STEP
            await machine.rcu.synchronize_rcu()
            log.append("synchronized")

        start(machine, 2, read)
        start(machine, 2, update)
        start(machine, 0, control)
        assert run(machine) is Outcome.FINISHED
        assert machine.violations == []
        assert sorted(log) == ["read", "synchronized"]


@pytest.mark.parametrize(("release", "remains"), [("v5.10", True), ("v5.11", False), ("v6.1", False)])
def test_quarantined_objects_of_a_processor_that_is_gone(release: str, remains: bool) -> None:
    """From 5.11 it frees them itself; before, whoever destroys their cache does not find them."""
    text = """
[[cache]]
name = "short-lived"
size = 200
[[task]]
name = "user"
cpu = 1
program = [
    {op = "kmem_cache_alloc", cache = "short-lived", count = 2},
    {op = "kmem_cache_free", cache = "short-lived"},
    {op = "cpu_offline", cpu = 1},
    {op = "kmem_cache_destroy", cache = "short-lived"},
]
[kernel]
kasan_quarantine = true
"""
    machine = machine_of(NODES + text, RandomWalk(0), release=release)
    run(machine)
    kinds = [violation.kind for violation in machine.violations]
    assert kinds == (["objects-remaining"] if remains else [])


def test_a_dead_processors_memcg_stock_is_given_up() -> None:
    """What is left of a charged page goes back to the cgroup when the processor that has it dies (MM_MEMCQ_DEAD)."""
    text = """
[[memcg]]
path = "a"
[[cache]]
name = "accounted"
size = 200
flags = ["SLAB_ACCOUNT"]
[[task]]
name = "user"
memcg = "a"
cpu = 3
program = [
    {op = "kmem_cache_alloc", cache = "accounted", count = 3},
    {op = "kmem_cache_free", cache = "accounted"},
    {op = "cpu_offline", cpu = 3},
]
"""
    machine = machine_of(NODES + text, RandomWalk(0))
    assert machine.cgroups is not None
    kmem: Any = machine.cgroups.kmem
    charged: list[bool] = []
    stock = kmem.stocks[3]

    async def look(_: int) -> None:
        charged.append(stock.cached_objcg is not None)

    async def control() -> None:
        for state, name in ((28, "before"), (30, "behind")):
            assert await machine.cpu_hotplug.setup_state_nocalls(state, name, None, look) == 0

    machine.run_alone(KernelThread(machine.cpus[0], "init", pid=0), control())
    assert run(machine) is Outcome.FINISHED
    assert machine.violations == []
    assert charged == [True, False]
