"""The segmented list of callbacks: cases worked out by hand from kernel/rcu/rcu_segcblist.c, and its laws."""

from __future__ import annotations

from collections import deque

from hypothesis import given
from hypothesis import strategies as st
from slubloom.kernel.rcu.head import RcuHead
from slubloom.kernel.rcu.segcblist import DONE, NEXT, NEXT_READY, WAIT, SegmentedCallbacks


def heads(count: int, first: int = 1) -> list[RcuHead]:
    return [RcuHead(int, number) for number in range(first, first + count)]


def shown(callbacks: SegmentedCallbacks) -> list[list[int]]:
    """Addresses by segment."""
    return [[head.address for head in segment] for segment in callbacks.segments]


def filled(count: int = 1, first: int = 1) -> SegmentedCallbacks:
    callbacks = SegmentedCallbacks()
    for head in heads(count, first):
        callbacks.enqueue(head)
    return callbacks


def test_a_new_callback_is_in_next_and_counts() -> None:
    callbacks = filled(2)
    assert shown(callbacks) == [[], [], [], [1, 2]]
    assert (callbacks.length, callbacks.pending, callbacks.ready, callbacks.empty) == (2, True, False, False)


def test_the_first_acceleration_fills_wait_and_gives_both_numbers() -> None:
    callbacks = filled(2)
    assert callbacks.accelerate(4)
    assert shown(callbacks) == [[], [1, 2], [], []]
    assert callbacks.gp_seq[WAIT] == callbacks.gp_seq[NEXT_READY] == 4


def test_callbacks_for_the_same_grace_period_join_those_that_wait_for_it() -> None:
    callbacks = filled(1)
    callbacks.accelerate(4)
    callbacks.enqueue(heads(1, 2)[0])
    assert callbacks.accelerate(4)
    assert shown(callbacks) == [[], [1, 2], [], []]


def test_callbacks_for_a_later_grace_period_are_ready_behind() -> None:
    callbacks = filled(1)
    callbacks.accelerate(4)
    callbacks.enqueue(heads(1, 2)[0])
    assert callbacks.accelerate(8)
    assert shown(callbacks) == [[], [1], [2], []]
    assert (callbacks.gp_seq[WAIT], callbacks.gp_seq[NEXT_READY]) == (4, 8)


def test_a_third_grace_period_has_no_segment_and_must_wait_in_next() -> None:
    callbacks = filled(1)
    callbacks.accelerate(4)
    callbacks.enqueue(heads(1, 2)[0])
    callbacks.accelerate(8)
    callbacks.enqueue(heads(1, 3)[0])
    assert not callbacks.accelerate(12)
    assert shown(callbacks) == [[], [1], [2], [3]]
    callbacks.advance(4)
    assert shown(callbacks) == [[1], [2], [], [3]]
    assert callbacks.accelerate(12)
    assert shown(callbacks) == [[1], [2], [3], []]
    assert callbacks.gp_seq[WAIT:NEXT] == [8, 12]


def test_advancing_past_everything_leaves_nothing_pending() -> None:
    callbacks = filled(1)
    callbacks.accelerate(4)
    callbacks.enqueue(heads(1, 2)[0])
    callbacks.accelerate(8)
    callbacks.advance(8)
    assert shown(callbacks) == [[1, 2], [], [], []]
    assert not callbacks.pending
    assert not callbacks.accelerate(12)


def test_advancing_to_an_earlier_number_moves_nothing() -> None:
    callbacks = filled(1)
    callbacks.accelerate(8)
    callbacks.advance(7)
    assert shown(callbacks) == [[], [1], [], []]


def test_a_barrier_goes_behind_the_last_callback_without_a_grace_period_of_its_own() -> None:
    callbacks = filled(1)
    callbacks.accelerate(4)
    assert callbacks.entrain(RcuHead(int, 99))
    assert shown(callbacks) == [[], [1, 99], [], []]
    callbacks.advance(4)
    assert callbacks.entrain(RcuHead(int, 98))
    assert shown(callbacks) == [[1, 99, 98], [], [], []]


