"""Which orders with readers are deadlocks, from the table of Documentation/locking/lockdep-design.rst."""

from __future__ import annotations

import pytest

from .feeder import Feeder


@pytest.mark.parametrize(
    ("first", "second", "deadlock"),
    [
        ("+A +B", "+B +A", True),
        ("+Ar +Br", "+Br +Ar", True),  # a waiting writer is between the two
        ("+AR +B", "+B +A", True),
        ("+AR +B", "+B +AR", False),  # the second A passes the first
        ("+A +BR", "+B +A", True),
        ("+AR +BR", "+BR +AR", False),
        ("+A +BR", "+BR +A", False),  # nobody who has B keeps the first from it
        ("+A +BR", "+Br +A", False),
        ("+Ar +BR", "+B +AR", False),
        ("+Ar +BR", "+B +Ar", True),
        ("+A +Br", "+Br +A", True),
    ],
)
def test_a_cycle_is_a_deadlock_only_where_somebody_waits(first: str, second: str, deadlock: bool) -> None:
    feeder = Feeder().feed(1, f"{first} -B -A").feed(2, second)
    assert feeder.kinds == (["lockdep-circular"] if deadlock else [])


def test_a_recursive_reader_in_the_middle_breaks_a_path() -> None:
    """A → B is -(ER)->, B → C is -(SN)->: who has A waits for B's writers only, and there are none."""
    feeder = Feeder().feed(1, "+A +BR -B -A").feed(2, "+BR +C -C -B").feed(3, "+C +A")
    assert feeder.kinds == []


def test_a_strong_edge_beside_the_weak_one_mends_the_path() -> None:
    feeder = Feeder().feed(1, "+A +BR -B -A").feed(2, "+BR +C -C -B").feed(2, "+B +C -C -B").feed(3, "+C +A")
    assert feeder.kinds == ["lockdep-circular"]


def test_a_strong_path_behind_a_weak_one_is_found() -> None:
    """D is reached by a recursive reader first: that path cannot go on, the longer one can."""
    feeder = Feeder().feed(1, "+A +DR -D -A").feed(1, "+A +B -B -A").feed(1, "+B +D -D -B").feed(2, "+DR +C -C -D")
    assert feeder.feed(3, "+C +A").kinds == ["lockdep-circular"]


def test_an_edge_that_comes_in_a_stronger_kind_later_is_checked_again() -> None:
    feeder = Feeder().feed(1, "+A +BR -B -A").feed(2, "+BR +A -A -B")
    assert feeder.kinds == []
    assert feeder.feed(1, "+A +B").kinds == ["lockdep-circular"]


@pytest.mark.parametrize(("story", "found"), [("+AR +AR", []), ("+Ar +AR", []), ("+Ar +Ar", ["lockdep-recursive"])])
def test_only_recursive_readers_may_be_taken_again(story: str, found: list[str]) -> None:
    assert Feeder().feed(1, story.replace("+A", "+A:1", 1)).kinds == found


def test_scenarios_say_who_reads() -> None:
    report = Feeder().feed(1, "+Ar +Br -B -A").feed(2, "+Br +Ar").report()
    box = [line for line in report.splitlines() if line.endswith(");")]
    assert box == [
        "  rlock(B);",
        "                               lock(A);",
        "                               lock(B);",
        "  rlock(A);",
    ]
    assert "Chain exists of:" not in report


def test_a_subclass_is_a_class_of_its_own_and_keeps_the_lock_type() -> None:
    feeder = Feeder(A="3:3").feed(1, "+A +A/1:2 -A:2 -A").feed(2, "+A +A/1:2 -A:2 -A")
    assert feeder.kinds == []
    assert feeder.lockdep.classes["A/1"].wait_type == "3:3"
    assert "(A/1){+.+.}-{3:3}" in feeder.feed(3, "+A/1 +A:2").report()


def test_a_lock_that_protects_the_nesting_lets_a_class_be_taken_again() -> None:
    assert Feeder().feed(1, "+N +A@N +A:2@N +A:3@N -A:3 -A:2 -A -N").kinds == []
    assert Feeder().feed(1, "+N +A +A:2").kinds == ["lockdep-recursive"]


def test_the_lock_that_protects_the_nesting_must_be_held() -> None:
    report = Feeder().feed(1, "+A +A:2@N").report()
    assert "WARNING: Nested lock was not taken" in report
    assert "but this task is not holding:\nN\n" in report


def test_leaving_out_of_order_leaves_the_orders_of_what_is_still_held() -> None:
    """C was taken by trylock under A and B: it has no edge from them, but D under it and A has."""
    feeder = Feeder().feed(1, "+A +B +C? -B +D -D -C -A").feed(2, "+D +A")
    assert feeder.kinds == ["lockdep-circular"]
