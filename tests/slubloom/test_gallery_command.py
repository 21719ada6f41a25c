"""``slubloom gallery``: what there is, and where."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from slubloom.topology import gallery_names

from slubloom.cli import main

if TYPE_CHECKING:
    import pytest


def test_every_scenario_is_listed_with_its_kernel_and_what_it_shows(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["gallery"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines if not line.startswith(" ")] == gallery_names()
    assert any(line.startswith("missed-node ") and "null-deref" in line and "(v3.15)" in line for line in lines)
    # One that needs a patch to break says which.
    flush_lock = next(number for number, line in enumerate(lines) if line.startswith("flush-lock "))
    assert lines[flush_lock + 1].strip() == "lockdep-circular with slub-flush-work-v4"


def test_the_list_as_data(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["gallery", "list", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    rows = {row["name"]: row for row in document["scenarios"]}
    assert rows["unmount"]["expects"] == ["objects-remaining"]
    assert rows["unmount-with-barrier"]["expects"] == []


def test_a_scenario_is_shown_and_found(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["gallery", "path", "unmount"]) == 0
    path = Path(capsys.readouterr().out.strip())
    assert main(["gallery", "show", "unmount.toml"]) == 0
    assert capsys.readouterr().out == path.read_text()


def test_one_that_is_not_there_is_told_with_those_that_are(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["gallery", "show", "nonsense"]) == 2
    assert "nonsense: there is no such scenario; there are: alias-unloaded, " in capsys.readouterr().err
