"""The command line starts quickly and speaks plainly."""

from __future__ import annotations

import subprocess
import sys


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
