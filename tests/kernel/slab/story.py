"""Stories for tests: one thread on processor 0 of a small machine, which may have things done on other processors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from slubloom.actors import BareInterleaver, Outcome
from slubloom.actors.strategies import RandomWalk
from slubloom.kernel import boot
from slubloom.kernel.machine import FunctionThread
from slubloom.kernel.pages import page_frame
from slubloom.kernel.slab.statistics import StatItem
from slubloom.topology import loads

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from slubloom.kernel import Machine
    from slubloom.kernel.slab.cache import KmemCache, Slab

TWO_CPUS = """
[[machine.node]]
id = 0
cpus = "0-1"
memory = "64M"
"""
KERNEL = """
[kernel]
slub_stats = true
sanitizers = ["kasan", "lockdep", "slab-invariants"]
"""


def told(
    function: Callable[[Machine], Awaitable[object]],
    *,
    machine: str = TWO_CPUS,
    kernel: str = "",
    seed: int = 0,
    stop: bool = True,
    **options: Any,
) -> Machine:
    """Run `function` to its end with the sanitizers on; the machine."""
    interleaver = BareInterleaver(RandomWalk(seed))
    booted = boot(loads(machine + KERNEL + kernel, **options), interleaver, stop_at_violation=stop).machine

    async def body() -> None:
        await function(booted)

    booted.spawn(FunctionThread(booted, booted.cpus[0], "story", body))
    assert interleaver.run_bare() in (Outcome.FINISHED, Outcome.STOPPED)
    return booted


async def on(machine: Machine, cpu: int, function: Callable[[], Awaitable[object]]) -> None:
    """Run `function` on processor `cpu`, and wait for it."""

    async def work(_: Any) -> None:
        await function()

    item = machine.workqueues.make_work("on", work)
    await machine.workqueues.queue_work_on(cpu, item)
    await machine.workqueues.flush_work(item)


def slab_of(machine: Machine, address: int) -> Slab:
    """The slab an object is in."""
    return machine.slab.slabs[page_frame(address)]


def counted(cache: KmemCache, cpu: int) -> dict[str, int]:
    """What one processor has counted for a cache, zeros left out."""
    c = cache.cpu_slab.get(cpu)
    if c is None or c.stat is None:
        return {}
    return {item.name: c.stat[item] for item in StatItem if c.stat[item]}
