"""``slubloom run`` and ``slubloom replay`` as a user types them."""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from urllib.parse import quote

import msgpack
import pytest
from slubloom.topology import gallery_path
from slubloom.traces import TraceReader

from .command_line import slubloom

UAF = str(gallery_path("node-offline-uaf"))
MISSED = str(gallery_path("missed-node"))
LONG = """
[[machine.node]]
id = 0
cpus = "0-1"
memory = "64M"
[[lock]]
name = "l"
[[task]]
name = "busy"
instances = 2
cpu = [0, 1]
program = [{op = "repeat", count = 10000000, program = [{op = "lock", lock = "l"}, {op = "unlock", lock = "l"}]}]
"""


def start(*arguments: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "slubloom", *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


@pytest.fixture
def long_file(tmp_path: Path) -> str:
    path = tmp_path / "long.toml"
    path.write_text(LONG)
    return str(path)


def violating_seed() -> int:
    """A seed under which node-offline-uaf is violated, found and not assumed."""
    for seed in range(50):
        run = slubloom("run", UAF, "--strategy", "random", "--seed", str(seed), "--log", "off", "--json")
        if json.loads(run.stdout)["verdict"] == "violated":
            return seed
    raise AssertionError("no seed below 50 finds the race")


@pytest.fixture(scope="module")
def seed() -> int:
    return violating_seed()


def test_the_result_object_has_the_fields_of_the_contract(seed: int) -> None:
    run = slubloom("run", UAF, "--strategy", "random", "--seed", str(seed), "--log", "off", "--json")
    result = json.loads(run.stdout)
    assert run.stderr == ""
    assert result["verdict"] == "violated"
    (violation,) = result["violations"]
    assert violation["kind"] == "use-after-free"
    assert set(violation) == {"kind", "title", "report", "step", "time_ns", "token"}
    assert result["schedules"] == 1
    assert result["steps"] >= violation["step"] > 0
    assert result["events"] > 100
    assert result["counters"]["nodes_onlined"] == 1


def test_exactly_what_the_file_expects_is_success_and_anything_else_is_not(seed: int) -> None:
    random = ("--strategy", "random", "--seed", str(seed), "--log", "off")
    assert slubloom("run", UAF, *random).returncode == 0
    assert slubloom("run", UAF, *random, "--set", "expect.where=[]").returncode == 1
    assert slubloom("run", UAF, *random, "--release", "v5.12").returncode == 0


def test_a_token_replays_the_same_report_byte_for_byte(seed: int) -> None:
    first = slubloom("run", UAF, "--strategy", "random", "--seed", str(seed), "--log", "off", "--json")
    violation = json.loads(first.stdout)["violations"][0]
    assert len(violation["token"].replace(quote(UAF, safe="/.-_"), "")) < 50
    again = slubloom("replay", violation["token"], "--log", "off", "--json", PYTHONHASHSEED="7")
    assert json.loads(again.stdout)["violations"][0] == violation


def test_a_token_of_a_changed_scenario_is_refused_with_the_reason(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(Path(UAF).read_text())
    run = slubloom("run", str(path), "--strategy", "random", "--log", "off", "--json")
    token = json.loads(run.stdout)["token"]
    path.write_text(Path(UAF).read_text().replace("count = 6", "count = 7"))
    replay = slubloom("replay", token, "--log", "off")
    assert replay.returncode == 2
    assert "is not the scenario that was recorded" in replay.stderr


@pytest.mark.parametrize("strategy", ["timed", "random"])
def test_the_same_seed_gives_the_same_trace_bytes_in_every_process(strategy: str, tmp_path: Path) -> None:
    traces = []
    for number, hash_seed in enumerate(("0", "1", "4242")):
        path = tmp_path / f"{number}.slabtrc"
        options = ("--strategy", strategy, "--seed", "5", "--log", "off", "--trace", str(path))
        slubloom("run", MISSED, "--release", "v5.15", *options, PYTHONHASHSEED=hash_seed)
        traces.append(path.read_bytes())
    assert traces[0] == traces[1] == traces[2]


@pytest.mark.parametrize("strategy", ["timed", "random"])
def test_the_tape_in_a_trace_replays_the_run(strategy: str, tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    slubloom("run", MISSED, "--strategy", strategy, "--seed", "3", "--log", "off", "--trace", str(first))
    replay = slubloom("replay", str(first), "--log", "off", "--trace", str(second))
    assert replay.returncode == 0, replay.stderr
    with TraceReader(str(first)) as one, TraceReader(str(second)) as two:
        assert list(one) == list(two)
        assert one.end is not None
        assert two.end is not None
        assert one.end["tape"] == two.end["tape"]


def test_console_logs_are_for_people_and_json_logs_for_machines() -> None:
    json_log = slubloom("run", UAF, "--log", "json").stderr.splitlines()
    assert json.loads(json_log[0])["event"] == "booted"
    assert {"time_ns", "cpu", "comm", "pid", "chunk", "level", "event"} <= set(json.loads(json_log[0]))
    console = slubloom("run", UAF, "--log", "console").stderr
    assert re.match(r"\[ +0\.\d+\] cpu0 swapper/0", console)


def test_the_trace_can_go_to_standard_output() -> None:
    run = subprocess.run(
        [sys.executable, "-m", "slubloom", "run", MISSED, "--trace", "-", "--log", "off"],
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert run.stdout[1:].startswith(msgpack.packb("slabtrc1"))
    assert b"steps, virtual time" in run.stderr


def test_the_trace_can_go_to_a_unix_socket_that_somebody_listens_at(tmp_path: Path) -> None:
    path = str(tmp_path / "trace.sock")
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen()
    received = bytearray()

    def read() -> None:
        connection, _ = listener.accept()
        with connection:
            while data := connection.recv(65536):
                received.extend(data)

    reader = threading.Thread(target=read)
    reader.start()
    run = slubloom("run", MISSED, "--trace", f"unix:{path}", "--log", "off", "--json")
    reader.join(20)
    listener.close()
    unpacker = msgpack.Unpacker()
    unpacker.feed(bytes(received))
    blocks = list(unpacker)
    assert blocks[0][0] == "slabtrc1"
    assert sum(block[4] for block in blocks if block[0] == 2) == json.loads(run.stdout)["events"]


def test_kill_9_in_the_middle_of_a_run_leaves_complete_chunks(long_file: str, tmp_path: Path) -> None:
    path = tmp_path / "killed.slabtrc"
    process = start("run", long_file, "--trace", str(path), "--log", "off")
    while not path.exists() or path.stat().st_size < 500_000:
        assert process.poll() is None
        time.sleep(0.02)
    process.kill()
    process.communicate()
    with TraceReader(str(path)) as reader:
        chunks = list(reader.chunks())
        assert len(chunks) > 2
        assert not reader.closed_cleanly
        # The kernel may end a write in the middle when it kills the writer: then the last block is cut off, no other.
        assert [(damage.message, damage.end) for damage in reader.damage] in (
            [],
            [("the trace is cut off inside a block", path.stat().st_size)],
        )
        assert [chunk.sequence for chunk in chunks] == list(range(chunks[0].sequence, chunks[0].sequence + len(chunks)))


def test_ctrl_c_ends_the_run_with_130_and_a_complete_trace(long_file: str, tmp_path: Path) -> None:
    path = tmp_path / "interrupted.slabtrc"
    process = start("run", long_file, "--trace", str(path), "--log", "off")
    while not path.exists() or path.stat().st_size < 200_000:
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 130, err
    assert b"interrupted" in out
    assert err == b""
    with TraceReader(str(path)) as reader:
        list(reader)
        assert reader.closed_cleanly
        assert reader.end is not None
        assert reader.end["outcome"] == "interrupted"


def test_an_internal_failure_says_so_and_leaves_a_trace(tmp_path: Path) -> None:
    patch = tmp_path / "broken.py"
    patch.write_text(
        "from dataclasses import replace\n"
        "from slubloom.kernel.slab.node_variants import SlabNodes\n"
        "class Broken(SlabNodes):\n"
        "    def covered(self, slub, node):\n"
        "        raise RuntimeError('the patch is wrong')\n"
        "def apply(kernel):\n"
        "    return replace(kernel, node_tracking=Broken())\n"
    )
    run = subprocess.run(
        [sys.executable, "-m", "slubloom", "run", MISSED, "--apply", str(patch), "--log", "off"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        timeout=60,
        check=False,
    )
    assert run.returncode == 3
    assert "internal error" in run.stderr
    assert "the patch is wrong" in run.stderr
    assert "in covered" in run.stderr
    (trace,) = tmp_path.glob("slubloom-failure-*.slabtrc")
    with TraceReader(str(trace)) as reader:
        assert len(list(reader)) > 10
        assert reader.end is not None
        assert "failure" in reader.end


def test_a_users_patch_file_replaces_a_protocol(tmp_path: Path) -> None:
    patch = tmp_path / "keep.py"
    patch.write_text(
        "from dataclasses import replace\n"
        "from slubloom.kernel.slab.node_variants import KeptForever\n"
        "def apply(kernel):\n"
        "    return replace(kernel, node_lifetime=KeptForever())\n"
    )
    explored = slubloom("explore", UAF, "--apply", str(patch), "--schedules", "100", "--json")
    assert json.loads(explored.stdout)["verdict"] == "clean"
    assert json.loads(slubloom("explore", UAF, "--schedules", "100", "--json").stdout)["verdict"] == "violated"


def test_free_running_ends_and_reports() -> None:
    for _ in range(3):
        run = slubloom("run", MISSED, "--release", "v5.12", "--interleaver", "free", "--log", "off")
        assert run.returncode == 0, run.stderr
        assert run.stderr == ""


BAD = [
    (("run", "no-such-file.toml"), "there is no such file"),
    (("run", MISSED, "--release", "v2.6"), "outside of what is emulated"),
    (("run", MISSED, "--release", "five"), "kernel.release"),
    (("run", MISSED, "--apply", "nonsense"), "there is no patch 'nonsense'"),
    (("run", MISSED, "--strategy", "luck"), "there is no such strategy"),
    (("run", MISSED, "--set", "kernel.sanitizers=['x']"), "there is no sanitizer 'x'"),
    (("run", MISSED, "--set", "kernel.colour=1"), "kernel.colour: there is no such key"),
    (("run", MISSED, "--seed", "-1"), "--seed"),
    (("run", MISSED, "--trace", "tcp:10.1.2.3:99"), "10.1.2.3"),
    (("run", MISSED, "--trace", "/no/such/folder/x"), "/no/such/folder/x"),
    (("run",), "FILE"),
    (("replay", "sl1:nonsense"), "is no replay token"),
    (("replay", "no-such-trace"), "no-such-trace"),
    (("replay", MISSED), "missed-node.toml"),
    (("fly",), "fly"),
    (("topology", "check", "no-such-file.toml"), "there is no such file"),
]


@pytest.mark.parametrize(("arguments", "said"), BAD, ids=lambda value: "-".join(value)[-40:] if value else None)
def test_unusable_input_is_one_clear_message_and_status_2(arguments: tuple[str, ...], said: str) -> None:
    run = slubloom(*arguments)
    assert run.returncode == 2
    assert said in run.stderr
    assert "Traceback" not in run.stderr
    assert run.stdout == ""
