"""The sanitizer ``existence``: what keeps a structure alive when it is used, and the report when nothing does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from slubloom.actors import KernelThread, Outcome
from slubloom.kernel.existence import KeptBy, claim, publish
from slubloom.kernel.locks import Mutex
from slubloom.kernel.memory import Structure, allocated, free_structure
from slubloom.kernel.rcu.head import RcuHead
from slubloom.kernel.refcount import Refcount

from .helpers import TWO_NODES, booted, run, start

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from slubloom.kernel import Machine

WATCHED = f"""{TWO_NODES}
[kernel]
sanitizers = ["kasan", "existence"]
"""
ADDRESS = 0xFFFF888000001000


class Session(Structure):
    """A structure with a counter and one field."""

    __slots__ = ("count", "payload")
    embedded = ("count",)

    def __init__(self, machine: Machine, address: int, kept_by: KeptBy) -> None:
        self.shadow = None
        self.count = Refcount(machine, "session->count", 1)
        self.payload = 7
        allocated(machine, self, "struct session", "kmalloc-64", address, 64, kept_by=kept_by)


def made_at_boot(machine: Machine, address: int, kept_by: KeptBy) -> Session:
    """A structure that belongs to no thread of the test."""

    async def make() -> Session:
        return Session(machine, address, kept_by)

    session: Session = machine.run_alone(KernelThread(machine.cpus[0], "swapper/0", pid=0), make())
    return session


def machine_with(kept_by: KeptBy) -> tuple[Machine, Session]:
    """A machine, and a structure that is not the reader's own."""
    machine = booted(text=WATCHED)
    return machine, made_at_boot(machine, ADDRESS, kept_by)


def outcome(machine: Machine, *programs: Callable[[], Awaitable[object]]) -> list[str]:
    """Run programs as threads of their own; the titles of what was found."""
    for number, program in enumerate(programs):
        start(machine, number % 2, f"task{number}", program)
    run(machine)
    return [violation.title for violation in machine.violations]


def kept(machine: Machine) -> dict[str, int]:
    """Uses by what kept the structure alive."""
    assert machine.existence is not None
    return {reason: count for (_, reason), count in machine.existence.kept.items()}


RCU = KeptBy(readers=("rcu",))


def test_a_reader_keeps_what_it_has_loaded() -> None:
    machine, session = machine_with(RCU)

    async def reader() -> None:
        async with machine.rcu.reader():
            assert machine.rcu.dereference(session).payload == 7

    assert outcome(machine, reader) == []
    assert kept(machine) == {"an RCU reader": 1}


def test_a_pointer_that_outlives_its_reader_is_a_risk_although_nobody_frees() -> None:
    machine, session = machine_with(RCU)

    async def look_and_keep() -> None:
        async with machine.rcu.reader():
            found = machine.rcu.dereference(session)
            assert found.payload == 7
        assert found.payload == 7

    titles = outcome(machine, look_and_keep)
    assert titles == ["risk of use-after-free in unknown: nothing keeps struct session alive"]
    report = machine.violations[0].report
    assert machine.violations[0].kind == "use-after-free"
    assert "The pointer was obtained at 0.00000000" in report
    assert "kept alive by an RCU reader:" in report
    assert "Its last guarantee, an RCU reader, ended at 0.00000000" in report
    assert "In this schedule it was still there." in report


def test_a_pointer_of_an_earlier_reader_is_stale_in_a_later_one() -> None:
    machine, session = machine_with(RCU)

    async def twice() -> None:
        async with machine.rcu.reader():
            found = machine.rcu.dereference(session)
        async with machine.rcu.reader():
            assert found.payload == 7

    assert len(outcome(machine, twice)) == 1


def test_loading_it_again_makes_it_good_again() -> None:
    machine, session = machine_with(RCU)

    async def twice() -> None:
        for _ in range(2):
            async with machine.rcu.reader():
                assert machine.rcu.dereference(session).payload == 7

    assert outcome(machine, twice) == []


def test_a_reference_got_under_rcu_keeps_it_afterwards_until_it_is_put() -> None:
    machine, session = machine_with(RCU)

    async def use(*, after_put: bool) -> None:
        async with machine.rcu.reader():
            found = machine.rcu.dereference(session)
            assert await found.count.inc_not_zero()
        count = found.count
        assert found.payload == 7
        await count.dec_and_test()
        if after_put:
            assert found.payload == 7

    assert outcome(machine, lambda: use(after_put=False)) == []
    assert kept(machine) == {"an RCU reader": 1, "a reference": 2}

    machine, session = machine_with(RCU)
    assert len(outcome(machine, lambda: use(after_put=True))) == 1
    assert "Its last guarantee, a reference, ended at" in machine.violations[0].report


@pytest.mark.parametrize("held", [True, False])
def test_a_lock_counts_where_it_is_what_prevents_the_end(held: bool) -> None:
    machine, session = machine_with(KeptBy(locks=("session_mutex",)))
    mutex = Mutex(machine, "session_mutex" if held else "other_mutex")

    async def updater() -> None:
        async with mutex:
            assert machine.rcu.dereference_protected(session, held=True).payload == 7

    assert bool(outcome(machine, updater)) is not held


def test_a_part_lives_as_long_as_the_whole() -> None:
    machine, whole = machine_with(RCU)
    part = made_at_boot(machine, ADDRESS + 64, KeptBy(owners=lambda: (whole,)))

    async def use() -> None:
        async with machine.rcu.reader():
            count = machine.rcu.dereference(whole).count
            assert await count.inc_not_zero()
        assert part.payload == 7
        await count.dec_and_test()

    assert outcome(machine, use) == []
    assert kept(machine)["a reference of struct session"] == 1


