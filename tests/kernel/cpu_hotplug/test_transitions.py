"""Ups and downs: who is refused, what is called back where and in which order, and what is undone after a failure."""

from __future__ import annotations

from itertools import permutations
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from slubloom.actors import Outcome
from slubloom.actors.strategies import RandomWalk
from slubloom.kernel.cpu_hotplug import CpuhpState

from .machines import NODES, finish, machine_of, online, run, start

if TYPE_CHECKING:
    from slubloom.kernel import Machine

EBUSY, EINVAL, EAGAIN = -16, -22, -11
PREPARE, ONLINE = CpuhpState.BP_PREPARE_DYN, CpuhpState.AP_ONLINE_DYN
UP = [
    "workqueue:prepare",
    "RCU/tree:prepare",
    "cpu:bringup",
    "smpboot/threads:online",
    "workqueue:online",
    "RCU/tree:online",
    "mm/vmstat:online",
    "sched:active",
]
"""The states of a processor that comes; below them, under v6.1, mm/page_alloc:pcp."""


def watched(machine: Machine) -> list[tuple[str, int, int]]:
    """Each callback as it begins: its state's name, for which processor, on which one."""
    calls: list[tuple[str, int, int]] = []
    steps = machine.cpu_hotplug.table.steps
    machine.tracepoints.cpuhp_enter.attach(
        lambda record: calls.append((steps[record[7]].name, record[5], record[2])) if record[7] in steps else None
    )
    return calls


def test_every_processor_goes_and_comes_again_in_every_order() -> None:
    for order in permutations((1, 2, 3)):
        machine = machine_of()
        left: list[list[int]] = []

        async def body(order: Any = order, machine: Machine = machine, left: list[list[int]] = left) -> None:
            for cpu in order:
                assert await machine.cpu_hotplug.cpu_down(cpu) == 0
                left.append(online(machine))
            for cpu in order:
                assert await machine.cpu_hotplug.cpu_up(cpu) == 0

        finish(machine, body)
        assert left == [[cpu for cpu in range(4) if cpu not in order[: n + 1]] for n in range(3)]
        assert online(machine) == [0, 1, 2, 3]
        assert all(cpu.active and not cpu.dying and not cpu.irqs_off for cpu in machine.cpus.values())
        assert (machine.counters["cpus_offlined"], machine.counters["cpus_onlined"]) == (3, 3)


def test_a_task_that_takes_its_own_processor_down_goes_on_elsewhere() -> None:
    machine = machine_of()
    seen: list[int] = []

    async def body() -> None:
        assert await machine.cpu_hotplug.cpu_down(0) == 0
        seen.append(machine.smp_processor_id())

    finish(machine, body)
    assert seen == [1]  # the other one of its node
    assert online(machine) == [1, 2, 3]


def test_the_last_processor_is_refused_and_those_that_are_not_there() -> None:
    machine = machine_of(NODES.replace('"0-1"', "0").replace('"2-3"', "1"))
    answers: list[int] = []

    async def body() -> None:
        hotplug = machine.cpu_hotplug
        answers.extend(
            [
                await hotplug.cpu_down(1),
                await hotplug.cpu_down(0),  # the last one
                await hotplug.cpu_up(0),  # is there
                await hotplug.cpu_up(7),
                await hotplug.cpu_down(7),
                await hotplug.add_cpu(0),
                await hotplug.remove_cpu(1),
            ]
        )

    finish(machine, body)
    assert answers == [0, EBUSY, 0, EINVAL, EINVAL, 1, 1]
    assert online(machine) == [0]


def test_while_hotplug_is_disabled_requests_are_refused() -> None:
    machine = machine_of()
    answers: list[int] = []

    async def body() -> None:
        hotplug = machine.cpu_hotplug
        await hotplug.cpu_hotplug_disable()
        await hotplug.cpu_hotplug_disable()
        await hotplug.cpu_hotplug_enable()
        answers.append(await hotplug.cpu_down(1))
        await hotplug.cpu_hotplug_enable()
        answers.append(await hotplug.cpu_down(1))
        await hotplug.cpu_hotplug_disable()
        answers.append(await hotplug.cpu_up(1))
        await hotplug.cpu_hotplug_enable()
        await hotplug.cpu_hotplug_enable()

    finish(machine, body)
    assert answers == [EBUSY, 0, EBUSY]
    assert machine.console[-1] == "WARNING: Unbalanced cpu hotplug enable"


