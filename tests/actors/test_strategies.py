"""Strategies: what each answers, when it is asked, and tapes that do not fit."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest
from slubloom.actors import Actor, Interleaver, Op, OpKind, Outcome, RunLimits
from slubloom.actors.strategies import BY_NAME, RandomWalk, Replay, Strategy, TapeError, Timed, make_strategy

from .helpers import STEP, HeldGate, act, processors, run, start

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence


class Recording(Strategy):
    """The first possibility always; remembers every question."""

    def __init__(self) -> None:
        self.questions: list[tuple[str, int]] = []

    def pick(self, enabled: Sequence[Actor]) -> int:
        self.questions.append(("pick", len(enabled)))
        return 0

    def choose(self, kind: str, n: int) -> int:
        self.questions.append((kind, n))
        return n - 1


def steps(count: int, op: Op = STEP) -> Callable[[Any], Awaitable[None]]:
    async def work(_: Any) -> None:
        for _ in range(count):
            await op

    return work


def contest(strategy: Strategy, *, rounds: int = 3) -> tuple[Interleaver, list[str]]:
    """Three actors that contend for a gate and sleep; the order of what they did."""
    interleaver = Interleaver(strategy)
    gate = HeldGate(interleaver, "gate")
    log: list[str] = []

    async def work(actor: Any) -> None:
        for number in range(rounds):
            await gate.acquire
            log.append(f"{actor.name} {number}")
            await gate.release
            await actor.sleep(100)

    for name in "abc":
        act(interleaver, name, work)
    return interleaver, log


def test_strategies_are_known_by_name_and_an_unknown_name_is_a_key_error() -> None:
    assert list(BY_NAME) == ["timed", "random", "pct", "pct10", "pos", "urw", "surw", "kin"]
    assert isinstance(make_strategy("random", 3), RandomWalk)
    assert isinstance(make_strategy("timed", 3), Timed)
    with pytest.raises(KeyError):
        make_strategy("clever", 3)


def test_a_strategy_is_asked_only_where_there_is_a_choice() -> None:
    strategy = Recording()
    interleaver = Interleaver(strategy)
    act(interleaver, "alone", steps(50))
    assert run(interleaver) is Outcome.FINISHED
    assert strategy.questions == []
    assert interleaver.tape == []
    assert interleaver.steps == 51  # its start, and its steps


def test_the_tape_holds_each_answer_in_order() -> None:
    strategy = Recording()
    interleaver = Interleaver(strategy)
    act(interleaver, "a", steps(2))
    act(interleaver, "b", steps(1))
    assert run(interleaver) is Outcome.FINISHED
    # a starts and takes both steps while b waits to start; then b is alone
    assert strategy.questions == [("pick", 2)] * 3
    assert interleaver.tape == [0, 0, 0]


def test_the_order_of_timers_that_are_due_together_is_a_decision() -> None:
    strategy = Recording()
    interleaver = Interleaver(strategy)
    woken: list[str] = []

    async def sleep(actor: Any) -> None:
        await actor.sleep(1000)  # all due at once: steps take no time here
        woken.append(actor.name)

    for name in "abc":
        act(interleaver, name, sleep)
    assert run(interleaver) is Outcome.FINISHED
    kinds = [(kind, n) for kind, n in strategy.questions if kind != "pick"]
    assert kinds == [("which timer fires first", 3), ("which timer fires first", 2)]
    assert sorted(woken) == ["a", "b", "c"]


def test_a_random_walk_is_its_seed() -> None:
    first, again, other = (RandomWalk(seed) for seed in (5, 5, 6))
    draws = [[walk.choose("any", 1000) for _ in range(50)] for walk in (first, again, other)]
    assert draws[0] == draws[1]
    assert draws[0] != draws[2]
    assert all(0 <= draw < 1000 for draw in draws[0])


def test_a_random_walk_gives_every_answer_about_as_often() -> None:
    walk = RandomWalk(1)
    counts = Counter(walk.choose("any", 4) for _ in range(8000))
    assert sorted(counts) == [0, 1, 2, 3]
    assert all(1800 < count < 2200 for count in counts.values())  # 2000 expected, sigma = 39


def test_a_random_walk_that_picks_and_one_that_is_drawn_from_make_the_same_run() -> None:
    drawn, drawn_log = contest(RandomWalk(9))
    walk = RandomWalk(9)
    walk.draw = None  # type: ignore[assignment]
    picked, picked_log = contest(walk)
    assert run(drawn) is run(picked) is Outcome.FINISHED
    assert drawn_log == picked_log
    assert drawn.tape == picked.tape


@pytest.mark.parametrize("make", [lambda: RandomWalk(4), Timed, Recording])
def test_replay_makes_the_recorded_run_again(make: Callable[[], Strategy]) -> None:
    recorded, log = contest(make())
    assert run(recorded) is Outcome.FINISHED
    replayed, again = contest(Replay(recorded.tape, costed=recorded.costed))
    assert run(replayed) is Outcome.FINISHED
    assert again == log
    assert replayed.tape == recorded.tape
    assert (replayed.steps, replayed.now_ns) == (recorded.steps, recorded.now_ns)


def test_replay_of_threads_under_the_timed_strategy_has_the_same_times() -> None:
    results = []
    tape: list[int] = []
    for strategy in (Timed(), Replay(tape, costed=True)):
        interleaver, cpus = processors(2, strategy=strategy, tick_ns=50)
        log: list[tuple[str, int]] = []

        async def work(thread: Any, log: list[tuple[str, int]] = log, machine: Interleaver = interleaver) -> None:
            for _ in range(20):
                await STEP
                log.append((thread.name, machine.now_ns))

        for number in range(4):
            start(cpus[number % 2], f"t{number}", work)
        assert run(interleaver) is Outcome.FINISHED
        tape += interleaver.tape
        results.append(log)
    assert results[0] == results[1]
    assert len(results[0]) == 80


def test_a_tape_that_is_too_short_says_after_how_many_decisions() -> None:
    recorded, _ = contest(RandomWalk(4))
    run(recorded)
    short = len(recorded.tape) - 1
    replayed, _ = contest(Replay(recorded.tape[:short], costed=False))
    with pytest.raises(TapeError, match=f"the tape ends after {short} decisions"):
        run(replayed)
    assert not replayed.actors


def test_an_answer_that_is_too_large_says_which_and_for_what() -> None:
    replay = Replay([0, 3], costed=False)
    assert replay.choose("which waiter wakes", 3) == 0
    with pytest.raises(
        TapeError, match=r"decision 1 of the tape is 3 but here is a choice of 3 \(which waiter wakes\)"
    ):
        replay.choose("which waiter wakes", 3)


def test_the_earliest_clock_goes_first() -> None:
    interleaver = Interleaver(Timed())
    order: list[tuple[str, int]] = []

    def paced(cost_ns: int, count: int) -> Callable[[Any], Awaitable[None]]:
        op = Op(OpKind.LOCAL, "work", cost_ns=cost_ns)

        async def work(actor: Any) -> None:
            for _ in range(count):
                await op
                order.append((actor.name, interleaver.now_ns))

        return work

    act(interleaver, "slow", paced(70, 3))
    act(interleaver, "quick", paced(30, 5))
    assert run(interleaver) is Outcome.FINISHED
    # Starting takes 1000 ns of each clock.  slow steps at 1000, 1070, 1140; quick at 1000, 1030, 1060, 1090, 1120.
    assert order == [
        ("slow", 1000),
        ("quick", 1000),
        ("quick", 1030),
        ("quick", 1060),
        ("slow", 1070),
        ("quick", 1090),
        ("quick", 1120),
        ("slow", 1140),
    ]


def test_actors_of_the_same_time_take_turns() -> None:
    interleaver = Interleaver(Timed())
    order: list[str] = []

    async def work(actor: Any) -> None:
        for _ in range(3):
            await STEP
            order.append(actor.name)

    for name in "abc":
        act(interleaver, name, work)
    run(interleaver)
    assert order == ["a", "b", "c"] * 3


def test_processors_run_side_by_side_and_threads_of_one_processor_one_after_the_other() -> None:
    ends = {}
    for cpu_count in (1, 2):
        interleaver, cpus = processors(cpu_count, strategy=Timed())
        for number in range(2):
            start(cpus[number % cpu_count], f"t{number}", steps(1000))
        assert run(interleaver) is Outcome.FINISHED
        ends[cpu_count] = max(cpu.clock.ns for cpu in cpus)
    # 1000 ns to start and 1000 steps of 10 ns, each thread
    assert ends == {1: 22_000, 2: 11_000}


def test_a_thread_is_preempted_only_when_its_time_slice_is_over() -> None:
    interleaver, (cpu,) = processors(strategy=Timed(), tick_ns=2000)
    order: list[str] = []

    async def work(thread: Any) -> None:
        for _ in range(250):
            await STEP
            order.append(thread.name)

    start(cpu, "a", work)
    start(cpu, "b", work)
    assert run(interleaver) is Outcome.FINISHED
    # a: starts at 0, steps at 1000, 1010 … 1990: 100 of them before its slice of 2000 ns is over
    assert order[:101] == ["a"] * 100 + ["b"]
    switches = sum(first != second for first, second in pairwise(order))
    assert 3 <= switches <= 6


def test_a_sleeper_does_not_hold_time_back_and_wakes_no_earlier_than_asked() -> None:
    interleaver = Interleaver(Timed(), limits=RunLimits(steps_max=10_000))
    woken: list[tuple[str, int]] = []

    async def sleep(actor: Any) -> None:
        await actor.sleep(int(actor.name))
        woken.append((actor.name, interleaver.now_ns))

    for name in ("500000", "20", "3000"):
        act(interleaver, name, sleep)
    act(interleaver, "busy", steps(400))
    assert run(interleaver) is Outcome.FINISHED
    assert [name for name, _ in woken] == ["20", "3000", "500000"]
    # each starts at 0, so is due at its own duration, and goes on at the end of going to sleep at the earliest
    assert all(int(name) <= at <= int(name) + 1100 for name, at in woken)
