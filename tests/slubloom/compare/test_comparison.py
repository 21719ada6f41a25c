"""What made-up runs come to: the table as a whole, and the result object."""

from __future__ import annotations

from typing import Any

import pytest
from slubloom.actors import Outcome
from slubloom.kernel import Violation
from slubloom.topology import loads

from slubloom.compare.columns import Column
from slubloom.compare.locks import LockFigures
from slubloom.compare.result import Comparison
from slubloom.compare.runs import Options, Run
from slubloom.compare.table import headline, notes, table
from slubloom.token import Origin

FILE = """
title = "Made up"
[kernel]
release = "{release}"
[[machine.node]]
id = 0
cpus = "0-3"
memory = "64M"
[[expect.where]]
release = "v5.11"
violations = ["use-after-free"]
"""
UAF = Violation("use-after-free", "BUG", "the report", 7, 70)


def column(release: str) -> Column:
    return Column(release, loads(FILE.format(release=release)), Origin("made-up.toml", release=release))


def run(number: int, seed: int = 0, **changes: Any) -> Run:
    metrics = {
        "rcu_barriers": 64,
        "grace_periods": 65,
        "caches_created": 0,
        "caches_destroyed": 64,
        "last_cache_gone_ns": 260_000_000,
        "largest_destroy_batch": 1,
        "work_items_run": 0,
        "steps": 12_345,
        "time_ns": 260_000_100,
    }
    locks = {
        ("cgroup_mutex", "write"): LockFigures(8, 4_000_000, 500, 250_000, 1_000_000, 3, 2_000),
        ("rwsem", "read"): LockFigures(2, 20, 10, 10, 10, 0, 0),
        ("slab_mutex", "write"): LockFigures(64, 900, 10, 20, 20, 0, 0),
        ("idle", "write"): LockFigures(1, 1, 1, 1, 1, 0, 0),
    }
    return Run(
        number,
        seed,
        changes.pop("outcome", Outcome.FINISHED),
        changes.pop("violations", ()),
        f"sl1:{number}.{seed}",
        {**metrics, **changes.pop("metrics", {})},
        {**locks, **changes.pop("locks", {})},
        {"rcu_barriers": 64, "operations": 200, **changes},
    )


def two_kernels(**how: Any) -> Comparison:
    other = run(
        1,
        metrics={"rcu_barriers": 2, "last_cache_gone_ns": None, "work_items_run": 12, "time_ns": 9_000},
        locks={("cgroup_mutex", "write"): LockFigures(8, 900, 100, 150, 150, 0, 0)},
        work_items=12,
        slabs=3,
    )
    columns = [column("v4.10"), column("v4.11")]
    return Comparison(columns, how.pop("options", Options()), [run(0), other], **how)


def test_the_whole_table() -> None:
    assert [*headline(two_kernels()), *table(two_kernels()), *notes(two_kernels())] == [
        "Made up",
        "  4 CPUs, 1 node, strategy timed, seed 0; virtual time",
        "                          v4.10     v4.11",
        "verdict                   clean     clean",
        "rcu_barrier() calls          64         2",
        "grace periods                65        65",
        "caches created                0         0",
        "caches destroyed             64        64",
        "last cache gone at     260.0 ms         -",
        "largest destroy batch         1         1",
        "work items run                0        12",
        "cgroup_mutex",
        "  times held                  8         8",
        "  held, total          4.000 ms    900 ns",
        "  held, p50              500 ns    100 ns",
        "  held, p99            250.0 us    150 ns",
        "  held, max            1.000 ms    150 ns",
        "  times waited for            3         0",
        "  waited, total        2.000 us      0 ns",
        "slab_mutex",
        "  times held                 64        64",
        "  held, total            900 ns    900 ns",
        "  held, p50               10 ns     10 ns",
        "  held, p99               20 ns     20 ns",
        "  held, max               20 ns     20 ns",
        "rwsem-R",
        "  times held                  2         2",
        "  held, total             20 ns     20 ns",
        "  held, p50               10 ns     10 ns",
        "  held, p99               10 ns     10 ns",
        "  held, max               10 ns     10 ns",
        "the run",
        "  steps                  12,345    12,345",
        "  time                 260.0 ms  9.000 us",
        "counters that differ",
        "  slabs                       0         3",  # work items are the row above, barriers and operations the same
    ]


