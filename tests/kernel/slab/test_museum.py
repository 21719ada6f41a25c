"""Bugs of history around the locks of SLUB and its lists: found where they are, and not where they were fixed."""

from __future__ import annotations

from typing import Any

import pytest
from slubloom.topology import gallery_path, load

from slubloom.expectation import expected_kinds
from slubloom.run import RunOptions, run_scenario

CIRCULAR = ("lockdep-circular",)


def kinds(name: str, release: str, *apply: str, seeds: int = 8, **options: Any) -> dict[tuple[str, ...], int]:
    """What so many random schedules end in; the scenario's own expectation is that there is one of these, or none."""
    scenario = load(gallery_path(name), release=release, apply=list(apply), **options)
    found: dict[tuple[str, ...], int] = {}
    for seed in range(seeds):
        result = run_scenario(scenario, RunOptions(strategy="random", seed=seed))
        found[result.kinds()] = found.get(result.kinds(), 0) + 1
    assert expected_kinds(scenario) == max(found)
    return found


# Lock orders are found in every schedule, whoever has to wait.


@pytest.mark.parametrize(
    ("name", "release", "apply"),
    [
        ("counted-under-hotplug-lock", "v4.18", ()),
        ("counted-under-hotplug-lock", "v5.3", ()),
        ("removed-while-written", "v5.15", ()),
        ("removed-while-written", "v5.19", ()),
        ("shrink-under-slab-mutex", "v5.12", ("slab-mutex-in-shrink-rfc",)),
        ("shrink-under-slab-mutex", "v5.11", ()),
        ("shrink-under-slab-mutex", "v5.15", ()),
        ("destroy-takes-cpus-lock", "v5.14", ("slub-flush-work-v4-fixup",)),
        ("flush-lock", "v5.14", ("slub-flush-work-v4",)),
        ("flush-lock", "v5.14", ("slub-flush-work-v4-fixup",)),
    ],
)
def test_a_circle_of_locks_is_found(name: str, release: str, apply: tuple[str, ...]) -> None:
    assert kinds(name, release, *apply) == {CIRCULAR: 8}


@pytest.mark.parametrize(
    ("name", "release"),
    [
        ("counted-under-hotplug-lock", "v3.15"),
        ("counted-under-hotplug-lock", "v4.17"),
        ("counted-under-hotplug-lock", "v5.4"),
        ("counted-under-hotplug-lock", "v6.12"),
        ("removed-while-written", "v5.14"),
        ("removed-while-written", "v6.0"),
        ("removed-while-written", "v6.12"),
        ("shrink-under-slab-mutex", "v4.17"),
        ("shrink-under-slab-mutex", "v5.12"),
        ("shrink-under-slab-mutex", "v6.0"),
        ("destroy-takes-cpus-lock", "v5.11"),
        ("destroy-takes-cpus-lock", "v5.14"),
        ("destroy-takes-cpus-lock", "v5.15"),
        ("flush-lock", "v5.14"),
        ("flush-lock", "v5.15"),
        ("flush-lock", "v6.1"),
    ],
)
def test_without_the_bug_there_is_no_circle_of_locks(name: str, release: str) -> None:
    assert kinds(name, release) == {(): 8}


def test_deleting_the_kobject_behind_the_locks_is_what_mends_5_15() -> None:
    assert kinds("removed-while-written", "v5.15", "delete-kobject-unlocked") == {(): 8}
    assert kinds("removed-while-written", "v6.0", revert=["0495e337b703"]) == {CIRCULAR: 8}


@pytest.mark.parametrize(
    ("name", "release", "apply"),
    [
        ("counted-under-hotplug-lock", "v5.3", ()),
        ("removed-while-written", "v5.15", ()),
        ("shrink-under-slab-mutex", "v5.14", ("slab-mutex-in-shrink-rfc",)),
        ("destroy-takes-cpus-lock", "v5.14", ("slub-flush-work-v4-fixup",)),
    ],
)
def test_the_parties_of_a_circle_can_really_wait_for_each_other(
    name: str, release: str, apply: tuple[str, ...]
) -> None:
    off = ['kernel.sanitizers=["kasan", "leak"]']
    scenario = load(gallery_path(name), release=release, apply=list(apply), overrides=off)
    found = {run_scenario(scenario, RunOptions(strategy="random", seed=seed)).kinds() for seed in range(60)}
    assert found == {(), ("deadlock",)}


# Seed 003: the report of August 2021.


def report_of(name: str, release: str, *apply: str) -> list[str]:
    result = run_scenario(load(gallery_path(name), release=release, apply=list(apply)), RunOptions())
    assert result.kinds() == CIRCULAR
    return result.violations[0].report.splitlines()


