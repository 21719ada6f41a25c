"""Campaigns: many schedules of one subject, in this process and in several.

The subjects are small enough to work out by hand.  Two tellers who each read a balance and then write it have four
behaviours: one wholly before the other (two), and two in which both have read before either has written, where the
second write loses the first.
"""

from __future__ import annotations

import os
from collections import Counter
from typing import TYPE_CHECKING

import pytest
from slubloom.actors import Actor, BareInterleaver, Op, OpKind, Outcome
from slubloom.actors.strategies import Replay
from slubloom.kernel import Violation
from slubloom.topology import gallery_path, load

from slubloom.explore import Executed, ScenarioSubject, Schedule, execute, signature
from slubloom.explore.campaign import Campaign, CampaignOptions, Tally
from slubloom.explore.exhaustive import ExhaustiveCampaign
from slubloom.explore.portfolio import EXPLORED_SHARE, SHARES, Portfolio
from slubloom.explore.workers import WorkersCampaign, WorkersDiedError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from slubloom.actors import Interleaver


class Doing(Actor):
    """An actor that runs a function."""

    def __init__(self, interleaver: Interleaver, name: str, function: Callable[[], Awaitable[None]]) -> None:
        super().__init__(interleaver, name)
        self.function = function

    async def body(self) -> None:
        await self.function()


class Bank:
    """Tellers who read a balance and write it back: a subject."""

    def __init__(self, tellers: int = 2) -> None:
        self.tellers = tellers
        self.runs = 0

    def begin(self, interleaver: Interleaver) -> Sequence[Violation]:
        self.runs += 1
        violations: list[Violation] = []
        balance = interleaver.resource("balance")
        read, write = Op(OpKind.READ, balance), Op(OpKind.WRITE, balance)
        writers: list[int] = []

        def teller(number: int) -> Callable[[], Awaitable[None]]:
            async def work() -> None:
                await read
                seen = len(writers)
                await write
                lost = len(writers) != seen
                writers.append(number)
                violations.extend(self.judge(writers, lost, interleaver.steps))

            return work

        for number in range(self.tellers):
            interleaver.spawn(Doing(interleaver, f"teller{number}", teller(number)))
        return violations

    def judge(self, writers: list[int], lost: bool, step: int) -> Sequence[Violation]:
        """What is wrong once `writers` have written, in this order."""
        title = f"the update at {0xFFFF0000 + step:#x} is lost"
        return [Violation("data-race", title, "", step, step, ("deposit",))] if lost else []


class Rare(Bank):
    """Five tellers who only mind one of the 120 orders in which they can write."""

    def __init__(self) -> None:
        super().__init__(tellers=5)

    def judge(self, writers: list[int], lost: bool, step: int) -> Sequence[Violation]:
        return [Violation("invariant", "the rare order", "", step, step)] if writers == [2, 0, 4, 1, 3] else []


class Deadly(Bank):
    """Kills the worker process in which three tellers write in one of six orders.  Harmless at home."""

    def __init__(self) -> None:
        super().__init__(tellers=3)
        self.home = os.getpid()
        self.deadly: list[int] = []

    def judge(self, writers: list[int], lost: bool, step: int) -> Sequence[Violation]:
        if writers == [2, 1, 0]:
            if os.getpid() != self.home:
                os._exit(7)
            self.deadly.append(self.runs - 1)
        return super().judge(writers, lost, step)


class Failing(Bank):
    """Three tellers, of whom the last makes a mistake of ours where it writes first."""

    def __init__(self) -> None:
        super().__init__(tellers=3)

    def judge(self, writers: list[int], lost: bool, step: int) -> Sequence[Violation]:
        if writers == [2]:
            raise RuntimeError("the patch is wrong")
        return super().judge(writers, lost, step)


class Spinning:
    """Two actors that never end."""

    def begin(self, interleaver: Interleaver) -> Sequence[Violation]:
        flag = Op(OpKind.READ, interleaver.resource("flag"))

        async def spin() -> None:
            while True:
                await flag

        for name in ("a", "b"):
            interleaver.spawn(Doing(interleaver, name, spin))
        return []


def told(tally: Tally) -> tuple[object, ...]:
    """All that a campaign found, in order of schedules, but not how long it took."""
    findings = [
        (key, found.schedule, found.violation.report, found.violation.step, found.times)
        for key, found in tally.findings.items()
    ]
    return tally.schedules, tally.steps, list(tally.seen.items()), findings, tally.why


