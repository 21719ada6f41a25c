"""Processors come and go while others work: no object, callback, work item, timer or thread is lost."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from slubloom.actors import BareInterleaver, Outcome, Profile, RunLimits
from slubloom.actors.strategies import Pct, Pos, RandomWalk, Strategy
from slubloom.kernel.cpu_hotplug.stop_machine import MultiStop
from slubloom.kernel.machine import FunctionThread
from slubloom.kernel.rcu import RcuHead
from slubloom.kernel.sanitizers.footprint import audited
from slubloom.kernel.slab.allocate import kmem_cache_alloc
from slubloom.kernel.slab.create import kmem_cache_create
from slubloom.kernel.slab.destroy import kmem_cache_destroy
from slubloom.kernel.slab.free import kmem_cache_free
from slubloom.kernel.slab.placement import placement_of
from slubloom.kernel.slab.sysfs import read_attribute
from slubloom.topology import loads

from slubloom.explore.subject import ScenarioSubject

from .machines import NODES, STEP, finish, machine_of, online, run, start

if TYPE_CHECKING:
    from slubloom.kernel import Machine

ALL_DEBUG = '[kernel]\npreempt = "PREEMPT"\nsanitizers = ["kasan", "lockdep", "leak", "workqueue", "slab-invariants"]\n'
ROUNDS, ROUNDS_MAX = 2, 50


class Ledger:
    """What was begun, and what came of it."""

    def __init__(self) -> None:
        self.queued: dict[str, list[Any]] = {"callbacks": [], "items": [], "timers": []}
        self.done: dict[str, list[Any]] = {"callbacks": [], "items": [], "timers": []}
        self.over: list[str] = []

    def finish(self, kind: str, name: Any) -> None:
        self.done[kind].append(name)


def worker(machine: Machine, ledger: Ledger, home: int) -> Any:
    """Allocates, frees, queues callbacks, work items and timers."""

    async def item(kind: str, name: Any, _: Any) -> None:
        await STEP
        ledger.finish(kind, name)

    async def body() -> None:
        slub, queues = machine.slab, machine.workqueues
        cache = slub.find("shared")
        assert cache is not None
        for number in range(ROUNDS_MAX):
            if number >= ROUNDS and "hotplug" in ledger.over:
                break
            name = (home, number)
            objects = [await kmem_cache_alloc(slub, cache) for _ in range(9)]
            ledger.queued["callbacks"].append(name)
            await machine.rcu.call_rcu(RcuHead(partial(ledger.finish, "callbacks", name)))
            ledger.queued["items"].append(name)
            work = queues.make_work(f"work {name}", partial(item, "items", name))
            await queues.queue_work_on(machine.smp_processor_id(), work)
            ledger.queued["timers"].append(name)
            delayed = queues.make_work(f"timer {name}", partial(item, "timers", name))
            await queues.queue_delayed_work_on(home, delayed, 1000)
            await machine.current.sleep(500)
            for address in objects:
                assert address is not None
                await kmem_cache_free(slub, cache, address)
            if number % 3 == 1:
                await queues.flush_work(work)
        ledger.over.append(f"t{home}")

    return body


def hotplugger(machine: Machine, ledger: Ledger) -> Any:
    async def body() -> None:
        # All of them go; two stay away, and what they had must not wait for them.
        for cpu, up in ((1, False), (3, False), (1, True), (0, False), (2, False), (3, True), (0, True), (3, False)):
            hotplug = machine.cpu_hotplug
            assert await (hotplug.cpu_up if up else hotplug.cpu_down)(cpu) == 0
        ledger.over.append("hotplug")

    return body


def loaded(strategy: Strategy, preempt: str, **options: Any) -> tuple[Machine, Ledger]:
    machine = machine_of(NODES + ALL_DEBUG.replace("PREEMPT", preempt) + CACHE, strategy, **options)
    ledger = Ledger()
    for home in range(4):
        start(machine, home, worker(machine, ledger, home))
    start(machine, 0, hotplugger(machine, ledger))

    async def last() -> None:
        while len(ledger.over) < 5:
            await machine.current.sleep(10_000)
        await machine.rcu.rcu_barrier()
        await machine.workqueues.flush_workqueue("events")
        cache = machine.slab.find("shared")
        assert cache is not None
        assert await kmem_cache_destroy(machine.slab, cache)
        ledger.over.append("last")

    start(machine, 2, last)
    return machine, ledger


CACHE = """
[[cache]]
name = "shared"
size = 700
"""


def profiled(preempt: str, release: str) -> Profile:
    machine, _ = loaded(RandomWalk(99), preempt, release=release)
    profile = Profile(machine.interleaver)
    machine.interleaver.before_step = profile.before_step
    run(machine)
    return profile


@pytest.mark.parametrize(
    ("release", "preempt"), [("v4.14", "full"), ("v5.11", "voluntary"), ("v5.15", "none"), ("v6.1", "full")]
)
def test_nothing_is_lost(release: str, preempt: str) -> None:
    profile = profiled(preempt, release)
    strategies: list[Strategy] = [*(RandomWalk(seed) for seed in range(8)), *(Pct(seed, profile) for seed in range(6))]
    for strategy in strategies:
        machine, ledger = loaded(strategy, preempt, release=release)
        outcome = run(machine)
        assert [violation.title for violation in machine.violations] == []
        assert outcome is Outcome.FINISHED
        assert ledger.over[-1] == "last"
        assert sorted(ledger.over[:-1]) == ["hotplug", "t0", "t1", "t2", "t3"]
        for kind, names in ledger.queued.items():
            assert sorted(ledger.done[kind]) == sorted(names), kind
        assert online(machine) == [0, 1]


def test_every_step_declares_what_it_touches() -> None:
    for strategy in (RandomWalk(3), Pos(4)):
        interleaver = BareInterleaver(strategy, limits=RunLimits(100_000))
        with audited(interleaver) as footprints:
            ScenarioSubject(loads(NODES + CACHE + TASKS)).begin(interleaver)
            assert interleaver.run_bare() is Outcome.FINISHED
        assert list(footprints.errors) == []


TASKS = """
[[task]]
name = "user"
instances = 4
cpu = [0, 1, 2, 3]
program = [
    {op = "kmem_cache_alloc", cache = "shared", bag = "b{task}", count = 7},
    {op = "queue_work", program = [{op = "kmem_cache_free", cache = "shared", bag = "b{task}", count = 2}]},
    {op = "queue_delayed_work", delay_ns = 100, program = [{op = "rcu_read_lock"}, {op = "rcu_read_unlock"}]},
    {op = "call_rcu", cache = "shared", bag = "b{task}"},
    {op = "read", path = "/sys/devices/system/cpu/online"},
    {op = "kmem_cache_shrink", cache = "shared"},
]
[[task]]
name = "hotplug"
program = [
    {op = "cpu_offline", cpu = 3},
    {op = "cpu_offline", cpu = 0},
    {op = "rcu_barrier"},
    {op = "cpu_online", cpu = 3},
    {op = "cpu_online", cpu = 0},
]
"""


def test_until_slub_dead_a_dead_processor_still_owns_its_slabs_and_others_count_them() -> None:
    """Museum M43: whoever counts only what online processors have misses some."""
    machine = machine_of(NODES + '[kernel]\nsanitizers = ["kasan", "slab-invariants"]\n')
    counted: list[tuple[bool, bool, str]] = []

    async def body() -> None:
        cache = await kmem_cache_create(machine.slab, "counted", 256, 0, 0)
        assert cache is not None

        async def on_three() -> None:
            assert await kmem_cache_alloc(machine.slab, cache) is not None

        thread = start(machine, 3, on_three)
        while thread in machine.interleaver.actors or thread.serial < 0 or 3 not in cache.cpu_slab:
            await STEP

        async def look(_: int) -> None:
            has = placement_of(cache).cpus[3].slab is not None
            text = await read_attribute(machine.slab, cache, "cpu_slabs")
            counted.append((machine.cpus[3].online, has, str(text).strip()))

        hotplug = machine.cpu_hotplug
        assert await hotplug.setup_state_nocalls(12, "before slub:dead", None, look) == 0
        assert await hotplug.setup_state_nocalls(10, "behind slub:dead", None, look) == 0
        assert await hotplug.cpu_down(3) == 0

    finish(machine, body)
    assert counted == [(False, True, "1 N1=1"), (False, False, "0")]


def test_a_timer_and_a_work_item_of_a_processor_that_is_gone_run_elsewhere() -> None:
    for seed in range(10):
        machine = machine_of(strategy=RandomWalk(seed))
        where: dict[str, int] = {}

        async def note(name: str, _: Any, machine: Machine = machine, where: dict[str, int] = where) -> None:
            where[name] = machine.smp_processor_id()

        async def body(machine: Machine = machine, note: Any = note) -> None:
            queues = machine.workqueues
            timer, item = (queues.make_work(name, partial(note, name)) for name in ("timer", "item"))
            await queues.queue_delayed_work_on(3, timer, 5_000_000)
            assert await machine.cpu_hotplug.cpu_down(3) == 0
            await queues.queue_work_on(3, item)
            await queues.flush_work(item)
            await queues.flush_delayed_work(timer)

        finish(machine, body)
        assert set(where) == {"timer", "item"}
        assert 3 not in where.values()


def test_a_thread_that_sleeps_on_a_processor_that_goes_wakes_up_on_another() -> None:
    machine = machine_of()
    where: list[int] = []

    async def sleeper() -> None:
        await machine.current.sleep(50_000_000)
        where.append(machine.smp_processor_id())

    async def body() -> None:
        await machine.current.sleep(1000)
        assert await machine.cpu_hotplug.cpu_down(3) == 0

    start(machine, 3, sleeper)
    finish(machine, body)
    assert where == [2]


def test_a_task_that_is_pinned_to_a_processor_that_goes_is_told() -> None:
    text = """
