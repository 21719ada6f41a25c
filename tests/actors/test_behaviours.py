"""Behaviours: what a fingerprint tells apart, and that an exhaustive search completes each behaviour once."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING, Any

import pytest
from slubloom.actors import Access, BareInterleaver, Fingerprint, Gate, Mailbox, Op, OpKind, Outcome, Resource
from slubloom.actors.resource import Maker, conflict
from slubloom.actors.strategies import ExhaustiveSearch, RandomWalk, Replay, make_strategy

from .helpers import STEP, act
from .programs import PROGRAMS, Letter, accessing, contest, family, post_office, profile_of, ready, run_bare

if TYPE_CHECKING:
    from collections.abc import Callable

    from slubloom.actors import Interleaver
    from slubloom.actors.strategies import Strategy

    from .programs import Program


def behaviour(strategy: Strategy, program: Program) -> tuple[int, Outcome, tuple[str, ...]]:
    """The digest of one run, how it ended, and its log."""
    interleaver = BareInterleaver(strategy)
    fingerprint = Fingerprint(interleaver)
    interleaver.observe(fingerprint)
    log = program(interleaver)
    outcome = interleaver.run_bare()
    return fingerprint.digest(), outcome, tuple(log)


class Everything:
    """An exhaustive search to its end."""

    def __init__(self, program: Program) -> None:
        self.search = ExhaustiveSearch()
        self.digests: list[int] = []
        self.logs: list[tuple[str, ...]] = []
        more = True
        while more:
            strategy = self.search.strategy()
            digest, outcome, log = behaviour(strategy, program)
            assert (outcome is Outcome.PRUNED) is strategy.pruned
            if not strategy.pruned:
                self.digests.append(digest)
                self.logs.append(log)
            more = self.search.advance(pruned=strategy.pruned)
        assert self.search.completed == len(self.digests)

    @property
    def each_once(self) -> bool:
        return len(set(self.digests)) == len(self.digests)


CLASSES = [
    (accessing(a="AB", b="BA"), 3),
    (accessing(a="AB", b="AB"), 4),
    (accessing(a="r", b="r", c="r"), 1),
    (accessing(a="_C", b="_C", c="_C"), 1),
    (accessing(a="_C", b="c"), 2),
    (accessing(a="_C", b="_C", c="c"), 4),  # which of the two came before the reader
    (accessing(a="_C", b="C"), 2),
    (accessing(a="w", b="W"), 2),
    (accessing(a="r", b="r", c="R"), 4),
    (accessing(a="AAA", b="AAA"), 20),
    (accessing(a="AB", b="BC", c="CA"), 7),
    (accessing(a="A", b="B", c="C"), 1),
    (accessing(a="....", b="....", c="...."), 1),
    (accessing(a="A", b="A", c="A", d="A"), 24),
]


@pytest.mark.parametrize(("program", "classes"), CLASSES)
def test_an_exhaustive_search_completes_each_behaviour_exactly_once(program: Program, classes: int) -> None:
    everything = Everything(program)
    assert everything.search.completed == len(set(everything.digests)) == classes


@pytest.mark.parametrize(("program", "classes"), CLASSES)
def test_random_walks_show_the_same_behaviours_and_no_other(program: Program, classes: int) -> None:
    walked = {behaviour(RandomWalk(seed), program)[0] for seed in range(40 * classes)}
    assert walked == set(Everything(program).digests)


# --- fingerprints


def digest_of(order: str, program: Program) -> int:
    """The digest of the run in which actors step in this order; each is named by a letter."""

    class Scripted(RandomWalk):
        def __init__(self) -> None:
            self.left = list(order)

        def pick(self, enabled: Any) -> int:
            for name in self.left:
                found = next((actor.slot for actor in enabled if actor.name == name), None)
                self.left.remove(name)
                if found is not None:
                    return int(found)
            raise AssertionError

    strategy = Scripted()
    interleaver = BareInterleaver(strategy)
    fingerprint = Fingerprint(interleaver)
    interleaver.observe(fingerprint)
    log = program(interleaver)
    interleaver.run_bare()
    assert "".join(entry[0] for entry in log) == order
    return fingerprint.digest()


@pytest.mark.parametrize(
    ("one", "other"),
    [("A", "B"), ("a", "a"), ("_A", "_A"), (".", "A"), (".", ".")],
)
def test_swapping_two_independent_steps_is_the_same_behaviour(one: str, other: str) -> None:
    program = accessing(a="X" + one + "X", b=other)
    assert len({digest_of(order, program) for order in ("baaa", "abaa", "aaba", "aaab")}) == 1


@pytest.mark.parametrize(("one", "other"), [("A", "A"), ("A", "a"), ("a", "A"), ("_A", "a"), ("a", "_A"), ("A", "_A")])
def test_swapping_two_dependent_steps_is_another_behaviour(one: str, other: str) -> None:
    program = accessing(a="X" + one + "X", b=other)
    first = digest_of("baaa", program)
    assert digest_of("abaa", program) == first  # X is nothing to b
    assert digest_of("aaba", program) != first
    assert digest_of("aaba", program) == digest_of("aaab", program)


def test_what_a_step_touches_beyond_its_operation_is_part_of_the_behaviour() -> None:
    def program(access: Access) -> Program:
        def touching(interleaver: Interleaver) -> list[str]:
            log: list[str] = []
            resource = interleaver.resource("field")

            async def work(actor: Any) -> None:
                await STEP
                log.append(actor.name)
                if interleaver.touch is not None:
                    interleaver.touch(resource, access)

            ready(interleaver, "a", work)
            ready(interleaver, "b", work)
            return log

        return touching

    assert digest_of("ab", program(Access.WRITE)) != digest_of("ba", program(Access.WRITE))
    assert digest_of("ab", program(Access.READ)) == digest_of("ba", program(Access.READ))
    for access, classes in ((Access.WRITE, 2), (Access.READ, 1)):
        everything = Everything(program(access))
        assert everything.search.completed == len(set(everything.digests)) == classes


def test_operations_of_another_kind_are_another_behaviour() -> None:
    assert digest_of("a", accessing(a="A")) != digest_of("a", accessing(a="a"))
    assert digest_of("a", accessing(a="A")) != digest_of("a", accessing(a="B"))
    assert digest_of("aa", accessing(a="AB")) != digest_of("aa", accessing(a="BA"))


@pytest.mark.parametrize("name", ["pct", "pos", "urw", "surw", "kin", "random"])
def test_runs_of_one_tape_have_one_digest_whatever_strategy_made_it(name: str) -> None:
    for program in PROGRAMS.values():
        strategy = make_strategy(name, 7, profile_of(program))
        interleaver = BareInterleaver(strategy)
        fingerprint = Fingerprint(interleaver)
        interleaver.observe(fingerprint)
        program(interleaver)
        interleaver.run_bare()
        assert behaviour(Replay(interleaver.tape, costed=False), program)[0] == fingerprint.digest()


@pytest.mark.parametrize("first", list(Access))
@pytest.mark.parametrize("second", list(Access))
def test_conflicts_are_symmetric_and_need_two_accesses_one_of_which_changes_something(
    first: Access, second: Access
) -> None:
    assert conflict(first, second) == conflict(second, first)
    expected = {
        (Access.READ, Access.COMMUTE),
        (Access.READ, Access.WRITE),
        (Access.COMMUTE, Access.WRITE),
        (Access.WRITE, Access.WRITE),
    }
    assert conflict(first, second) == ((first, second) in expected or (second, first) in expected)


# --- exhaustive search


def test_a_gate_is_taken_in_every_order() -> None:
    everything = Everything(contest("abc", 1))
    assert everything.each_once
    assert sorted(set(everything.logs)) == sorted(everything.logs)
    assert len(everything.logs) == 6
    two = Everything(contest("ab", 2))
    assert two.each_once
    assert len(two.logs) == 6  # aabb, abab, …


def test_letters_arrive_in_every_order_of_posting() -> None:
    everything = Everything(post_office("ab", 2))
    assert set(everything.logs) == {
        tuple(log) for _, _, log in (behaviour(RandomWalk(seed), post_office("ab", 2)) for seed in range(300))
    }
    assert len(set(everything.logs)) == 6
    assert everything.each_once


def test_parents_and_children_are_searched_too() -> None:
    everything = Everything(family(2))
    assert everything.each_once
    # Two writes of each child and one of the parent, in every order: 5! / (2! 2! 1!)
    writes = {tuple(entry for entry in log if entry != "parent again") for log in everything.logs}
    assert len(everything.logs) == len(writes) == 30


def test_every_answer_of_a_choice_is_tried() -> None:
    def program(interleaver: Interleaver) -> list[str]:
        log: list[str] = []
        write = Op(OpKind.WRITE, interleaver.resource("shared"))

        async def choosing(actor: Any) -> None:
            await write
            log.append(f"{actor.name}{interleaver.choose('weather', 3)}{interleaver.choose('day or night', 2)}")

        act(interleaver, "a", choosing)
        act(interleaver, "b", choosing)
        return log

    everything = Everything(program)
    assert len(everything.logs) == len(set(everything.logs)) == 2 * 6 * 6


def test_a_choice_may_lead_to_other_conflicts_than_the_first_answer_did() -> None:
    def program(interleaver: Interleaver) -> list[str]:
        log: list[str] = []
        resources = [interleaver.resource(name) for name in "xy"]
        writes = [Op(OpKind.WRITE, resource) for resource in resources]

        async def choosing(_: Any) -> None:
            await STEP
            answer = interleaver.choose("which", 2)
            if interleaver.touch is not None:
                interleaver.touch(resources[answer], Access.WRITE)
            log.append(f"chose {resources[answer].name}")

        async def writing(actor: Any) -> None:
            await writes[1]
            log.append(actor.name)

        ready(interleaver, "a", choosing)
        ready(interleaver, "b", writing)
        return log

    everything = Everything(program)
    assert {("chose y", "b"), ("b", "chose y")} < set(everything.logs)
    assert any("chose x" in log for log in everything.logs)


def test_a_deadlock_is_among_the_behaviours() -> None:
    def program(interleaver: Interleaver) -> list[str]:
        log: list[str] = []
        gates = [Gate(interleaver, name) for name in "xy"]

        def crossing(first: Gate, second: Gate) -> Callable[[Any], Any]:
            async def work(actor: Any) -> None:
                await first.acquire
                await second.acquire
                log.append(actor.name)
                await second.release
                await first.release

            return work

        act(interleaver, "a", crossing(gates[0], gates[1]))
        act(interleaver, "b", crossing(gates[1], gates[0]))
        return log

    everything = Everything(program)
    assert sorted(everything.logs) == [(), ("a", "b"), ("b", "a")]
    assert everything.each_once


@pytest.mark.parametrize("program", [contest("abc", 1), contest("ab", 2), post_office("ab", 2), family(2)])
def test_random_runs_of_programs_that_wait_are_among_those_of_the_search(program: Program) -> None:
    walked = {behaviour(RandomWalk(seed), program)[0] for seed in range(400)}
    assert walked <= set(Everything(program).digests)


def test_a_run_that_leads_nowhere_new_is_cut_off_before_its_end() -> None:
    search = Everything(accessing(a="AB", b="BA", c="..")).search
    assert search.completed == 3
    assert search.pruned < 20  # of 90 orders


# --- identities


def identities(program: Program, seed: int) -> dict[str, list[int]]:
    interleaver, _, _ = run_bare(RandomWalk(seed), program)
    found: dict[str, list[int]] = {}
    for host in interleaver.hosts:
        found.setdefault(host.name, []).append(host.identity)
    return found


def test_an_actor_has_the_same_identity_in_every_schedule() -> None:
    first = identities(family(), 0)
    assert len({identity for found in first.values() for identity in found}) == len(first) == 5
    for seed in range(1, 20):
        assert identities(family(), seed) == first


def test_the_identity_of_a_resource_does_not_depend_on_what_unrelated_actors_make() -> None:
    def made(others: int, seed: int) -> tuple[list[int], int]:
        def program(interleaver: Interleaver) -> list[str]:
            async def work(actor: Any) -> None:
                for _ in range(3):
                    await STEP
                    resource = interleaver.resource("lock")
                    if actor.name == "me":
                        mine.append(resource.identity)
                    else:
                        theirs.append(resource.identity)

            for number in range(others):
                act(interleaver, f"other {number}", work)
            act(interleaver, "me", work)
            return []

        mine: list[int] = []
        theirs: list[int] = []
        run_bare(RandomWalk(seed), program)
        assert len({*mine, *theirs}) == 3 + 3 * others  # no two are alike
        return mine, len(theirs)

    alone, _ = made(0, 0)
    for others, seed in product((1, 3), range(10)):
        assert made(others, seed)[0] == alone


def test_a_makers_things_of_one_name_are_numbered_by_themselves() -> None:
    one, other = Maker(5), Maker(5)
    one.sign("page")
    assert one.sign("lock") == other.sign("lock")
    assert one.sign("lock") != one.sign("lock")
    assert Maker(6).sign("lock") != Maker(5).sign("lock")


def test_a_resource_that_nobody_made_is_nobodys() -> None:
    assert Resource("private").identity == 0
    assert Op(OpKind.WRITE, "private").resource.identity == 0
    assert Resource("shared", Maker(1)).identity != 0


# --- sleeping


@pytest.mark.parametrize("seed", range(5))
def test_when_a_sleeper_wakes_does_not_depend_on_how_many_steps_others_made(seed: int) -> None:
    def woken(steps: int) -> list[str]:
        def program(interleaver: Interleaver) -> list[str]:
            log: list[str] = []

            def sleeping(*durations: int) -> Callable[[Any], Any]:
                async def work(actor: Any) -> None:
                    for duration in durations:
                        await actor.sleep(duration)
                        log.append(f"{actor.name}{duration}")

                return work

            async def busy(_: Any) -> None:
                for _ in range(steps):
                    await STEP

            act(interleaver, "a", sleeping(100, 70))  # due at 100 and 170
            act(interleaver, "b", sleeping(150))
            act(interleaver, "c", sleeping(30, 90))  # due at 30 and 120
            act(interleaver, "busy", busy)
            return log

        return run_bare(RandomWalk(seed), program)[2]

    for steps in (0, 1, 40, 1000):
        assert woken(steps) == ["c30", "a100", "c90", "b150", "a70"]


def test_sleepers_due_together_go_on_in_every_order() -> None:
    def program(interleaver: Interleaver) -> list[str]:
        log: list[str] = []
        write = Op(OpKind.WRITE, interleaver.resource("shared"))

        async def work(actor: Any) -> None:
            await actor.sleep(100)
            await write
            log.append(actor.name)

        for name in "ab":
            act(interleaver, name, work)
        return log

    everything = Everything(program)
    assert set(everything.logs) == {("a", "b"), ("b", "a")}
    walked = {behaviour(RandomWalk(seed), program)[0] for seed in range(100)}
    assert walked <= set(everything.digests)


def test_steps_that_touch_nothing_add_no_behaviours() -> None:
    def program(*, extra: bool) -> Program:
        def mailing(interleaver: Interleaver) -> list[str]:
            log: list[str] = []

            async def receive(_: Any) -> None:
                for _ in range(2):
                    log.append((await mailbox.receive()).text)

            async def send(actor: Any) -> None:
                await mailbox.send(Letter(actor.name))
                if extra:
                    await STEP

            mailbox = Mailbox(act(interleaver, "receiver", receive))
            act(interleaver, "a", send)
            act(interleaver, "b", send)
            return log

        return mailing

    assert Everything(program(extra=False)).search.completed == Everything(program(extra=True)).search.completed


def test_an_answer_that_leads_to_other_data_is_another_behaviour() -> None:
    def program(interleaver: Interleaver) -> list[str]:
        log: list[str] = []

        async def forecast(actor: Any) -> None:
            await STEP
            log.append(str(interleaver.choose("weather", 3)))
            await STEP

        act(interleaver, "a", forecast)
        return log

    everything = Everything(program)
    assert sorted(everything.logs) == [("0",), ("1",), ("2",)]
    assert everything.each_once
