"""Bursts of destroyed TYPESAFE_BY_RCU caches on a real 6.1: who waits for callbacks, how often, and in which order."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from slubloom.actors import BareInterleaver, Outcome
from slubloom.actors.strategies import Timed
from slubloom.kernel import boot
from slubloom.kernel.machine import FunctionThread
from slubloom.kernel.slab.allocate import kmem_cache_alloc
from slubloom.kernel.slab.create import kmem_cache_create
from slubloom.kernel.slab.destroy import kmem_cache_destroy
from slubloom.kernel.slab.flags import SLAB_TYPESAFE_BY_RCU
from slubloom.kernel.slab.free import kmem_cache_free
from slubloom.topology import loads

from .recordings import files

if TYPE_CHECKING:
    from pathlib import Path

MACHINE = """
[[machine.node]]
id = 0
cpus = "0-3"
memory = "1G"
[kernel]
release = "v6.1"
preempt = "voluntary"
boot = {slab_nomerge = true}
"""
SHOWN = (
    "kmem_cache_destroy",
    "kmem_cache_shutdown",
    "queue_work(destroy_workfn)",
    "destroy_workfn",
    "rcu_barrier",
    "rcu_barrier_ret",
    "sysfs_slab_unlink",
    "slab_kmem_cache_release",
    "destroy_workfn_ret",
)
"""What both record; the recorder's kprobe on kmem_cache_destroy() is at its beginning."""
WORK = "slab_caches_to_rcu_destroy_workfn"


def burst(caches: int, flags: int, rounds: int) -> tuple[list[str], dict[str, int]]:
    """What the emulated kernel does, and its counters: the recorder's burst, in one go."""
    interleaver = BareInterleaver(Timed())
    machine = boot(loads(MACHINE), interleaver).machine
    slub, points, log = machine.slab, machine.tracepoints, []
    works: dict[int, str] = {}

    def named(record: tuple[Any, ...], text: str) -> None:
        work = works.get(record[5])
        if work is None:
            item = getattr(slub.cache_release, "_work", None)
            work = works[record[5]] = WORK if item is not None and item.address == record[5] else ""
        if work == WORK:
            log.append(text)

    def barrier(record: tuple[Any, ...]) -> None:
        if record[6] == "Begin":
            log.append("rcu_barrier")
        elif record[6] == "Inc2":
            log.append("rcu_barrier_ret")

    points.kmem_cache_shutdown.attach(lambda _: log.append("kmem_cache_shutdown"))
    points.sysfs_slab_unlink.attach(lambda _: log.append("sysfs_slab_unlink"))
    points.kmem_cache_destroy.attach(lambda _: log.append("slab_kmem_cache_release"))
    points.workqueue_queue_work.attach(lambda record: named(record, "queue_work(destroy_workfn)"))
    points.workqueue_execute_start.attach(lambda record: named(record, "destroy_workfn"))
    points.workqueue_execute_end.attach(lambda record: named(record, "destroy_workfn_ret"))
    points.rcu_barrier.attach(barrier)

    async def recorder() -> None:
        for turn in range(rounds):
            made = [await kmem_cache_create(slub, f"burst{turn}-{i}", 256, flags=flags) for i in range(caches)]
            for cache in made:
                assert cache is not None
                objects = [await kmem_cache_alloc(slub, cache) for _ in range(10)]
                for address in objects:
                    await kmem_cache_free(slub, cache, address or 0)
            for cache in made:
                assert cache is not None
                log.append("kmem_cache_destroy")
                await kmem_cache_destroy(slub, cache)

    machine.spawn(FunctionThread(machine, machine.cpus[0], "sh", recorder))
    assert interleaver.run_bare() is Outcome.FINISHED
    assert machine.violations == []
    return log, machine.counters


def recorded(path: Path, name: str) -> dict[str, Any]:
    summary: dict[str, Any] = json.loads(path.read_text())
    (found,) = [value for key, value in summary.items() if key.startswith(f"rcu-{name}.")]
    return dict(found)


@pytest.mark.parametrize("path", files("rcu/summary.json"))
@pytest.mark.parametrize(
    ("name", "caches", "flags", "rounds"),
    [
        ("typesafe-n1", 1, SLAB_TYPESAFE_BY_RCU, 1),
        ("typesafe-n10", 10, SLAB_TYPESAFE_BY_RCU, 1),
        ("typesafe-n100", 100, SLAB_TYPESAFE_BY_RCU, 1),
        ("typesafe-n500", 500, SLAB_TYPESAFE_BY_RCU, 1),
        ("typesafe-n1-x8-back-to-back", 1, SLAB_TYPESAFE_BY_RCU, 8),
        ("plain-n100", 100, 0, 1),  # no work item
    ],
)
def test_a_burst_goes_as_recorded(path: Path, name: str, caches: int, flags: int, rounds: int) -> None:
    real = recorded(path, name)
    log, counters = burst(caches, flags, rounds)
    assert counters.get("rcu_barriers", 0) == real["rcu_barrier_calls"]
    assert log.count("destroy_workfn") == real["destroy_workfn_runs"]
    assert log.count("kmem_cache_destroy") == real["kmem_cache_destroy_calls"]
    runs: list[int] = []
    for event in log:
        if event == "destroy_workfn":
            runs.append(0)
        elif event == "slab_kmem_cache_release" and runs:
            runs[-1] += 1
    assert runs == real["releases_per_workfn_run"]
    # Of long recordings the summary leaves the middle out.
    names = [name.removesuffix(" in sh").removesuffix(" in kworker") for name, n in real["order_run_length"]]
    gap = names.index("...") if "..." in names else len(names)
    head = [name for name in names[:gap] if name in SHOWN]
    tail = [name for name in names[gap:] if name in SHOWN]
    assert log[: len(head)] == head
    assert log[len(log) - len(tail) :] == tail
    assert len(log) == len(head) if not tail else len(log) > len(head) + len(tail)
