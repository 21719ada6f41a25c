"""``slubloom compare`` as a user types it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from slubloom.topology import gallery_path, loads

from slubloom.cli import main

UAF = str(gallery_path("node-offline-uaf"))
STORM = """
title = "Two tasks destroy three caches each"

[[machine.node]]
id = 0
cpus = "0-1"
memory = "64M"

[kernel.boot]
slab_nomerge = true

[[task]]
name = "rm"
instances = 2
cpu = "0-1"
program = [
    {op = "repeat", count = 3, program = [
        {op = "kmem_cache_create", cache = "c{task}-{i}", size = 64, flags = ["SLAB_TYPESAFE_BY_RCU"]},
        {op = "kmem_cache_alloc", cache = "c{task}-{i}"},
        {op = "kmem_cache_free", cache = "c{task}-{i}"},
    ]},
    {op = "repeat", count = 3, program = [{op = "kmem_cache_destroy", cache = "c{task}-{i}"}]},
]
"""
COMPARE = """
[compare]
releases = ["v4.10", "v4.11", "v6.12"]
locks = ["slab_mutex"]
"""
JIFFY_NS = 4_000_000
SEARCH = ("--strategy", "random", "--seeds", "40")
"""Enough for a race to show in some of them."""
BROKEN_PATCH = """
from dataclasses import replace
from slubloom.kernel.slab.cache_release import WaitOncePerCaller

class Broken(WaitOncePerCaller):
    async def release(self, caches):
        raise RuntimeError("the patch is wrong")

def apply(kernel):
    return replace(kernel, cache_release=Broken)
"""
DEADLY_PATCH = """
import multiprocessing, os

def apply(kernel):
    if multiprocessing.parent_process() is not None:
        os._exit(7)
    return kernel
"""
COUNTING_PATCH = """
from pathlib import Path

def apply(kernel):
    with Path(__file__).with_name("times").open("a") as times:
        times.write("x")
    return kernel