[[task]]
name = "pinned"
cpu = 1
program = [{op = "sleep", ns = 1000000}]
[[task]]
name = "control"
cpu = 0
program = [{op = "cpu_offline", cpu = 1}]
"""
    machine = machine_of(NODES + text)
    assert run(machine) is Outcome.FINISHED
    (told,) = [line for line in machine.console if "affine" in line]
    assert told.startswith("process ")
    assert told.endswith("(pinned) no longer affine to cpu1")


# --- stop_machine


def stopped(seed: int) -> list[tuple[int, int]]:
    """While DYING callbacks run: how many tasks have preemption off, and how many steps tasks have taken."""
    machine = machine_of(strategy=RandomWalk(seed))
    inside, ticks = [0], [0]
    seen: list[tuple[int, int]] = []
    over: list[bool] = []

    async def region() -> None:
        while not over:
            machine.running.preempt_disable()
            inside[0] += 1
            for _ in range(5):
                await STEP
                ticks[0] += 1
            inside[0] -= 1
            machine.running.preempt_enable()
            await STEP

    async def dying(_: int) -> None:
        before = ticks[0]
        for _ in range(9):
            await STEP
        seen.append((inside[0], ticks[0] - before))

    async def control() -> None:
        hotplug = machine.cpu_hotplug
        assert await hotplug.setup_state_nocalls(97, "look:dying", None, dying) == 0
        assert await hotplug.cpu_down(2) == 0
        over.append(True)

    for cpu in (1, 2, 3):
        start(machine, cpu, region)
    start(machine, 0, control)
    assert run(machine) is Outcome.FINISHED
    assert machine.violations == []
    return seen


def test_the_machine_stops_only_when_every_processor_lets_it() -> None:
    """A region with preemption off is over before the processor is taken away, and no task runs meanwhile."""
    for seed in range(12):
        assert stopped(seed) == [(0, 0)]


def test_without_waiting_for_the_other_processors_the_stop_would_be_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the test above looks for is there where only the target is stopped."""
    make = MultiStop.__init__

    def alone(self: MultiStop, machine: Machine, target: int, *rest: Any) -> None:
        make(self, machine, target, *rest)
        self.cpus = [machine.cpus[target]]
        self.left = 1

    monkeypatch.setattr(MultiStop, "__init__", alone)
    found = [pair for seed in range(12) for pair in stopped(seed)]
    assert any(inside for inside, _ in found)
    assert any(ticks for _, ticks in found)


def test_an_interrupt_for_a_processor_that_goes_is_answered() -> None:
    """Flushing by interrupt (up to 5.14) waits with preemption off for processors that are about to go."""
    for seed in range(40):
        machine = machine_of(NODES + CACHE, RandomWalk(seed), release="v5.10")

        async def use(machine: Machine = machine) -> None:
            cache = machine.slab.find("shared")
            assert cache is not None
            for _ in range(3):
                address = await kmem_cache_alloc(machine.slab, cache)
                assert address is not None
                await kmem_cache_free(machine.slab, cache, address)
                await machine.slab.cpu_flush.flush_all(cache)

        async def control(machine: Machine = machine) -> None:
            for cpu in (1, 2, 3):
                assert await machine.cpu_hotplug.cpu_down(cpu) == 0

        for cpu in range(1, 4):
            start(machine, cpu, use)
        start(machine, 0, control)
        assert run(machine) is Outcome.FINISHED
        assert machine.violations == []
        assert isinstance(machine.cpus[0].current, FunctionThread | None)