def test_a_barrier_finds_nothing_to_wait_for_in_an_empty_list() -> None:
    callbacks = SegmentedCallbacks()
    assert not callbacks.entrain(RcuHead(int))
    assert callbacks.length == 0


def test_a_barrier_waits_for_callbacks_that_are_being_invoked() -> None:
    callbacks = filled(1)
    callbacks.accelerate(4)
    callbacks.advance(4)
    assert [head.address for head in callbacks.extract_done()] == [1]
    assert callbacks.empty
    assert callbacks.length == 1
    assert callbacks.entrain(RcuHead(int, 99))
    assert shown(callbacks) == [[99], [], [], []]
    callbacks.invoked(1)
    assert callbacks.length == 1


def test_what_a_batch_leaves_goes_back_in_front() -> None:
    callbacks = filled(3)
    callbacks.accelerate(4)
    callbacks.advance(4)
    done = callbacks.extract_done()
    callbacks.enqueue(RcuHead(int, 9))
    callbacks.accelerate(8)
    callbacks.advance(8)
    done.popleft()
    callbacks.insert_done(done)
    callbacks.invoked(1)
    assert shown(callbacks) == [[2, 3, 9], [], [], []]
    assert callbacks.length == 3


def test_a_dead_processors_done_callbacks_go_to_the_front_and_the_others_start_over() -> None:
    mine, dead = filled(2), filled(3, 11)
    mine.accelerate(4)
    mine.advance(4)
    mine.enqueue(RcuHead(int, 3))
    mine.accelerate(8)
    dead.accelerate(4)
    dead.advance(4)
    dead.enqueue(RcuHead(int, 14))
    dead.accelerate(8)
    dead.enqueue(RcuHead(int, 15))
    mine.merge(dead)
    assert shown(mine) == [[11, 12, 13, 1, 2], [3], [], [14, 15]]
    assert (mine.length, dead.length, dead.empty) == (8, 0, True)


@given(st.lists(st.sampled_from(["queue", "accelerate", "start", "end", "entrain", "batch"]), max_size=60))
def test_order_is_kept_numbers_ascend_and_nothing_is_done_early(script: list[str]) -> None:
    callbacks = SegmentedCallbacks()
    sequence, number = 0, 0
    wanted: dict[int, int] = {}  # callback → the earliest end of a grace period that will do
    invoked: list[int] = []
    for action in script:
        match action:
            case "queue":
                number += 1
                callbacks.enqueue(RcuHead(int, number))
                wanted[number] = (sequence + 7) & ~3
            case "accelerate":
                callbacks.accelerate((sequence + 7) & ~3)
            case "start" if not sequence & 3:
                sequence += 1
            case "end" if sequence & 3:
                sequence = (sequence | 3) + 1
                callbacks.advance(sequence)
            case "entrain" if callbacks.length:
                number += 1
                callbacks.entrain(RcuHead(int, number))
                wanted[number] = 0
            case "batch":
                done = callbacks.extract_done()
                count = (len(done) + 1) // 2
                invoked += [done.popleft().address for _ in range(count)]
                callbacks.insert_done(done)
                callbacks.invoked(count)
        assert callbacks.length == sum(map(len, callbacks.segments))
        ready = [head.address for head in callbacks.segments[DONE]]
        assert all(wanted[address] <= sequence for address in ready + invoked)
        if callbacks.segments[WAIT] and callbacks.segments[NEXT_READY]:
            assert callbacks.gp_seq[WAIT] < callbacks.gp_seq[NEXT_READY]
        assert bool(callbacks.segments[WAIT]) or not callbacks.segments[NEXT_READY]
    order = invoked + [head.address for head in callbacks]
    assert order == sorted(order)


def test_putting_back_nothing_changes_nothing() -> None:
    callbacks = filled(1)
    callbacks.insert_done(deque())
    assert shown(callbacks) == [[], [], [], [1]]
