"""kfree_rcu(), SRCU, and programs that use all of RCU."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from slubloom.actors import BareInterleaver, Interleaver, Outcome
from slubloom.actors.strategies import RandomWalk, Timed
from slubloom.kernel import boot
from slubloom.kernel.rcu import RcuHead
from slubloom.kernel.sanitizers.footprint import audited
from slubloom.kernel.slab.generic import kmalloc
from slubloom.topology import loads

from slubloom.run import RunOptions, run_scenario

from ..helpers import booted, run, start
from .oracle import SCENARIO, STEP
from .test_api import told

if TYPE_CHECKING:
    from slubloom.kernel import Machine

KMALLOC = SCENARIO.replace("PREEMPT", "full") + "kmalloc = true\n"


# --- kfree_rcu


async def give(machine: Machine, count: int) -> list[int]:
    addresses = []
    for _ in range(count):
        address = await kmalloc(machine.slab, 64)
        assert address is not None
        addresses.append(address)
        await machine.rcu.kvfree.kvfree_call_rcu(address)
    return addresses


def allocated(machine: Machine) -> int:
    return sum(slab.live.bit_count() for slab in dict.fromkeys(machine.slab.slabs.values()))


def test_pieces_are_freed_after_a_grace_period_many_at_a_time() -> None:
    for seed in range(10):
        counts: list[int] = []

        async def body(machine: Machine, counts: list[int] = counts) -> None:
            counts.append(allocated(machine))
            await give(machine, 20)

        machine, _ = told(body, text=KMALLOC, seed=seed)
        assert allocated(machine) <= counts[0] + 1  # the work queue's own, if anything
        assert machine.rcu.kvfree.queued == {}
        assert machine.counters["rcu_callbacks"] < 20


def test_a_reader_holds_the_freeing_up_and_the_barrier_waits_for_it() -> None:
    for seed in range(20):

        async def body(machine: Machine) -> None:
            addresses = await give(machine, 3)
            async with machine.rcu.reader():
                for _ in range(30):
                    await STEP
            await machine.rcu.kvfree.kvfree_rcu_barrier()
            assert not [address for address in addresses if address in machine.rcu.kvfree.queued]

        told(body, text=KMALLOC, seed=seed)


def test_rcu_barrier_does_not_wait_for_kfree_rcu() -> None:
    left = 0
    for seed in range(20):
        seen: list[int] = []

        async def body(machine: Machine, seen: list[int] = seen) -> None:
            await give(machine, 1)
            await machine.rcu.rcu_barrier()
            seen.append(len(machine.rcu.kvfree.queued))

        told(body, text=KMALLOC, seed=seed)
        left += seen[0]
    assert left


def test_the_monitor_comes_after_five_seconds_or_a_jiffy_when_a_block_is_full() -> None:
    for count, at_least, at_most in ((1, 5_000_000_000, 5_100_000_000), (510, 4_000_000, 100_000_000)):
        machine = boot(loads(KMALLOC), Interleaver(Timed())).machine
        times: list[int] = []
        machine.tracepoints.rcu_invoke_kfree_bulk_callback.attach(
            lambda record, times=times: times.append(record[1]) or None
        )

        async def body(machine: Any = machine, count: int = count) -> None:
            await give(machine, count)

        start(machine, 0, "t", body)
        assert run(machine) is Outcome.FINISHED
        assert at_least <= times[0] <= at_most
        assert machine.rcu.kvfree.queued == {}


def test_without_a_block_pieces_go_through_their_own_rcu_head() -> None:
    machine = booted(1, KMALLOC)
    single: list[int] = []
    machine.tracepoints.rcu_invoke_kvfree_callback.attach(lambda record: single.append(1))

    async def body() -> None:
        machine.rcu.kvfree.of_cpu(0).cached = 0
        await give(machine, 3)

    start(machine, 0, "t", body)
    assert run(machine) is Outcome.FINISHED
    assert len(single) == 3


def test_memory_given_to_kfree_rcu_twice_is_told_and_freed_once() -> None:
    machine = booted(0, KMALLOC, stop=False)

    async def body() -> None:
        address = await kmalloc(machine.slab, 64)
        async with machine.rcu.reader():
            await machine.rcu.kvfree.kvfree_call_rcu(address)
            await machine.rcu.kvfree.kvfree_call_rcu(address)

    start(machine, 0, "t", body)
    run(machine)
    assert [violation.kind for violation in machine.violations] == ["rcu-usage"]
    assert "kvfree_call_rcu(): Double-freed call. rcu_head" in machine.violations[0].title


# --- programs


PROGRAMS = """
[machine]
[[machine.node]]
id = 0
cpus = "0-1"
memory = "64M"
[[task]]
name = "updater"
cpu = 0
program = [
    {op = "get_state_synchronize_rcu"},
    {op = "kmalloc", size = 100, count = 4},
    {op = "kfree_rcu", count = 3},
    {op = "kfree_rcu"},
    {op = "synchronize_rcu_expedited"},
    {op = "cond_synchronize_rcu"},
    {op = "kvfree_rcu_barrier"},
    {op = "synchronize_srcu", srcu = "s"},
]
[[task]]
name = "reader"
cpu = 1
program = [
    {op = "srcu_read_lock", srcu = "s"},
    {op = "srcu_read_lock", srcu = "s"},
    {op = "sleep", ns = 1000},
    {op = "srcu_read_unlock", srcu = "s"},
    {op = "srcu_read_unlock", srcu = "s"},
]
"""


def test_programs_can_use_it_all() -> None:
    for seed in range(8):
        result = run_scenario(loads(PROGRAMS), RunOptions(strategy="random" if seed else "timed", seed=seed))
        assert result.violations == ()
        assert result.outcome is Outcome.FINISHED
        assert result.counters["rcu_kvfree_calls"] == 4


def test_every_step_of_them_declares_what_it_touches() -> None:
    for seed in range(6):
        interleaver = BareInterleaver(RandomWalk(seed))
        with audited(interleaver) as audit:
            booted = boot(loads(PROGRAMS), interleaver)
            booted.workload.start()  # twice the tasks
            assert interleaver.run_bare() is Outcome.FINISHED
        assert [error for error in audit.errors if "rcu" in error.lower() or "Kvfree" in error] == []


def test_srcu_callbacks_run_in_a_kworker_and_its_barrier_waits_for_them() -> None:
    for seed in range(20):
        ran: list[str] = []

        async def body(machine: Machine, ran: list[str] = ran) -> None:
            srcu = machine.rcu.srcu_struct("s")
            cookie = srcu.get_state()
            await srcu.call(RcuHead(lambda: ran.append(machine.running.comm)))
            await srcu.barrier()
            assert srcu.poll_state(cookie)
            assert len(ran) == 1

        told(body, seed=seed)
        assert ran[0].startswith("kworker/")


def test_srcu_grace_periods_are_a_jiffy_apart_where_time_passes() -> None:
    machine = boot(loads(SCENARIO.replace("PREEMPT", "full")), Interleaver(Timed())).machine
    srcu = machine.rcu.srcu_struct("s")
    times: list[int] = []

    async def read() -> None:
        index = await srcu.read_lock()
        await machine.current.sleep(10_000)
        await srcu.read_unlock(index)

    async def update() -> None:
        await machine.current.sleep(1000)
        await srcu.synchronize()
        times.append(machine.interleaver.now_ns)

    start(machine, 0, "read", read)
    start(machine, 1, "update", update)
    assert run(machine) is Outcome.FINISHED
    assert times[0] >= 4_000_000