def test_states_are_passed_in_order_and_called_back_where_they_belong() -> None:
    machine = machine_of()
    calls = watched(machine)

    async def body() -> None:
        await machine.cpu_hotplug.cpu_down(3)
        assert calls == [
            ("online", 3, 0),  # the control thread asks cpuhp/3
            ("sched:active", 3, 3),
            ("RCU/tree:online", 3, 3),
            ("workqueue:online", 3, 3),
            ("smpboot/threads:online", 3, 3),
            ("sched:waitempty", 3, 3),
            ("cpu:teardown", 3, 0),
            ("smpcfd:dying", 3, 3),
            ("RCU/tree:dying", 3, 3),
            ("sched:starting", 3, 3),
            ("cpu:bringup", 3, 0),
            ("timers:prepare", 3, 0),
            ("RCU/tree:prepare", 3, 0),
            ("mm/page_alloc:pcp", 3, 0),
            ("softirq:dead", 3, 0),
            ("mm/vmstat:dead", 3, 0),
            ("slub:dead", 3, 0),
        ]
        calls.clear()
        await machine.cpu_hotplug.cpu_up(3)
        assert calls == [
            ("mm/page_alloc:pcp", 3, 0),
            *((name, 3, 0) for name in UP[:3]),
            *((name, 3, 3) for name in UP[3:]),
        ]

    finish(machine, body)


def test_up_to_5_13_the_page_allocator_is_told_of_dead_processors_only() -> None:
    for release, names in (("v5.13", ["mm/page_alloc:dead"]), ("v5.14", ["mm/page_alloc:pcp"] * 2)):
        machine = machine_of(release=release)
        calls = watched(machine)

        async def body(machine: Machine = machine) -> None:
            await machine.cpu_hotplug.cpu_down(1)
            await machine.cpu_hotplug.cpu_up(1)

        finish(machine, body)
        assert [name for name, *_ in calls if name.startswith("mm/page_alloc")] == names


def test_a_processor_that_was_offline_at_boot_comes_up() -> None:
    machine = machine_of(NODES.replace("[machine]", '[machine]\noffline_cpus = "2-3"'))
    states = machine.pages.states
    assert (online(machine), list(states.cpu)) == ([0, 1], [0])
    ran: list[int] = []

    async def body() -> None:
        for cpu in (3, 2):
            assert await machine.cpu_hotplug.cpu_up(cpu) == 0
        work = machine.workqueues.make_work("there", lambda _: note())
        await machine.workqueues.queue_work_on(3, work)
        await machine.workqueues.flush_work(work)
        await machine.rcu.synchronize_rcu()

    async def note() -> None:
        ran.append(machine.smp_processor_id())

    finish(machine, body)
    assert ran == [3]
    assert (online(machine), list(states.cpu)) == ([0, 1, 2, 3], [0, 1])


def test_a_node_without_processors_is_not_in_n_cpu() -> None:
    machine = machine_of()
    seen: list[list[int]] = []

    async def body() -> None:
        for cpu in (2, 3):
            await machine.cpu_hotplug.cpu_down(cpu)
            seen.append(list(machine.pages.states.cpu))
        await machine.cpu_hotplug.cpu_up(2)
        seen.append(list(machine.pages.states.cpu))

    finish(machine, body)
    assert seen == [[0, 1], [0], [0, 1]]


# --- failures


def driver(machine: Machine, log: list[str], fails: dict[str, bool]) -> Any:
    """Four states that note what is called; those named in `fails` refuse."""

    def noting(name: str) -> Any:
        async def callback(_: int) -> int:
            log.append(name)
            return -5 if fails.get(name) else 0

        return callback

    async def register() -> None:
        for state, name in ((PREPARE, "p1"), (PREPARE, "p2"), (ONLINE, "o1"), (ONLINE, "o2")):
            number = await machine.cpu_hotplug.setup_state_nocalls(
                state, name, noting(f"{name} up"), noting(f"{name} down")
            )
            assert number >= state

    return register


@pytest.mark.parametrize(
    ("failing", "expected"),
    [
        ("p1 up", ["p1 up"]),
        ("p2 up", ["p1 up", "p2 up", "p1 down"]),
        ("o1 up", ["p1 up", "p2 up", "o1 up", "p2 down", "p1 down"]),
        ("o2 up", ["p1 up", "p2 up", "o1 up", "o2 up", "o1 down", "p2 down", "p1 down"]),
    ],
)
def test_a_start_that_fails_is_undone_in_the_opposite_order(failing: str, expected: list[str]) -> None:
    machine = machine_of()
    log: list[str] = []
    fails: dict[str, bool] = {}

    async def body() -> None:
        await driver(machine, log, fails)()
        assert await machine.cpu_hotplug.cpu_down(3) == 0
        log.clear()
        fails[failing] = True
        assert await machine.cpu_hotplug.cpu_up(3) == -5
        assert log == expected
        assert not machine.cpus[3].online
        assert machine.cpu_hotplug.state_of(machine.cpus[3]).state == CpuhpState.OFFLINE
        fails.clear()
        assert await machine.cpu_hotplug.cpu_up(3) == 0
        assert machine.cpus[3].online
        assert machine.cpus[3].active

    finish(machine, body)


