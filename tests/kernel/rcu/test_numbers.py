"""Numbers of grace periods, cookies, leaves."""

from __future__ import annotations

from slubloom.actors.rcu_node import make_nodes
from slubloom.actors.rcu_sequence import (
    sequence_count,
    sequence_done,
    sequence_end,
    sequence_snap,
    sequence_start,
    sequence_started,
    sequence_state,
)
from slubloom.kernel.rcu.api import gp_times
from slubloom.kernel.rcu.polled import PolledSequence


def test_a_number_says_which_grace_period_and_whether_it_runs() -> None:
    assert [sequence_state(n) for n in (8, 9, 10)] == [0, 1, 2]
    assert [sequence_count(n) for n in (8, 9, 11, 12)] == [2, 2, 2, 3]
    assert (sequence_start(8), sequence_end(9), sequence_end(10)) == (9, 12, 12)


def test_a_snapshot_asks_for_a_grace_period_that_begins_later() -> None:
    assert sequence_snap(8) == 12
    assert [sequence_snap(n) for n in (9, 10, 11)] == [16, 16, 16]
    assert sequence_done(12, 12)
    assert not sequence_done(11, 12)


def test_the_grace_period_of_a_snapshot_has_started_when_its_number_has() -> None:
    assert not sequence_started(8, 12)
    assert sequence_started(9, 12)
    assert not sequence_started(9, 16)
    assert not sequence_started(12, 16)
    assert sequence_started(13, 16)


def test_a_cookie_taken_while_a_grace_period_runs_wants_another_one() -> None:
    polled = PolledSequence(0)
    first = polled.start()
    cookie = polled.get_state()
    polled.end(first)
    assert not polled.poll_state(cookie)
    polled.end(polled.start())
    assert polled.poll_state(cookie)


def test_overlapping_normal_and_expedited_grace_periods_end_the_number_once() -> None:
    polled = PolledSequence(0)
    normal = polled.start()
    expedited = polled.start()
    polled.end(expedited)
    assert polled.sequence == 4
    cookie = polled.get_state()
    polled.end(normal)  # began before the cookie was taken: says nothing about it
    assert not polled.poll_state(cookie)
    assert polled.sequence == 4


def test_processors_are_grouped_by_sixteen() -> None:
    nodes = make_nodes(range(40), range(20), 0)
    assert [len(node.cpus) for node in nodes] == [16, 16, 8]
    assert [len(node.starting) for node in nodes] == [16, 4, 0]


def test_a_processor_that_leaves_between_onoff_and_init_is_not_waited_for() -> None:
    (node,) = make_nodes([0, 1], [0, 1], 0)
    node.apply_hotplug()
    del node.starting[1]
    node.begin(1)
    assert node.quorum is not None
    assert list(node.quorum.waiting_cpus) == [0]


def test_a_processor_that_comes_after_onoff_is_waited_for_only_next_time() -> None:
    (node,) = make_nodes([0, 1], [0], 0)
    node.apply_hotplug()
    node.starting[1] = None
    node.begin(1)
    assert node.quorum is not None
    assert list(node.quorum.waiting_cpus) == [0]


def test_the_time_between_scans_grows_with_hz_and_processors() -> None:
    def jiffies(hz: int, cpus: int) -> int:
        times = gp_times(1_000_000_000 // hz, cpus, 21)
        return times.first_fqs_ns * hz // 1_000_000_000

    assert [jiffies(hz, 4) for hz in (100, 250, 500, 1000)] == [1, 1, 2, 3]
    assert jiffies(250, 1024) == 5
    assert gp_times(4_000_000, 4, 21).stall_ns == 21_000_000_000
