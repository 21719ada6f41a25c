"""The interleaver: determinism, replay, endings, and what happens to actors when a run ends early."""

from __future__ import annotations

import signal
import traceback
from typing import TYPE_CHECKING

import pytest
import trio
from slubloom.actors import Actor, Gate, Interleaver, Op, OpKind, Outcome, RunLimits
from slubloom.actors.free import FreeRunner
from slubloom.actors.strategies import RandomWalk, Replay, TapeError, Timed
from slubloom.actors.waitfor import find_cycle, wait_for_graph

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

STEP = Op(OpKind.LOCAL, "step")


class Doing(Actor):
    """An actor made of a function."""

    def __init__(self, interleaver: Interleaver, name: str, function: Callable[[Doing], Awaitable[None]]) -> None:
        super().__init__(interleaver, name)
        self.function = function

    async def body(self) -> None:
        await self.function(self)


def workers(interleaver: Interleaver, log: list[str], count: int = 3, rounds: int = 4) -> None:
    gate = Gate(interleaver, "gate")

    async def work(actor: Doing) -> None:
        for _ in range(rounds):
            await gate.acquire
            log.append(f"{actor.name} in")
            await STEP
            log.append(f"{actor.name} out")
            await gate.release

    for number in range(count):
        interleaver.spawn(Doing(interleaver, f"w{number}", work))


def test_the_same_seed_makes_the_same_run() -> None:
    logs = []
    for _ in range(2):
        log: list[str] = []
        interleaver = Interleaver(RandomWalk(11))
        workers(interleaver, log)
        assert trio.run(interleaver.run) is Outcome.FINISHED
        logs.append((log, interleaver.tape, interleaver.steps))
    assert logs[0] == logs[1]


def test_a_tape_replays_what_any_strategy_decided() -> None:
    for strategy in (RandomWalk(5), Timed()):
        log: list[str] = []
        first = Interleaver(strategy)
        workers(first, log)
        trio.run(first.run)
        again: list[str] = []
        replay = Interleaver(Replay(first.tape, costed=first.costed))
        workers(replay, again)
        trio.run(replay.run)
        assert again == log
        assert replay.tape == first.tape
        assert replay.now_ns == first.now_ns


def test_a_tape_of_something_else_is_an_error_that_says_where() -> None:
    interleaver = Interleaver(Replay([0, 0, 1], costed=False))
    workers(interleaver, [])
    with pytest.raises(TapeError, match="the tape ends after 3 decisions"):
        trio.run(interleaver.run)
    interleaver = Interleaver(Replay([9], costed=False))
    workers(interleaver, [])
    with pytest.raises(TapeError, match="decision 0 of the tape is 9 but here is a choice of 3"):
        trio.run(interleaver.run)


def test_one_actor_at_a_time_is_inside_a_gate_and_every_order_occurs() -> None:
    orders = {}
    for seed in range(300):
        log: list[str] = []
        interleaver = Interleaver(RandomWalk(seed))
        workers(interleaver, log, count=3, rounds=1)
        trio.run(interleaver.run)
        entered = [line.split()[0] for line in log if line.endswith("in")]
        assert [line.split()[0] for line in log] == [name for name in entered for _ in range(2)]
        orders["".join(entered)] = None
    assert len(orders) == 6


def test_every_live_actor_is_a_trio_task_of_the_runs_nursery() -> None:
    interleaver = Interleaver(RandomWalk(1))
    seen: list[set[str]] = []

    async def work(_: Doing) -> None:
        for _ in range(10_000):
            await STEP

    for number in range(3):
        interleaver.spawn(Doing(interleaver, f"w{number}", work))

    def look() -> None:
        task = trio.lowlevel.current_task()
        seen.append({child.name for nursery in task.child_nurseries for child in nursery.child_tasks})

    interleaver.on_pause.append(look)
    trio.run(interleaver.run)
    assert {"w0", "w1", "w2", "timers"} <= seen[0]