@pytest.mark.parametrize(
    ("failing", "expected"), [("o2 down", ["o2 down"]), ("o1 down", ["o2 down", "o1 down", "o2 up"])]
)
def test_an_end_that_fails_brings_the_processor_back(failing: str, expected: list[str]) -> None:
    machine = machine_of()
    log: list[str] = []
    fails: dict[str, bool] = {}

    async def body() -> None:
        await driver(machine, log, fails)()
        fails[failing] = True
        assert await machine.cpu_hotplug.cpu_down(3) == -5
        assert log == expected
        cpu = machine.cpus[3]
        assert (cpu.online, cpu.active, cpu.dying) == (True, True, False)
        assert machine.cpu_hotplug.state_of(cpu).state == CpuhpState.ONLINE
        fails.clear()
        assert await machine.cpu_hotplug.cpu_down(3) == 0

    finish(machine, body)


def failing_states(machine: Machine, *, bringup: bool) -> list[int]:
    """The states in which a callback may fail, as /sys has it."""
    steps = machine.cpu_hotplug.table.steps
    low = CpuhpState.OFFLINE if bringup else CpuhpState.BRINGUP_CPU
    atomic = range(CpuhpState.AP_IDLE_DEAD, CpuhpState.AP_ONLINE)
    return [s for s in sorted(steps) if s > low and s not in atomic and not steps[s].empty(bringup=bringup)]


@pytest.mark.parametrize("bringup", [True, False])
def test_whatever_state_fails_the_processor_is_back_where_it_was_and_works(bringup: bool) -> None:
    """Also the last one, TEARDOWN_CPU and BRINGUP_CPU themselves, and those of other subsystems."""
    states = failing_states(machine_of(), bringup=bringup)
    assert len(states) >= (7 if bringup else 5)
    for state in states:
        machine = machine_of(strategy=RandomWalk(state))
        hotplug = machine.cpu_hotplug

        async def body(machine: Machine = machine, hotplug: Any = hotplug, state: int = state) -> None:
            cpu = machine.cpus[2]
            if bringup:
                assert await hotplug.cpu_down(2) == 0
            st_ = hotplug.state_of(cpu)
            before, st_.fail = st_.state, state
            assert await (hotplug.cpu_up if bringup else hotplug.cpu_down)(2) == EAGAIN
            assert (st_.state, cpu.online, cpu.active) == (before, not bringup, not bringup)
            assert await hotplug.cpu_up(2) == 0
            done: list[int] = []

            async def note(_: Any) -> None:
                done.append(machine.smp_processor_id())

            work = machine.workqueues.make_work("there", note)
            await machine.workqueues.queue_work_on(2, work)
            await machine.workqueues.flush_work(work)
            await machine.rcu.rcu_barrier()
            assert done == [2]

        finish(machine, body)


def test_a_callback_that_must_not_fail_is_warned_of_and_ignored() -> None:
    machine = machine_of()

    async def fail(_: int) -> int:
        return -5

    async def body() -> None:
        hotplug = machine.cpu_hotplug
        assert await hotplug.setup_state_nocalls(CpuhpState.AP_SMPCFD_DYING - 1, "bad:dying", fail, fail) == 0
        assert await hotplug.cpu_down(1) == 0
        assert await hotplug.cpu_up(1) == 0

    finish(machine, body)
    assert sum("where nothing may fail" in line for line in machine.console) == 2


def test_a_dead_callback_that_fails_is_only_warned_of() -> None:
    machine = machine_of()

    async def fail(_: int) -> int:
        return -5

    async def body() -> None:
        hotplug = machine.cpu_hotplug
        state = await hotplug.setup_state_nocalls(PREPARE, "bad:dead", None, fail)
        assert await hotplug.cpu_down(1) == -5
        assert "WARNING: DEAD callback error for CPU1" in machine.console
        await hotplug.remove_state_nocalls(state)
        assert await hotplug.cpu_up(1) == 0
        assert machine.cpus[1].active

    finish(machine, body)


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 1 << 20),
    requests=st.lists(st.tuples(st.integers(0, 3), st.booleans(), st.integers(0, 3)), max_size=12),
)
def test_any_sequence_of_requests_by_several_tasks_ends_in_a_machine_that_works(
    seed: int, requests: list[tuple[int, bool, int]]
) -> None:
    machine = machine_of(strategy=RandomWalk(seed))

    def asking(home: int) -> Any:
        async def body() -> None:
            for cpu, up, by in requests:
                if by == home:
                    answer = await (machine.cpu_hotplug.cpu_up if up else machine.cpu_hotplug.cpu_down)(cpu)
                    assert answer in (0, EBUSY)
            await machine.rcu.synchronize_rcu()

        return body

    for home in range(4):
        start(machine, home, asking(home))
    assert run(machine) is Outcome.FINISHED
    assert machine.violations == []
    assert online(machine)
    for cpu in machine.cpus.values():
        state = machine.cpu_hotplug.state_of(cpu).state
        assert (state == CpuhpState.ONLINE, cpu.active) == (cpu.online, cpu.online)
        assert cpu.online or (cpu.current is None and not cpu.queue)
