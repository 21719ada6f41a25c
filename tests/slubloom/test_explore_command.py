"""``slubloom explore``, and ``slubloom replay`` of what it finds, as a user types them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from slubloom.topology import gallery_path

from . import command_line

UAF = str(gallery_path("node-offline-uaf"))
MISSED = str(gallery_path("missed-node"))
TWO_LOCKS = """
[[machine.node]]
id = 0
cpus = "0-1"
memory = "64M"
[[lock]]
name = "a"
[[lock]]
name = "b"
[[task]]
name = "one"
cpu = 0
program = [
    {op = "lock", lock = "a"}, {op = "lock", lock = "b"},
    {op = "unlock", lock = "b"}, {op = "unlock", lock = "a"},
]
"""
IN_ORDER = """
[[task]]
name = "two"
cpu = 1
program = [
    {op = "lock", lock = "a"}, {op = "lock", lock = "b"},
    {op = "unlock", lock = "b"}, {op = "unlock", lock = "a"},
]
"""
AGAINST_ORDER = """
[[task]]
name = "two"
cpu = 1
program = [
    {op = "lock", lock = "b"}, {op = "lock", lock = "a"},
    {op = "unlock", lock = "a"}, {op = "unlock", lock = "b"},
]
"""
BROKEN_PATCH = """
from dataclasses import replace
from slubloom.kernel.slab.node_variants import SlabNodes

class Broken(SlabNodes):
    def covered(self, slub, node):
        raise RuntimeError("the patch is wrong")

def apply(kernel):
    return replace(kernel, node_tracking=Broken())
