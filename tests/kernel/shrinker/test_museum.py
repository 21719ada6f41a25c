"""Bugs of history: there under some schedule where they were, and under none where they were fixed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from slubloom.actors import OpKind
from slubloom.kernel.shrinker.lru_memcg import HAS_LOOKED
from slubloom.topology import gallery_path, load

from slubloom.explore import ScenarioSubject
from slubloom.explore.campaign import Campaign, CampaignOptions
from slubloom.run import RunOptions, run_scenario

from .story import ONE_NODE, SANITIZERS, TWO_NODES, HoldBack, kinds, shrinker, simulated

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from slubloom.kernel import Machine


def kinds_of_gallery(
    name: str, release: str, seeds: int, *, apply: Sequence[str] = (), revert: Sequence[str] = ()
) -> dict[str, int]:
    found: dict[str, int] = {}
    for seed in range(seeds):
        scenario = load(gallery_path(name), release=release, apply=apply, revert=revert)
        for violation in run_scenario(scenario, RunOptions(strategy="random", seed=seed)).violations:
            found[violation.kind] = found.get(violation.kind, 0) + 1
    return found


# --- M36: a leaked reference


@pytest.mark.parametrize(
    ("release", "apply", "found"),
    [
        ("v6.6", [], {}),
        ("v6.7", [], {"deadlock": 10}),
        ("v6.12", [], {"deadlock": 10}),
        ("v6.12", ["put-skipped-shrinker"], {}),
    ],
)
def test_m36_an_unmount_hangs_when_a_skipped_shrinker_keeps_its_reference(
    release: str, apply: list[str], found: dict[str, int]
) -> None:
    assert kinds_of_gallery("umount-waits-for-ever", release, 10, apply=apply) == found


def test_m36_the_reference_is_missed_also_where_nobody_unmounts() -> None:
    text = (
        ONE_NODE
        + '[kernel]\nkmem_accounting = false\n[[memcg]]\npath = "g"\n'
        + shrinker("pool", charge='"task"')
        + """
[[task]]
name = "user"
memcg = "g"
program = [{op = "lru_add", at = "pool"}, {op = "shrink_slab", memcg = "g"}]
"""
    )
    assert kinds(text, release="v6.8", seeds=2) == {"leak": 2}
    assert kinds(text, release="v6.8", seeds=2, apply=["put-skipped-shrinker"]) == {}
    assert (
        kinds(
            text.replace('"task"', '"task"\nflags = ["SHRINKER_MEMCG_AWARE", "SHRINKER_NONSLAB"]'),
            release="v6.8",
            seeds=2,
        )
        == {}
    )


# --- M37: an info that nobody has seen

NO_MEMORY = (
    TWO_NODES
    + "[kernel]\nfailslab = 1\n"
    + shrinker("fs")
    + '[[task]]\nname = "maker"\nprogram = [{op = "cgroup_mkdir", path = "g"}, {op = "cgroup_mkdir", path = "g"}]\n'
)


@pytest.mark.parametrize(("release", "found"), [("v6.6", False), ("v6.7", True), ("v6.11", True), ("v6.12", False)])
def test_m37_a_unit_that_cannot_be_allocated_leaks_its_info(release: str, *, found: bool) -> None:
    assert kinds(NO_MEMORY, release=release, seeds=12).keys() == ({"leak"} if found else set())


def test_m37_is_fixed_by_the_patch() -> None:
    assert kinds(NO_MEMORY, release="v6.7", seeds=12, apply=["15e8156713cc"]) == {}


# --- M38: a bit is cleared before its shrinker is registered


@pytest.mark.parametrize(("release", "found"), [("v6.1", False), ("v6.6", False), ("v6.7", True), ("v6.12", True)])
def test_m38_objects_added_before_registration_are_lost_since_6_7(release: str, *, found: bool) -> None:
    assert kinds_of_gallery("asked-before-registered", release, 12).keys() == ({"invariant"} if found else set())


# --- M59: a half-built map is torn down while all maps grow

GROWING = (
    TWO_NODES
    + SANITIZERS.replace("[kernel]", "[kernel]\nfailslab = 1")
    + shrinker("fs", copies="64")
    + shrinker("one-more", mounted="false")
    + """