def executed(digest: int, *violations: Violation, number: int = 0, strategy: str = "random") -> Executed:
    return Executed(Schedule(number, strategy, number), Outcome.FINISHED, violations, 10, 5, digest)


def uaf(title: str, *site: str) -> Violation:
    return Violation("use-after-free", title, "", 1, 1, site)


# --- the same with any number of workers


@pytest.mark.parametrize("find_all", [False, True])
@pytest.mark.parametrize("seed", [0, 3])
def test_two_workers_find_in_a_topology_file_what_one_process_finds(find_all: bool, seed: int) -> None:
    subject = ScenarioSubject(load(gallery_path("node-offline-uaf")))
    options = CampaignOptions(schedules=60, seed=seed, find_all=find_all, jobs=2)
    alone, together = Campaign(subject, options).run(), WorkersCampaign(subject, options).run()
    assert told(alone) == told(together)
    assert alone.findings


def test_two_workers_stop_at_the_schedule_at_which_one_process_stops() -> None:
    options = CampaignOptions(schedules=3000, jobs=2)
    alone, together = Campaign(Rare(), options).run(), WorkersCampaign(Rare(), options).run()
    assert told(alone) == told(together)
    (found,) = alone.findings.values()
    assert found.schedule.number + 1 == alone.schedules > 8
    assert alone.why == "a violation was found"


def test_the_portfolio_takes_the_same_course_with_three_workers() -> None:
    courses = []
    for campaign in (Campaign, WorkersCampaign):
        seen: list[str] = []
        options = CampaignOptions(schedules=150, find_all=True, jobs=3)
        run = campaign(Bank(3), options)
        run._portfolio.learn = lambda result, *, new, seen=seen: seen.append(  # type: ignore[method-assign,misc]
            f"{result.schedule.number} {result.schedule.strategy} {result.schedule.seed} {new}"
        )
        run.run()
        courses.append(seen)
    assert courses[0] == courses[1]
    assert [line.split()[0] for line in courses[0]] == [str(number) for number in range(150)]


def test_a_schedule_does_not_depend_on_those_before_it() -> None:
    bank = Bank(3)
    forwards = [execute(bank, Schedule(number, "pos", number), None) for number in range(6)]
    backwards = [execute(bank, Schedule(number, "pos", number), None) for number in reversed(range(6))]
    assert forwards == backwards[::-1]


def test_campaigns_with_other_seeds_run_other_schedules() -> None:
    orders = []
    for seed in (1, 2):
        subject = ScenarioSubject(load(gallery_path("missed-node"), release="v6.1"))
        orders.append(list(Campaign(subject, CampaignOptions(schedules=10, seed=seed)).run().seen))
    assert orders[0] != orders[1]


# --- the tally


def test_the_chance_of_something_new_is_the_share_of_schedules_that_showed_what_was_seen_once() -> None:
    tally = Tally()
    assert tally.chance_of_new == 1.0
    for digest in (11, 22, 22, 33):
        tally.take_in(executed(digest))
    assert tally.behaviours == 3
    assert tally.chance_of_new == 2 / 4  # 11 and 33
    for digest in (11, 33, 33, 22):
        tally.take_in(executed(digest))
    assert tally.chance_of_new == 0


def test_violations_that_differ_in_addresses_and_numbers_only_are_one() -> None:
    tally = Tally()
    tally.take_in(executed(1, uaf("use-after-free at 0xffff888000002028 by task cat/3", "show_slab_objects")))
    tally.take_in(
        executed(2, uaf("use-after-free at 0xffff888000002040 by task cat/17", "show_slab_objects"), number=1)
    )
    tally.take_in(executed(3, uaf("use-after-free at ffff888000002040 by task cat/17", "show_slab_objects"), number=2))
    (found,) = tally.findings.values()
    assert found.times == 3
    assert found.schedule.number == 0
    assert "2028" in found.violation.title


def test_violations_of_another_kind_or_at_another_place_are_others() -> None:
    keys = {
        signature(uaf("use after free", "count_partial")),
        signature(uaf("use after free", "show_slab_objects")),
        signature(uaf("double free", "count_partial")),
        signature(Violation("double-free", "use after free", "", 1, 1, ("count_partial",))),
    }
    assert len(keys) == 4