def test_where_steps_are_counted_there_are_no_units() -> None:
    comparison = two_kernels(options=Options("random"), locks=["cgroup_mutex"])
    assert headline(comparison)[1].endswith("strategy random, seed 0; times are steps: random has no clock")
    assert "  held, total".ljust(21) + "    4,000,000     900" in table(comparison)  # as wide as the time of the run


def test_caches_that_nobody_makes_or_destroys_have_no_rows() -> None:
    none = {"caches_destroyed": 0, "last_cache_gone_ns": None, "largest_destroy_batch": 0}
    lines = table(Comparison([column("v6.1")], Options(), [run(0, metrics=none)]))
    assert not [line for line in lines if "cache" in line]


def test_of_several_seeds_the_kinds_are_counted_and_figures_have_a_range() -> None:
    runs = [run(0, seed, metrics={"rcu_barriers": seed}) for seed in (9, 3, 5)]
    runs[1] = run(0, 3, metrics={"rcu_barriers": 3}, violations=(UAF,))
    comparison = Comparison([column("v5.12")], Options(seeds=(3, 5, 9)), runs)
    lines = table(comparison)
    assert lines[1].split() == ["verdict", "use-after-free", "1/3"]
    assert lines[2].split(maxsplit=2) == ["rcu_barrier()", "calls", "5 [3..9]"]
    assert list(notes(comparison)) == ["v5.12: the figures end at the violation", "  slubloom replay 'sl1:0.3'"]
    assert not comparison.passes


@pytest.mark.parametrize(("release", "passes"), [("v5.10", False), ("v5.11", True)])
def test_what_is_expected_of_a_release_passes(release: str, passes: bool) -> None:
    comparison = Comparison([column(release)], Options(), [run(0, violations=(UAF,))])
    assert comparison.passes is passes
    assert comparison.as_json()["as_expected"] is passes
    assert comparison.as_json()["verdict"] == "violated"


def test_a_column_that_was_not_run_is_empty() -> None:
    comparison = Comparison([column("v4.10"), column("v4.11")], Options(), [run(0)], interrupted=True)
    lines = table(comparison)
    assert lines[1].split() == ["verdict", "clean", "not", "run"]
    assert all(line.endswith(" -") for line in lines[2:] if len(line.split()) > 2 and "counters" not in line)
    assert list(notes(comparison)) == ["v4.11: 0 of 1 runs"]
    nothing = Comparison([column("v4.10")], Options(), [], interrupted=True, locks=["slab_mutex"])
    assert table(nothing)[1].split() == ["verdict", "not", "run"]
    assert nothing.as_json()["kernels"][0]["metrics"] == {
        f"lock.slab_mutex.write.{field}": None for field in LockFigures._fields
    }


def test_the_result_object_says_all() -> None:
    document = two_kernels(locks=["cgroup_mutex"]).as_json()
    kernels = document.pop("kernels")
    assert document == {
        "schema": "slubloom-compare/1",
        "scenario": "made-up.toml",
        "title": "Made up",
        "strategy": "timed",
        "costed": True,
        "seeds": [0],
        "verdict": "clean",
        "as_expected": True,
        "interrupted": False,
        "locks": ["cgroup_mutex"],
    }
    assert kernels[1]["metrics"] == {
        "rcu_barriers": 2,
        "grace_periods": 65,
        "caches_created": 0,
        "caches_destroyed": 64,
        "last_cache_gone_ns": None,
        "largest_destroy_batch": 1,
        "work_items_run": 12,
        "steps": 12_345,
        "time_ns": 9_000,
        "lock.cgroup_mutex.write.times": 8,
        "lock.cgroup_mutex.write.held_total_ns": 900,
        "lock.cgroup_mutex.write.held_p50_ns": 100,
        "lock.cgroup_mutex.write.held_p99_ns": 150,
        "lock.cgroup_mutex.write.held_max_ns": 150,
        "lock.cgroup_mutex.write.waits": 0,
        "lock.cgroup_mutex.write.waited_total_ns": 0,
    }
    assert kernels[0]["counters"] == {"operations": 200, "rcu_barriers": 64, "slabs": 0, "work_items": 0}
    assert kernels[0]["tokens"] == ["sl1:0.0"]