def test_an_actors_exception_surfaces_with_its_own_stack_and_the_others_are_unwound() -> None:
    interleaver = Interleaver(RandomWalk(3))
    unwound: list[str] = []

    async def deep() -> None:
        await STEP
        raise LookupError("lost")

    async def fails(_: Doing) -> None:
        await deep()

    async def waits(actor: Doing) -> None:
        try:
            while True:
                await STEP
        finally:
            unwound.append(actor.name)

    interleaver.spawn(Doing(interleaver, "fails", fails))
    interleaver.spawn(Doing(interleaver, "waits", waits))
    with pytest.raises(ExceptionGroup) as caught:
        trio.run(interleaver.run)
    (error,) = caught.value.exceptions
    assert isinstance(error, LookupError)
    assert "deep" in "".join(traceback.format_exception(error))
    assert unwound == ["waits"]
    assert interleaver.outcome is Outcome.FAILED


def endless(interleaver: Interleaver, unwound: list[str]) -> None:
    async def work(actor: Doing) -> None:
        try:
            while True:
                await STEP
        finally:
            unwound.append(actor.name)

    for number in range(3):
        interleaver.spawn(Doing(interleaver, f"w{number}", work))


def test_outer_cancellation_unwinds_every_actor() -> None:
    unwound: list[str] = []
    interleaver = Interleaver(RandomWalk(1))
    endless(interleaver, unwound)

    async def main() -> bool:
        with trio.move_on_after(0.05) as scope:
            await interleaver.run()
        return scope.cancelled_caught

    assert trio.run(main)
    assert unwound == ["w0", "w1", "w2"]
    assert not interleaver.actors


def test_ctrl_c_unwinds_every_actor() -> None:
    unwound: list[str] = []
    interleaver = Interleaver(RandomWalk(1))
    endless(interleaver, unwound)
    interleaver.on_pause.append(lambda: signal.raise_signal(signal.SIGINT))
    with pytest.raises(BaseException) as caught:
        trio.run(interleaver.run)
    assert isinstance(caught.value, KeyboardInterrupt) or caught.group_contains(KeyboardInterrupt)
    assert unwound == ["w0", "w1", "w2"]


def test_stopping_ends_the_run_after_the_step() -> None:
    unwound: list[str] = []
    interleaver = Interleaver(RandomWalk(1))
    endless(interleaver, unwound)

    def at_ten() -> None:
        if interleaver.steps == 10:
            interleaver.stop(Outcome.STOPPED)

    interleaver.on_step = at_ten
    assert trio.run(interleaver.run) is Outcome.STOPPED
    assert interleaver.steps == 10
    assert len(unwound) <= 3


def test_the_step_limit_is_exact() -> None:
    interleaver = Interleaver(RandomWalk(1), limits=RunLimits(steps_max=5000))
    endless(interleaver, [])
    assert trio.run(interleaver.run) is Outcome.STEP_LIMIT
    assert interleaver.steps == 5000


def test_an_actor_that_awaits_trio_itself_is_told_so() -> None:
    interleaver = Interleaver(RandomWalk(1))

    async def wrong(_: Doing) -> None:
        await trio.sleep(1)

    interleaver.spawn(Doing(interleaver, "wrong", wrong))
    with pytest.raises(ExceptionGroup) as caught:
        trio.run(interleaver.run)
    assert caught.group_contains(TypeError, match="never trio itself")


def test_sleepers_wake_in_order_and_time_jumps_when_nobody_runs() -> None:
    for strategy in (RandomWalk(1), Timed()):
        interleaver = Interleaver(strategy)
        woken: list[tuple[str, bool]] = []

        async def sleeps(actor: Doing) -> None:
            await actor.sleep(1000 * int(actor.name))
            woken.append((actor.name, interleaver.now_ns >= 1000 * int(actor.name)))  # noqa: B023

        for name in ("3", "1", "2"):
            interleaver.spawn(Doing(interleaver, name, sleeps))
        assert trio.run(interleaver.run) is Outcome.FINISHED
        assert woken == [("1", True), ("2", True), ("3", True)]


