"""Locks and interrupts: one class used in both, and orders that an interrupt would turn round."""

from __future__ import annotations

import pytest

from .feeder import Feeder


@pytest.mark.parametrize(
    ("story", "usage"),
    [
        ("+A -A", "{+.+.}"),
        ("+Ar -A", "{.+.+}"),
        ("+A -A +Ar -A", "{++++}"),
        ("off +A -A on", "{....}"),
        ("off +A on -A", "{+.+.}"),
        ("off +Ar on -A", "{.+.+}"),
        ("[irq +A -A irq]", "{-...}"),
        ("[soft +A -A soft]", "{+.-.}"),
        ("[soft off +A -A on soft]", "{..-.}"),
        ("[soft [irq +A -A irq] soft]", "{-.-.}"),
        ("[irq off +A on -A irq]", "{-...}"),  # an interrupt cannot come into a handler, whatever it says
        ("bhoff +A -A bhon", "{+...}"),
        ("bhoff bhoff +A bhon -A bhon", "{+...}"),
        ("bhoff +A bhon -A", "{+.+.}"),
        ("bhoff off +A on -A bhon", "{+...}"),
        ("[irq +A? -A irq]", "{....}"),  # nobody waits for it there
        ("+A? -A", "{+.+.}"),
        ("[irq +Ar -A irq] +Ar -A", "{.?.+}"),
        ("off +A -A on +A -A", "{+.+.}"),  # the same chain, but for the interrupts
        ("+B +A -A -B off +B +A -A -B on", "{+.+.}"),
        ("off +B +A -A -B on +B +A -A -B", "{+.+.}"),
    ],
)
def test_usage_tells_how_a_class_has_been_taken(story: str, usage: str) -> None:
    feeder = Feeder().feed(1, story)
    assert f"{{{feeder.lockdep.classes['A'].usage()}}}" == usage
    assert feeder.kinds == []


@pytest.mark.parametrize(
    ("story", "title"),
    [
        ("[irq +A -A irq] +A", "{IN-HARDIRQ-W} -> {HARDIRQ-ON-W}"),
        ("+A -A [irq +A", "{HARDIRQ-ON-W} -> {IN-HARDIRQ-W}"),
        ("[soft +A -A soft] +A", "{IN-SOFTIRQ-W} -> {SOFTIRQ-ON-W}"),
        ("+Ar -A [irq +A", "{HARDIRQ-ON-R} -> {IN-HARDIRQ-W}"),
        ("+A -A [irq +Ar", "{HARDIRQ-ON-W} -> {IN-HARDIRQ-R}"),
        ("[irq +A -A irq] off +A on", "{IN-HARDIRQ-W} -> {HARDIRQ-ON-W}"),
        ("[soft +A -A soft] bhoff +A bhon", "{IN-SOFTIRQ-W} -> {SOFTIRQ-ON-W}"),
    ],
)
def test_a_class_of_interrupts_must_not_be_held_where_they_may_come(story: str, title: str) -> None:
    feeder = Feeder().feed(1, story)
    assert feeder.kinds == ["lockdep-irq"]
    assert feeder.titles == [f"inconsistent lock state: {title} usage of A"]


def test_taking_the_same_chain_first_with_interrupts_off_hides_nothing() -> None:
    feeder = Feeder().feed(1, "[irq +A -A irq]").feed(2, "off +A -A on")
    assert feeder.kinds == []
    assert feeder.feed(2, "+A").kinds == ["lockdep-irq"]


def test_interrupts_of_one_processor_are_not_those_of_another() -> None:
    feeder = Feeder().feed(1, "off", cpu=0).feed(2, "+A -A", cpu=1).feed(1, "+B -B on", cpu=0)
    assert feeder.lockdep.classes["A"].usage() == "+.+."
    assert feeder.lockdep.classes["B"].usage() == "...."


INCONSISTENT = """
================================
WARNING: inconsistent lock state
Not tainted 6.1-slubloom #1
--------------------------------
inconsistent {IN-HARDIRQ-W} -> {HARDIRQ-ON-W} usage.
task2/2 [HC0[0]:SC0[0]:HE1:SE1] takes:
ffff000000004100 (A){?...}-{2:2}, at: take_a
{IN-HARDIRQ-W} state was registered at:
  take_a
  caller
irq event stamp: 2
hardirqs last  enabled at (2): 0.000006000 s
hardirqs last disabled at (1): 0.000005000 s
softirqs last  enabled at (0): 0.000000000 s
softirqs last disabled at (0): 0.000000000 s

other info that might help us debug this:
 Possible unsafe locking scenario:

       CPU0
       ----
  lock(A);
  <Interrupt>
    lock(A);

 *** DEADLOCK ***

1 lock held by task2/2:
 #0: ffff000000004200 (B){+.+.}-{2:2}, at: take_b

stack backtrace:
CPU: 0 PID: 2 Comm: task2 Not tainted 6.1-slubloom #1
Hardware name: slubloom emulated machine
Call Trace:
 <TASK>
 take_a
 caller
 </TASK>
"""


def test_inconsistent_state_has_the_kernels_layout() -> None:
    feeder = Feeder().feed(1, "[irq +A -A irq]").feed(2, "off on +B +A")
    assert feeder.report() == INCONSISTENT


