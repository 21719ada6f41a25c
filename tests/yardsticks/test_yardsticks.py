"""A sample of the yardsticks: `make yardstick` measures them in full."""

from __future__ import annotations

import pytest

from .kernel import Search, Twin, sample, search, twins
from .measure import Trial, first_bug, geometric_mean, shown
from .programs import PROGRAMS
from .published import PUBLISHED, SCTBENCH_36

QUICK = [
    "CS/account",
    "CS/reorder_4",
    "CS/reorder_20",
    "CS/reorder_100",
    "CS/twostage_50",
    "CS/wronglock",
    "CB/stringbuffer-jdk1.4",
    "Chess/WorkStealQueue",
    "ConVul/CVE-2016-9806",
    "ConVul/CVE-2017-15265",
    "Inspect/qsort_mt",
]


def test_every_program_of_the_published_comparison_is_there() -> None:
    assert len(SCTBENCH_36) == 36
    assert set(SCTBENCH_36) <= set(PROGRAMS)
    assert {name for name in PROGRAMS} <= set(PUBLISHED)


@pytest.mark.parametrize("program", QUICK)
def test_the_portfolio_finds_the_bug_of_a_ported_program(program: str) -> None:
    assert all(first_bug(Trial(program, "portfolio", seed, 600)) is not None for seed in (1, 2, 3))


@pytest.mark.parametrize("twin", sample(twins()), ids=lambda twin: f"{twin.scenario}-{twin.kernel}")
def test_a_broken_kernel_is_found_and_its_fixed_twin_is_clean(twin: Twin) -> None:
    _, schedules, kinds = search(Search(twin, 1, 1000 if twin.expected else 50))
    # A search ends with its first finding; where several kinds are expected that is one of them.
    assert bool(kinds) == bool(twin.expected), f"after {schedules} schedules"
    assert set(kinds) <= set(twin.expected)


def test_a_mean_counts_trials_that_found_nothing_as_the_limit() -> None:
    name = SCTBENCH_36[0]
    mean, hits, measured = geometric_mean({(name, "pos"): [2, None]}, "pos", 100)
    assert (round(mean, 6), hits, measured) == (51.0, 1, 1)
    assert shown([2, None]) == "2 (1/2)"
    assert shown([None]) == "-"