def chain(lines: list[str]) -> list[str]:
    """The classes of the existing dependency chain, as printed."""
    return [line.partition(" (")[2].partition("){")[0] for line in lines if line.startswith("-> #")]


def stack_below(lines: list[str], number: int) -> list[str]:
    start = next(index for index, line in enumerate(lines) if line.startswith(f"-> #{number} "))
    end = lines.index("", start)
    return [line.strip() for line in lines[start + 1 : end]]


def test_memory_that_goes_offline_gives_the_report_of_the_mailing_list() -> None:
    lines = report_of("flush-lock", "v5.14", "slub-flush-work-v4")
    assert chain(lines) == [
        "slab_mutex",
        "(memory_chain).rwsem",
        "pcp_batch_high_lock",
        "cpu_hotplug_lock",
        "flush_lock",
    ]
    assert "lsbug/3 is trying to acquire lock:" in lines
    exists = lines.index("Chain exists of:")
    assert lines[exists + 1] == "  flush_lock --> (memory_chain).rwsem --> slab_mutex"
    scenario = lines.index("       CPU0                    CPU1")
    assert lines[scenario + 2 : scenario + 6] == [
        "  lock(slab_mutex);",
        "                               lock((memory_chain).rwsem);",
        "                               lock(slab_mutex);",
        "  lock(flush_lock);",
    ]
    # What set each edge.
    assert stack_below(lines, 4)[1:4] == ["slab_memory_callback", "blocking_notifier_call_chain", "memory_notify"]
    assert stack_below(lines, 3)[:2] == ["memory_notify", "offline_pages"]
    assert stack_below(lines, 2)[:2] == ["zone_pcp_update", "page_alloc_cpu_online"]
    assert stack_below(lines, 1) == ["flush_all", "__kmem_cache_shrink", "kmem_cache_shrink"]
    assert stack_below(lines, 0)[:2] == ["flush_all", "__kmem_cache_shrink"]


def test_it_holds_ten_locks_by_then() -> None:
    lines = report_of("flush-lock", "v5.14", "slub-flush-work-v4")
    first = lines.index("10 locks held by lsbug/3:")
    held = [line.partition(" (")[2].partition("){")[0] for line in lines[first + 1 : first + 11]]
    assert [name.partition("#")[0] for name in held] == [
        "sb_writers",
        "&of->mutex",
        "kn->active",
        "device_hotplug_lock",
        "&dev->mutex",
        "cpu_hotplug_lock",
        "mem_hotplug_lock",
        "pcp_batch_high_lock",
        "(memory_chain).rwsem",
        "slab_mutex",
    ]


def test_the_first_fixup_leaves_two_classes() -> None:
    lines = report_of("destroy-takes-cpus-lock", "v5.14", "slub-flush-work-v4-fixup")
    assert sorted(chain(lines)) == ["cpu_hotplug_lock", "slab_mutex"]
    assert "Chain exists of:" not in lines


# Lists.


@pytest.mark.parametrize("release", ["v4.4", "v6.0"])
def test_validating_a_cache_in_use_finds_fault_with_it(release: str) -> None:
    found = kinds("validate-in-use", release, seeds=30)
    assert set(found) == {(), ("invariant",)}


def test_what_validation_says_is_a_count_that_was_right() -> None:
    scenario = load(gallery_path("validate-in-use"), release="v6.0")
    results = [run_scenario(scenario, RunOptions(strategy="random", seed=seed)) for seed in range(30)]
    report = next(result.violations[0].report for result in results if result.violations)
    assert "BUG dentry (Not tainted): Wrong object count. Counter is " in report


def test_a_cache_in_use_is_not_validated_from_6_1() -> None:
    assert kinds("validate-in-use", "v6.1", seeds=30) == {(): 30}
    assert kinds("validate-in-use", "v6.0", "validate-debug-caches", seeds=30) == {(): 30}


def test_a_list_changed_with_interrupts_on_loses_slabs() -> None:
    found = kinds("list-lost-to-an-interrupt", "v5.15", "put-cpu-partial-interruptible", seeds=60)
    assert set(found) == {(), ("objects-remaining",)}
    assert kinds("list-lost-to-an-interrupt", "v5.15", seeds=30) == {(): 30}


def longest_list(release: str, *apply: str) -> int:
    scenario = load(gallery_path("cpu-partial-lists-grow"), release=release, apply=list(apply))
    return run_scenario(scenario, RunOptions()).counters["longest_cpu_partial_list"]


def test_a_processors_list_grows_with_slabs_that_were_counted_too_early() -> None:
    # 13 objects may be kept of this size up to 5.15, each slab came with one; 52 from 5.16, in slabs of 16: 7.
    assert longest_list("v5.15") == 14
    assert longest_list("v5.15", "cpu-partial-slabs") == 2
    assert longest_list("v5.16") == 7
