"""What may sleep where nothing may: with preemption off, under spinlocks, in interrupts; allocations above all."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner
from slubloom.kernel.gfp import GFP_ATOMIC, GFP_KERNEL
from slubloom.kernel.locks import Completion, Mutex, PercpuRwsem, RwSemaphore, Spinlock
from slubloom.kernel.slab.allocate import kmem_cache_alloc, kmem_cache_alloc_bulk, kmem_cache_alloc_node
from slubloom.kernel.slab.create import kmem_cache_create
from slubloom.kernel.slab.free import kmem_cache_free, kmem_cache_free_bulk
from slubloom.kernel.slab.generic import kfree, kmalloc
from slubloom.topology import loads

from slubloom.commands.trace import command
from slubloom.run import RunOptions, run_scenario

from ..helpers import TWO_NODES, booted, run, start
from .feeder import Feeder

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from slubloom.kernel import Machine

SLEEPING = "BUG: sleeping function called from invalid context: {}"


def told(function: Callable[[Machine], Awaitable[object]]) -> list[tuple[str, str]]:
    """What the machine says of a thread that runs `function`."""
    machine = booted()
    start(machine, 0, "t", lambda: function(machine))
    run(machine)
    return [(violation.kind, violation.title) for violation in machine.violations]


# --- who may sleep


async def mutex_lock(machine: Machine) -> None:
    async with Mutex(machine, "m"):
        pass


async def down_read(machine: Machine) -> None:
    async with RwSemaphore(machine, "sem").read():
        pass


async def percpu_down_read(machine: Machine) -> None:
    lock = PercpuRwsem(machine, "percpu")
    await lock.down_read()
    await lock.up_read()


async def percpu_down_write(machine: Machine) -> None:
    lock = PercpuRwsem(machine, "percpu")
    await lock.down_write()
    await lock.up_write()


async def wait_for_completion(machine: Machine) -> None:
    done = Completion(machine, "done")
    done.complete_all()
    await done.wait()


async def flush_work(machine: Machine) -> None:
    await machine.workqueues.flush_work(machine.workqueues.make_work("w", nothing))


async def cancel_work_sync(machine: Machine) -> None:
    await machine.workqueues.cancel_work_sync(machine.workqueues.make_work("w", nothing))


async def nothing(_: Any) -> None:
    """An item."""


async def synchronize_rcu(machine: Machine) -> None:
    await machine.rcu.synchronize_rcu()


async def kmalloc_large(machine: Machine, gfp: int = GFP_KERNEL) -> None:
    address = await kmalloc(machine.slab, 1 << 16, gfp)
    assert address is not None
    await kfree(machine.slab, address)


async def alloc_pages(machine: Machine, gfp: int = GFP_KERNEL) -> None:
    got = await machine.pages.alloc_pages_node(0, gfp, 0)
    assert got is not None
    pfn, node = got
    await machine.pages.free_pages(node, pfn, 0)


WAITING = {
    mutex_lock: "m (unknown)",
    down_read: "sem (unknown)",
    percpu_down_read: "percpu_down_read",
    percpu_down_write: "percpu_down_write",
    wait_for_completion: "wait_for_completion",
    flush_work: "start_flush_work",
    cancel_work_sync: "start_flush_work",
    synchronize_rcu: "wait_for_completion",
}


@pytest.mark.parametrize("function", list(WAITING), ids=lambda function: function.__name__)
def test_what_may_wait_must_not_be_called_with_preemption_off(function: Any) -> None:
    async def atomic(machine: Machine) -> None:
        machine.current.preempt_disable()
        await function(machine)
        machine.current.preempt_enable()

    assert told(function) == []
    assert told(atomic) == [("sleep-in-atomic", SLEEPING.format(WAITING[function]))]


def test_preemption_is_on_again_after_as_many_calls() -> None:
    async def nests(machine: Machine) -> None:
        thread = machine.current
        thread.preempt_disable()
        thread.preempt_disable()
        thread.preempt_enable()
        async with Spinlock(machine, "s"):
            pass
        thread.preempt_enable()
        await mutex_lock(machine)

    async def leaves_one(machine: Machine) -> None:
        thread = machine.current
        thread.preempt_disable()
        thread.preempt_disable()
        thread.preempt_enable()
        await mutex_lock(machine)

    assert told(nests) == []
    assert [kind for kind, _ in told(leaves_one)] == ["sleep-in-atomic"]


def test_one_thread_keeps_only_its_own_processor() -> None:
    machine = booted()

    async def keeps() -> None:
        machine.current.preempt_disable()
        async with Spinlock(machine, "s"):
            pass
        machine.current.preempt_enable()

    start(machine, 0, "keeps", keeps)
    start(machine, 1, "locks", lambda: mutex_lock(machine))
    run(machine)
    assert machine.violations == []


def test_the_report_counts_what_keeps_the_processor() -> None:
    machine = booted()

    async def work() -> None:
        machine.current.preempt_disable()
        async with Spinlock(machine, "s"):
            await percpu_down_read(machine)

    start(machine, 0, "t", work)
    run(machine)
    assert machine.violations[0].report.splitlines()[:3] == [
        "BUG: sleeping function called from invalid context at percpu_down_read",
        f"in_atomic(): 1, irqs_disabled(): 0, non_block: 0, pid: {machine.violations[0].report.split('pid: ')[1][0]}"
        ", name: t",
        "preempt_count: 2, expected: 0",
    ]


def test_a_thread_that_dies_with_preemption_off_leaves_nothing_behind() -> None:
    feeder = Feeder(M="3:3")
    head = (1, 0, 0, 7, "t")
    feeder.lockdep.preempt_disable((*head, 1))
    feeder.lockdep.softirq_disable((*head, 1))
    feeder.feed(7, "end").feed(7, "+M -M")
    assert feeder.kinds == []


# --- allocations


async def from_a_cache(machine: Machine, gfp: int = GFP_KERNEL) -> None:
    address = await kmem_cache_alloc(machine.slab, machine.slab.names["c"], gfp)
    assert address is not None
    await kmem_cache_free(machine.slab, machine.slab.names["c"], address)


async def from_a_node(machine: Machine, gfp: int = GFP_KERNEL) -> None:
    address = await kmem_cache_alloc_node(machine.slab, machine.slab.names["c"], gfp, 1)
    assert address is not None
    await kmem_cache_free(machine.slab, machine.slab.names["c"], address)


async def many(machine: Machine, gfp: int = GFP_KERNEL) -> None:
    addresses = await kmem_cache_alloc_bulk(machine.slab, machine.slab.names["c"], gfp, 3)
    await kmem_cache_free_bulk(machine.slab, machine.slab.names["c"], addresses)


async def under_a_spinlock(machine: Machine, work: Callable[[], Awaitable[None]]) -> None:
    async with Spinlock(machine, "s"):
        await work()


async def with_interrupts_off(machine: Machine, work: Callable[[], Awaitable[None]]) -> None:
    machine.local_irq_disable()
    await work()
    machine.local_irq_enable()


async def with_preemption_off(machine: Machine, work: Callable[[], Awaitable[None]]) -> None:
    machine.current.preempt_disable()
    await work()
    machine.current.preempt_enable()


async def anywhere(_: Machine, work: Callable[[], Awaitable[None]]) -> None:
    await work()


def allocating(where: Any, how: Any, gfp: int) -> list[tuple[str, str]]:
    """What is said of allocating there, of a cache that has objects ready on the processor."""

    async def work(machine: Machine) -> None:
        cache = await kmem_cache_create(machine.slab, "c", 64, 8, 0)
        assert cache is not None
        await from_a_cache(machine)
        await where(machine, lambda: how(machine, gfp))

    return told(work)


ATOMIC_CONTEXTS = [under_a_spinlock, with_interrupts_off, with_preemption_off]
SLAB = [from_a_cache, from_a_node, many]


@pytest.mark.parametrize("where", ATOMIC_CONTEXTS, ids=lambda function: function.__name__)
@pytest.mark.parametrize("how", [*SLAB, kmalloc_large, alloc_pages], ids=lambda function: function.__name__)
def test_an_allocation_that_may_reclaim_is_told_of_even_where_it_need_not(where: Any, how: Any) -> None:
    function = "slab_pre_alloc_hook" if how in SLAB else "__alloc_pages"
    assert allocating(where, how, GFP_KERNEL) == [("sleep-in-atomic", SLEEPING.format(function))]


@pytest.mark.parametrize("how", [from_a_cache, many], ids=lambda function: function.__name__)
def test_an_atomic_allocation_and_one_of_a_thread_are_in_order(how: Any) -> None:
    for where in ATOMIC_CONTEXTS:
        assert allocating(where, how, GFP_ATOMIC) == []
    assert allocating(anywhere, how, GFP_KERNEL) == []


def test_a_soft_interrupt_must_not_allocate_like_a_thread() -> None:
    async def raises(machine: Machine) -> None:
        async def action(_: Any) -> None:
            await kmem_cache_alloc(machine.slab, machine.slab.names["kmem_cache"], GFP_KERNEL)

        machine.this_cpu.raise_softirq(3, action)
        await machine.current.sleep(1000)

    assert told(raises)[0] == ("sleep-in-atomic", SLEEPING.format("slab_pre_alloc_hook"))


# --- topology files and traces

PROGRAM = """
[[lock]]
name = "A"
kind = "spinlock"
[[cache]]
name = "c"
size = 64
[[task]]
name = "one"
program = [{op="lock",lock="A"},OPERATION,{op="unlock",lock="A"}]
"""


@pytest.mark.parametrize(
    ("operation", "function"),
    [
        ('{op="sleep",ns=5}', "msleep"),
        ('{op="kmem_cache_alloc",cache="c",count=2}', "slab_pre_alloc_hook"),
    ],
)
def test_a_program_and_its_trace_tell_the_same(operation: str, function: str, tmp_path: Path) -> None:
    path = str(tmp_path / "run.trace")
    result = run_scenario(loads(TWO_NODES + PROGRAM.replace("OPERATION", operation)), RunOptions(trace=path))
    assert [violation.title for violation in result.violations] == [SLEEPING.format(function)]
    outcome = CliRunner().invoke(command, ["check", path])
    assert outcome.exit_code == 1
    assert f"BUG: sleeping function called from invalid context at {function}" in outcome.output
