"""Every step of a workqueue declares what it touches, and the audit says so where one does not."""

from __future__ import annotations

from typing import Any

import pytest
from slubloom.actors import WorkerPool
from slubloom.actors.strategies import Pos, Strategy
from slubloom.actors.work_item import WorkItem
from slubloom.actors.work_queue import WorkQueue
from slubloom.kernel.sanitizers.footprint import audited

from .helpers import Program, run


def audit(seed: int, *, cancels: bool, strategy: Strategy | None = None) -> list[str]:
    """What the audit of a random program has to say."""
    program = Program(seed, cancels=cancels, cpus=3, strategy=strategy)
    with audited(program.machine.interleaver) as footprints:
        run(program.machine)
    return list(footprints.errors)


@pytest.mark.parametrize("cancels", [False, True])
def test_every_step_of_random_programs_declares_what_it_touches(cancels: bool) -> None:
    for seed in range(40):
        assert audit(seed, cancels=cancels) == []
    assert audit(1, cancels=cancels, strategy=Pos(1)) == []


def nothing(*_: Any) -> None:
    """In the place of a declaration."""


@pytest.mark.parametrize(
    ("owner", "field"),
    [(WorkItem, "WorkItem.pending"), (WorkerPool, "WorkerPool.worklist"), (WorkQueue, "Workqueue.work_color")],
)
def test_a_declaration_that_is_missing_shows(monkeypatch: pytest.MonkeyPatch, owner: type, field: str) -> None:
    monkeypatch.setattr(owner, "changes", nothing)
    errors = [error for seed in range(40) for error in audit(seed, cancels=True)]
    assert any(error.startswith(f"{field}: ") for error in errors)
