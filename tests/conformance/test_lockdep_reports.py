"""Lockdep reports of real kernels: from the acquisitions they tell of, ours finds the same and says it the same way."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from slubloom.kernel.sanitizers.lockdep_findings import Finding, Recursion
from slubloom.kernel.sanitizers.lockdep_splat import Splat, SplatLock, read_splats, rederive, scenario_of

FOLDER = Path(__file__).parents[2].parent / "shared" / "data" / "lockdep"
NO_LOCKDEP_REPORT = {"159"}
"""A refcount warning, there to be told apart."""
CUT_OFF = {"31"}
"""Ends behind its first line about locks (syzkaller calls it corrupted)."""

pytestmark = pytest.mark.skipif(not FOLDER.is_dir(), reason=f"there is no {FOLDER.name} beside the checkout")


def texts() -> list[Any]:
    return [pytest.param(path, id=path.name) for path in sorted(FOLDER.glob("syzkaller/*"))]


def transcribed(name: str) -> list[dict[str, Any]]:
    path = FOLDER / name
    return json.loads(path.read_text()) if path.exists() else []


def usable(path: Path) -> Splat:
    (splat,) = read_splats(path.read_text(errors="replace"))
    assert splat.missing == []
    return splat


@pytest.mark.parametrize("path", texts())
def test_a_complete_report_is_found_again_in_the_same_words(path: Path) -> None:
    if path.name in NO_LOCKDEP_REPORT:
        assert read_splats(path.read_text()) == []
        return
    if path.name in CUT_OFF:
        (cut,) = read_splats(path.read_text())
        assert cut.missing == ["the lock that is held", "the scenario"]
        with pytest.raises(ValueError, match="lacks the lock that is held"):
            rederive(cut)
        return
    splat = usable(path)
    found = rederive(splat)
    assert scenario_of(found, splat) == splat.scenario
    assert isinstance(found, Finding | Recursion)
    assert splat.wanted is not None and splat.holding is not None
    assert found.wanted.lock_class.name == splat.wanted.name
    assert found.holding.lock_class.name == splat.holding.name
    if isinstance(found, Finding):
        cycle = [found.path[0].source.name, *(edge.to.name for edge in found.path)]
        assert cycle == [splat.entries[number].name for number in sorted(splat.entries)]


def test_the_reports_are_read_as_somebody_else_has_read_them() -> None:
    """syzkaller-chains.json comes from another parser, and in its own shape."""
    others = transcribed("syzkaller-chains.json")
    for other in others:
        splat = usable(FOLDER / "syzkaller" / other["report"])
        assert splat.wanted is not None and splat.holding is not None
        assert [{"n": number, "lock": lock.name} for number, lock in sorted(splat.entries.items(), reverse=True)] == (
            other["chain"]
        )
        assert f"({splat.wanted.name})" in other["acquire"]
        assert f"({splat.holding.name})" in other["holding"]
        exists = splat.scenario[1].strip() if splat.scenario[0] == "Chain exists of:" else None
        assert exists == other["chain_exists"]
    assert len(others) == 7


def mail_id(mail: dict[str, Any]) -> str:
    return str(mail["archive_id"])


@pytest.mark.parametrize("mail", transcribed("mail-splats.json"), ids=mail_id)
def test_a_report_from_a_mail_is_found_again(mail: dict[str, Any]) -> None:
    """Of these only names and orders are transcribed: no modes, no stacks."""
    names = mail["chain_n_to_0"]
    splat = Splat(
        "possible circular locking dependency",
        circular=True,
        task=mail["task"],
        wanted=SplatLock(names[-1]),
        holding=SplatLock(names[0]),
        entries={number: SplatLock(name) for number, name in enumerate(reversed(names))},
        scenario=["", " *** DEADLOCK ***"],
    )
    found = rederive(splat)
    assert isinstance(found, Finding)
    told = scenario_of(found, splat)
    box = [match.groups() for line in told if (match := re.fullmatch(r"( +)lock\((.*)\);", line))]
    assert [["CPU0" if len(indent) < 10 else "CPU1", name] for indent, name in box] == mail["scenario"]
    exists = told[1].strip() if told[0] == "Chain exists of:" else None
    assert exists == mail["chain_exists"]


def test_the_order_of_the_report_is_what_matters() -> None:
    """The same acquisitions without the last one, or with the last one in the established order, say nothing."""
    splat = usable(FOLDER / "syzkaller" / "193")
    splat.wanted, splat.holding = splat.holding, splat.wanted
    assert rederive(splat) is None
