"""The questions of the review of lockless slab shrink, answered by the scenarios that were shipped for them."""

from __future__ import annotations

from functools import cache

import pytest
from slubloom.kernel.violation import Violation
from slubloom.topology import gallery_path, load

from slubloom.run import RunOptions, run_scenario

FIXED = ("put-skipped-shrinker", "serialised-shrinker-info-teardown")
SCHEDULES = [("timed", 0), *(("random", seed) for seed in range(4)), *(("pct", seed) for seed in range(4))]


@cache
def found(
    name: str,
    release: str = "v6.12",
    apply: tuple[str, ...] = FIXED,
    revert: tuple[str, ...] = (),
    overrides: tuple[str, ...] = (),
) -> tuple[tuple[Violation, ...], ...]:
    """What each of a few schedules finds."""
    results = []
    for strategy, seed in SCHEDULES:
        scenario = load(gallery_path(name), release=release, apply=apply, revert=revert, overrides=overrides)
        results.append(run_scenario(scenario, RunOptions(strategy=strategy, seed=seed)).violations)
    return tuple(results)


def risks(name: str, release: str, apply: tuple[str, ...], revert: tuple[str, ...] = ()) -> list[str]:
    """What is found, each once; it is in most schedules: in those that come to the place at all."""
    titles = [violation.title for violations in found(name, release, apply, revert) for violation in violations]
    assert len(titles) > len(SCHEDULES) // 2
    return list(dict.fromkeys(titles))


@pytest.mark.parametrize(
    "name",
    [
        "shrinker-unit-lifetime",
        "shrinker-put-and-next",
        "deferred-counts-survive",
        "hidden-readers",
        "half-built-map",
        "memcg-shrink",
    ],
)
def test_the_merged_protocol_has_an_answer_to_every_question(name: str) -> None:
    assert [violations for violations in found(name) if violations] == []


@pytest.mark.parametrize(("release", "apply"), [("v6.1", ()), ("v6.3", ("srcu-memcg-shrink-rc",)), ("v6.7", ())])
def test_so_had_the_ones_before(release: str, apply: tuple[str, ...]) -> None:
    for name in ("shrinker-unit-lifetime", "shrinker-put-and-next", "hidden-readers"):
        assert [violations for violations in found(name, release, apply) if violations] == []


# --- what keeps a unit


def test_a_unit_is_kept_by_the_reference_to_its_cgroup_once_rcu_is_left() -> None:
    result = run_scenario(load(gallery_path("shrinker-unit-lifetime")))
    uses = {reason: count for structure, reason, count in result.kept_alive if structure.endswith("_unit")}
    assert uses["a reference of struct mem_cgroup"] > 0
    assert uses["an RCU reader of struct mem_cgroup"] > 0  # set_shrinker_bit(), and the deferred counts
    assert result.as_json()["kept_alive"][0].keys() == {"structure", "kept_by", "uses"}


@pytest.mark.parametrize("release", ["v6.1", "v6.7"])
def test_without_that_reference_the_risk_shows_whether_or_not_the_cgroup_goes(release: str) -> None:
    for title in risks("shrinker-unit-lifetime", release, ("walk-cgroups-without-reference",)):
        assert "nothing keeps struct shrinker_info" in title or title.startswith("BUG: KASAN: use-after-free")


def test_the_report_says_where_the_pointer_came_from_and_which_guarantee_ended() -> None:
    report = found("shrinker-unit-lifetime", "v6.7", ("walk-cgroups-without-reference",))[0][0].report
    assert "kept alive by an RCU reader of struct mem_cgroup:\n shrink_slab_memcg\n shrink_slab\n" in report
    assert "Its last guarantee, an RCU reader of struct mem_cgroup, ended at" in report


def test_kasan_needs_a_schedule_in_which_the_cgroup_goes_and_finds_one() -> None:
    kasan = ('kernel.sanitizers=["kasan"]',)
    without = ("walk-cgroups-without-reference",)
    kinds = [
        violation.kind for each in found("shrinker-unit-lifetime", "v6.7", without, (), kasan) for violation in each
    ]
    assert len(kinds) < len(SCHEDULES)
    assert set(kinds) <= {"use-after-free"}


# --- putting and what is next


def test_a_shrinker_that_is_put_before_rcu_begins_again_has_no_next() -> None:
    titles = risks("shrinker-put-and-next", "v6.7", ("put-shrinker-before-next",))
    assert titles == ["risk of use-after-free in shrink_slab: nothing keeps struct shrinker alive"]


def test_the_walk_over_a_map_may_put_anywhere() -> None:
    scenario = load(gallery_path("shrinker-put-and-next"), apply=("put-shrinker-before-next",))
    only_maps = scenario.model_copy(update={"tasks": tuple(task for task in scenario.tasks if task.name != "all")})
    for strategy, seed in SCHEDULES:
        assert run_scenario(only_maps, RunOptions(strategy=strategy, seed=seed)).violations == ()


# --- deferred counts


def test_walks_that_leave_rcu_cannot_have_units_that_go_with_their_array() -> None:
    titles = risks("deferred-counts-survive", "v6.7", (), ("shared-shrinker-units",))
    assert titles == ["risk of use-after-free in shrink_slab_memcg: nothing keeps struct shrinker_info_unit alive"]


# --- hidden readers


def test_without_a_reader_of_its_own_the_array_is_looked_at_without_any() -> None:
    for violations in found("hidden-readers", "v6.7", ("deferred-counts-without-rcu",)):
        assert [violation.kind for violation in violations] == ["rcu-usage"]


# --- a map that is torn down


def test_a_half_built_map_is_seen_to_be_at_risk_whether_or_not_a_mount_meets_it() -> None:
    scenario = load(gallery_path("half-built-map"))
    titles: dict[str, None] = {}
    for seed in range(30):
        for violation in run_scenario(scenario, RunOptions(strategy="random", seed=seed)).violations:
            titles[violation.title] = None
    assert list(titles) == ["risk of use-after-free in free_shrinker_info: nothing keeps struct shrinker_info alive"]
