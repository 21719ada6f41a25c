"""``--proc`` and ``--proc-out``: files as they are at the end of a run; and machines booted from a recorded dump."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from slubloom.topology import gallery_path, load, loads

from slubloom.end_files import FileNameError, check_folder, path_of
from slubloom.run import RunOptions, run_scenario

from . import command_line

if TYPE_CHECKING:
    import subprocess

UAF = str(gallery_path("node-offline-uaf"))
SCENARIO = """
[machine]
slabinfo = "dump.txt"
[[machine.node]]
id = 0
cpus = "0-1"
memory = "64M"
[[cache]]
name = "first"
size = 500
[[cache]]
name = "second"
size = 500
[[task]]
name = "t"
program = [
    {op = "kmem_cache_alloc", cache = "recorded", count = 20},
    {op = "kmem_cache_alloc", cache = "second", count = 3},
    {op = "read", path = "/proc/slabinfo"},
    {op = "read", path = "/sys/kernel/slab/recorded/objects"},
]
"""
DUMP = "recorded 30 48 256 16 1 : tunables 0 0 0 : slabdata 3 3 0\n"


@pytest.fixture
def scenario(tmp_path: Path) -> str:
    (tmp_path / "dump.txt").write_text(DUMP)
    path = tmp_path / "scenario.toml"
    path.write_text(SCENARIO)
    return str(path)


def slubloom(*arguments: str) -> subprocess.CompletedProcess[str]:
    return command_line.slubloom(*arguments, "--log", "off")


# --- names


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("slabinfo", "/proc/slabinfo"),
        ("/proc/zoneinfo", "/proc/zoneinfo"),
        ("proc/buddyinfo", "/proc/buddyinfo"),
        ("slab/dentry/partial", "/sys/kernel/slab/dentry/partial"),
        ("/sys/kernel/slab/:0000064/objects", "/sys/kernel/slab/:0000064/objects"),
        ("slab/a/alloc_fastpath", "/sys/kernel/slab/a/alloc_fastpath"),
        ("/sys/devices/system/node/online", "/sys/devices/system/node/online"),
    ],
)
def test_a_short_name_stands_for_a_path(name: str, path: str) -> None:
    assert path_of(name) == path


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("meminfo", "meminfo: there is no such file; there are: buddyinfo, slabinfo, zoneinfo, "),
        ("", "there is no such file"),
        ("/etc/passwd", "there is no such file"),
        ("slab/dentry/objcts", "no cache has a file 'objcts'; did you mean objects? there are: aliases, align, "),
        ("slab/dentry", "no cache has a file ''"),
        ("slab/../../x", "no cache has a file '../x'"),
    ],
)
def test_other_names_are_refused_with_those_there_are(name: str, said: str) -> None:
    with pytest.raises(FileNameError) as caught:
        path_of(name)
    assert said in str(caught.value)
    assert caught.value.exit_status == 2


# --- from Python


def test_the_end_of_a_run_is_what_its_last_task_read(scenario: str) -> None:
    paths = ("/proc/slabinfo", "/sys/kernel/slab/recorded/objects")
    result = run_scenario(load(scenario), RunOptions(files=paths))
    assert result.files.texts == {path: result.files_read[path] for path in paths}
    # 18 of 48 were free; 20 are taken, the last two of a new slab that is the processor's.
    assert result.files.texts[paths[1]] == "64 N0=64\n"


def test_asking_for_files_changes_nothing_about_the_run_or_its_trace(scenario: str, tmp_path: Path) -> None:
    traces = []
    for number, options in enumerate([{}, {"files": ("/proc/slabinfo",), "files_folder": str(tmp_path / "out")}]):
        trace = tmp_path / f"{number}.slabtrc"
        result = run_scenario(load(scenario), RunOptions(strategy="random", trace=str(trace), **options))  # type: ignore[arg-type]
        traces.append((trace.read_bytes(), result.tape, result.steps, result.counters))
    assert traces[0] == traces[1]


def test_a_run_that_ran_freely_can_be_looked_at_too(scenario: str) -> None:
    result = run_scenario(load(scenario), RunOptions(interleaver="free", files=("/proc/slabinfo",)))
    assert "recorded " in result.files.texts["/proc/slabinfo"]


def test_a_deadlock_leaves_its_locks_held() -> None:
    text = """
