"""The colours of a flush, and max_active, worked out by hand: plain state, no machine."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from slubloom.actors.work_queue import COLORS, Flusher, PoolQueue, WorkQueue


class FakePool:
    """A pool that only has a name."""

    def changes(self) -> None:
        """Nobody watches."""


def make_queue(max_active: int = 256) -> WorkQueue:
    interleaver: Any = SimpleNamespace(touch=None, resource=lambda name: name)
    return WorkQueue(interleaver, "q", max_active)


def share_of(queue: WorkQueue) -> PoolQueue:
    pool: Any = FakePool()
    return queue.on(pool)


class Log:
    """Flushers by name, and in which order they were done."""

    def __init__(self, queue: WorkQueue) -> None:
        self.queue = queue
        self.done: list[str] = []
        self.flushers: dict[str, Flusher] = {}

    def flush(self, name: str) -> bool:
        self.flushers[name] = flusher = Flusher(lambda: self.done.append(name))
        return self.queue.start_flush(flusher)

    def wake(self, name: str) -> None:
        self.queue.finish_flush(self.flushers[name])


def test_a_queue_with_nothing_in_flight_is_flushed_at_once() -> None:
    queue = make_queue()
    share_of(queue)
    assert not Log(queue).flush("a")
    assert (queue.work_color, queue.flush_color) == (1, 1)


def test_a_flush_is_over_when_its_color_has_left_every_pool_and_not_when_later_items_have() -> None:
    queue = make_queue()
    here, there = share_of(queue), share_of(queue)
    log = Log(queue)
    assert here.enter() == (0, True)
    assert there.enter() == (0, True)
    assert log.flush("a")
    assert here.enter() == (1, True)  # queued after the flush began: the next colour
    here.leave(1, was_active=True)
    here.leave(0, was_active=True)
    assert log.done == []
    there.leave(0, was_active=True)
    assert log.done == ["a"]
    log.wake("a")
    assert (queue.first_flusher, queue.flush_color) == (None, 1)


def test_the_first_flusher_makes_the_next_one_first_and_skips_colors_that_are_done() -> None:
    queue = make_queue()
    share = share_of(queue)
    log = Log(queue)
    share.enter()
    assert log.flush("a")
    share.enter()  # colour 1
    assert log.flush("b")
    assert log.flush("c")  # colour 2, of which there is nothing
    share.leave(0, was_active=True)
    log.wake("a")
    assert log.done == ["a"]
    assert queue.first_flusher is log.flushers["b"]
    share.leave(1, was_active=True)
    assert log.done == ["a", "b"]
    log.wake("b")
    assert log.done == ["a", "b", "c"]
    assert queue.flush_color == queue.work_color == 3


def test_flushers_beyond_the_colors_wait_and_share_the_first_that_is_free() -> None:
    queue = make_queue()
    share = share_of(queue)
    log = Log(queue)
    for number in range(COLORS - 1):
        share.enter()
        assert log.flush(f"f{number}")
    share.enter()
    assert log.flush("over")
    assert log.flush("flow")
    assert len(queue.overflow) == 2
    share.leave(0, was_active=True)
    log.wake("f0")
    assert not queue.overflow
    assert log.flushers["over"].color == log.flushers["flow"].color == COLORS - 1
    for color in range(1, COLORS - 1):
        share.leave(color, was_active=True)
        log.wake(f"f{color}")
    assert log.done == [f"f{number}" for number in range(COLORS - 1)]
    share.leave(COLORS - 1, was_active=True)
    log.wake("over")
    assert log.done[-2:] == ["over", "flow"]
    assert queue.flush_color == queue.work_color


def test_no_more_than_max_active_run_and_the_others_follow_in_order() -> None:
    queue = make_queue(2)
    share = share_of(queue)
    assert [share.enter()[1] for _ in range(4)] == [True, True, False, False]
    first: Any = "first"
    second: Any = "second"
    share.inactive.extend([first, second])
    assert share.leave(0, was_active=True) == "first"
    assert share.nr_active == 2
    assert share.leave(0, was_active=True) == "second"
    assert share.leave(0, was_active=True) is None
    assert share.nr_active == 1
