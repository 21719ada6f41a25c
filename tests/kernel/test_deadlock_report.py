"""Deadlocks: in terms of lock classes, with what lockdep had to say, and also while others go on."""

from __future__ import annotations

from typing import Any

import pytest
from slubloom.actors import Outcome
from slubloom.topology import gallery_path, load, loads

from slubloom.run import RunOptions, run_scenario

WITHOUT_LOCKDEP = ['kernel.sanitizers=["kasan", "leak"]']

OPPOSITE = """
[[machine.node]]
id = 0
cpus = "0-2"
memory = "64M"
[kernel]
sanitizers = ["kasan"]
[[lock]]
name = "first"
[[lock]]
name = "second"
[[task]]
name = "one"
cpu = 0
program = [
    {op = "lock", lock = "first"},
    {op = "lock", lock = "second"},
    {op = "unlock", lock = "second"},
    {op = "unlock", lock = "first"},
]
[[task]]
name = "other"
cpu = 1
program = [
    {op = "lock", lock = "second"},
    {op = "lock", lock = "first"},
    {op = "unlock", lock = "first"},
    {op = "unlock", lock = "second"},
]
"""
BUSY = """
[[task]]
name = "busy"
cpu = 2
program = [{op = "repeat", count = 1000, program = [{op = "sleep", ns = 5000000}]}]
"""


def first_deadlock(scenario: Any, *, stop: bool = True, seeds: int = 60) -> Any:
    """The result of the first seed that ends in a deadlock."""
    for seed in range(seeds):
        result = run_scenario(scenario, RunOptions(strategy="random", seed=seed, stop_at_violation=stop))
        if result.violations and result.violations[-1].kind == "deadlock":
            return result
    raise AssertionError(f"no deadlock in {seeds} runs")


@pytest.mark.parametrize("busy", [False, True])
def test_a_circle_is_reported_also_while_others_go_on(busy: bool) -> None:
    result = first_deadlock(loads(OPPOSITE + BUSY * busy))
    lines = result.violations[0].report.splitlines()
    state = "some wait for each other" if busy else "nothing can go on"
    assert lines[1] == f"WARNING: deadlock, {state}"
    order = lines[lines.index("lock order:") + 1]
    assert order in ("  first --> second --> first", "  second --> first --> second")
    assert result.counters["operations"] < 1000  # it was not waited for the end of the busy one


def test_a_circle_ends_the_run_also_where_violations_do_not() -> None:
    result = first_deadlock(loads(OPPOSITE + BUSY), stop=False)
    assert result.outcome is Outcome.DEADLOCK
    assert result.kinds() == ("deadlock",)


def test_those_who_only_rest_are_in_no_circle() -> None:
    text = OPPOSITE[: OPPOSITE.index("[[task]]")] + BUSY
    assert run_scenario(loads(text), RunOptions()).violations == ()


@pytest.mark.parametrize(
    ("name", "release", "apply", "order"),
    [
        ("removed-while-written", "v5.15", [], {"cpu_hotplug_lock", "kn->active"}),
        ("destroy-takes-cpus-lock", "v5.14", ["slub-flush-work-v4-fixup"], {"cpu_hotplug_lock", "slab_mutex"}),
        ("flush-lock", "v5.14", ["slub-flush-work-v4"], {"cpu_hotplug_lock", "slab_mutex", "flush_lock"}),
    ],
)
def test_the_report_of_a_deadlock_says_that_lockdep_has_warned_of_it(
    name: str, release: str, apply: list[str], order: set[str]
) -> None:
    result = first_deadlock(load(gallery_path(name), release=release, apply=apply), stop=False)
    warning, *_, found = result.violations
    assert warning.kind == "lockdep-circular"
    lines = found.report.splitlines()
    told = lines.index("lock order:")
    assert {name.partition("#")[0] for name in lines[told + 1].strip().split(" --> ")} == order
    assert lines[told + 2] == f"  This is what lockdep has warned of: {warning.title}"


def test_three_wait_for_each_other_where_lockdep_is_off() -> None:
    """Seed 003: shrink, a processor that goes, destroy."""
    scenario = load(
        gallery_path("flush-lock"), release="v5.14", apply=["slub-flush-work-v4"], overrides=WITHOUT_LOCKDEP
    )
    for seed in range(60):
        result = run_scenario(scenario, RunOptions(strategy="random", seed=seed))
        if result.kinds() == ("deadlock",) and result.violations[0].title.count(" -> ") == 3:
            break
    report = result.violations[0].report
    assert "  swapper/2 waits to acquire cpu_hotplug_lock, held by hotplug/4\n" in report
    assert "  hotplug/4 waits to acquire slab_mutex, held by dmsetup/5\n" in report
    assert "  dmsetup/5 waits to acquire flush_lock, held by swapper/2\n" in report
    assert "lockdep" not in report