"""


slubloom = partial(command_line.slubloom, python=("-W", "error"))


def start(*arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "slubloom", *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def explored(*arguments: str, cwd: Path | None = None) -> dict[str, Any]:
    """The result object."""
    run = slubloom("explore", *arguments, "--json", cwd=cwd)
    assert run.stderr == ""
    document: dict[str, Any] = json.loads(run.stdout)
    return document


@pytest.fixture(scope="module")
def missed() -> dict[str, Any]:
    """What is found in missed-node, and its smallest schedule."""
    return explored(MISSED, "--jobs", "1")


@pytest.fixture(scope="module")
def several() -> dict[str, Any]:
    """All that is found in node-offline-uaf."""
    return explored(UAF, "--all", "--schedules", "100", "--no-explain", "--jobs", "3")


# --- verdicts


def test_a_violation_is_reported_with_a_token_and_the_smallest_schedule() -> None:
    run = slubloom("explore", MISSED, "--jobs", "1", "--set", "expect.where=[]")
    assert run.returncode == 1
    assert run.stderr == ""
    lines = run.stdout.splitlines()
    assert lines[0] == "A cache is created while a node comes online, and misses it"
    assert "BUG: kernel NULL pointer dereference, address: 0000000000000008" in lines
    (replay,) = (line for line in lines if line.startswith("replay: "))
    assert "slubloom replay 'sl1:" in replay
    (smallest,) = (line for line in lines if line.startswith("smallest: "))
    assert "slubloom replay 'sl1:steady:" in smallest
    assert "needed order:" in lines
    assert "violated: null-deref" in lines
    assert lines[-1].endswith("ended because a violation was found")


def test_exactly_what_the_file_expects_is_success_and_a_fixed_release_is_clean(missed: dict[str, Any]) -> None:
    assert missed["verdict"] == "violated"
    assert slubloom("explore", MISSED, "--no-explain").returncode == 0
    fixed = slubloom("explore", MISSED, "--release", "v6.1", "--schedules", "60")
    assert fixed.returncode == 0
    assert "clean: no violation in 60 schedules" in fixed.stdout
    assert "ended because all 60 schedules were run" in fixed.stdout


def test_a_patch_that_fails_is_status_3_and_says_in_which_schedule(tmp_path: Path) -> None:
    patch = tmp_path / "broken.py"
    patch.write_text(BROKEN_PATCH)
    run = slubloom("explore", MISSED, "--apply", str(patch), "--jobs", "2", "--schedules", "50", cwd=tmp_path)
    assert run.returncode == 3
    assert "schedule 1 (random, seed 0) failed: RuntimeError: the patch is wrong" in run.stderr


BAD = [
    ((MISSED, "--strategy", "luck"), "--strategy luck: there is no such strategy"),
    ((MISSED, "--set", "explore.strategy=luck"), "explore.strategy luck: there is no such strategy"),
    ((MISSED, "--budget", "0s"), "'0s' is not a time"),
    ((MISSED, "--budget", "soon"), "'soon' is not a time"),
    ((MISSED, "--schedules", "0"), "--schedules"),
    ((MISSED, "--jobs", "0"), "--jobs"),
    (("no-such-file.toml",), "there is no such file"),
    ((), "Missing argument"),
]


@pytest.mark.parametrize(
    ("arguments", "said"), BAD, ids=lambda value: "-".join(value)[-24:] if isinstance(value, tuple) else ""
)
def test_unusable_input_is_one_clear_message_and_status_2(arguments: tuple[str, ...], said: str) -> None:
    run = slubloom("explore", *arguments)
    assert run.returncode == 2
    assert run.stderr.count(said) == 1
    assert "Traceback" not in run.stderr
    assert run.stdout == ""


def test_help_names_what_can_be_asked_for() -> None:
    listed = slubloom("--help").stdout
    assert "explore" in listed
    text = slubloom("explore", "--help").stdout
    assert text.startswith("Usage: slubloom explore [OPTIONS] FILE")
    for option in ("--budget", "--schedules", "--strategy", "--jobs", "--all", "--exhaustive", "--audit", "--json"):
        assert option in text
    replay = slubloom("replay", "--help").stdout
    assert "--explain" in replay
    assert "--tolerant" in replay


# --- the result object


def test_the_result_object_has_the_fields_of_the_contract(missed: dict[str, Any]) -> None:
    assert missed["schema"] == "slubloom-result/1"
    assert {"verdict", "outcome", "violations", "steps", "events", "schedules", "behaviours", "counters"} <= set(missed)
    assert missed["schedules"] >= missed["behaviours"] >= 1
    assert 0 <= missed["chance_of_new"] <= 1
    assert missed["lost"] == missed["cut_off"] == 0
    (violation,) = missed["violations"]
    assert violation["kind"] == "null-deref"
    assert violation["title"].startswith("BUG: kernel NULL pointer dereference")
    assert "deactivate_slab" in violation["report"]
    assert violation["step"] > 0
    assert violation["schedule"] == missed["schedules"]
    assert violation["token"].startswith("sl1:")
    smallest = violation["smallest"]
    assert smallest["token"].startswith("sl1:steady:")
    assert smallest["preemptions"] <= 3
    assert smallest["order"][-1] == "online-node1, online_pages: writes node_states[]"
    (passing,) = smallest["nearest_passing"]
    assert passing["step"] == "online-node1, online_pages: writes node_states[]"
    assert "creator (CPU 0)" in smallest["story"][0]


def test_all_goes_on_and_reports_every_distinct_violation_once(several: dict[str, Any]) -> None:
    found = several["violations"]
    assert several["schedules"] == 100
    assert several["outcome"] == "all 100 schedules were run"
    assert len(found) > 1
    assert {violation["kind"] for violation in found} == {"use-after-free"}
    assert len({violation["title"] for violation in found}) == len(found)
    assert len({violation["token"] for violation in found}) == len(found)
    assert sum(violation["times"] for violation in found) > len(found)
    assert all("smallest" not in violation for violation in found)


def test_one_process_finds_the_same_as_three_workers(several: dict[str, Any]) -> None:
    assert explored(UAF, "--all", "--schedules", "100", "--no-explain", "--jobs", "1") == several


def test_steps_max_cuts_schedules_off_and_says_so() -> None:
    run = slubloom("explore", MISSED, "--steps-max", "50", "--schedules", "20", "--jobs", "1")
    assert run.returncode == 0
    assert "20 came to the step limit" in run.stdout


def test_a_token_that_would_be_too_long_becomes_a_trace_file(tmp_path: Path) -> None:
    long = tmp_path / f"{'long' * 30}.toml"
    long.write_text(Path(MISSED).read_text())
    (violation,) = explored(long.name, "--no-explain", cwd=tmp_path)["violations"]
    assert violation["token"].endswith(".slabtrc")
    again = slubloom("replay", violation["token"], "--log", "off", "--json", cwd=tmp_path)
    (replayed,) = json.loads(again.stdout)["violations"]
    assert replayed["report"] == violation["report"]
    assert replayed["step"] == violation["step"]


# --- every schedule


def test_an_exhaustive_search_ends_with_a_proof(tmp_path: Path) -> None:
    (tmp_path / "ordered.toml").write_text(TWO_LOCKS + IN_ORDER)
    run = slubloom("explore", "ordered.toml", "--exhaustive", cwd=tmp_path)
    assert run.returncode == 0
    result = explored("ordered.toml", "--exhaustive", cwd=tmp_path)
    assert result["complete"]
    assert result["verdict"] == "clean"
    assert result["behaviours"] == result["schedules"] > 1
    assert f"clean: no violation in all {result['schedules']} schedules within the bound" in run.stdout


def test_an_exhaustive_search_that_comes_to_a_bound_names_it(tmp_path: Path) -> None:
    (tmp_path / "ordered.toml").write_text(TWO_LOCKS + IN_ORDER)
    run = slubloom("explore", "ordered.toml", "--exhaustive", "--schedules", "10", cwd=tmp_path)
    assert run.returncode == 0
    assert "in all" not in run.stdout
    assert "the bound of 10 schedules (--schedules) was reached" in run.stdout
    result = explored("ordered.toml", "--exhaustive", "--steps-max", "12", cwd=tmp_path)
    assert not result["complete"]
    assert "--steps-max" in result["outcome"]


def test_an_exhaustive_search_finds_locks_taken_in_both_orders_and_its_trace_replays(tmp_path: Path) -> None:
    (tmp_path / "abba.toml").write_text(TWO_LOCKS + AGAINST_ORDER)
    (violation,) = explored("abba.toml", "--exhaustive", cwd=tmp_path)["violations"]
    assert violation["kind"] == "lockdep-circular"
    assert violation["smallest"]["preemptions"] == 0
    for handle in (violation["token"], violation["smallest"]["token"]):
        replay = slubloom("replay", handle, "--log", "off", "--json", cwd=tmp_path)
        assert replay.returncode == 1
        assert json.loads(replay.stdout)["violations"][0]["kind"] == "lockdep-circular"
    everything = explored("abba.toml", "--exhaustive", "--all", "--no-explain", cwd=tmp_path)
    assert everything["complete"]
    assert {found["kind"] for found in everything["violations"]} == {"lockdep-circular"}


def test_the_audit_finds_that_every_step_declares_what_it_touches() -> None:
    run = slubloom("explore", UAF, "--audit", "--schedules", "10")
    assert run.returncode == 0
    assert "every step declares what it touches, in 10 schedules" in run.stdout


# --- seeing it again


def test_tokens_replay_the_same_reports_byte_for_byte_in_another_process(several: dict[str, Any]) -> None:
    for violation in several["violations"]:
        again = slubloom("replay", violation["token"], "--log", "off", "--json", PYTHONHASHSEED="7")
        (replayed,) = json.loads(again.stdout)["violations"]
        assert all(replayed[name] == violation[name] for name in ("kind", "title", "report", "step", "token"))


def test_a_replay_says_that_it_is_the_same_violation(missed: dict[str, Any]) -> None:
    (violation,) = missed["violations"]
    for token in (violation["token"], violation["smallest"]["token"]):
        run = slubloom("replay", token, "--log", "off", PYTHONHASHSEED="42")
        assert run.returncode == 0
        assert run.stdout.splitlines()[-1] == "the same violation as recorded"


def test_replay_explain_tells_the_story_and_the_smallest_token(missed: dict[str, Any]) -> None:
    (violation,) = missed["violations"]
    run = slubloom("replay", "--explain", violation["token"], "--log", "off")
    assert run.returncode == 0
    assert f"smallest: slubloom replay '{violation['smallest']['token']}'" in run.stdout
    told = run.stdout.splitlines()
    begin = next(index for index, line in enumerate(told) if line.startswith("smallest schedule:"))
    story = violation["smallest"]["story"]
    assert told[begin + 2 : begin + 2 + len(story)] == story
    assert "nearest passing schedule: the same, but with" in told


CHANGES = [
    ("machine", '"128M"', '"256M"'),
    ("kernel", '"v3.15"\n\n', '"v3.14"\n\n'),
    ("workload", "count = 20", "count = 19"),
]


@pytest.mark.parametrize(("part", "then", "now"), CHANGES)
def test_a_token_of_a_changed_scenario_is_refused_and_says_which_part_has_changed(
    part: str, then: str, now: str, missed: dict[str, Any], tmp_path: Path
) -> None:
    text = Path(MISSED).read_text()
    assert text.count(then) == 1
    (tmp_path / "mine.toml").write_text(text.replace(then, now))
    token = missed["violations"][0]["smallest"]["token"].replace(MISSED, "mine.toml")
    run = slubloom("replay", token, "--log", "off", cwd=tmp_path)
    assert run.returncode == 2
    (change,) = (line for line in run.stderr.splitlines() if "digest" in line)
    assert change.startswith(f"  {part}: digest ")
    assert "--tolerant" in run.stderr
    assert run.stdout == ""
    tolerant = slubloom("replay", token, "--tolerant", "--log", "off", cwd=tmp_path)
    assert tolerant.returncode == 0
    assert f"changed since this was recorded: {part}: digest " in tolerant.stderr
    assert "violated: null-deref" in tolerant.stdout


def test_a_new_title_changes_nothing(missed: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text(Path(MISSED).read_text().replace('title = "A', 'title = "The'))
    token = missed["violations"][0]["token"].replace(MISSED, "mine.toml")
    assert "the same violation as recorded" in slubloom("replay", token, "--log", "off", cwd=tmp_path).stdout


def test_a_recorded_trace_of_a_changed_scenario_names_the_places_and_is_followed_as_far_as_it_goes(
    tmp_path: Path,
) -> None:
    mine = tmp_path / "mine.toml"
    text = Path(MISSED).read_text()
    mine.write_text(text)
    slubloom("run", "mine.toml", "--strategy", "random", "--trace", "t.slabtrc", "--log", "off", cwd=tmp_path)
    mine.write_text(text.replace("count = 4", "count = 1").replace('"128M"', '"64M"'))
    refused = slubloom("replay", "t.slabtrc", "--log", "off", cwd=tmp_path)
    assert refused.returncode == 2
    changes = [line.strip() for line in refused.stderr.splitlines() if " then, " in line]
    assert changes == [
        "machine.node[1].memory: 134217728 then, 67108864 now",
        "task[0].program[0].count: 4 then, 1 now",
        "task[0].program[2].count: 4 then, 1 now",
    ]
    tolerant = slubloom("replay", "t.slabtrc", "--tolerant", "--log", "off", cwd=tmp_path)
    assert tolerant.returncode == 0
    assert [line.removeprefix("changed since this was recorded: ") for line in tolerant.stderr.splitlines()] == changes
    followed = tolerant.stdout.splitlines()[-1].split()
    assert followed[0] == "followed:"
    assert followed[2] == "of"
    assert followed[4:] == ["recorded", "decisions"]
    assert 0 < int(followed[1]) < int(followed[3])


# --- while it runs


def children(pid: int) -> list[int]:
    text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [int(child) for child in text.split()]


def cpu_ticks(pid: int) -> int:
    """Clock ticks a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


