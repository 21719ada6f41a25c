"""Gates: who is inside, who waits, and which orders are possible."""

from __future__ import annotations

from itertools import permutations

import pytest
from slubloom.actors import Gate, Interleaver, Outcome
from slubloom.actors.strategies import RandomWalk, Replay, Timed

from .helpers import STEP, Doing, act, processors, run, start


def passage(interleaver: Interleaver, names: str, *, late: str = "") -> list[str]:
    """One passage of each actor through one gate, in the order it happens; `late` ones come while it is taken."""
    gate = Gate(interleaver, "gate")
    order: list[str] = []
    inside: list[str] = []

    async def pass_through(actor: Doing) -> None:
        await gate.acquire
        assert gate.holder is actor
        inside.append(actor.name)
        if not order:
            for name in late:
                act(interleaver, name, pass_through)
        order.append(actor.name)
        for _ in range(3):
            await STEP
            assert inside == [actor.name]
        inside.clear()
        await gate.release

    for name in names:
        act(interleaver, name, pass_through)
    assert run(interleaver) is Outcome.FINISHED
    assert gate.holder is None
    assert not gate.waiters
    assert not gate.contenders
    return order


def test_no_two_actors_are_inside_and_each_passes_once() -> None:
    for seed in range(60):
        assert sorted(passage(Interleaver(RandomWalk(seed)), "abcde")) == list("abcde")


def test_every_order_of_four_contenders_is_reachable() -> None:
    seen = {"".join(passage(Interleaver(RandomWalk(seed)), "abcd")) for seed in range(500)}
    assert seen == {"".join(order) for order in permutations("abcd")}


def test_every_order_of_actors_that_arrived_while_the_gate_was_taken_is_reachable() -> None:
    seen = {"".join(passage(Interleaver(RandomWalk(seed)), "a", late="xyz")) for seed in range(300)}
    assert seen == {"a" + "".join(order) for order in permutations("xyz")}


def test_a_woken_waiter_can_still_lose_to_a_newcomer() -> None:
    # a lets the waiter b contend; a itself may ask again and be quicker
    overtaken = 0
    for seed in range(100):
        interleaver = Interleaver(RandomWalk(seed))
        gate = Gate(interleaver, "gate")
        order: list[str] = []

        async def twice(actor: Doing) -> None:
            for _ in range(2):
                await gate.acquire  # noqa: B023
                order.append(actor.name)  # noqa: B023
                await STEP
                await gate.release  # noqa: B023

        act(interleaver, "a", twice)
        act(interleaver, "b", twice)
        assert run(interleaver) is Outcome.FINISHED
        assert sorted(order) == ["a", "a", "b", "b"]
        overtaken += order[0] == order[1]
    assert 0 < overtaken < 100


def test_a_free_gate_lets_all_contend_and_one_taking_it_blocks_the_others() -> None:
    interleaver = Interleaver(RandomWalk(0))
    gate = Gate(interleaver, "gate")
    a, b, c = (Doing(interleaver, name, lambda _: STEP) for name in "abc")  # type: ignore[arg-type, return-value]
    for actor in (a, b):
        actor.unblock()
        gate.admit(actor)
    assert gate.contenders == [a, b]
    gate.take(b)
    assert (gate.holder, gate.contenders, gate.waiters) == (b, [], [a])
    assert (a.blocked, b.blocked) == (True, False)
    c.unblock()
    gate.admit(c)
    assert c.blocked
    assert gate.waiters == [a, c]


def test_waking_one_of_two_is_a_decision_on_the_tape_and_waking_the_only_one_is_not() -> None:
    interleaver = Interleaver(Replay([1], costed=False))
    gate = Gate(interleaver, "gate")
    a, b, c = (Doing(interleaver, name, lambda _: STEP) for name in "abc")  # type: ignore[arg-type, return-value]
    for actor in (a, b, c):
        actor.unblock()
        gate.admit(actor)
    gate.take(a)
    gate.give(a)
    assert interleaver.tape == [1]
    assert gate.contenders == [c]  # of the losers b and c, number 1
    gate.take(c)
    gate.give(c)
    assert interleaver.tape == [1]
    assert gate.contenders == [b]
    assert gate.holder is None


def test_a_loser_goes_to_the_head_of_the_queue() -> None:
    interleaver = Interleaver(Replay([], costed=False))
    gate = Gate(interleaver, "gate")
    a, b, c, d = (Doing(interleaver, name, lambda _: STEP) for name in "abcd")  # type: ignore[arg-type, return-value]
    for actor in (a, b, c, d):
        actor.unblock()
    gate.admit(a)
    gate.take(a)
    gate.admit(b)
    gate.give(a)  # b is woken
    gate.admit(c)  # and c comes at once
    gate.take(c)
    gate.admit(d)
    assert gate.waiters == [b, d]


def test_first_come_first_served_under_the_timed_strategy() -> None:
    assert passage(Interleaver(Timed()), "dbca") == list("dbca")


@pytest.mark.parametrize("preempt", ["full", "none"])
def test_threads_of_one_processor_exclude_each_other_too(preempt: str) -> None:
    orders = {}
    for seed in range(80):
        interleaver, (cpu,) = processors(seed=seed, preempt=preempt)
        gate = Gate(interleaver, "gate")
        order: list[str] = []
        inside: list[str] = []

        async def work(thread: Doing) -> None:
            await gate.acquire  # noqa: B023
            inside.append(thread.name)  # noqa: B023
            order.append(thread.name)  # noqa: B023
            await STEP
            await thread.sleep(5)
            assert inside == [thread.name]  # noqa: B023
            inside.clear()  # noqa: B023
            await gate.release  # noqa: B023

        for name in "abc":
            start(cpu, name, work)
        assert run(interleaver) is Outcome.FINISHED
        orders["".join(order)] = None
    assert len(orders) == 6