def test_one_bug_of_a_subject_is_found_many_times_and_reported_once() -> None:
    tally = Campaign(Bank(), CampaignOptions(schedules=40, find_all=True)).run()
    (found,) = tally.findings.values()
    assert found.times > 1
    assert tally.behaviours == 4


# --- where a campaign ends


@pytest.mark.parametrize("schedules", [1, 2, 8, 9, 10, 77])
@pytest.mark.parametrize("strategy", ["portfolio", "random"])
def test_so_many_schedules_as_asked_for_are_run_and_no_more(schedules: int, strategy: str) -> None:
    bank = Bank()
    tally = Campaign(bank, CampaignOptions(strategy, schedules=schedules, find_all=True)).run()
    assert tally.schedules == bank.runs == schedules
    assert tally.why == f"all {schedules} schedules were run"


@pytest.mark.parametrize("schedules", [1, 2, 9, 77])
def test_workers_run_so_many_schedules_as_asked_for(schedules: int) -> None:
    tally = WorkersCampaign(Bank(), CampaignOptions(schedules=schedules, find_all=True, jobs=2)).run()
    assert tally.schedules == schedules
    assert sum(tally.seen.values()) == schedules


@pytest.mark.parametrize("campaign", [Campaign, WorkersCampaign])
def test_a_budget_that_is_used_up_ends_the_campaign(campaign: type[Campaign]) -> None:
    tally = campaign(Bank(), CampaignOptions(budget_s=1e-6, find_all=True, jobs=2)).run()
    assert tally.schedules >= 1
    assert "budget" in tally.why
    assert not tally.interrupted


@pytest.mark.parametrize("campaign", [Campaign, WorkersCampaign, ExhaustiveCampaign])
def test_stop_ends_after_the_running_schedule_with_what_was_found(campaign: type[Campaign]) -> None:
    def on_progress(tally: Tally) -> None:
        if tally.schedules == 11:
            running.stop()

    running = campaign(Bank(3), CampaignOptions(schedules=10_000, find_all=True, jobs=2), on_progress=on_progress)
    tally = running.run()
    assert tally.schedules == 11
    assert tally.interrupted
    assert tally.why == "interrupted"
    assert tally.findings


@pytest.mark.parametrize("campaign", [Campaign, WorkersCampaign])
def test_schedules_that_come_to_the_step_limit_are_counted(campaign: type[Campaign]) -> None:
    tally = campaign(Spinning(), CampaignOptions(schedules=12, steps_max=50, jobs=2)).run()
    assert tally.cut_off == tally.schedules == 12
    assert tally.steps == 12 * 50
    assert not tally.findings


@pytest.mark.parametrize("campaign", [Campaign, WorkersCampaign])
def test_an_actor_that_raises_is_a_failure_and_no_exception(campaign: type[Campaign]) -> None:
    tally = campaign(Failing(), CampaignOptions(schedules=200, find_all=True, jobs=2)).run()
    (failed,) = tally.failures
    assert failed.failure.startswith("RuntimeError: the patch is wrong (test_campaign.py:")
    assert failed.schedule.number + 1 == tally.schedules < 200
    assert "failed" in tally.why


# --- workers that die


def test_a_worker_that_dies_costs_its_schedule_and_nothing_else() -> None:
    options = CampaignOptions("random", schedules=80, find_all=True, jobs=2)
    at_home, away = Deadly(), Deadly()
    Campaign(at_home, options).run()
    deadly = at_home.deadly
    assert 1 < len(deadly) < 40
    assert 0 not in deadly  # every worker begins with the pilot run
    tally = WorkersCampaign(away, options).run()
    assert sorted(schedule.number for schedule in tally.lost) == deadly
    assert all(schedule.strategy == "random" for schedule in tally.lost)
    assert tally.schedules == 80 - len(deadly)
    assert sum(tally.seen.values()) == tally.schedules
    assert tally.why == "all 80 schedules were run"


def test_workers_that_always_die_end_the_campaign() -> None:
    home = os.getpid()

    class Hopeless(Bank):
        def begin(self, interleaver: Interleaver) -> Sequence[Violation]:
            if os.getpid() != home:
                os._exit(7)
            return super().begin(interleaver)

    with pytest.raises(WorkersDiedError, match="the last with exit code 7"):
        WorkersCampaign(Hopeless(), CampaignOptions(schedules=1000, find_all=True, jobs=2)).run()


