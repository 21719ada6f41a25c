"""A load of everything at once, with every sanitizer: nothing is reported, and nothing stays behind."""

from __future__ import annotations

import pytest
from slubloom.topology import loads

from slubloom.run import RunOptions, run_scenario

from .story import VARIANTS
from .test_footprints import MIXED

EVERYTHING = (
    '[kernel]\npreempt = "PREEMPT"\n'
    'sanitizers = ["kasan", "lockdep", "leak", "workqueue", "slab-invariants", "existence"]\n'
)


EVERY = [("v4.18", []), ("v5.3", []), *VARIANTS]


@pytest.mark.parametrize(
    ("release", "apply", "preempt"),
    [
        (release, apply, ("full", "none", "full", "voluntary")[number % 4])
        for number, (release, apply) in enumerate(EVERY)
    ],
)
def test_a_mixed_load_is_clean_under_every_protocol(release: str, apply: list[str], preempt: str) -> None:
    text = MIXED + EVERYTHING.replace("PREEMPT", preempt)
    scanned = 0
    for seed, strategy in ((1, "random"), (2, "random"), (3, "timed")):
        result = run_scenario(loads(text, release=release, apply=apply), RunOptions(strategy=strategy, seed=seed))
        assert [violation.title for violation in result.violations] == []
        assert result.counters["umounts"] == 1
        scanned += result.counters.get("slabs_scanned", 0)
    assert scanned
