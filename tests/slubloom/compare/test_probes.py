"""What a run took, from made-up events."""

from __future__ import annotations

from typing import Any

import pytest

from slubloom.compare.probes import EventCounts

DESTROYER, WORKER, OTHER = 5, 6, 7


@pytest.fixture
def counts(stage: Any) -> EventCounts:
    probe = EventCounts()
    probe.attach(stage.points)
    return probe


def gone(stage: Any, ns: int, pid: int) -> None:
    stage(ns, pid, "kmem_cache_destroy", "c", 0x1000)


def takes_slab_mutex(stage: Any, pid: int) -> None:
    stage(0, pid, "lock_acquire", 0, "slab_mutex", 0x2000)


def test_nothing_has_happened(counts: EventCounts) -> None:
    assert counts.figures() == (0, 0, 0, 0, None, 0, 0)


def test_a_barrier_counts_when_it_begins_and_a_grace_period_when_it_ends(stage: Any, counts: EventCounts) -> None:
    for step in ("Begin", "IRQ", "IRQ", "Inc2", "Begin"):
        stage(1, OTHER, "rcu_barrier", "rcu_preempt", step, -1, 2, 0)
    for sequence, event in ((1, "start"), (4, "end"), (5, "start")):
        stage(2, 0, "rcu_grace_period", "rcu_preempt", sequence, event)
    stage(3, 0, "rcu_exp_grace_period", "rcu_preempt", 4, "end")
    figures = counts.figures()
    assert (figures.rcu_barriers, figures.grace_periods) == (2, 2)


def test_caches_and_when_the_last_one_was_gone(stage: Any, counts: EventCounts) -> None:
    for _ in range(3):
        stage(1, OTHER, "kmem_cache_create", "c", 0x1000, 64, 64, 8, 0, 0, 64)
    gone(stage, 40, OTHER)
    gone(stage, 90, OTHER)
    figures = counts.figures()
    assert (figures.caches_created, figures.caches_destroyed, figures.last_cache_gone_ns) == (3, 2, 90)


def test_a_call_that_destroys_several_caches_is_one_batch(stage: Any, counts: EventCounts) -> None:
    takes_slab_mutex(stage, DESTROYER)
    for ns in (10, 11, 12):
        gone(stage, ns, DESTROYER)
    takes_slab_mutex(stage, DESTROYER)
    gone(stage, 20, DESTROYER)
    assert counts.figures().largest_destroy_batch == 3


def test_destroyers_at_one_time_are_batches_of_their_own(stage: Any, counts: EventCounts) -> None:
    takes_slab_mutex(stage, DESTROYER)
    gone(stage, 10, DESTROYER)
    takes_slab_mutex(stage, OTHER)  # says nothing of the first one's batch
    gone(stage, 11, OTHER)
    gone(stage, 12, DESTROYER)
    assert counts.figures().largest_destroy_batch == 2


def test_each_run_of_a_work_item_is_a_batch(stage: Any, counts: EventCounts) -> None:
    for size in (2, 4, 1):
        stage(1, WORKER, "workqueue_execute_start", 0x3000, 0x3000)
        for _ in range(size):
            gone(stage, 2, WORKER)
        stage(3, WORKER, "workqueue_execute_end", 0x3000, 0x3000)
    figures = counts.figures()
    assert (figures.work_items_run, figures.largest_destroy_batch) == (3, 4)


def test_other_locks_do_not_end_a_batch(stage: Any, counts: EventCounts) -> None:
    gone(stage, 1, DESTROYER)
    stage(2, DESTROYER, "lock_acquire", 0, "rcu_state.barrier_mutex", 0x4000)
    gone(stage, 3, DESTROYER)
    assert counts.figures().largest_destroy_batch == 2
