"""Exploring strategies: the orders each of them prefers, and that a seed, a tape or deviations bring a run back."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import groupby, pairwise, permutations
from typing import TYPE_CHECKING, Any, ClassVar, overload

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from slubloom.actors import Actor, BareInterleaver, Interleaver, Op, OpKind, Outcome
from slubloom.actors.strategies import (
    BY_NAME,
    Kin,
    Pct,
    RandomWalk,
    Replay,
    Steady,
    Strategy,
    TolerantReplay,
    Urw,
    make_strategy,
)
from slubloom.actors.strategies.kin import kind_of
from slubloom.actors.strategies.steady import BEGINNING, Answer, Switch, Transcript
from slubloom.actors.strategies.weights import Weights

from .helpers import STEP, act, run
from .programs import (
    PROGRAMS,
    Order,
    accessing,
    contest,
    logs,
    post_office,
    profile_of,
    ready,
    run_bare,
    sleepers,
    walkers,
)

if TYPE_CHECKING:
    from .programs import Program

NEEDY = [name for name, strategy in BY_NAME.items() if strategy.needs_profile]


class Once(Pct):
    """PCT without changes of priority."""

    depth: ClassVar[int] = 1


class Twice(Pct):
    """PCT with one change of priority."""

    depth: ClassVar[int] = 2


def switches(log: Sequence[str]) -> int:
    return sum(first != second for first, second in pairwise(log))


def evenly(counts: Counter[Any], ways: int, total: int) -> None:
    """All of `ways` outcomes occur, each within a quarter of its share or five standard deviations."""
    share = total / ways
    tolerance = max(share / 4, 5 * share**0.5)
    assert len(counts) == ways
    assert all(abs(count - share) < tolerance for count in counts.values()), counts


# --- PCT


def test_pct_lets_an_actor_run_on_until_one_of_its_few_changes() -> None:
    program = walkers({"a": 30, "b": 30, "c": 30, "d": 30})
    # Three switches because an actor ends, and for each of two changes of priority one away and one back.
    assert max(switches(log) for log in logs("pct", program, range(100))) <= 3 + 2 * 2
    assert min(switches(log) for log in logs("random", program, range(100))) > 50


def test_pct10_changes_more_often_than_pct() -> None:
    program = walkers({"a": 60, "b": 60})
    few, many = (sum(map(switches, logs(name, program, range(100)))) for name in ("pct", "pct10"))
    assert few < many <= 100 * (1 + 2 * 9)


def test_pct_of_depth_1_never_interrupts_and_has_every_order_of_the_actors() -> None:
    program = walkers({"a": 5, "b": 5, "c": 5})
    profile = profile_of(program)
    orders = Counter(
        "".join(name for name, _ in groupby(run_bare(Once(seed, profile), program)[2])) for seed in range(600)
    )
    assert set(orders) == {"".join(order) for order in permutations("abc")}
    evenly(orders, 6, 600)


def test_pct_goes_on_with_the_next_when_the_highest_must_wait() -> None:
    for seed in range(30):
        profile = profile_of(contest("ab", 3))
        _, outcome, log = run_bare(Once(seed, profile), contest("ab", 3))
        assert outcome is Outcome.FINISHED
        # Whoever has the higher priority wins the gate each time, though the other may have come first.
        assert switches(log) == 1


def test_pct_finds_a_bug_of_depth_2_at_the_guaranteed_rate() -> None:
    def program(interleaver: Interleaver) -> list[str]:
        log: list[str] = []
        value = {"pointer": 1}

        async def user(_: Any) -> None:
            for _ in range(8):
                await STEP
            checked = value["pointer"]
            await STEP
            if checked and not value["pointer"]:
                log.append("bug")
            for _ in range(8):
                await STEP

        async def clearer(_: Any) -> None:
            for _ in range(8):
                await STEP
            value["pointer"] = 0

        ready(interleaver, "user", user)
        ready(interleaver, "clearer", clearer)
        return log

    profile = profile_of(program)
    runs = 3000
    found = sum("bug" in run_bare(Twice(seed, profile), program)[2] for seed in range(runs))
    expected = runs / (2 * profile.decisions)
    assert found > expected - 3 * expected**0.5


def test_pct_gives_an_actor_born_later_any_rank() -> None:
    def program(interleaver: Interleaver) -> list[str]:
        log: list[str] = []

        async def work(actor: Any) -> None:
            for _ in range(3):
                await STEP
                log.append(actor.name)

        async def parent(actor: Any) -> None:
            await STEP
            ready(interleaver, "child", work)
            await work(actor)

        ready(interleaver, "parent", parent)
        ready(interleaver, "other", work)
        return log

    profile = profile_of(program)
    orders = Counter(
        tuple(name for name, _ in groupby(run_bare(Once(seed, profile), program)[2])) for seed in range(900)
    )
    first = Counter[str]()
    for order, count in orders.items():
        after = [name for name in order if name != "other"]
        first[after[0]] += count
    evenly(first, 2, 900)  # the child overtakes its parent in half of the runs
    assert {order[-1] for order in orders} == {"parent", "child", "other"}


def spinning(interleaver: Interleaver) -> list[str]:
    """An actor that spins until another, which is slow, sets a flag."""
    log: list[str] = []

    async def spin(_: Any) -> None:
        while not log:
            await STEP

    async def set_flag(_: Any) -> None:
        for _ in range(10):
            await STEP
        log.append("set")

    act(interleaver, "spinner", spin)
    act(interleaver, "setter", set_flag)
    return log


@pytest.mark.parametrize("name", ["pct", "pct10"])
def test_a_spinning_actor_does_not_starve_others_for_ever_under_pct(name: str) -> None:
    profile = profile_of(spinning)
    steps = []
    for seed in range(40):
        interleaver, outcome, _ = run_bare(make_strategy(name, seed, profile), spinning, steps_max=10_000)
        assert outcome is Outcome.FINISHED
        steps.append(interleaver.steps)
    if name == "pct":
        assert max(steps) > 1000  # it did spin, at the highest priority


# --- POS


def positions_of_b(program: Program) -> list[float]:
    """How often b comes first, second, … in percent."""
    places = Counter([entry[0] for entry in log].index("b") for log in logs("pos", program, range(4000)))
    return [places[place] / 40 for place in range(4)]


def near(percents: list[float], expected: list[float]) -> bool:
    return all(abs(percent - other) < 3 for percent, other in zip(percents, expected, strict=True))


KEPT = [50, 100 / 6, 100 / 12, 25]
"""One priority against three others drawn one after the other: it comes last where it is the lowest of the four."""


def test_pos_keeps_the_priority_of_an_operation_that_nothing_conflicts_with() -> None:
    assert near(positions_of_b(accessing(a="XXX", b="Y")), KEPT)


def test_pos_redraws_operations_that_conflict_with_the_one_performed() -> None:
    # A new race of two each time.
    assert near(positions_of_b(accessing(a="XXX", b="X")), [50, 25, 12.5, 12.5])
    assert near(positions_of_b(accessing(a="XXX", b="x")), [50, 25, 12.5, 12.5])


def test_pos_does_not_redraw_reads_for_reads_nor_additions_for_additions() -> None:
    assert near(positions_of_b(accessing(a="xxx", b="x")), KEPT)
    assert near(positions_of_b(accessing(a="_X_X_X", b="_X")), KEPT)


def test_pos_finds_an_atomicity_violation_where_the_intruder_is_long() -> None:
    program = accessing(checker="x" + "." * 15 + "x", intruder="." * 40 + "X", other="." * 100)
    bugs = {}
    for name in ("pos", "random"):
        runs = logs(name, program, range(200))
        accesses = [[entry for entry in log if entry[-1] in "xX"] for log in runs]
        bugs[name] = sum(log == ["checkerx", "intruderX", "checkerx"] for log in accesses)
    # About 17 of 58 priorities against 40 to 17 steps in a race of equals.
    assert bugs["pos"] > 30
    assert bugs["random"] < 10


# --- URW


@pytest.mark.parametrize(
    ("lengths", "ways"), [({"a": 3, "b": 3}, 20), ({"a": 1, "b": 6}, 7), ({"a": 1, "b": 2, "c": 3}, 60)]
)
def test_urw_makes_every_interleaving_equally_likely(lengths: dict[str, int], ways: int) -> None:
    runs = ways * 120
    evenly(Counter(logs("urw", walkers(lengths), range(runs))), ways, runs)


def test_a_random_walk_makes_a_short_actor_come_early() -> None:
    counts = Counter(log.index("a") for log in logs("random", walkers({"a": 1, "b": 6}), range(1000)))
    assert counts[0] > 430  # half of the runs, where URW gives it a seventh
    assert counts[6] < 40  # 1 of 64


def test_urw_with_wrong_counts_still_gets_to_every_interleaving() -> None:
    profile = profile_of(walkers({"a": 9, "b": 1}))
    program = walkers({"a": 3, "b": 3})
    seen = {tuple(run_bare(Urw(seed, profile), program)[2]) for seed in range(3000)}
    assert len(seen) == 20


# --- SURW


def accesses_only(log: Sequence[str]) -> str:
    return "".join(entry[0] for entry in log if entry[1:] != ".")


def test_surw_is_uniform_over_the_orders_of_the_shared_accesses_whatever_lies_between() -> None:
    program = accessing(a="." * 12 + "X" + "." * 12 + "X", b="X.X")
    evenly(Counter(map(accesses_only, logs("surw", program, range(1200)))), 6, 1200)
    walked = Counter(map(accesses_only, logs("random", program, range(300))))
    assert walked["bbaa"] > 280  # without it the short actor is always first


def test_surw_weighs_actors_by_the_accesses_they_have_left() -> None:
    evenly(Counter(map(accesses_only, logs("surw", accessing(a="X", b="XXXX"), range(1000)))), 5, 1000)


def test_surw_counts_the_accesses_of_an_actor_that_is_born_in_the_middle_as_its_own() -> None:
    def program(interleaver: Interleaver) -> list[str]:
        log: list[str] = []
        write = Op(OpKind.WRITE, interleaver.resource("shared"))

        async def work(actor: Any) -> None:
            for _ in range(2):
                await write
                log.append(actor.name)

        async def parent(actor: Any) -> None:
            await STEP
            ready(interleaver, "child", work)
            await work(actor)

        ready(interleaver, "parent", parent)
        return log

    evenly(Counter(logs("surw", program, range(1200))), 6, 1200)


def test_surw_gets_to_every_interleaving() -> None:
    assert len(set(logs("surw", accessing(a=".X.", b="X."), range(1000)))) == 10


def test_surw_draws_the_resource_in_proportion_to_its_accesses_and_only_among_shared_ones() -> None:
    program = accessing(a="XY" + "Z" * 50 + "r" * 20, b="XYYYrrr")
    drawn: Counter[str] = Counter()
    profile = profile_of(program)
    for seed in range(900):
        strategy = make_strategy("surw", seed, profile)
        drawn[profile.names[strategy._interesting]] += 1  # type: ignore[attr-defined]
    # Nobody but a writes Z, nobody at all R; X is accessed twice and Y four times.
    assert set(drawn) == {"X", "Y"}
    assert abs(drawn["X"] - 300) < 75


# --- rendezvous among kin


def test_kin_lets_one_checker_come_first_among_sixty_writers_in_half_of_the_runs() -> None:
    programs = {"checker": ".X"} | {f"writer/{number}": ".X" for number in range(60)}
    firsts = {}
    for name in ("kin", "surw"):
        orders = [[entry for entry in log if entry[-1] == "X"] for log in logs(name, accessing(**programs), range(150))]
        firsts[name] = sum(order[0] == "checkerX" for order in orders)
    assert 55 < firsts["kin"] < 95
    assert firsts["surw"] < 12


def test_kin_lets_every_one_of_a_kind_come_first() -> None:
    program = accessing(**{f"writer/{number}": "X" for number in range(4)})
    evenly(Counter(log[0] for log in logs("kin", program, range(800))), 4, 800)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("kworker/1:0", "kworker"),
        ("cpuhp/3", "cpuhp"),
        ("writer", "writer"),
        ("writer#12", "writer"),
        ("task-7.2", "task"),
        ("a1b2", "a1b"),
        ("rcu_gp_", "rcu_gp"),
        ("42", "42"),
        ("", ""),
    ],
)
def test_the_kind_of_an_actor_is_its_name_without_numbers_at_the_end(name: str, kind: str) -> None:
    assert kind_of(name) == kind


def test_kin_needs_no_shared_resource() -> None:
    program = walkers({"a": 3, "b": 3})
    assert len({tuple(run_bare(Kin(seed, profile_of(program)), program)[2]) for seed in range(300)}) == 20


# --- weights


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 70), st.integers(0, 9)), max_size=60))
def test_weights_are_what_was_set_and_a_mark_falls_into_the_share_of_its_index(changes: list[tuple[int, int]]) -> None:
    weights, plain = Weights(), [0] * 100
    for index, weight in changes:
        weights[index] = weight
        plain[index] = weight
        assert weights.total == sum(plain)
    assert [weights[index] for index in range(100)] == plain
    shares = [index for index, weight in enumerate(plain) for _ in range(weight)]
    assert [weights.find(mark) for mark in range(weights.total)] == shares


# --- the cost of a pick


class Watched(Sequence[Actor]):
    """The enabled actors; counts how many a strategy looks at."""

    def __init__(self, actors: Sequence[Actor], looks: list[int]) -> None:
        self.actors = actors
        self.looks = looks

    def __len__(self) -> int:
        return len(self.actors)

    @overload
    def __getitem__(self, index: int) -> Actor: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Actor]: ...
    def __getitem__(self, index: int | slice) -> Actor | Sequence[Actor]:
        self.looks[0] += 1 if isinstance(index, int) else len(self.actors[index])
        return self.actors[index]

    def __iter__(self) -> Iterator[Actor]:
        self.looks[0] += len(self.actors)
        return iter(self.actors)


@pytest.mark.parametrize("name", list(BY_NAME))
def test_a_pick_looks_at_no_more_than_one_of_the_enabled_actors(name: str) -> None:
    program = accessing(**{f"actor/{number}": "XyX" for number in range(100)})
    strategy = make_strategy(name, 1, profile_of(program))
    looks, picks, pick = [0], [0], strategy.pick

    def counted(enabled: Sequence[Actor]) -> int:
        picks[0] += 1
        return pick(Watched(enabled, looks))

    strategy.pick = counted  # type: ignore[method-assign]
    strategy.draw = None
    run_bare(strategy, program)
    assert picks[0] > 200
    assert looks[0] <= picks[0]


# --- the same run again


def recorded(strategy: Strategy, program: Program, host: type[Interleaver]) -> tuple[Any, ...]:
    interleaver, order = host(strategy), Order()
    interleaver.observe(order)
    log = program(interleaver)
    outcome = interleaver.run_bare() if isinstance(interleaver, BareInterleaver) else run(interleaver)
    assert outcome is Outcome.FINISHED
    return tuple(interleaver.tape), order.steps, log, interleaver.steps, interleaver.now_ns, strategy.costed


@pytest.mark.parametrize("program", list(PROGRAMS))
@pytest.mark.parametrize("name", list(BY_NAME))
def test_a_seed_is_a_run_with_trio_and_without_and_its_tape_brings_it_back(name: str, program: str) -> None:
    profile = profile_of(PROGRAMS[program])
    runs = []
    for seed in range(3):
        first = recorded(make_strategy(name, seed, profile), PROGRAMS[program], BareInterleaver)
        for host in (BareInterleaver, Interleaver):
            assert recorded(make_strategy(name, seed, profile), PROGRAMS[program], host) == first
            assert recorded(Replay(first[0], costed=first[-1]), PROGRAMS[program], host) == first
        runs.append(first)
    if name != "timed":
        assert len({run[0] for run in runs}) > 1


@pytest.mark.parametrize("name", list(BY_NAME))
def test_a_tolerant_replay_of_the_same_program_is_never_lost(name: str) -> None:
    first = recorded(make_strategy(name, 3, profile_of(contest())), contest(), BareInterleaver)
    replay = TolerantReplay(first[0], costed=first[-1])
    assert recorded(replay, contest(), BareInterleaver) == first
    assert replay.lost_at is None
    assert replay.position == replay.length == len(first[0])


def test_a_tolerant_replay_follows_another_program_as_far_as_it_fits_and_says_how_far_that_was() -> None:
    tape = recorded(RandomWalk(5), contest("abcd", 1), BareInterleaver)[0]
    cut = len(tape) // 2
    replay = TolerantReplay(tape[:cut], costed=False)
    interleaver, outcome, _ = run_bare(replay, contest("abcd", 1))
    assert outcome is Outcome.FINISHED
    assert replay.lost_at == cut
    assert tuple(interleaver.tape[:cut]) == tape[:cut]
    assert set(interleaver.tape[cut:]) == {0}


def test_a_tolerant_replay_is_lost_where_an_answer_is_too_large() -> None:
    replay = TolerantReplay([1, 0, 9, 1, 1], costed=False)
    assert [replay.choose("any", 2) for _ in range(5)] == [1, 0, 0, 0, 0]
    assert replay.lost_at == 2


@pytest.mark.parametrize("name", NEEDY)
def test_strategies_that_work_from_counts_say_so_when_there_are_none(name: str) -> None:
    with pytest.raises(ValueError, match=f"strategy {name} needs the profile of a pilot run"):
        make_strategy(name, 0)


# --- steady


def test_the_steady_schedule_lets_everyone_run_until_they_must_wait() -> None:
    _, _, log = run_bare(Steady(), walkers({"a": 3, "b": 3, "c": 3}, born=act))
    assert "".join(log) == "aaabbbccc"


def test_the_steady_schedule_goes_on_with_who_was_woken_last_and_then_with_who_has_not_begun() -> None:
    order = Order()
    run_bare(Steady(), post_office("ab", 1), observers=[order])
    # The receiver begins and waits; a wakes it, but runs on to its end first; b has not begun.
    assert order.steps == [
        "receiver: start start",
        "a: start start",
        "a: send mailbox of receiver",
        "receiver: receive mailbox of receiver",
        "b: start start",
        "b: send mailbox of receiver",
        "receiver: receive mailbox of receiver",
    ]


def test_a_deviation_at_a_point_is_followed_and_one_that_is_impossible_is_passed_over() -> None:
    # Serial numbers: the timers are 0, a and b are 1 and 2.  Beginning is the first step of each.
    program = walkers({"a": 3, "b": 3}, born=act)
    for deviations, order, preemptions in (
        ([Switch(1, 2, 2)], "abbbaa", 1),
        ([Switch(BEGINNING, 0, 2)], "bbbaaa", 0),
        ([Switch(1, 2, 2), Switch(2, 3, 1)], "abbaab", 2),
        ([Switch(1, 9, 2)], "aaabbb", 0),  # a makes no ninth step
        ([Switch(1, 2, 7)], "aaabbb", 0),  # nobody has that number
        ([Switch(1, 2, 0)], "aaabbb", 0),  # the timers have nothing to do
        ([Switch(2, 2, 1)], "aaabbb", 0),  # a is over by then
        ([Switch(1, 2, 1)], "aaabbb", 0),  # it goes on anyway
    ):
        strategy = Steady(deviations)
        _, _, log = run_bare(strategy, program)
        assert "".join(log) == order
        assert strategy.preemptions == preemptions
        assert strategy.given == len(deviations)
        assert strategy.followed == (deviations if order != "aaabbb" else [])


def test_a_deviating_answer_is_given_where_it_is_possible() -> None:
    # All three fall asleep; then the last step was the start of c, number 3.
    for answer, first in ((Answer(3, 1, 0, 2), "c"), (Answer(3, 1, 0, 3), None), (Answer(2, 1, 0, 1), None)):
        asked: list[int] = []

        class Listening(Steady):
            def choose(self, kind: str, n: int, asked: list[int] = asked) -> int:
                asked.append(super().choose(kind, n))
                return asked[-1]

        strategy = Listening([answer])
        run_bare(strategy, sleepers("abc", 1))
        assert asked == ([2, 0] if first else [0, 0])
        assert strategy.followed == ([answer] if first else [])


@pytest.mark.parametrize("name", ["random", "pos", "timed"])
@pytest.mark.parametrize("program", list(PROGRAMS))
def test_the_deviations_of_a_run_make_the_same_run(program: str, name: str) -> None:
    for seed in range(20 if name != "timed" else 1):
        first = recorded(make_strategy(name, seed), PROGRAMS[program], BareInterleaver)
        transcript = Transcript(Replay(first[0], costed=first[-1]))
        assert recorded(transcript, PROGRAMS[program], BareInterleaver) == first
        steady = Steady(transcript.followed)
        steady.costed = transcript.costed
        assert recorded(steady, PROGRAMS[program], BareInterleaver) == first
        assert steady.followed == transcript.followed
        assert steady.preemptions == transcript.preemptions


def test_the_steady_run_itself_has_no_deviations() -> None:
    for program in PROGRAMS.values():
        transcript = Transcript(Replay(recorded(Steady(), program, BareInterleaver)[0], costed=False))
        recorded(transcript, program, BareInterleaver)
        assert transcript.followed == []
        assert transcript.preemptions == 0


def test_pos_gets_to_every_order_where_actors_move_on_to_other_resources() -> None:
    program = accessing(a="XY", b="XXX")
    assert len(set(logs("pos", program, range(2000)))) == 10


def test_an_operation_on_a_resource_that_nobody_made_is_shared_with_nobody() -> None:
    program = walkers({"a": 3, "b": 3}, Op(OpKind.WRITE, "nobody's"))
    assert profile_of(program).shared() == {}
    assert len(set(logs("surw", program, range(400)))) == 20


def test_urw_makes_every_interleaving_equally_likely_where_an_actor_is_born_in_the_middle() -> None:
    def program(interleaver: Interleaver) -> list[str]:
        log: list[str] = []

        async def work(actor: Any) -> None:
            for _ in range(3):
                await STEP
                log.append(actor.name)

        async def parent(actor: Any) -> None:
            await STEP
            ready(interleaver, "child", work)
            await work(actor)

        ready(interleaver, "parent", parent)
        return log

    evenly(Counter(logs("urw", program, range(2400))), 20, 2400)
