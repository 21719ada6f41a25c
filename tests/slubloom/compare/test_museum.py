"""Scenarios of the bug museum in which no kernel is wrong, but one takes much longer."""

from __future__ import annotations

import json
from typing import Any

import pytest
from slubloom.topology import gallery_path

from slubloom.cli import main
from slubloom.compare.work_waits import WorkWaits

JIFFY_NS = 4_000_000


def figures(name: str, figure: str, capsys: pytest.CaptureFixture[str]) -> list[int]:
    """A figure in each of the columns that the file names."""
    assert main(["compare", str(gallery_path(name)), "--jobs", "1", "--json"]) == 0
    document: dict[str, Any] = json.loads(capsys.readouterr().out)
    return [kernel["metrics"][figure] for kernel in document["kernels"]]


def test_m20_work_of_others_waits_for_a_worker_for_each_cache_until_those_have_a_queue_of_their_own(
    capsys: pytest.CaptureFixture[str],
) -> None:
    before, patched, after = figures("caches-for-everybody", "work.writeback.waited_max_ns", capsys)
    assert before > 10 * patched
    assert before > 10 * after


def test_m21_slab_mutex_is_held_for_a_grace_period_for_each_cache_up_to_4_9(capsys: pytest.CaptureFixture[str]) -> None:
    each, once, later = figures("wait-for-each-cache", "lock.slab_mutex.write.held_total_ns", capsys)
    caches = 2 * 4
    assert each > caches * JIFFY_NS
    assert max(once, later) < JIFFY_NS // 100


def test_m21_others_wait_for_it(capsys: pytest.CaptureFixture[str]) -> None:
    each, once, later = figures("wait-for-each-cache", "lock.slab_mutex.write.waited_total_ns", capsys)
    assert each > JIFFY_NS
    assert once == later == 0


# --- how long items wait


@pytest.fixture
def waits(stage: Any) -> WorkWaits:
    probe = WorkWaits()
    probe.attach(stage.points)
    return probe


def queued(stage: Any, ns: int, work: int, queue: str) -> None:
    stage(ns, 1, "workqueue_queue_work", work, 0x9000, queue, -1, 0)


def started(stage: Any, ns: int, work: int) -> None:
    stage(ns, 2, "workqueue_execute_start", work, 0x9000)


def test_an_item_waits_from_being_queued_until_a_worker_begins_with_it(stage: Any, waits: WorkWaits) -> None:
    queued(stage, 10, 0x1000, "events")
    queued(stage, 20, 0x2000, "writeback")
    started(stage, 25, 0x1000)
    started(stage, 90, 0x2000)
    queued(stage, 95, 0x2000, "writeback")  # again
    started(stage, 96, 0x2000)
    assert waits.figures(["events", "writeback"]) == {
        "work.events.waited_max_ns": 15,
        "work.writeback.waited_max_ns": 70,
    }


def test_a_queue_on_which_nothing_has_run_has_no_figure(stage: Any, waits: WorkWaits) -> None:
    queued(stage, 10, 0x1000, "events")
    started(stage, 11, 0x3000)  # queued before anybody listened
    assert waits.figures(["events", "no such queue"]) == {
        "work.events.waited_max_ns": None,
        "work.no such queue.waited_max_ns": None,
    }