needs_proc = pytest.mark.skipif(
    not Path(f"/proc/self/task/{os.getpid()}/children").exists(), reason="looks at processes in /proc"
)


def alive(pid: int) -> bool:
    """Whether a process still does something; one that has ended may not have been collected yet."""
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


def at_work(process: subprocess.Popen[str], workers: int) -> list[int]:
    """The worker processes of a campaign, once each has computed for a while."""
    for _ in range(6000):
        assert process.poll() is None
        found = children(process.pid)
        if len(found) == workers and all(cpu_ticks(worker) >= 20 for worker in found):
            return found
        time.sleep(0.01)
    raise AssertionError("the workers do not start")


@needs_proc
def test_ctrl_c_ends_the_search_with_130_and_says_how_far_it_came() -> None:
    process = start("explore", MISSED, "--release", "v6.1", "--schedules", "1000000", "--jobs", "2")
    workers = at_work(process, 2)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert err == ""
    last = out.splitlines()[-1]
    assert last.endswith("ended because interrupted")
    assert 0 < int(last.split()[0].replace(",", "")) < 1_000_000
    assert not any(map(alive, workers))


@needs_proc
def test_ctrl_c_in_a_search_of_one_process_ends_it_the_same_way() -> None:
    process = start("explore", MISSED, "--release", "v6.1", "--exhaustive", "--json")
    while cpu_ticks(process.pid) < 100:
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert err == ""
    result = json.loads(out)
    assert result["outcome"] == "interrupted"
    assert not result["complete"]


