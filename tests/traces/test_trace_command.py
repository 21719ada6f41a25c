import io
import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from slubloom.traces import (
    EventSpec,
    StreamWriter,
    TraceError,
    TraceReader,
    collect_statistics,
    json_formatter,
    line_formatter,
    open_sink,
)

from slubloom.commands.trace import command

from .helpers import some_records, write_trace

SPECS = {
    1: EventSpec(
        "kmem", "kmem_cache_free", (("call_site", "unsigned long"), ("ptr", "const void *"), ("name", "string"))
    ),
    2: EventSpec("kmem", "rss_stat", (("size", "long"),)),
    3: EventSpec("kmem", "nothing", ()),
}


def test_records_look_like_the_kernels_trace_file() -> None:
    line = line_formatter(SPECS)
    assert line((1, 12_345_678_901, 2, 104, "creator", 4096, 0xFFFF_8880_0400_1000, "dentry")) == (
        "         creator-104     [002]     12.345678901: kmem_cache_free: "
        "call_site=4096 ptr=0xffff888004001000 name=dentry"
    )
    assert line((2, 5, -1, 0, "node/0", -7)) == "          node/0-0       [---]      0.000000005: rss_stat: size=-7"
    assert line((3, 0, 4095, 1, "init")) == "            init-1       [4095]      0.000000000: nothing:"


def test_text_cannot_command_a_terminal() -> None:
    assert line_formatter(SPECS)((1, 0, 0, 1, "a\x1b[2J", 0, 0, "x\ny")).endswith("name=x\\ny")
    assert "\x1b" not in line_formatter(SPECS)((1, 0, 0, 1, "a\x1b[2J", 0, 0, "x"))


def test_records_as_json_name_their_fields() -> None:
    line = json_formatter(SPECS)((1, 9, 2, 104, "creator", 4096, 2**64 - 1, "dentry"))
    assert json.loads(line) == {
        "event": "kmem:kmem_cache_free",
        "time_ns": 9,
        "cpu": 2,
        "pid": 104,
        "comm": "creator",
        "fields": {"call_site": 4096, "ptr": 2**64 - 1, "name": "dentry"},
    }


def _run(*arguments: str, stdin: bytes | None = None) -> Result:
    return CliRunner().invoke(command, list(arguments), input=stdin)


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    write_trace(tmp_path / "trace", some_records(95))
    return tmp_path / "trace"


def test_cat_prints_every_record(trace: Path) -> None:
    result = _run("cat", str(trace))
    assert (result.exit_code, result.stderr) == (0, "")
    lines = result.stdout.splitlines()
    assert len(lines) == 95
    assert lines[0] == (
        "          task-0-100     [000]      0.000000000: lock_acquire: "
        "flags=0 name=lock-0 lockdep_addr=0xffff888000000000"
    )


@pytest.mark.parametrize(
    ("options", "count"),
    [
        (["--event", "lock:*"], 32),
        (["--event", "kfree"], 32),
        (["--event", "kfree", "--event", "kmem:rss*"], 63),
        (["--cpu", "3"], 23),
        (["--cpu", "3", "--cpu", "0"], 47),
        (["--comm", "task-[01]"], 38),
        (["--limit", "7"], 7),
        (["--limit", "0"], 0),
        (["--event", "lock:*", "--cpu", "0", "--limit", "2"], 2),
    ],
)
def test_cat_selects(trace: Path, options: list[str], count: int) -> None:
    result = _run("cat", str(trace), *options)
    assert result.exit_code == 0
    assert len(result.stdout.splitlines()) == count


def test_cat_says_when_no_event_of_the_trace_matches(trace: Path) -> None:
    result = _run("cat", str(trace), "--event", "lok:*")
    assert isinstance(result.exception, TraceError)
    assert str(result.exception) == f"{trace}: no event of this trace matches 'lok:*'"


def test_cat_reads_standard_input(trace: Path) -> None:
    result = _run("cat", "-", "--json", stdin=trace.read_bytes())
    assert len([json.loads(line) for line in result.stdout.splitlines()]) == 95


def test_cat_of_a_damaged_trace_prints_the_rest_and_fails(trace: Path) -> None:
    data = bytearray(trace.read_bytes())
    offset = TraceReader(io.BytesIO(bytes(data))).index()[2].offset
    data[offset + 50] ^= 0xFF
    trace.write_bytes(bytes(data))
    result = _run("cat", str(trace))
    assert len(result.stdout.splitlines()) == 85
    assert isinstance(result.exception, TraceError)
    assert str(result.exception).startswith(f"{trace}: offset {offset}: chunk 2: its checksum is wrong (")


def test_cat_of_a_trace_cut_inside_a_block_prints_the_rest_and_fails(trace: Path) -> None:
    data = trace.read_bytes()
    cut = TraceReader(io.BytesIO(data)).index()[2].offset + 9
    trace.write_bytes(data[:cut])
    result = _run("cat", str(trace))
    assert len(result.stdout.splitlines()) == 20
    assert isinstance(result.exception, TraceError)
    assert "the trace is cut off inside a block (9 bytes skipped)" in str(result.exception)


def test_cat_of_a_killed_run_warns_and_succeeds(trace: Path) -> None:
    data = trace.read_bytes()
    trace.write_bytes(data[: TraceReader(io.BytesIO(data)).index()[2].offset])
    result = _run("cat", str(trace))
    assert result.exit_code == 0
    assert len(result.stdout.splitlines()) == 20
    assert "was not closed" in result.stderr


def test_stats_count_a_trace(trace: Path) -> None:
    content = json.loads(_run("stats", str(trace), "--json").stdout)
    assert content["events"] == 95
    assert content["by_event"] == {"kmem:kfree": 32, "kmem:rss_stat": 31, "lock:lock_acquire": 32}
    assert content["by_cpu"] == {"0": 24, "1": 24, "2": 24, "3": 23}
    assert (content["first_ns"], content["last_ns"], content["chunks"]) == (0, 940, 10)
    assert content["bytes"] == trace.stat().st_size
    assert (content["closed_cleanly"], content["damage"], content["lost"]) == (True, [], {})
    assert content["end"] == {"verdict": "clean"}


def test_stats_as_text_name_the_run_and_its_verdict(trace: Path) -> None:
    text = _run("stats", str(trace)).stdout
    assert "seed      7\n" in text
    assert "verdict   clean\n" in text
    assert "          32  kmem:kfree\n" in text


def test_stats_of_an_empty_trace_divide_by_nothing(tmp_path: Path) -> None:
    StreamWriter(open_sink(str(tmp_path / "t")), {}).close()
    with TraceReader(tmp_path / "t") as reader:
        statistics = collect_statistics(reader)
    assert (statistics.events, statistics.first_ns) == (0, None)
    assert "time      none\n" in statistics.as_text()