def test_who_made_it_may_use_it_until_rcu_has_it() -> None:
    machine = booted(text=WATCHED)
    made: list[Any] = []

    async def maker(*, after_call_rcu: bool) -> None:
        session = Session(machine, ADDRESS, RCU)
        session.payload = 8
        made.append(session)

        def let_go() -> None:
            assert session.payload == 8  # the callback may
            free_structure(session)

        await machine.rcu.call_rcu(RcuHead(let_go, ADDRESS))
        if after_call_rcu:
            assert session.payload == 8

    assert outcome(machine, lambda: maker(after_call_rcu=False)) == []
    assert kept(machine)["its RCU callback"] == 1

    machine = booted(text=WATCHED)
    assert len(outcome(machine, lambda: maker(after_call_rcu=True))) == 1


def test_after_the_end_it_is_for_kasan() -> None:
    machine = booted(text=WATCHED)

    async def maker() -> None:
        session = Session(machine, ADDRESS, RCU)
        free_structure(session)
        assert session.payload

    assert [title.partition(" in ")[0] for title in outcome(machine, maker)] == ["BUG: KASAN: use-after-free"]


def test_without_the_sanitizer_a_structure_is_an_ordinary_one() -> None:
    machine = booted(text=WATCHED.replace(', "existence"', ""))
    session = made_at_boot(machine, ADDRESS, RCU)
    assert type(session) is Session
    assert run(machine) is Outcome.FINISHED


def test_a_refcount_that_comes_back_from_zero_saturates_and_warns() -> None:
    machine, _ = machine_with(RCU)
    count = Refcount(machine, "count", 0)

    async def wrong() -> None:
        assert not await count.inc_not_zero()
        await count.inc()

    assert outcome(machine, wrong) == ["refcount_t: addition on 0; use-after-free."]
    assert machine.violations[0].kind == "refcount"


def test_a_refcount_put_once_too_often_warns() -> None:
    machine, _ = machine_with(RCU)
    count = Refcount(machine, "count", 1)

    async def wrong() -> None:
        assert await count.dec_and_test()
        assert not await count.dec_and_test()

    assert outcome(machine, wrong) == ["refcount_t: underflow; use-after-free."]


# --- who has it, and what goes with what


def test_who_made_it_has_no_right_to_it_once_others_can_find_it() -> None:
    machine = booted(text=WATCHED)

    async def maker() -> None:
        session = Session(machine, ADDRESS, RCU)
        publish(machine, session)
        assert session.payload == 7

    assert len(outcome(machine, maker)) == 1


def test_who_lets_it_go_by_contract_says_so_and_may_use_it() -> None:
    machine, session = machine_with(RCU)

    async def owner() -> None:
        claim(machine, session)
        assert session.payload == 7

    assert outcome(machine, owner) == []
    assert kept(machine) == {"its owner": 1}


@pytest.mark.parametrize("rcu_first", [True, False])
def test_a_reference_hands_over_to_a_reader_that_began_before_it_was_put(rcu_first: bool) -> None:
    machine, session = machine_with(RCU)

    async def walk() -> None:
        async with machine.rcu.reader():
            found = machine.rcu.dereference(session)
            assert await found.count.inc_not_zero()
        count = found.count
        if not rcu_first:
            await count.dec_and_test()
        async with machine.rcu.reader():
            if rcu_first:
                await count.dec_and_test()
            assert found.payload == 7

    assert bool(outcome(machine, walk)) is not rcu_first


def test_who_has_put_the_last_reference_may_say_so_in_the_structure_itself() -> None:
    machine, session = machine_with(RCU)

    async def last() -> None:
        async with machine.rcu.reader():
            count = machine.rcu.dereference(session).count
        assert await count.dec_and_test()
        assert session.payload == 7

    assert outcome(machine, last) == []
    assert kept(machine)["its last reference"] == 1


@pytest.mark.parametrize("held", [True, False])
def test_a_lock_is_not_enough_for_what_ends_with_something_else(held: bool) -> None:
    machine, whole = machine_with(RCU)
    part = made_at_boot(machine, ADDRESS + 64, KeptBy(locks=("session_mutex",), inside=lambda: (whole,)))
    mutex = Mutex(machine, "session_mutex")

    async def use() -> None:
        async with machine.rcu.reader():
            count = machine.rcu.dereference(whole).count
            if held:
                assert await count.inc_not_zero()
        async with mutex:
            assert machine.rcu.dereference_protected(part, held=True).payload == 7
        if held:
            await count.dec_and_test()

    assert bool(outcome(machine, use)) is not held


def test_the_tally_has_every_use_by_type_and_reason() -> None:
    machine, session = machine_with(RCU)

    async def reader() -> None:
        async with machine.rcu.reader():
            found = machine.rcu.dereference(session)
            assert found.payload == 7
            assert await found.count.inc_not_zero()
        assert found.payload == 7
        await found.count.dec_and_test()

    assert outcome(machine, reader) == []
    assert machine.existence is not None
    # Reading the counter's place is a use, too.
    assert machine.existence.tally() == (
        ("struct session", "a reference", 2),
        ("struct session", "an RCU reader", 2),
    )


def test_looking_at_structures_when_the_run_is_over_is_no_use() -> None:
    machine, session = machine_with(RCU)
    assert outcome(machine) == []
    assert session.payload == 7
    assert machine.violations == []