def test_no_worker_is_left_when_a_campaign_ends() -> None:
    campaign = WorkersCampaign(Bank(), CampaignOptions(schedules=500, jobs=3, find_all=True))
    campaign.run()
    assert len(campaign._workers) == 3
    assert not any(worker.process.is_alive() for worker in campaign._workers)


# --- the portfolio


def use(portfolio: Portfolio, schedules: int, fruitful: str) -> Counter[str]:
    """Schedules of a campaign in which only one strategy shows anything new; what each strategy got."""
    got: Counter[str] = Counter()
    for number in range(schedules):
        strategy = portfolio.next_strategy()
        got[strategy] += 1
        portfolio.learn(executed(number, strategy=strategy), new=strategy == fruitful)
    return got


def test_schedules_are_dealt_by_the_shares() -> None:
    got = use(Portfolio({"pct": 0.5, "pos": 0.3, "random": 0.2}), 100, "")
    assert got == {"pct": 50, "pos": 30, "random": 20}


def test_the_budget_shifts_towards_the_strategy_that_still_shows_new_behaviours() -> None:
    portfolio = Portfolio()
    before = use(portfolio, 200, "pct10")["pct10"]
    for _ in range(5):
        portfolio.rebalance()
        got = use(portfolio, 200, "pct10")
    assert before == 200 * SHARES["pct10"]
    assert got["pct10"] > 5 * before
    assert sum(portfolio.shares.values()) == pytest.approx(1)


def test_no_strategy_falls_below_its_floor() -> None:
    portfolio = Portfolio()
    for _ in range(30):
        use(portfolio, 200, "random")
        portfolio.rebalance()
    for name, share in SHARES.items():
        assert portfolio.shares[name] >= EXPLORED_SHARE * share
    assert all(use(portfolio, 200, "random")[name] for name in SHARES)


def test_a_campaign_of_one_strategy_runs_no_other_after_the_pilot() -> None:
    campaign = Campaign(Bank(), CampaignOptions("pos", schedules=30, find_all=True))
    campaign.run()
    assert campaign._portfolio.runs == {"pos": 29}


# --- every schedule


def test_an_exhaustive_search_runs_each_of_four_behaviours_once() -> None:
    tally = ExhaustiveCampaign(Bank(), CampaignOptions(find_all=True)).run()
    assert tally.complete
    assert tally.schedules == tally.behaviours == 4
    (found,) = tally.findings.values()
    assert found.times == 2
    assert tally.chance_of_new == 1.0


def test_the_tape_of_an_exhaustive_finding_shows_it_again() -> None:
    tally = ExhaustiveCampaign(Bank(3), CampaignOptions()).run()
    ((key, tape),) = tally.tapes.items()
    interleaver = BareInterleaver(Replay(tape, costed=False))
    violations = Bank(3).begin(interleaver)
    interleaver.run_bare()
    assert key in [signature(violation) for violation in violations]
    assert not tally.complete


def test_an_exhaustive_search_that_comes_to_a_bound_says_which() -> None:
    by_schedules = ExhaustiveCampaign(Bank(3), CampaignOptions(schedules=5, find_all=True)).run()
    assert by_schedules.schedules + by_schedules.pruned == 5
    assert "--schedules" in by_schedules.why
    by_steps = ExhaustiveCampaign(Bank(), CampaignOptions(steps_max=4, find_all=True)).run()
    assert "--steps-max" in by_steps.why
    by_time = ExhaustiveCampaign(Bank(3), CampaignOptions(budget_s=1e-6, find_all=True)).run()
    assert "--budget" in by_time.why
    assert not (by_schedules.complete or by_steps.complete or by_time.complete)


def test_sampling_and_exhaustive_search_agree_on_what_there_is() -> None:
    every = ExhaustiveCampaign(Bank(3), CampaignOptions(find_all=True)).run()
    sampled = Campaign(Bank(3), CampaignOptions(schedules=1500, find_all=True)).run()
    assert sorted(sampled.seen) == sorted(every.seen)
    assert list(sampled.findings) == list(every.findings)
    assert sampled.chance_of_new < 0.01
