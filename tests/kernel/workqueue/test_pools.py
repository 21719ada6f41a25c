"""Workers, rescuers, processors that come and go, and pools that are stuck."""

from __future__ import annotations

from typing import Any

import pytest
from slubloom.actors import Outcome
from slubloom.kernel.workqueue.queue import WQ_HIGHPRI, WQ_MEM_RECLAIM, WQ_UNBOUND

from .helpers import STEP, Oracle, broken_invariants, machine_with_workqueues, run, start

MS = 1_000_000
S = 1_000_000_000


def item(machine: Any, name: str, ran: list[Any], queue: Any = "events", *, naps_ns: int = 0) -> Any:
    """An item that says in which worker and where it ran."""

    async def function(_: Any) -> None:
        if naps_ns:
            await machine.current.sleep(naps_ns)
        await STEP
        ran.append((name, machine.current.comm, machine.smp_processor_id()))

    return machine.workqueues.make_work(name, function, queue=queue)


@pytest.mark.parametrize(
    ("flags", "comm"), [(0, "kworker/1:0"), (WQ_HIGHPRI, "kworker/1:0H"), (WQ_UNBOUND, "kworker/u4:0")]
)
def test_a_worker_is_called_after_its_pool(flags: int, comm: str) -> None:
    machine = machine_with_workqueues(0)
    ran: list[Any] = []
    queue = machine.workqueues.make_queue("q", flags)
    work = item(machine, "w", ran, queue)
    start(machine, 0, "t", lambda: machine.workqueues.queue_work_on(1, work))
    assert run(machine) is Outcome.FINISHED
    assert [entry[1] for entry in ran] == [comm]


def test_items_that_nap_get_a_worker_each_and_those_that_do_not_share_one() -> None:
    for naps_ns, workers in ((1000, 4), (0, 1)):
        for seed in range(20):
            machine = machine_with_workqueues(seed)
            works = [item(machine, f"w{number}", [], naps_ns=naps_ns) for number in range(4)]

            async def body(machine: Any = machine, works: Any = works) -> None:
                machine.current.preempt_disable()  # all are queued before the first can run
                for work in works:
                    await machine.workqueues.queue_work_on(0, work)
                machine.current.preempt_enable()

            start(machine, 0, "t", body)
            assert run(machine) is Outcome.FINISHED
            (pool,) = machine.workqueues.pools.all()
            assert len(pool.workers) == workers
            assert broken_invariants(machine) == []


def test_workers_that_are_idle_for_300_seconds_and_too_many_end() -> None:
    machine = machine_with_workqueues(0)
    works = [item(machine, f"w{number}", [], naps_ns=1000) for number in range(5)]

    async def body() -> None:
        for work in works:
            await machine.workqueues.queue_work_on(1, work)
        await machine.workqueues.flush_workqueue("events")
        (pool,) = machine.workqueues.pools.all()
        assert len(pool.workers) == 5
        await machine.current.sleep(299 * S)
        assert len(pool.workers) == 5
        await machine.current.sleep(2 * S)

    start(machine, 0, "t", body)
    assert run(machine) is Outcome.FINISHED
    (pool,) = machine.workqueues.pools.all()
    assert len(pool.workers) == len(pool.idle) == 2


# --- no memory for a worker


def test_the_rescuer_runs_its_own_items_where_no_worker_can_be_made_and_only_those() -> None:
    for seed in range(20):
        machine = machine_with_workqueues(seed)
        ran: list[Any] = []
        allowed = [False]
        machine.workqueues.pools.may_create_worker = lambda _, allowed=allowed: allowed[0]
        queue = machine.workqueues.make_queue("reclaim", WQ_MEM_RECLAIM)
        works = [item(machine, "mine", ran, queue), item(machine, "other", ran), item(machine, "too", ran, queue)]

        async def body(machine: Any = machine, works: Any = works, ran: Any = ran, allowed: Any = allowed) -> None:
            for work in works:
                await machine.workqueues.queue_work_on(1, work)
            await machine.workqueues.flush_work(works[0])
            await machine.workqueues.flush_work(works[2])
            assert 10 * MS <= machine.interleaver.now_ns < 20 * MS
            assert ran == [("mine", "reclaim", 1), ("too", "reclaim", 1)]
            allowed[0] = True
            await machine.workqueues.flush_work(works[1])
            assert 1 * S <= machine.interleaver.now_ns < 1.2 * S

        start(machine, 0, "t", body)
        assert run(machine) is Outcome.FINISHED
        assert machine.violations == []
        assert ran[2:] == [("other", "kworker/1:0", 1)]
        assert broken_invariants(machine) == []


# --- processors


