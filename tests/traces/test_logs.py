import io
import json

import pytest
from slubloom.traces import LogMode, TraceError, make_logger

from .helpers import Somebody, Stage


def _log(mode: LogMode, stage: Stage, chunk: int = 3) -> str:
    stream = io.StringIO()
    logger = make_logger(mode, stream, stage, lambda: chunk)
    logger.info("cache created", cache="dentry", objects=21)
    stage.now_ns += 5_000_000_000
    logger.warning("going offline", reason="the operator asked")
    logger.debug("unheard")
    return stream.getvalue()


def test_console_lines_look_like_dmesg() -> None:
    assert _log("console", Stage()) == (
        "[    0.000123456] cpu2 creator/104: cache created cache=dentry objects=21 chunk=3\n"
        "[    5.000123456] cpu2 creator/104: going offline reason='the operator asked' chunk=3\n"
    )


def test_json_lines_carry_when_where_who_and_the_chunk() -> None:
    first, second = _log("json", Stage()).splitlines()
    assert first == (
        '{"time_ns":123456,"cpu":2,"comm":"creator","pid":104,"chunk":3,"level":"info","event":"cache created",'
        '"cache":"dentry","objects":21}'
    )
    assert json.loads(second)["level"] == "warning"


def test_off_is_silent() -> None:
    assert _log("off", Stage()) == ""


def test_auto_is_json_when_the_stream_is_no_terminal() -> None:
    assert _log("auto", Stage()) == _log("json", Stage())


def test_auto_is_console_on_a_terminal() -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    stream = Terminal()
    make_logger("auto", stream, Stage()).info("hello")
    assert stream.getvalue() == "[    0.000123456] cpu2 creator/104: hello chunk=0\n"


def test_every_line_of_a_report_has_the_prefix() -> None:
    stream = io.StringIO()
    logger = make_logger("console", stream, Stage(running=Somebody(-1, 0, "node/1")))
    logger.error("BUG: sleeping\n  in atomic\n", kind="sleep-in-atomic")
    assert stream.getvalue() == (
        "[    0.000123456] node/1: BUG: sleeping kind=sleep-in-atomic chunk=0\n[    0.000123456] node/1:   in atomic\n"
    )


def test_the_same_run_logs_the_same_bytes() -> None:
    for mode in ("console", "json"):
        assert _log(mode, Stage()) == _log(mode, Stage())


def test_two_machines_log_to_two_places() -> None:
    one, two = io.StringIO(), io.StringIO()
    first = make_logger("console", one, Stage(now_ns=1000))
    second = make_logger("json", two, Stage(now_ns=2000))
    first.info("a")
    second.info("b")
    first.bind(cache="x").info("c")
    assert one.getvalue().count("\n") == 2
    assert json.loads(two.getvalue())["time_ns"] == 2000


def test_an_unknown_mode_is_one_clear_error() -> None:
    with pytest.raises(TraceError, match="expected console, json, off or auto"):
        make_logger("loud", io.StringIO(), Stage())  # type: ignore[arg-type]  # what a person may type
