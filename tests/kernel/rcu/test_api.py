"""Barriers, batches, flavours, polling, expedited grace periods, kfree_rcu(), SRCU: what callers may rely on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from slubloom.actors import Interleaver, Outcome
from slubloom.actors.strategies import RandomWalk, Timed
from slubloom.kernel import boot
from slubloom.kernel.rcu import RcuHead
from slubloom.topology import loads

from ..helpers import booted, run, start
from .oracle import SCENARIO, STEP

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from slubloom.kernel import Machine

KMALLOC = SCENARIO.replace("PREEMPT", "full") + "kmalloc = true\n"


def nothing() -> None:
    """A callback."""


def told(
    body: Callable[[Machine], Awaitable[object]], *, seed: int = 0, text: str = "", release: str = "v6.1"
) -> tuple[Machine, list[tuple[Any, ...]]]:
    """A run of `body` on CPU 0, and what the rcu tracepoints have said: name and fields."""
    machine = booted(seed, text or SCENARIO.replace("PREEMPT", "full"), release=release)
    records: list[tuple[Any, ...]] = []
    for name in ("rcu_barrier", "rcu_batch_start", "rcu_batch_end", "rcu_grace_period"):
        point = getattr(machine.tracepoints, name)
        point.attach(lambda record, name=name: records.append((name, *record[5:])))
    start(machine, 0, "t", lambda: body(machine))
    assert run(machine) is Outcome.FINISHED
    assert machine.violations == []
    return machine, records


# --- barrier


def test_a_barrier_with_nothing_to_wait_for_asks_nobody_and_needs_no_grace_period() -> None:
    _, records = told(lambda machine: machine.rcu.rcu_barrier())
    said = [(what, cpu, done) for name, _, what, cpu, _, done in records if name == "rcu_barrier"]
    assert said == [
        ("Begin", -1, 4),
        ("Inc1", -1, 1),
        *[("NQ", cpu, 1) for cpu in range(4)],
        ("Inc2", -1, 1),
    ]
    assert not [record for record in records if record[0] == "rcu_grace_period"]


def test_a_barrier_is_entrained_by_interrupt_and_called_back() -> None:
    async def body(machine: Machine) -> None:
        await machine.rcu.call_rcu(RcuHead(nothing))
        await machine.rcu.rcu_barrier()

    _, records = told(body)
    said = [what for name, _, what, *_ in records if name == "rcu_barrier"]
    assert said[:5] == ["Begin", "Inc1", "NQ", "NQ", "NQ"]
    assert sorted(said[5:]) == ["IRQ", "Inc2", "LastCB", "OnlineQ"]
    assert said[-1] == "Inc2"


def test_callers_that_come_meanwhile_share_the_next_barrier() -> None:
    shared = 0
    for seed in range(40):
        machine = booted(seed, SCENARIO.replace("PREEMPT", "full"))
        said: list[str] = []
        machine.tracepoints.rcu_barrier.attach(lambda record, said=said: said.append(record[6]))

        async def body(machine: Any = machine) -> None:
            await machine.rcu.call_rcu(RcuHead(nothing))
            await machine.rcu.rcu_barrier()

        for cpu in range(4):
            start(machine, cpu, f"t{cpu}", body)
        assert run(machine) is Outcome.FINISHED
        assert said.count("Begin") == 4
        assert said.count("Inc2") + said.count("EarlyExit") == 4
        assert machine.counters["rcu_barriers"] == said.count("Inc2")
        shared += said.count("EarlyExit")
    assert shared > 10


@pytest.mark.parametrize(("release", "locked"), [("v5.17", True), ("v5.18", False), ("v6.1", False)])
def test_up_to_5_17_a_barrier_keeps_cpu_hotplug_out(release: str, locked: bool) -> None:
    machine = booted(0, SCENARIO.replace("PREEMPT", "full"), release=release)
    taken: list[str] = []
    machine.tracepoints.lock_acquire.attach(lambda record: taken.append(record[6]))

    async def body() -> None:
        await machine.rcu.rcu_barrier()

    start(machine, 0, "t", body)
    run(machine)
    assert ("cpu_hotplug_lock" in taken) is locked


# --- batches


def batches(count: int, *, idle: bool) -> list[tuple[int, int, int]]:
    """Queued, limit and invoked of each batch that `count` callbacks of one processor make."""

    async def body(machine: Machine) -> None:
        await STEP
        callbacks = machine.rcu.normal.data[1].callbacks
        for _ in range(count):
            callbacks.enqueue(RcuHead(nothing))
        callbacks.accelerate(machine.rcu.domain.sequence)
        callbacks.advance(machine.rcu.domain.sequence)
        machine.rcu.raise_softirq(machine.this_cpu)
        while not idle and len(done) < count:
            await STEP

    done: list[int] = []
    machine = booted(0, SCENARIO.replace("PREEMPT", "full"))
    found: list[list[int]] = []
    machine.tracepoints.rcu_invoke_callback.attach(lambda record: done.append(1))
    machine.tracepoints.rcu_batch_start.attach(lambda record: found.append([record[6], record[7]]))
    machine.tracepoints.rcu_batch_end.attach(lambda record: found[-1].append(record[6]))
    start(machine, 1, "t", lambda: body(machine))
    assert run(machine) is Outcome.FINISHED
    return [(batch[0], batch[1], batch[2]) for batch in found]


def test_a_batch_ends_at_the_limit_while_the_processor_has_other_things_to_do() -> None:
    assert batches(25, idle=False) == [(25, 10, 10), (15, 10, 10), (5, 10, 5)]


def test_an_idle_processor_invokes_all() -> None:
    assert batches(25, idle=True) == [(25, 10, 25)]


def test_the_limit_grows_with_what_is_queued() -> None:
    assert batches(2560, idle=False)[0] == (2560, 20, 20)


def test_more_than_ten_thousand_callbacks_hurry_the_grace_period() -> None:
    async def body(machine: Machine) -> None:
        await machine.rcu.read_lock()
        for _ in range(10_010):
            await machine.rcu.call_rcu(RcuHead(nothing))
        data = machine.rcu.normal.data[0]
        assert (data.blimit, data.length_at_force) == (10_000, 10_001)
        await machine.rcu.read_unlock()
        await machine.rcu.rcu_barrier()
        assert data.blimit == 10

    machine, _ = told(body)
    assert machine.counters["rcu_callbacks"] == 10_010


def test_callbacks_of_one_processor_run_in_the_order_of_queueing() -> None:
    for seed in range(20):
        ran: list[int] = []

        async def body(machine: Machine, ran: list[int] = ran) -> None:
            for number in range(30):
                await machine.rcu.call_rcu(RcuHead(lambda number=number: ran.append(number)))
                if not number % 7:
                    await machine.rcu.synchronize_rcu()
            await machine.rcu.rcu_barrier()

        told(body, seed=seed)
        assert ran == list(range(30))


# --- grace periods


def test_the_events_of_a_grace_period_come_in_order() -> None:
    _, records = told(lambda machine: machine.rcu.synchronize_rcu())
    said = [record[2:] for record in records if record[0] == "rcu_grace_period"]
    assert said == [
        (-1200, "newreq"),
        (-1199, "start"),
        (-1199, "fqsstart"),
        (-1199, "fqsend"),
        (-1196, "end"),
    ]


def test_one_grace_period_serves_all_who_asked_before_it_began() -> None:
    machine = booted(3, SCENARIO.replace("PREEMPT", "none"))

    async def body() -> None:
        async with machine.rcu.reader():
            for _ in range(5):
                await machine.rcu.call_rcu(RcuHead(nothing))

    start(machine, 0, "t", body)
    assert run(machine) is Outcome.FINISHED
    assert machine.counters["rcu_grace_periods"] in (1, 2)


def preempt_off_ends_first(release: str, wait: str) -> bool:
    """Whether what `wait` waits for is over only when a region with preemption off is, in every schedule."""
    always = True
    for seed in range(60):
        machine = booted(seed, SCENARIO.replace("PREEMPT", "full"), release=release)
        inside: list[int] = []

        async def region(machine: Any = machine, inside: list[int] = inside) -> None:
            machine.current.preempt_disable()
            inside.append(1)
            for _ in range(40):
                await STEP
            inside.clear()
            machine.current.preempt_enable()

        async def update(machine: Any = machine, inside: list[int] = inside, found: list[bool] = []) -> None:  # noqa: B006
            while not inside:
                await STEP
            await getattr(machine.rcu, wait)()
            found.append(not inside)

        found: list[bool] = []
        start(machine, 0, "region", region)
        start(machine, 1, "update", lambda update=update, found=found: update(found=found))
        assert run(machine) is Outcome.FINISHED
        always = always and found == [True]
    return always


@pytest.mark.parametrize(
    ("release", "wait", "expected"),
    [
        ("v4.19", "synchronize_rcu", False),
        ("v4.19", "synchronize_sched", True),
        ("v5.0", "synchronize_rcu", True),
        ("v6.1", "synchronize_rcu", True),
        ("v6.1", "synchronize_sched", True),
        ("v6.1", "synchronize_rcu_expedited", True),
    ],
)
def test_regions_with_preemption_off_are_waited_for_by_sched_and_from_5_0_by_all(
    release: str, wait: str, expected: bool
) -> None:
    assert preempt_off_ends_first(release, wait) is expected


def test_up_to_4_19_call_rcu_sched_has_lists_and_grace_periods_of_its_own() -> None:
    async def body(machine: Machine) -> None:
        await machine.rcu.call_rcu_sched(RcuHead(nothing))
        await machine.rcu.rcu_barrier_sched()

    _, records = told(body, release="v4.19")
    assert {record[1] for record in records if record[0] == "rcu_grace_period"} == {"rcu_sched"}
    _, records = told(body, release="v5.0")
    assert {record[1] for record in records if record[0] == "rcu_grace_period"} == {"rcu_preempt"}


def test_expedited_grace_periods_are_quicker_than_normal_ones() -> None:
    def duration(wait: str) -> int:
        machine = boot(loads(SCENARIO.replace("PREEMPT", "full")), Interleaver(Timed())).machine
        took: list[int] = []

        async def body() -> None:
            await STEP
            began = machine.interleaver.now_ns
            await getattr(machine.rcu, wait)()
            took.append(machine.interleaver.now_ns - began)

        start(machine, 0, "t", body)
        assert run(machine) is Outcome.FINISHED
        return took[0]

    assert duration("synchronize_rcu_expedited") < 100_000
    assert duration("synchronize_rcu") >= 4_000_000  # the first scan comes after a jiffy


def test_a_cookie_is_good_after_a_grace_period_of_either_kind() -> None:
    for wait in ("synchronize_rcu", "synchronize_rcu_expedited"):

        async def body(machine: Machine, wait: str = wait) -> None:
            rcu = machine.rcu
            cookie = rcu.get_state_synchronize_rcu()
            assert not rcu.poll_state_synchronize_rcu(cookie)
            await getattr(rcu, wait)()
            assert rcu.poll_state_synchronize_rcu(cookie)
            before = machine.counters.get("rcu_grace_periods", 0)
            await rcu.cond_synchronize_rcu(cookie)
            assert machine.counters.get("rcu_grace_periods", 0) == before

        told(body)


def test_start_poll_starts_the_grace_period_it_promises() -> None:
    async def body(machine: Machine) -> None:
        cookie = machine.rcu.start_poll_synchronize_rcu()
        while not machine.rcu.poll_state_synchronize_rcu(cookie):
            await STEP

    told(body)


def test_nothing_of_rcu_happens_in_a_run_that_does_not_use_it() -> None:
    async def body(_: Machine) -> None:
        await STEP

    machine = booted(0, SCENARIO.replace("PREEMPT", "full"))
    start(machine, 0, "t", lambda: body(machine))
    assert run(machine) is Outcome.FINISHED
    assert machine.interleaver.steps < 10
    assert not isinstance(machine.interleaver.strategy, Timed)
    assert isinstance(machine.interleaver.strategy, RandomWalk)
