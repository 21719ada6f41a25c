"""The pytest plugin, as its users meet it: pytest in a process of its own, on test files of theirs."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

INI = "[pytest]\nfilterwarnings = error\n"
RACE = """
import pytest
from slubloom.testing import kmem_cache_alloc_node, kmem_cache_create, kmem_cache_destroy, kmem_cache_free
from slubloom.testing import kthread_run
from slubloom.testing import topology as machine_with

GFP_KERNEL = 0xCC0

@pytest.fixture
def topology():
    return machine_with(nodes=2, offline_nodes=[1], memory="256M", release="v3.15")

@pytest.mark.explore(schedules=200)
async def test_a_new_cache_knows_a_node_that_comes_online_meanwhile(machine):
    async def online():
        await machine.memory_hotplug.request(True, 1)

    thread = kthread_run(machine, online, cpu=1)
    caches = [await kmem_cache_create(machine.slab, f"inode_cache_{n}", 1024 + 64 * n) for n in range(4)]
    await thread.join()
    for cache in caches:
        objects = [await kmem_cache_alloc_node(machine.slab, cache, GFP_KERNEL, 1) for _ in range(20)]
        for address in objects:
            await kmem_cache_free(machine.slab, cache, address)
        await kmem_cache_destroy(machine.slab, cache)
"""
RACING = "test_race.py::test_a_new_cache_knows_a_node_that_comes_online_meanwhile"
GALLERY = """
import pytest

@pytest.mark.explore(schedules=60, expect="use-after-free")
@pytest.mark.topology("node-offline-uaf", release="v5.11")
async def test_broken(machine):
    pass

@pytest.mark.explore(schedules=30, expect="use-after-free")
@pytest.mark.topology("node-offline-uaf", release="v6.1")
async def test_fixed(machine):
    pass

@pytest.mark.explore(schedules=30, expect="double-free")
@pytest.mark.topology("node-offline-uaf", release="v5.11")
async def test_of_another_kind(machine):
    pass

@pytest.mark.explore(schedules=30)
@pytest.mark.topology("node-offline-uaf", release="v5.11")
async def test_not_expected(machine):
    pass
"""
OTHERS = """
import pytest
import trio

runs = []

async def test_without_a_mark(machine):
    assert [cpu.cpu_id for cpu in machine.online_cpus()] == [0, 1]
    assert machine.release == "v6.1"
    runs.append(machine)

def test_that_it_ran_once():
    assert len(runs) == 1

@pytest.mark.explore(schedules=7)
async def test_with_a_mark(machine):
    runs.append(machine)

def test_that_each_schedule_had_a_machine_of_its_own():
    assert len(set(map(id, runs))) == 8

@pytest.mark.explore(schedules=3)
@pytest.mark.parametrize("number", [1, 2])
class TestInAClass:
    async def test_with_other_arguments(self, machine, number, tmp_path):
        assert tmp_path.is_dir()
        assert number < 2, f"it is {number}"

@pytest.fixture
async def channel():
    yield trio.open_memory_channel(1)

async def test_of_trio(channel):
    send, receive = channel
    await send.send(5)
    assert await receive.receive() == 5

def test_of_nobody():
    pass

@pytest.mark.xfail(strict=True)
async def test_that_is_to_fail(machine):
    raise RuntimeError("as it should")

@pytest.mark.explore
async def test_without_machine():
    pass

@pytest.mark.topology("no-such-file.toml")
async def test_on_no_machine(machine):
    pass
"""


def run_pytest(folder: Path, *arguments: str) -> tuple[int, str]:
    """The exit status and what pytest printed."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    run = subprocess.run(
        [sys.executable, "-m", "pytest", *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        cwd=folder,
        env=environment,
    )
    assert run.stderr == ""
    return run.returncode, run.stdout


def token_in(output: str) -> str:
    found = re.search(r"^replay: pytest '(.+)' --slubloom-token '(.+)'$", output, re.MULTILINE)
    assert found is not None
    return found[2]


@pytest.fixture
def race(tmp_path: Path) -> Path:
    (tmp_path / "pytest.ini").write_text(INI)
    (tmp_path / "test_race.py").write_text(RACE)
    return tmp_path


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What is printed for the race when it is run for the first time."""
    folder = tmp_path_factory.mktemp("race")
    (folder / "pytest.ini").write_text(INI)
    (folder / "test_race.py").write_text(RACE)
    status, output = run_pytest(folder)
    assert status == 1
    return output


@pytest.fixture(scope="module")
def gallery(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What is printed for tests of a shipped scenario."""
    folder = tmp_path_factory.mktemp("gallery")
    (folder / "pytest.ini").write_text(INI)
    (folder / "test_gallery.py").write_text(GALLERY)
    return run_pytest(folder, "-rA")[1]