[[machine.node]]
id = 0
cpus = "0-1"
memory = "64M"
[kernel]
sanitizers = ["kasan"]
[[lock]]
name = "l"
[[cache]]
name = "x"
size = 64
[[task]]
name = "a"
program = [{op = "lock", lock = "l"}]
[[task]]
name = "b"
cpu = 1
program = [{op = "sleep", ns = 1000000}, {op = "lock", lock = "l"}]
"""
    result = run_scenario(loads(text), RunOptions(files=("/proc/slabinfo",)))
    assert result.kinds() == ("deadlock",)
    assert "\nx " in result.files.texts["/proc/slabinfo"]  # nobody holds slab_mutex


# --- from the command line


def test_files_are_printed_after_the_result(scenario: str) -> None:
    done = slubloom("run", scenario, "--proc", "slabinfo", "--proc", "slab/second/aliases")
    assert done.returncode == 0, done.stderr
    result, slabinfo, aliases = done.stdout.split("\n==> ")
    assert "clean: every task finished" in result
    assert slabinfo.startswith("/proc/slabinfo <==\nslabinfo - version: 2.1\n# name ")
    assert aliases == "/sys/kernel/slab/second/aliases <==\n1\n"


def test_files_are_in_the_result_object(scenario: str) -> None:
    done = slubloom("run", scenario, "--json", "--proc", "slab/recorded/objects", "--proc", "slab/nix/objects")
    document = json.loads(done.stdout)
    assert document["files"] == {"/sys/kernel/slab/recorded/objects": "64 N0=64\n"}
    assert "there is no cache nix" in document["unreadable"]["/sys/kernel/slab/nix/objects"]
    assert "files" not in json.loads(slubloom("run", scenario, "--json").stdout)


def test_an_unknown_file_is_a_usage_error_before_anything_runs(scenario: str) -> None:
    done = slubloom("run", scenario, "--proc", "slabinf")
    assert done.returncode == 2
    assert "--proc slabinf: there is no such file; there are: buddyinfo, slabinfo, zoneinfo" in done.stderr
    assert done.stdout == ""


def test_a_cache_that_does_not_exist_at_the_end_is_said_and_is_no_success(scenario: str) -> None:
    done = slubloom("run", scenario, "--proc", "slab/recorde/objects")
    assert done.returncode == 2
    assert done.stderr.startswith(
        "cannot read /sys/kernel/slab/recorde/objects: there is no cache recorde at the end of the run;"
        " did you mean recorded"
    )
    assert "clean" in done.stdout


def test_a_whole_tree_is_written_with_links(scenario: str, tmp_path: Path) -> None:
    out = tmp_path / "new" / "out"
    done = slubloom("run", scenario, "--proc-out", str(out), "--proc", "slabinfo")
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith((out / "proc/slabinfo").read_text())
    assert (out / "proc/buddyinfo").read_text().startswith("Node 0, zone")
    assert "nr_free_pages" in (out / "proc/zoneinfo").read_text()
    slab = out / "sys/kernel/slab"
    assert sorted(path.name for path in slab.iterdir()) == [
        ":0000504",
        "first",
        "kmem_cache",
        "kmem_cache_node",
        "recorded",
        "second",
    ]
    for name in ("first", "second"):
        assert (slab / name).readlink() == Path(":0000504")
        assert (slab / name / "object_size").read_text() == "500\n"
    assert (slab / "recorded" / "objects").read_text() == "64 N0=64\n"
    assert len(list((slab / "recorded").iterdir())) == 29


@pytest.mark.parametrize("what", ["full", "file"])
def test_a_tree_is_not_written_over_anything(scenario: str, tmp_path: Path, what: str) -> None:
    out = tmp_path / "out"
    if what == "full":
        out.mkdir()
        (out / "mine.txt").write_text("mine")
    else:
        out.write_text("mine")
    done = slubloom("run", scenario, "--proc-out", str(out))
    assert done.returncode == 2
    reason = "is not empty (there is mine.txt); expected an empty folder, or none" if what == "full" else "File exists"
    assert f"--proc-out {out}: {reason}" in done.stderr
    assert done.stdout == ""


def test_a_cache_called_like_a_way_out_of_the_folder_is_not_written(tmp_path: Path) -> None:
    text = '[[machine.node]]\nid = 0\ncpus = 0\nmemory = "64M"\n[[cache]]\nname = ".."\nsize = 64\nctor = true\n'
    check_folder(str(tmp_path / "out"))
    with pytest.raises(FileNameError, match="a cache has a name that is none of a folder"):
        run_scenario(loads(text), RunOptions(files_folder=str(tmp_path / "out")))
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_after_a_violation_a_held_lock_is_named_and_the_rest_is_read(tmp_path: Path) -> None:
    out = tmp_path / "out"
    arguments = ["--strategy", "random", "--seed", "4", "--proc", "slabinfo", "--proc", "slab/inode_cache/order"]
    done = slubloom("run", UAF, *arguments, "--proc-out", str(out))
    assert done.returncode == 0  # the violation that the scenario expects
    assert "violated: use-after-free" in done.stdout
    assert done.stderr.startswith("cannot read /proc/slabinfo: slab_mutex is held by admin/")
    assert "==> /sys/kernel/slab/inode_cache/order <==" in done.stdout
    assert not (out / "proc/slabinfo").exists()
    assert (out / "proc/buddyinfo").exists()


def test_a_replay_shows_files_too(tmp_path: Path) -> None:
    trace = tmp_path / "run.slabtrc"
    slubloom("run", UAF, "--strategy", "random", "--seed", "3", "--trace", str(trace))
    done = slubloom("replay", str(trace), "--proc", "slab/inode_cache/order")
    assert "==> /sys/kernel/slab/inode_cache/order <==" in done.stdout


# --- machines from a dump


def test_a_damaged_dump_is_one_message_with_the_line(scenario: str) -> None:
    (Path(scenario).parent / "dump.txt").write_text(DUMP.replace("3 3 0", "3 4 0"))
    done = slubloom("run", scenario)
    assert done.returncode == 2
    path = Path(scenario).parent / "dump.txt"
    assert done.stderr == (f"slubloom: {path}: line 1: cache recorded: num_objs is 48, but 4 slabs of 16 have 64\n")


def test_a_dump_that_finds_no_room_is_one_message_with_the_line(scenario: str) -> None:
    (Path(scenario).parent / "dump.txt").write_text("big 2047 2047 32768 1 8 : tunables 0 0 0 : slabdata 2047 2047 0\n")
    done = slubloom("run", scenario, "--set", "task=[]")
    assert done.returncode == 2
    assert done.stderr.startswith(
        "slubloom: machine.slabinfo: line 1, cache big: no node has 8 pages in one piece left"
    )
    assert "Traceback" not in done.stderr


def test_a_trace_of_a_machine_from_a_dump_says_if_the_dump_has_changed(scenario: str, tmp_path: Path) -> None:
    trace = tmp_path / "run.slabtrc"
    assert slubloom("run", scenario, "--trace", str(trace)).returncode == 0
    assert slubloom("replay", str(trace)).returncode == 0
    (Path(scenario).parent / "dump.txt").write_text(DUMP.replace("30 48", "31 48"))
    done = slubloom("replay", str(trace))
    assert done.returncode == 2
    assert "machine.slabinfo[0][2]: 30 then, 31 now" in done.stderr