def test_what_is_queued_on_a_processor_that_goes_offline_runs_elsewhere_and_nothing_is_lost() -> None:
    places: dict[tuple[Any, ...], None] = {}
    for seed in range(60):
        machine = machine_with_workqueues(seed, cpus=3)
        oracle = Oracle(machine)
        ran: list[Any] = []
        works = [item(machine, f"w{number}", ran, naps_ns=500 * (number % 3)) for number in range(6)]
        gone: list[int] = []

        async def offline(machine: Any = machine, gone: Any = gone) -> None:
            assert await machine.workqueues.workqueue_offline_cpu(1)
            gone.append(machine.interleaver.steps)

        async def queue(machine: Any = machine, works: Any = works, ran: Any = ran) -> None:
            for work in works[:4]:
                await machine.workqueues.queue_work_on(1, work)
            await machine.current.sleep(10_000)  # by then it is offline
            machine.cpus[1].online = False
            for work in works[4:]:
                await machine.workqueues.queue_work_on(1, work)
            await machine.workqueues.flush_workqueue("events")
            assert {place for _, _, place in ran[-2:]} <= {0, 2}
            machine.cpus[1].online = True
            await machine.workqueues.workqueue_online_cpu(1)
            await machine.workqueues.queue_work_on(1, works[0])
            await machine.workqueues.flush_work(works[0])

        start(machine, 1, "cpuhp/1", offline)
        start(machine, 0, "t", queue)
        assert run(machine) is Outcome.FINISHED
        assert machine.violations == []
        oracle.at_end()
        assert oracle.errors == []
        assert broken_invariants(machine) == []
        assert ran[-1][2] == 1  # back where it belongs
        places.update(dict.fromkeys(entry[2:] for entry in ran))
    assert sorted(places) == [(0,), (1,), (2,)]


def test_a_processor_is_unbound_by_itself() -> None:
    machine = machine_with_workqueues(0)
    answers: list[bool] = []

    async def body() -> None:
        answers.append(await machine.workqueues.workqueue_offline_cpu(1))

    start(machine, 0, "t", body)
    run(machine)
    assert answers == [False]


def test_on_a_processor_that_was_never_online_an_item_waits_until_it_is_prepared() -> None:
    machine = machine_with_workqueues(0, cpus=3)
    machine.cpus[2].online = False
    ran: list[Any] = []
    work = item(machine, "w", ran)

    async def body() -> None:
        await machine.workqueues.queue_work_on(2, work)
        await machine.current.sleep(1000)
        assert ran == []
        await machine.workqueues.workqueue_prepare_cpu(2)
        await machine.workqueues.flush_work(work)

    start(machine, 0, "t", body)
    assert run(machine) is Outcome.FINISHED
    assert ran[0][2] in (0, 1)


# --- stalls


def test_a_pool_that_is_stuck_for_more_than_30_seconds_is_reported_with_what_it_has() -> None:
    machine = machine_with_workqueues(0)

    async def hog(_: Any) -> None:
        await STEP
        machine.current.preempt_disable()
        await machine.current.sleep(40 * S)  # keeps its processor
        machine.current.preempt_enable()

    hogging = machine.workqueues.make_work("hog", hog)
    behind = item(machine, "behind", [])

    async def body() -> None:
        await machine.workqueues.queue_work_on(1, hogging)
        await machine.workqueues.queue_work_on(1, behind)
        await machine.workqueues.flush_work(behind)

    start(machine, 0, "t", body)
    run(machine)
    (violation,) = machine.violations
    assert violation.kind == "workqueue-stall"
    assert violation.report == STALL


STALL = """\
BUG: workqueue lockup - pool cpus=1 node=0 flags=0x0 nice=0 stuck for 40s!
Showing busy workqueues and worker pools:
workqueue events: flags=0x0
  pwq 2: cpus=1 node=0 flags=0x0 nice=0 active=2/256 refcnt=3
    in-flight: 3:hog
    pending: behind BAR(2)
pool 2: cpus=1 node=0 flags=0x0 nice=0 hung=40s workers=2 idle: 4
"""


def test_a_pool_that_gets_on_with_its_work_is_not_stuck_however_long_an_item_takes() -> None:
    machine = machine_with_workqueues(0)
    works = [item(machine, f"w{number}", [], naps_ns=100 * S) for number in range(3)]

    async def body() -> None:
        for work in works:
            await machine.workqueues.queue_work_on(1, work)
        await machine.workqueues.flush_workqueue("events")

    start(machine, 0, "t", body)
    assert run(machine) is Outcome.FINISHED
    assert machine.violations == []


def test_a_deadlock_with_work_pending_is_a_deadlock() -> None:
    machine = machine_with_workqueues(0)

    async def waits_for_itself(work: Any) -> None:
        await machine.workqueues.flush_work(work)

    work = machine.workqueues.make_work("waits_for_itself", waits_for_itself)
    start(machine, 0, "t", lambda: machine.workqueues.queue_work_on(1, work))
    run(machine)
    assert [violation.kind for violation in machine.violations] == ["lockdep-recursive"]