@pytest.fixture(scope="module")
def others(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What is printed for tests of all kinds, beside pytest-trio."""
    folder = tmp_path_factory.mktemp("others")
    (folder / "pytest.ini").write_text(INI + "trio_mode = true\n")
    (folder / "test_others.py").write_text(OTHERS)
    return run_pytest(folder, "-rA")[1]


def section(output: str, test: str) -> str:
    """What is printed about one failed test."""
    return re.split(r"^_{3,} .* _{3,}$|^={3,} .* ={3,}$", output.partition(f" {test} _")[2], flags=re.MULTILINE)[0]


# --- a race


def test_a_marked_test_finds_the_race_and_tells_it_in_thirty_lines(found: str) -> None:
    assert "BUG: kernel NULL pointer dereference" in found
    lines = found.splitlines()
    begin = next(index for index, line in enumerate(lines) if line.startswith("smallest schedule: "))
    end = next(index for index, line in enumerate(lines) if line.startswith("replay: "))
    assert end - begin - 1 <= 30  # an empty line stands before the token
    story = lines[begin:end]
    assert "test (CPU 0)" in story[2]
    assert "needed order:" in story
    assert story[story.index("needed order:") :][-5:-1] == [
        "nearest passing schedule: the same, but with",
        "  online, online_pages: writes node_states[]",
        "before",
        "  test, nodes_of_new_cache: reads node_states[]",
    ]
    assert token_in(found).startswith("sl1:")
    assert lines[end].startswith(f"replay: pytest '{RACING}'")


def test_what_failed_is_replayed_first_the_next_time_and_forgotten_once_the_fixed_release_passes(race: Path) -> None:
    first = run_pytest(race)[1]
    _, strategy, seed, _ = token_in(first).split(":", 3)
    assert "fails in schedule" in first
    again = run_pytest(race)[1]
    assert f"fails under strategy {strategy}, seed {seed.split('.')[0]}: BUG: kernel NULL pointer" in again
    assert token_in(again) == token_in(first)
    (race / "test_race.py").write_text(RACE.replace("v3.15", "v6.1"))
    assert run_pytest(race)[0] == 0
    (race / "test_race.py").write_text(RACE)
    assert "fails in schedule" in run_pytest(race)[1]


def test_the_token_alone_reproduces_the_failure(found: str, race: Path) -> None:
    status, output = run_pytest(race, RACING, "--slubloom-token", token_in(found))
    assert status == 1
    assert "fails under strategy" in output
    report = re.compile(r"^BUG: kernel NULL(.+?)^---\[ end trace", re.DOTALL | re.MULTILINE)
    assert report.findall(found) == report.findall(output) != []


def test_a_test_finds_the_same_in_every_process(found: str, race: Path) -> None:
    again = run_pytest(race)[1]
    first, second = (output[output.index("fails in schedule") : output.index("replay: ")] for output in (found, again))
    assert first == second


def test_what_is_no_token_is_said(race: Path) -> None:
    status, output = run_pytest(race, "--slubloom-token", "sl2:nonsense")
    assert status == 1
    assert "--slubloom-token: 'sl2:nonsense' is no replay token; expected sl1:STRATEGY:SEED:DIGEST:PATH" in output
    assert "Traceback" not in output
    assert "pytest_plugin.py" not in output


# --- shipped scenarios


def test_an_expected_violation_passes_where_it_is_found(gallery: str) -> None:
    assert "PASSED test_gallery.py::test_broken" in gallery


def test_an_expected_violation_that_does_not_come_is_a_failure(gallery: str) -> None:
    assert "FAILED test_gallery.py::test_fixed" in gallery
    assert "no use-after-free in 30 schedules, but one was expected" in section(gallery, "test_fixed")


def test_a_violation_of_another_kind_is_not_the_expected_one(gallery: str) -> None:
    told = section(gallery, "test_of_another_kind")
    assert "fails, but not with the expected double-free: BUG: KASAN: use-after-free" in told
    assert token_in(told)


def test_a_sanitizers_report_fails_a_test_that_raises_nothing(gallery: str) -> None:
    told = section(gallery, "test_not_expected")
    assert re.search(r"fails in schedule (\d+) of \1", told)
    assert "==================================================================\nBUG: KASAN: use-after-free" in told
    assert "Freed by task admin/" in told


# --- the rest of a suite


@pytest.mark.parametrize(
    "test",
    [
        "test_without_a_mark",
        "test_that_it_ran_once",
        "test_with_a_mark",
        "test_that_each_schedule_had_a_machine_of_its_own",
        "TestInAClass::test_with_other_arguments[1]",
        "test_of_trio",
        "test_of_nobody",
    ],
)
def test_beside_pytest_trio_each_test_runs_in_its_own_way(test: str, others: str) -> None:
    assert f"PASSED test_others.py::{test}\n" in others


def test_an_assertion_fails_with_the_line_it_is_in_and_a_token(others: str) -> None:
    told = section(others, "TestInAClass.test_with_other_arguments[2]")
    assert '>       assert number < 2, f"it is {number}"' in told
    assert "AssertionError: it is 2" in told
    assert "--slubloom-token 'sl1:random:0:" in told


def test_a_marked_failure_is_an_expected_failure(others: str) -> None:
    assert "XFAIL test_others.py::test_that_is_to_fail" in others


def test_a_mark_without_the_machine_is_said(others: str) -> None:
    told = section(others, "test_without_machine")
    assert "a test marked explore must take the machine fixture as a parameter" in told


def test_a_machine_that_does_not_exist_is_said(others: str) -> None:
    assert "ERROR test_others.py::test_on_no_machine" in others
    assert "no-such-file.toml" in section(others, "test_on_no_machine")


# --- what goes wrong in a test

WRONG = """
import pytest
from slubloom.testing import kthread_run, topology as machine_with

@pytest.mark.explore(schedules=5)
async def test_that_fails_in_a_thread(machine):
    async def compare():
        assert 1 == 2, "in another thread"

    await kthread_run(machine, compare, cpu=1).join()

@pytest.mark.explore(schedules=5)
async def test_that_is_skipped(machine):
    pytest.skip("not today")

@pytest.mark.explore(schedules=5)
async def test_that_is_known_to_fail(machine):
    pytest.xfail("known")

@pytest.mark.explore(strategy="luck")
async def test_of_no_strategy(machine):
    pass

@pytest.mark.explore(budget="soon")
async def test_of_no_time(machine):
    pass

@pytest.mark.explore(schedule=5)
async def test_of_no_such_argument(machine):
    pass

def test_that_is_not_async(machine):
    pass

@pytest.fixture(params=[1, 3])
def topology(request):
    return machine_with(cpus=request.param if request.param > 1 else 2)

async def test_on_two_machines(machine):
    assert len(machine.cpus) in (2, 3)
"""


@pytest.fixture(scope="module")
def wrong(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("wrong")
    (folder / "pytest.ini").write_text(INI)
    (folder / "test_wrong.py").write_text(WRONG)
    status, output = run_pytest(folder, "-rsx", "-p", "no:cacheprovider")
    assert status == 1
    return output


def test_an_assertion_in_a_thread_of_the_test_is_told_with_its_schedule(wrong: str) -> None:
    assert "AssertionError: in another thread" in wrong
    assert "smallest schedule" in wrong
    assert "--slubloom-token" in wrong


def test_skip_and_xfail_inside_a_test_are_what_they_are_elsewhere(wrong: str) -> None:
    assert re.search(r"SKIPPED .*not today", wrong)
    assert re.search(r"XFAIL .*that_is_known_to_fail", wrong)


def test_a_wrong_mark_is_one_clear_message(wrong: str) -> None:
    assert "mark explore: there is no strategy 'luck'; there are: portfolio" in wrong
    assert "mark explore: 'soon' is not a time" in wrong
    assert "mark explore: got an unexpected keyword argument 'schedule'" in wrong
    assert "a test of the machine fixture must be an async function" in wrong
    assert "INTERNALERROR" not in wrong


def test_a_topology_fixture_may_be_parametrized(wrong: str) -> None:
    assert not re.search(r"FAILED .*test_on_two_machines", wrong)
    assert "2 passed" in wrong


def test_a_token_runs_its_own_test_and_no_other(race: Path) -> None:
    (race / "test_else.py").write_text("async def test_of_something_else(machine):\n    raise RuntimeError\n")
    _, output = run_pytest(race, "test_race.py")
    status, output = run_pytest(race, "--slubloom-token", token_in(output))
    assert status == 1
    assert "1 failed, 1 skipped" in output
