"""Wait types, balance, locks that outlive their holder or their memory, and what is silent."""

from __future__ import annotations

import pytest
from slubloom.kernel.sanitizers.lockdep_report import report_text, show_all_locks

from .feeder import Feeder, address_of

INVALID_WAIT = """
=============================
[ BUG: Invalid wait context ]
Not tainted 6.1-slubloom #1
-----------------------------
task1/1 is trying to lock:
ffff000000004d00 (M){....}-{3:3}, at: take_m
other info that might help us debug this:
context-{4:4}
1 lock held by task1/1:
 #0: ffff000000004100 (A){+.+.}-{2:2}, at: take_a
stack backtrace:
CPU: 0 PID: 1 Comm: task1 Not tainted 6.1-slubloom #1
Hardware name: slubloom emulated machine
Call Trace:
 <TASK>
 take_m
 caller
 </TASK>
"""


def test_a_mutex_under_a_spinlock_has_the_kernels_layout() -> None:
    feeder = Feeder(M="3:3").feed(1, "+A +M")
    assert feeder.kinds == ["sleep-in-atomic"]
    assert feeder.report() == INVALID_WAIT


@pytest.mark.parametrize(
    "story",
    [
        "+M +A -A -M",  # a spinlock under a mutex
        "+A +M? -M -A",  # nobody waits
        "+A +P -P -A",  # what may be waited for is not known of it
        "+P +M -M -P",
        "+M [irq +A -A irq] -M",
        "+A [soft +B -B soft] -A",
    ],
)
def test_wait_types_that_fit_are_silent(story: str) -> None:
    assert Feeder(M="3:3", P="0:0").feed(1, story).kinds == []


@pytest.mark.parametrize("story", ["[irq +M", "[soft +M", "+P +A +M", "+A -A +B [irq +M"])
def test_nothing_may_sleep_in_an_interrupt_or_under_a_spinlock(story: str) -> None:
    assert Feeder(M="3:3", P="0:0").feed(1, story).kinds == ["sleep-in-atomic"]


IMBALANCE = """
=====================================
WARNING: bad unlock balance detected!
Not tainted 6.1-slubloom #1
-------------------------------------
task1/1 is trying to release lock (B) at:
[<ffff000000004200>] take_a
but there are no more locks to release!

other info that might help us debug this:
1 lock held by task1/1:
 #0: ffff000000004100 (A){+.+.}-{2:2}, at: take_a

stack backtrace:
CPU: 0 PID: 1 Comm: task1 Not tainted 6.1-slubloom #1
Hardware name: slubloom emulated machine
Call Trace:
 <TASK>
 take_a
 caller
 </TASK>
"""


def test_a_release_too_many_has_the_kernels_layout() -> None:
    feeder = Feeder().feed(1, "+A -B")
    assert feeder.report() == IMBALANCE


def test_a_lock_left_twice_or_by_another_thread_is_out_of_balance() -> None:
    assert Feeder().feed(1, "+A -A -A").kinds == ["kernel-bug"]
    assert Feeder().feed(1, "+A").feed(2, "-A").kinds == ["kernel-bug"]
    assert "no locks held by task2/2." in Feeder().feed(1, "+A").feed(2, "-A").report()


def test_a_task_must_not_end_with_locks() -> None:
    feeder = Feeder().feed(1, "+A +B -A end")
    assert feeder.titles == ["lock held at task exit: B"]
    assert "WARNING: task1/1 still has locks held!" in feeder.report()
    assert Feeder().feed(1, "+A -A end").kinds == []


def test_a_task_that_died_of_an_oops_keeps_what_it_holds() -> None:
    assert Feeder().feed(1, "+A oops end").kinds == []


def test_a_task_must_not_return_to_user_space_with_locks() -> None:
    report = Feeder().feed(1, "+A user").report()
    assert report.endswith(
        "WARNING: lock held when returning to user space!\n"
        "Not tainted 6.1-slubloom #1\n"
        "------------------------------------------------\n"
        "task1/1 is leaving the kernel with locks still held!\n"
        "1 lock held by task1/1:\n"
        " #0: ffff000000004100 (A){+.+.}-{2:2}, at: take_a\n"
    )


def test_memory_must_not_be_freed_with_a_held_lock_in_it() -> None:
    feeder = Feeder().feed(1, "+A +B -B")

    def free(address: int, pid: int = 1) -> None:
        feeder.lockdep.freed((1, 0, 0, pid, f"task{pid}", address, "struct thing", 64))

    free(address_of("A") - 64)
    free(address_of("A") + 8)
    free(address_of("B") - 8)
    free(address_of("A"), pid=2)  # not that thread's
    assert feeder.kinds == []
    free(address_of("A") - 56)
    assert (
        "task1/1 is freeing memory ffff0000000040c8-ffff000000004107, with a lock still held there!\n"
        "ffff000000004100 (A){+.+.}-{2:2}, at: take_a\n"
    ) in feeder.report()


def test_all_locks_of_the_system_are_listed_by_process() -> None:
    feeder = Feeder().feed(7, "+A +B").feed(3, "+C").feed(5, "+D -D")
    assert show_all_locks(feeder.lockdep) == [
        "",
        "Showing all locks held in the system:",
        "1 lock held by task3/3:",
        " #0: ffff000000004300 (C){+.+.}-{2:2}, at: take_c",
        "2 locks held by task7/7:",
        " #0: ffff000000004100 (A){+.+.}-{2:2}, at: take_a",
        " #1: ffff000000004200 (B){+.+.}-{2:2}, at: take_b",
        "",
        "=" * 45,
        "",
    ]
    feeder.feed(3, "-A")
    assert show_all_locks(feeder.lockdep) == ["INFO: lockdep is turned off."]


def test_reports_are_the_same_every_time() -> None:
    story = "[irq +A -A irq] +C -C off +A +B -B -A on off +B +C"
    first, second = (report_text(Feeder().feed(1, story).findings[0], "x") for _ in range(2))
    assert first == second


def test_after_a_report_nothing_more_is_said() -> None:
    assert len(Feeder().feed(1, "+A +B -B -A +B +A -A -B +A +A -C end").findings) == 1
