"""Workqueues of a topology file: sections, operations, what is wrong with them, and museum entry M07."""

from __future__ import annotations

import pytest
from slubloom.actors import Outcome
from slubloom.kernel.workqueue.queue import FLAGS, SYSTEM_QUEUES
from slubloom.topology import TopologyError, loads
from slubloom.topology.work_operations import SYSTEM_WORKQUEUES, WorkqueueFlag

from slubloom.run import RunOptions, run_scenario

from ..helpers import TWO_NODES

QUEUE = """
[[workqueue]]
name = "mine"
flags = ["WQ_MEM_RECLAIM"]
[[cache]]
name = "c"
size = 200
"""


def task(*operations: str) -> str:
    return TWO_NODES + QUEUE + '[[task]]\nname = "t"\ncpu = 0\nprogram = [' + ", ".join(operations) + "]\n"


def test_the_topology_knows_the_flags_and_the_queues_of_the_kernel() -> None:
    assert list(WorkqueueFlag.__args__) == list(FLAGS)  # type: ignore[attr-defined]
    assert [name for name in SYSTEM_QUEUES if name in SYSTEM_WORKQUEUES] == list(SYSTEM_WORKQUEUES)


def test_named_items_are_queued_delayed_flushed_and_cancelled() -> None:
    nap = 'program = [{op = "sleep", ns = 1000}]'
    text = task(
        f'{{op = "queue_work", name = "a", queue = "mine", cpu = 3, {nap}}}',
        '{op = "flush_work", name = "a"}',
        f'{{op = "queue_delayed_work", name = "b", delay_ns = 1000000000, {nap}}}',
        f'{{op = "mod_delayed_work", name = "b", delay_ns = 2000, {nap}}}',
        '{op = "sleep", ns = 100000}',
        f'{{op = "queue_delayed_work", name = "b", delay_ns = 1000000000, {nap}}}',
        '{op = "cancel_work_sync", name = "b"}',
        f'{{op = "queue_work", queue = "mine", wait = true, {nap}}}',
        '{op = "flush_workqueue", queue = "mine"}',
        '{op = "drain_workqueue", queue = "mine"}',
    )
    for seed in range(10):
        result = run_scenario(loads(text), RunOptions(strategy="random" if seed else "timed", seed=seed))
        assert result.outcome is Outcome.FINISHED
        assert result.violations == ()
        assert result.counters["work_items"] == 3  # a, b once, and the one without a name


@pytest.mark.parametrize(
    ("operation", "place", "words"),
    [
        ('{op = "flush_work", name = "x"}', "task[0].program[0].name", "no operation queues a work item 'x'"),
        ('{op = "drain_workqueue", queue = "x"}', "task[0].program[0].queue", "there is no [[workqueue]] 'x'"),
        ('{op = "queue_work", queue = "x", program = []}', "task[0].program[0].queue", "there is no [[workqueue]] 'x'"),
        ('{op = "queue_work", name = "{i}", program = []}', "task[0].program[0].name", "a name without braces"),
        (
            '{op = "queue_work", name = "x", program = []},'
            '{op = "queue_work", name = "x", program = [{op = "cond_resched"}]}',
            "task[0].program[1].program",
            "has another program",
        ),
    ],
)
def test_what_does_not_exist_is_named_with_its_place(operation: str, place: str, words: str) -> None:
    with pytest.raises(TopologyError) as caught:
        loads(task(operation))
    assert place in str(caught.value)
    assert words in str(caught.value)


def test_a_file_without_workqueues_means_what_it_meant_before_there_were_any() -> None:
    scenario = loads(
        TWO_NODES + '[[task]]\nname = "t"\nprogram = [{op = "queue_work", cpu = 1, wait = true, program = []}]\n'
    )
    assert "workqueue" not in scenario.document
    (operation,) = scenario.document["task"][0]["program"]
    assert sorted(operation) == ["cpu", "op", "program", "wait"]


M07 = task(
    '{op = "kmem_cache_alloc", cache = "c"}',
    '{op = "queue_work", queue = "mine", cpu = 0, wait = true, program = [{op = "kmem_cache_shrink", cache = "c"}]}',
)


@pytest.mark.parametrize(("release", "found"), [("v5.14", 0), ("v5.15", 1), ("v5.19", 1), ("v6.0", 0), ("v6.1", 0)])
def test_flushing_slabs_on_a_queue_without_rescuer_is_warned_of_from_5_15_until_it_has_its_own(
    release: str, found: int
) -> None:
    result = run_scenario(loads(M07, release=release), RunOptions(strategy="random", seed=1))
    titles = [violation.title for violation in result.violations]
    assert (
        titles == ["workqueue: WQ_MEM_RECLAIM mine:work of t is flushing !WQ_MEM_RECLAIM events:flush_cpu_slab"] * found
    )


def test_without_the_patch_that_gave_it_its_own_queue_the_warning_is_back() -> None:
    text = M07.replace("[[workqueue]]", '[kernel]\nrevert = ["e45cc288724f"]\n[[workqueue]]', 1)
    result = run_scenario(loads(text), RunOptions(strategy="random", seed=1))
    assert [violation.kind for violation in result.violations] == ["kernel-bug"]