ORDER = """
=====================================================
WARNING: HARDIRQ-safe -> HARDIRQ-unsafe lock order detected
Not tainted 6.1-slubloom #1
-----------------------------------------------------
task3/3 [HC0[0]:SC0[0]:HE0:SE1] is trying to acquire:
ffff000000004300 (C){+.+.}-{2:2}, at: take_c

and this task is already holding:
ffff000000004200 (B){....}-{2:2}, at: take_b
which would create a new lock dependency:
 (B){....}-{2:2} -> (C){+.+.}-{2:2}

but this new dependency connects a HARDIRQ-irq-safe lock:
 (A){-...}-{2:2}
... which became HARDIRQ-irq-safe at:
  take_a
  caller

to a HARDIRQ-irq-unsafe lock:
 (C){+.+.}-{2:2}
... which became HARDIRQ-irq-unsafe at:
...
  take_c
  caller

other info that might help us debug this:

Chain exists of:
  A --> B --> C

 Possible interrupt unsafe locking scenario:

       CPU0                    CPU1
       ----                    ----
  lock(C);
                               local_irq_disable();
                               lock(A);
                               lock(B);
  <Interrupt>
    lock(A);

 *** DEADLOCK ***

1 lock held by task3/3:
 #0: ffff000000004200 (B){....}-{2:2}, at: take_b

the dependencies between HARDIRQ-irq-safe lock and the holding lock:
 -> (A){-...}-{2:2} {
    IN-HARDIRQ-W at:
                       take_a
                       caller
    INITIAL USE at:
                      take_a
                      caller
  }
  ... key      at: A
-> (B){....}-{2:2} {
   INITIAL USE at:
                    take_b
                    caller
 }
 ... key      at: B
 ... acquired at:
   take_b
   caller


the dependencies between the lock to be acquired and HARDIRQ-irq-unsafe lock:
-> (C){+.+.}-{2:2} {
   HARDIRQ-ON-W at:
                     take_c
                     caller
   SOFTIRQ-ON-W at:
                     take_c
                     caller
   INITIAL USE at:
                    take_c
                    caller
 }
 ... key      at: C
 ... acquired at:
   take_c
   caller


stack backtrace:
CPU: 0 PID: 3 Comm: task3 Not tainted 6.1-slubloom #1
Hardware name: slubloom emulated machine
Call Trace:
 <TASK>
 take_c
 caller
 </TASK>
"""


def test_an_order_that_connects_safe_with_unsafe_has_the_kernels_layout() -> None:
    feeder = Feeder().feed(1, "[irq +A -A irq] +C -C").feed(2, "off +A +B -B -A on").feed(3, "off +B +C")
    assert feeder.titles == ["HARDIRQ-safe -> HARDIRQ-unsafe lock order: A -> C"]
    assert feeder.report() == ORDER


INVERSION_HEAD = """
========================================================
WARNING: possible irq lock inversion dependency detected
Not tainted 6.1-slubloom #1
--------------------------------------------------------
task2/2 just changed the state of lock:
ffff000000004100 (A){-...}-{2:2}, at: take_a
but this lock took another, HARDIRQ-unsafe lock in the past:
 (B){+.+.}-{2:2}

and interrupts could create inverse lock ordering between them.


other info that might help us debug this:
 Possible interrupt unsafe locking scenario:

       CPU0                    CPU1
       ----                    ----
  lock(B);
                               local_irq_disable();
                               lock(A);
                               lock(B);
  <Interrupt>
    lock(A);

 *** DEADLOCK ***

1 lock held by task2/2:
 #0: ffff000000004100 (A){-...}-{2:2}, at: take_a
"""


def test_a_class_that_becomes_safe_after_it_took_an_unsafe_one() -> None:
    feeder = Feeder().feed(1, "+B -B off +A +B -B -A on").feed(2, "[irq +A")
    assert feeder.titles == ["possible irq lock inversion dependency: HARDIRQ between A and B"]
    expected = INVERSION_HEAD.replace(
        "1 lock held by task2/2:\n #0: ffff000000004100 (A){-...}-{2:2}, at: take_a\n", "no locks held by task2/2.\n"
    )
    assert feeder.report().startswith(expected)


def test_a_class_that_becomes_unsafe_after_a_safe_one_took_it() -> None:
    feeder = Feeder().feed(1, "[irq +A -A irq] off +A +B -B -A on").feed(2, "+B")
    assert feeder.kinds == ["lockdep-irq"]
    assert "but this lock was taken by another, HARDIRQ-safe lock in the past:\n (A){-...}" in feeder.report()


def test_an_order_and_the_inversion_between_the_same_classes_are_one_bug() -> None:
    order = Feeder().feed(1, "[irq +A -A irq] +B -B").feed(2, "off +A +B")
    inversion = Feeder().feed(1, "+B -B off +A +B -B -A on").feed(2, "[irq +A")
    assert {finding.bug for finding in (*order.findings, *inversion.findings)} == {"HARDIRQ inversion of A and B"}


def test_orders_among_safe_classes_are_silent() -> None:
    assert Feeder().feed(1, "[irq +A +B -B -A irq] off +A +B -B -A on").kinds == []


def test_readers_in_interrupts_weaken_the_inversion() -> None:
    """The interrupt reads A recursively while nobody holds it but readers: nothing waits."""
    assert Feeder().feed(1, "[irq +AR -A irq] +C -C").feed(2, "off +AR +C -C -A on").kinds == []
    assert Feeder().feed(1, "[irq +A -A irq] +C -C").feed(2, "off +AR +C").kinds == ["lockdep-irq"]


def test_what_is_held_in_an_interrupt_is_listed_behind_what_it_interrupted() -> None:
    report = Feeder().feed(1, "+A -A +D [irq +B +A").report()
    assert "2 locks held by task1/1:\n #0: ffff000000004400 (D)" in report
    assert " #1: ffff000000004200 (B){-...}-{2:2}, at: take_b" in report
    assert "task1/1 [HC1[1]:SC0[0]:HE0:SE1] takes:" in report