@needs_proc
def test_the_search_goes_on_without_a_worker_that_was_killed() -> None:
    process = start("explore", MISSED, "--release", "v6.1", "--schedules", "400", "--jobs", "2")
    killed, other = at_work(process, 2)
    os.kill(killed, signal.SIGKILL)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0
    assert "clean: no violation in 399 schedules" in out
    assert "ended because all 400 schedules were run" in out
    assert err.startswith("warning: workers died; schedules lost with them: ")
    assert err.count("\n") == 1
    assert not alive(other)


@needs_proc
def test_workers_do_not_outlive_a_search_that_was_killed() -> None:
    process = start("explore", MISSED, "--release", "v6.1", "--schedules", "1000000", "--jobs", "3")
    workers = at_work(process, 3)
    process.kill()
    process.wait()
    # Workers have copies of these: reading them to their end would wait for the workers.
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    process.stderr.close()
    for _ in range(1000):
        left = [worker for worker in workers if alive(worker)]
        if not left:
            return
        time.sleep(0.01)
    for worker in left:
        os.kill(worker, signal.SIGKILL)
    raise AssertionError(f"{len(left)} workers live on")


# --- what must not mislead


def test_one_cycle_of_locks_is_one_finding_whoever_closes_it(tmp_path: Path) -> None:
    path = tmp_path / "two_locks.toml"
    path.write_text(TWO_LOCKS + AGAINST_ORDER)
    document = explored(str(path), "--all", "--schedules", "60", "--no-explain", "--jobs", "1")
    circular = [violation for violation in document["violations"] if violation["kind"] == "lockdep-circular"]
    assert [violation["times"] for violation in circular] == [60]


def test_a_token_found_under_a_step_limit_replays_without_it() -> None:
    document = explored(
        UAF, "--steps-max", "400", "--strategy", "surw", "--seed", "1", "--schedules", "200", "--no-explain"
    )
    token = document["violations"][0]["token"]
    assert token.startswith("sl1:surw:")
    replay = slubloom("replay", token, "--log", "off")
    assert "the same violation as recorded" in replay.stdout


def test_what_is_wrong_with_a_file_is_said_once_with_any_number_of_workers() -> None:
    run = slubloom("explore", MISSED, "--release", "v2.6", "--jobs", "3")
    assert run.returncode == 2
    assert len(run.stderr.splitlines()) == 1
    assert "v2.6 is outside of what is emulated" in run.stderr


def test_an_audit_of_a_patch_that_fails_says_so_in_one_line(tmp_path: Path) -> None:
    patch = tmp_path / "broken.py"
    patch.write_text(BROKEN_PATCH)
    run = slubloom("explore", MISSED, "--apply", str(patch), "--audit", "--schedules", "5")
    assert run.returncode == 3
    assert "RuntimeError: the patch is wrong (broken.py:7 in covered)" in run.stderr
    assert "Traceback" not in run.stderr