def opposite_orders(interleaver: Interleaver) -> None:
    a, b = Gate(interleaver, "a"), Gate(interleaver, "b")

    def in_order(first: Gate, second: Gate) -> Callable[[Doing], Awaitable[None]]:
        async def work(_: Doing) -> None:
            await first.acquire
            await second.acquire
            await second.release
            await first.release

        return work

    interleaver.spawn(Doing(interleaver, "ab", in_order(a, b)))
    interleaver.spawn(Doing(interleaver, "ba", in_order(b, a)))


def test_opposite_lock_orders_deadlock_in_some_schedules_and_all_who_wait_are_named() -> None:
    outcomes = {}
    for seed in range(50):
        interleaver = Interleaver(RandomWalk(seed))
        opposite_orders(interleaver)
        stuck: list[str] = []
        interleaver.on_deadlock = lambda actors, stuck=stuck: stuck.extend(actor.name for actor in actors)
        outcome = trio.run(interleaver.run)
        outcomes[outcome] = None
        assert stuck == (["ab", "ba"] if outcome is Outcome.DEADLOCK else [])
    assert set(outcomes) == {Outcome.FINISHED, Outcome.DEADLOCK}


def test_the_wait_for_graph_finds_the_cycle_and_not_those_behind_it() -> None:
    class Holding:
        def __init__(self) -> None:
            self.by: list[Actor] = []

        def holders(self) -> list[Actor]:
            return self.by

    interleaver = Interleaver(RandomWalk(0))
    actors = [Actor(interleaver, name) for name in ("behind", "one", "two")]
    for actor, holder in zip(actors, (actors[1], actors[2], actors[1]), strict=True):
        held = Holding()
        held.by = [holder]
        actor.pending = Op(OpKind.ACQUIRE, f"lock of {holder.name}", aux=held)
    waiting = wait_for_graph(actors)
    assert [entry.wants for entry in waiting] == ["acquire lock of one", "acquire lock of two", "acquire lock of one"]
    assert sorted(entry.actor.name for entry in find_cycle(waiting)) == ["one", "two"]
    assert find_cycle(waiting[:1]) == []


def test_timed_lets_the_earliest_clock_go_first() -> None:
    interleaver = Interleaver(Timed())
    order: list[str] = []
    slow, quick = Op(OpKind.LOCAL, "slow", cost_ns=100), Op(OpKind.LOCAL, "quick", cost_ns=30)

    def steps(op: Op, count: int) -> Callable[[Doing], Awaitable[None]]:
        async def work(actor: Doing) -> None:
            for _ in range(count):
                await op
                order.append(actor.name)

        return work

    interleaver.spawn(Doing(interleaver, "slow", steps(slow, 2)))
    interleaver.spawn(Doing(interleaver, "quick", steps(quick, 4)))
    trio.run(interleaver.run)
    # Both start at 1000 ns: slow steps at 1000 and 1100; quick at 1000, 1030, 1060 and 1090.
    assert order == ["slow", "quick", "quick", "quick", "quick", "slow"]


def test_free_running_runs_the_same_actors_to_the_end() -> None:
    runner = FreeRunner()
    log: list[str] = []
    workers(runner, log)
    assert trio.run(runner.run) is Outcome.FINISHED
    assert len(log) == 24
    for entry, leave in zip(log[::2], log[1::2], strict=True):
        assert entry.removesuffix("in") == leave.removesuffix("out")


def test_free_running_surfaces_an_actors_exception_and_ends_the_others() -> None:
    runner = FreeRunner()
    unwound: list[str] = []
    endless(runner, unwound)

    async def fails(_: Doing) -> None:
        await STEP
        raise LookupError("lost")

    runner.spawn(Doing(runner, "fails", fails))
    with pytest.raises(ExceptionGroup) as caught:
        trio.run(runner.run)
    assert caught.group_contains(LookupError)
    assert sorted(unwound) == ["w0", "w1", "w2"]
