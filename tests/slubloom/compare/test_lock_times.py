"""Times held and waited, worked out by hand from made-up events."""

from __future__ import annotations

from typing import Any

import pytest

from slubloom.compare.locks import LockTimes

READ, TRY = 2, 1
A, B = 0x1000, 0x2000


@pytest.fixture
def times(stage: Any) -> LockTimes:
    probe = LockTimes()
    probe.attach(stage.points)
    return probe


def test_a_lock_nobody_else_wants_is_held_from_asking_to_giving_back(stage: Any, times: LockTimes) -> None:
    stage(100, 7, "lock_acquire", 0, "m", A)
    stage(130, 7, "lock_release", "m", A)
    stage(200, 7, "lock_acquire", 0, "m", A)
    stage(210, 7, "lock_release", "m", A)
    figures = times.figures(999)
    assert list(figures) == [("m", "write")]
    assert figures["m", "write"]._asdict() == {
        "times": 2,
        "held_total_ns": 40,
        "held_p50_ns": 10,
        "held_p99_ns": 30,
        "held_max_ns": 30,
        "waits": 0,
        "waited_total_ns": 0,
    }


def test_waiting_ends_where_the_contention_does(stage: Any, times: LockTimes) -> None:
    stage(100, 7, "lock_acquire", 0, "m", A)
    stage(110, 8, "lock_acquire", 0, "m", A)
    stage(110, 8, "contention_begin", A, 32)
    stage(150, 7, "lock_release", "m", A)
    stage(175, 8, "contention_end", A, 0)
    stage(180, 8, "lock_release", "m", A)
    figures = times.figures(999)["m", "write"]
    assert (figures.held_total_ns, figures.held_max_ns) == (50 + 5, 50)
    assert (figures.waits, figures.waited_total_ns) == (1, 175 - 110)


def test_who_lost_at_the_last_moment_got_it_when_the_winner_gave_it_back(stage: Any, times: LockTimes) -> None:
    stage(100, 7, "lock_acquire", 0, "m", A)
    stage(100, 8, "lock_acquire", 0, "m", A)  # the lock was free: no contention is announced
    stage(160, 8, "lock_release", "m", A)
    stage(170, 7, "lock_release", "m", A)
    figures = times.figures(999)["m", "write"]
    assert (figures.held_total_ns, figures.waits, figures.waited_total_ns) == (60 + 10, 1, 60)


def test_locks_of_one_class_are_told_together_and_wait_for_their_own_owner(stage: Any, times: LockTimes) -> None:
    stage(100, 7, "lock_acquire", 0, "n", A)
    stage(105, 8, "lock_acquire", 0, "n", B)
    stage(110, 7, "lock_release", "n", A)
    stage(125, 8, "lock_release", "n", B)
    figures = times.figures(999)["n", "write"]
    assert (figures.times, figures.held_total_ns, figures.waits) == (2, 10 + 20, 0)


def test_readers_are_counted_apart_and_wait_for_writers_only(stage: Any, times: LockTimes) -> None:
    stage(100, 7, "lock_acquire", READ, "s", A)
    stage(110, 8, "lock_acquire", READ, "s", A)
    stage(120, 9, "lock_acquire", 0, "s", A)
    stage(140, 7, "lock_release", "s", A)
    stage(150, 8, "lock_release", "s", A)
    stage(190, 9, "lock_release", "s", A)
    figures = times.figures(999)
    assert figures["s", "read"].held_total_ns == 40 + 40
    assert figures["s", "read"].waits == 0
    assert (figures["s", "write"].held_total_ns, figures["s", "write"].waited_total_ns) == (190 - 150, 150 - 120)


def test_a_trylock_that_took_the_lock_has_not_waited(stage: Any, times: LockTimes) -> None:
    stage(100, 7, "lock_acquire", 0, "m", A)
    stage(120, 7, "lock_release", "m", A)
    stage(110, 8, "lock_acquire", TRY, "m", A)  # taken between the announcement above and what it announced
    stage(125, 8, "lock_release", "m", A)
    figures = times.figures(999)["m", "write"]
    assert (figures.held_total_ns, figures.waits) == (20 + 15, 0)


def test_a_soft_interrupt_is_not_the_thread_it_interrupts(stage: Any, times: LockTimes) -> None:
    stage(100, 7, "lock_acquire", 0, "m", A)
    stage(110, 7, "softirq_entry", 9)
    stage(111, 7, "lock_acquire", 0, "l", B)
    stage(112, 7, "lock_release", "m", A)  # not by the thread: nothing of it ends here
    stage(115, 7, "lock_release", "l", B)
    stage(116, 7, "softirq_exit", 9)
    stage(130, 7, "lock_release", "m", A)
    figures = times.figures(999)
    assert figures["m", "write"].held_total_ns == 30
    assert figures["l", "write"].held_total_ns == 4


def test_an_end_of_contention_that_has_no_beginning_means_nothing(stage: Any, times: LockTimes) -> None:
    stage(100, 7, "contention_end", A, 0)
    stage(110, 7, "lock_acquire", 0, "m", A)
    stage(120, 7, "contention_end", A, 0)
    stage(130, 7, "lock_release", "m", A)
    figures = times.figures(999)["m", "write"]
    assert (figures.held_total_ns, figures.waits) == (20, 0)


def test_what_was_taken_before_we_listened_does_not_count(stage: Any, times: LockTimes) -> None:
    stage(100, 7, "lock_release", "m", A)
    assert times.figures(999) == {}


def test_what_is_not_over_counts_up_to_the_end_for_the_holder_and_for_those_who_wait(
    stage: Any, times: LockTimes
) -> None:
    stage(100, 7, "lock_acquire", 0, "m", A)
    stage(110, 8, "lock_acquire", 0, "m", A)
    stage(110, 8, "contention_begin", A, 32)
    stage(120, 9, "lock_acquire", 0, "m", A)  # lost, without a word
    stage(130, 7, "lock_acquire", READ, "s", B)
    stage(140, 8, "lock_acquire", READ, "s", B)
    figures = times.figures(200)
    assert (figures["m", "write"].times, figures["m", "write"].held_total_ns) == (1, 100)
    assert (figures["m", "write"].waits, figures["m", "write"].waited_total_ns) == (2, 90 + 80)
    assert (figures["s", "read"].times, figures["s", "read"].held_total_ns) == (2, 70 + 60)
