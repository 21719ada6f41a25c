"""The command line starts quickly and speaks plainly."""

from __future__ import annotations

import subprocess
import sys

import click
import pytest

from slubloom import cli


def test_help_imports_nothing_slow() -> None:
    command = [sys.executable, "-X", "importtime", "-m", "slubloom", "--help"]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    imported = [line.rpartition("|")[2].strip() for line in run.stderr.splitlines() if line.startswith("import time:")]
    assert "click" in imported
    for slow in ("trio", "pydantic", "structlog", "msgpack", "msgspec", "networkx"):
        assert slow not in imported


def test_every_listed_command_has_help_of_its_own() -> None:
    for command in ("run", "replay", "trace", "topology"):
        run = subprocess.run(
            [sys.executable, "-m", "slubloom", command, "--help"], capture_output=True, text=True, check=True
        )
        assert run.stdout.startswith(f"Usage: slubloom {command}")


def test_without_a_command_there_is_help() -> None:
    run = subprocess.run([sys.executable, "-m", "slubloom"], capture_output=True, text=True, check=False)
    assert run.returncode == 2
    assert "Boot a topology file" in run.stdout + run.stderr


def test_an_unknown_command_is_one_message() -> None:
    run = subprocess.run([sys.executable, "-m", "slubloom", "weave"], capture_output=True, text=True, check=False)
    assert run.returncode == 2
    assert run.stdout == ""
    assert run.stderr.count("weave") == 1
    assert "Traceback" not in run.stderr


class Unusable(Exception):
    exit_status = 2


@pytest.mark.parametrize(
    ("raised", "status", "message"),
    [
        (Unusable("no such node: 7"), 2, "slubloom: no such node: 7\n"),
        (click.Abort(), 130, "slubloom: interrupted\n"),
        (KeyboardInterrupt(), 130, "slubloom: interrupted\n"),
        (BaseExceptionGroup("nursery", [KeyboardInterrupt()]), 130, "slubloom: interrupted\n"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else None,
)
def test_what_a_person_caused_is_one_line_and_a_status(
    raised: BaseException,
    status: int,
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert status_of(raised, monkeypatch) == status
    assert capsys.readouterr().err.lstrip("\n") == message


@pytest.mark.parametrize("raised", [ValueError("ours"), ExceptionGroup("nursery", [ValueError("ours")])])
def test_our_own_failure_says_so_and_shows_where(
    raised: Exception, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert status_of(raised, monkeypatch) == 3
    shown = capsys.readouterr().err
    assert shown.startswith("slubloom: internal error")
    assert "ValueError: ours" in shown


def status_of(raised: BaseException, monkeypatch: pytest.MonkeyPatch) -> int:
    """The exit status of the command line when its command raises this."""

    def fail() -> None:
        raise raised

    monkeypatch.setattr(cli._Commands, "get_command", lambda *_: click.Command("fail", callback=fail))
    return cli.main(["fail"])


def test_a_reader_that_goes_away_is_no_failure() -> None:
    command = [sys.executable, "-c", "import sys, slubloom.cli as c; sys.stdin.read(); sys.exit(c.main(['--help']))"]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True) as writer:
        assert writer.stdin and writer.stdout and writer.stderr
        writer.stdout.close()
        writer.stdin.close()
        assert writer.stderr.read() == ""
    assert writer.returncode == 0