[[task]]
name = "maker"
cpu = 0
program = [{op = "cgroup_mkdir", path = "g"}]
[[task]]
name = "mounter"
cpu = 1
program = [{op = "mount", shrinker = "one-more", at = "m"}]
"""
)


def m59(*, apply: Sequence[str] = ()) -> dict[str, int]:
    """What is found when the maker stands still while it tears down, for as long as the mounter runs."""
    found: dict[str, int] = {}
    for seed in range(12):

        def strategy(machine: Callable[[], Machine], seed: int = seed) -> HoldBack:
            return HoldBack(
                seed,
                "maker",
                lambda actor: (
                    "failslab" in machine().counters
                    and actor.pending.target == "shrinker_info"
                    and actor.pending.kind is OpKind.WRITE
                ),
                lambda: machine().counters.get("mounts", 0) > 64,
            )

        for violation in simulated(GROWING, strategy, release="v6.12", apply=apply).violations:
            found[violation.kind] = found.get(violation.kind, 0) + 1
    return found


def test_m59_what_is_torn_down_is_freed_twice_or_used_after_that() -> None:
    found = m59()
    assert found
    assert found.keys() <= {"double-free", "use-after-free", "leak"}
    assert {"double-free", "use-after-free"} & found.keys()


def test_m59_is_fixed_by_tearing_down_under_the_mutex() -> None:
    assert m59(apply=["serialised-shrinker-info-teardown"]) == {}


# --- M29: the owner of an object is looked up outside of RCU

LATE_PUT = (
    ONE_NODE
    + SANITIZERS
    + '[[memcg]]\npath = "g"\n'
    + shrinker("fs")
    + """
[[task]]
name = "user"
cpu = 0
memcg = "g"
program = [
    {op = "lru_add", at = "fs", hold = true},
    {op = "cgroup_attach", path = "/"},
    {op = "queue_work", cpu = 1, program = [{op = "cgroup_rmdir", path = "g"}]},
    {op = "lru_put", at = "fs"},
]
"""
)


@pytest.mark.parametrize(
    ("release", "found"), [("v6.1", set()), ("v6.7", set()), ("v6.8", {"use-after-free"}), ("v6.11", set())]
)
def test_m29_a_cgroup_has_ended_when_an_object_is_put_on_its_list(release: str, found: set[str]) -> None:
    kinds_found: dict[str, int] = {}
    for seed in range(6):

        def strategy(machine: Callable[[], Machine], seed: int = seed) -> HoldBack:
            # It has seen whose the object is, and has not got the lock of the list yet.
            return HoldBack(
                seed,
                "user",
                lambda actor: actor.pending is HAS_LOOKED and "memcgs_removed" not in machine().counters,
                lambda: machine().counters.get("memcgs_freed", 0) > 0,
            )

        for violation in simulated(LATE_PUT, strategy, release=release).violations:
            kinds_found[violation.kind] = kinds_found.get(violation.kind, 0) + 1
    assert kinds_found.keys() == found


# --- M30: a bit is cleared after the count, and the shrinker is not asked again


def m30(release: str, apply: Sequence[str], schedules: int) -> list[str]:
    scenario = load(gallery_path("bit-cleared-for-ever"), release=release, apply=apply)
    tally = Campaign(ScenarioSubject(scenario), CampaignOptions(schedules=schedules)).run()
    return [finding.violation.kind for finding in tally.findings.values()]


@pytest.mark.parametrize("release", ["v5.13", "v6.1", "v6.6"])
def test_m30_an_object_added_between_count_and_clearing_is_lost_without_a_recount(release: str) -> None:
    assert m30(release, ["clear-bit-without-recount"], 200) == ["invariant"]


@pytest.mark.parametrize("release", ["v4.18", "v5.13", "v6.1", "v6.6", "v6.7", "v6.12"])
def test_m30_nothing_is_lost_where_the_shrinker_is_asked_again(release: str) -> None:
    assert m30(release, [], 60) == []


# --- an addition between the two changes of a cgroup that goes offline


@pytest.mark.parametrize(("release", "found"), [("v4.18", False), ("v5.2", True), ("v6.1", True), ("v6.12", True)])
def test_an_object_on_the_parents_list_has_its_bit_in_the_childs_map(release: str, *, found: bool) -> None:
    scenario = load(gallery_path("bit-of-the-child"), release=release)
    tally = Campaign(ScenarioSubject(scenario), CampaignOptions(schedules=200 if found else 60, seed=3)).run()
    assert [f.violation.kind for f in tally.findings.values()] == (["invariant"] if found else [])


# --- M32, M33: what a mount costs others, and what it costs itself


def churn(release: str, apply: Sequence[str] = ()) -> dict[str, int]:
    result = run_scenario(load(gallery_path("mount-churn"), release=release, apply=apply), RunOptions(strategy="timed"))
    assert not result.violations
    return result.counters


def test_m33_reclaim_is_refused_while_a_mount_waits_for_a_slow_shrinker() -> None:
    assert churn("v6.6")["shrink_slab_refused"] >= 10
    assert "shrink_slab_refused" not in churn("v6.7")


def test_m32_every_unmount_waits_for_srcu() -> None:
    churn_with_srcu = churn("v6.3", ["srcu-memcg-shrink-rc"])
    assert "shrink_slab_refused" not in churn_with_srcu
    assert churn_with_srcu["umounts"] == 8