"""


@pytest.fixture
def storm(tmp_path: Path) -> str:
    file = tmp_path / "storm.toml"
    file.write_text(STORM + COMPARE)
    return str(file)


def compared(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    """The result object of a comparison in which every kernel is as expected."""
    assert main(["compare", *arguments, "--json"]) == 0
    shown = capsys.readouterr()
    assert shown.err == ""
    document: dict[str, Any] = json.loads(shown.out)
    return document


def figures(document: dict[str, Any], name: str) -> list[int]:
    return [kernel["metrics"][name] for kernel in document["kernels"]]


def start(*arguments: str, **environment: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-W", "error", "-m", "slubloom", "compare", *arguments]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, env={**os.environ, **environment})


# --- what is compared


def test_barriers_are_per_call_then_per_run_of_the_work_item_then_per_cache(
    storm: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["compare", storm]) == 0
    shown = capsys.readouterr()
    assert shown.err == ""
    lines = shown.out.splitlines()
    assert lines[:9] == [
        "Two tasks destroy three caches each",
        "  2 CPUs, 1 node, strategy timed, seed 0; virtual time",
        "",
        "                          v4.10     v4.11     v6.12",
        "verdict                   clean     clean     clean",
        "rcu_barrier() calls           6         2         6",  # the work item: two caches, then the rest
        "grace periods                 6         2         6",
        "caches created                6         6         6",
        "caches destroyed              6         6         6",
    ]
    assert lines[10] == "largest destroy batch         1         4         1"
    assert "slab_mutex" in lines
    assert (
        "  times held                 12        14        12" in lines
    )  # created, destroyed, and twice in the work item


def test_the_last_cache_goes_with_the_last_grace_period(storm: str, capsys: pytest.CaptureFixture[str]) -> None:
    document = compared(capsys, storm)
    for number, grace_periods in enumerate((6, 2, 6)):
        gone_ns = figures(document, "last_cache_gone_ns")[number]
        assert grace_periods * JIFFY_NS <= gone_ns + JIFFY_NS // 100
        assert gone_ns < grace_periods * JIFFY_NS + JIFFY_NS // 10
    assert all(
        gone <= end
        for gone, end in zip(figures(document, "last_cache_gone_ns"), figures(document, "time_ns"), strict=True)
    )


def test_one_patch_makes_the_difference(storm: str, capsys: pytest.CaptureFixture[str]) -> None:
    columns = ("v4.10", "v4.10+657dc2f97220", "v6.12", "v6.12-destroy-waits-again")
    releases = [argument for column in columns for argument in ("--release", column)]
    document = compared(capsys, storm, *releases)
    assert figures(document, "rcu_barriers") == [6, 2, 6, 2]
    assert [kernel["name"] for kernel in document["kernels"]] == list(columns)
    kernels = [(kernel["release"], kernel["apply"], kernel["revert"]) for kernel in document["kernels"]]
    assert kernels == [
        ("v4.10", [], []),
        ("v4.10", ["657dc2f97220"], []),
        ("v6.12", [], []),
        ("v6.12", [], ["destroy-waits-again"]),
    ]


def test_apply_and_revert_are_for_all_columns(storm: str, capsys: pytest.CaptureFixture[str]) -> None:
    document = compared(
        capsys, storm, "--apply", "destroy-in-work-item", "--release", "v4.9", "--release", "v4.10-slab-nodes"
    )
    assert figures(document, "rcu_barriers") == [2, 2]
    assert [kernel["apply"] for kernel in document["kernels"]] == [["destroy-in-work-item"]] * 2
    assert [kernel["revert"] for kernel in document["kernels"]] == [[], ["slab-nodes"]]


def test_a_lock_is_held_while_its_owner_computes_and_waited_for_meanwhile(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "two.toml"
    file.write_text("""
        [[machine.node]]
        id = 0
        cpus = "0-1"
        memory = "64M"
        [[lock]]
        name = "a"
        [[task]]
        name = "t"
        instances = 2
        cpu = "0-1"
        program = [{op = "lock", lock = "a"}, {op = "compute", ns = 1000000}, {op = "unlock", lock = "a"}]
    """)
    document = compared(capsys, str(file), "--release", "v6.1")
    assert document["locks"] == ["a"]  # there is no other
    near = pytest.approx(1_000_000, abs=2_000)  # what locking and waking cost comes on top
    assert figures(document, "lock.a.write.times") == [2]
    for name in ("held_p50_ns", "held_p99_ns", "held_max_ns", "waited_total_ns"):
        assert figures(document, f"lock.a.write.{name}") == [near]
    assert figures(document, "lock.a.write.held_total_ns") == [pytest.approx(2_000_000, abs=2_000)]
    assert figures(document, "lock.a.write.waits") == [1]


def test_locks_are_those_asked_for_or_those_of_the_file_or_the_three_with_the_most_time(
    storm: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert compared(capsys, storm)["locks"] == ["slab_mutex"]
    assert compared(capsys, storm, "--lock", "flush_lock", "--lock", "slab_mutex")["locks"] == [
        "flush_lock",
        "slab_mutex",
    ]
    most = compared(capsys, storm, "--set", "compare.locks=[]")["locks"]
    assert len(most) == 3
    assert most[0] == "rcu_state.barrier_mutex"  # held for whole grace periods


def test_a_lock_that_was_never_taken_is_said(storm: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", storm, "--lock", "cgroup_mutx"]) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.startswith("cgroup_mutx was never taken; taken were, longest first: rcu_state.barrier_mutex, ")


def test_the_figures_are_those_of_a_run(storm: str, capsys: pytest.CaptureFixture[str]) -> None:
    compared_once = compared(capsys, storm)["kernels"][1]
    assert main(["run", storm, "--release", "v4.11", "--json", "--log", "off"]) == 0
    run = json.loads(capsys.readouterr().out)
    assert (compared_once["metrics"]["steps"], compared_once["metrics"]["time_ns"]) == (run["steps"], run["time_ns"])
    assert {name: value for name, value in compared_once["counters"].items() if value} == run["counters"]
    assert compared_once["tokens"] == [run["token"]]


# --- verdicts


def test_what_the_file_expects_of_a_release_is_success(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["compare", UAF, "--release", "v5.11", "--release", "v5.11+666716fd267d", *SEARCH]
    assert main(arguments) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].startswith(
        "  2 CPUs, 2 nodes, strategy random, seeds 0 to 39: median [least..most]; times are steps"
    )
    (verdict,) = (line.split() for line in lines if line.startswith("verdict"))
    assert (verdict[1], *verdict[3:]) == ("use-after-free", "(expected)", "clean")
    assert verdict[2].endswith("/40")  # how many of the runs
    assert "v5.11: the figures end at the violation" in lines
    assert any(line.startswith("  slubloom replay 'sl1:random:") for line in lines)
    assert main([*arguments, "--set", "expect.where=[]"]) == 1


def test_a_violation_is_told_with_its_report_and_a_token_that_replays_it(capsys: pytest.CaptureFixture[str]) -> None:
    document = compared(capsys, UAF, "--release", "v5.11", "--release", "v6.1", *SEARCH)
    assert (document["schema"], document["verdict"], document["as_expected"]) == (
        "slubloom-compare/1",
        "violated",
        True,
    )
    seeds = list(range(40))
    assert (document["strategy"], document["costed"], document["seeds"]) == ("random", False, seeds)
    broken, fixed = document["kernels"]
    assert (broken["verdict"], fixed["verdict"], fixed["violations"]) == ("violated", "clean", [])
    assert broken["seeds"] == fixed["seeds"] == seeds
    assert len(broken["tokens"]) == 40
    assert all(violation["kind"] == "use-after-free" for violation in broken["violations"])
    assert all(violation["token"] == broken["tokens"][violation["seed"]] for violation in broken["violations"])
    first = broken["violations"][0]
    assert main(["replay", first["token"], "--log", "off"]) == 0
    assert first["report"] in capsys.readouterr().out


def test_several_seeds_are_a_median_and_a_range(capsys: pytest.CaptureFixture[str]) -> None:
    three = compared(capsys, UAF, "--strategy", "random", "--seeds", "3", "--seed", "5", "--release", "v6.1")
    each = [
        compared(capsys, UAF, "--strategy", "random", "--seed", str(seed), "--release", "v6.1")["kernels"][0]
        for seed in (5, 6, 7)
    ]
    (kernel,) = three["kernels"]
    steps = sorted(one["metrics"]["steps"] for one in each)
    assert kernel["metrics"]["steps"] == steps[1]
    assert kernel["ranges"]["steps"] == [steps[0], steps[2]]
    assert [token for one in each for token in one["tokens"]] == kernel["tokens"]


def test_a_run_that_was_cut_off_is_said(storm: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", storm, "--release", "v6.12", "--steps-max", "50"]) == 0
    assert "v6.12: cut off after 50 steps; the figures end there" in capsys.readouterr().out.splitlines()


# --- the same everywhere


def test_the_same_comes_out_whatever_the_processes_and_the_hash_seed() -> None:
    outputs = []
    arguments = (UAF, "--release", "v5.11", "--release", "v6.1", "--strategy", "random", "--seeds", "3", "--json")
    for jobs, hash_seed in (("1", "0"), ("3", "1"), ("2", "77")):
        run = start(*arguments, "--jobs", jobs, PYTHONHASHSEED=hash_seed)
        outputs.append(run.communicate(timeout=120))
        assert run.returncode == 0
    assert outputs == [outputs[0]] * 3
    assert outputs[0][1] == ""


def test_the_section_is_no_part_of_what_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert loads(STORM).section_digests == loads(STORM + COMPARE).section_digests
    file, trace = tmp_path / "storm.toml", str(tmp_path / "t.slabtrc")
    file.write_text(STORM)
    assert main(["run", str(file), "--trace", trace, "--log", "off"]) == 0
    file.write_text(STORM + COMPARE)
    assert main(["replay", trace, "--log", "off"]) == 0
    assert "changed" not in capsys.readouterr().err


# --- what goes wrong


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ("--release", "v4.10", "--release", "v9.9"),
            "column v9.9: kernel.release: v9.9 is outside of what is emulated",
        ),
        (("--release", "5.12"), "column 5.12: kernel.release: '5.12' is not what is expected here: a release such as"),
        (("--release", "v5.12+luck"), "column v5.12+luck: kernel.apply/revert: there is no patch 'luck'"),
        (("--release", "v5.12", "--revert", "luck"), "column v5.12: kernel.apply/revert: there is no patch 'luck'"),
        (("--release", "v5.12+./no.py"), "column v5.12+./no.py: kernel.apply: there is no patch file"),
        (("--release", "v5.12-"), "column 'v5.12-': expected a patch behind '-'"),
        (("--release", "v5.12", "--release", "v5.12"), "column v5.12: stands there twice"),
        (("--set", "compare.releases=[]"), "does not say what to compare; expected --release vN.N"),
        (("--set", 'compare.releases=["six"]'), "compare.releases[0]: 'six' is not what is expected here"),
        (("--set", 'kernel.sanitizers=["luck"]'), "column v4.10: kernel.sanitizers: there is no sanitizer 'luck'"),
        (("--strategy", "luck"), "--strategy luck: there is no such strategy"),
        (("--seeds", "0"), "--seeds"),
    ],
)
def test_unusable_input_is_one_message(
    storm: str, arguments: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["compare", storm, "--jobs", "1", *arguments]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.count(message) == 1


def test_a_patch_that_fails_is_status_3_and_the_other_columns_are_told(
    storm: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "broken.py").write_text(BROKEN_PATCH)
    assert main(["compare", storm, "--release", "v6.12", "--release", "v6.12+./broken.py"]) == 3
    shown = capsys.readouterr()
    assert "rcu_barrier() calls" in shown.out
    (barriers,) = (line.split()[2:] for line in shown.out.splitlines() if line.startswith("rcu_barrier"))
    assert barriers == ["6", "-"]
    assert "column v6.12+./broken.py, seed 0 failed: RuntimeError: the patch is wrong" in shown.err


def test_a_process_that_dies_is_status_3(storm: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "deadly.py").write_text(DEADLY_PATCH)
    assert main(["compare", storm, "--release", "v6.12+./deadly.py", "--seeds", "2"]) == 3
    shown = capsys.readouterr()
    assert "column v6.12+./deadly.py, seed 1 failed: its process died with exit code 7" in shown.err
    assert "not run" in shown.out


def test_ctrl_c_prints_what_is_finished(storm: str, tmp_path: Path) -> None:
    (tmp_path / "counting.py").write_text(COUNTING_PATCH)
    times = tmp_path / "times"
    columns = ("--release", "v6.12", "--release", "v6.12+./counting.py")
    run = start(storm, *columns, "--seeds", "5000", "--jobs", "1")
    deadline = time.monotonic() + 60
    # Once when it is looked at, then once a run: when the second begins, both columns have one.
    while time.monotonic() < deadline and not (times.exists() and times.stat().st_size >= 3):
        time.sleep(0.02)
    run.send_signal(signal.SIGINT)
    out, err = run.communicate(timeout=60)
    assert (run.returncode, err) == (130, "slubloom: interrupted\n")
    assert "rcu_barrier() calls" in out
    assert "of 5000 runs" in out
