"""Random programs under random schedules: every instance runs once, alone, in turn, and is waited for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from slubloom.actors.strategies import Pos, Strategy
from slubloom.actors.strategies.timed import Timed
from slubloom.actors.work_queue import NO_COLOR, PoolQueue, WorkQueue
from slubloom.actors.work_thread import KernelWorker
from slubloom.kernel.workqueue import Workqueues

from .helpers import Program

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.mark.parametrize("cancels", [False, True])
def test_every_instance_runs_once_and_alone_and_is_waited_for(cancels: bool) -> None:
    for seed in range(300):
        assert Program(seed, cancels=cancels).run() == [], seed


@pytest.mark.parametrize("make", [Pos, Timed])
def test_the_same_under_other_strategies(make: Callable[[int], Strategy]) -> None:
    for seed in range(60):
        assert Program(seed, strategy=make(seed), cpus=3).run() == [], seed


# --- and the oracle notices what is wrong


def errors_of(seeds: int) -> dict[str, None]:
    return dict.fromkeys(error for seed in range(seeds) for error in Program(seed).run())


def nowhere(*_: Any) -> None:
    """In the place of a search."""


def always_active(self: Any) -> tuple[int, bool]:
    self.in_flight[self.work_color] += 1
    self.nr_active += 1
    return self.work_color, True


def claim_and_let_go(self: Any, work: Any) -> Any:
    share = CLAIM(self, work)
    for barrier in self.barriers:
        barrier.set()
    return share


def without_colors(self: Any, _: int) -> bool:
    self.nr_to_flush = 0
    return False


def newest_first(self: Any, color: int, *, was_active: bool) -> Any:
    self.inactive.rotate(1)
    return LEAVE(self, color, was_active=was_active)


def without_successor(self: Any, color: int, *, was_active: bool) -> Any:
    self.nr_active -= was_active
    self.in_flight[color] -= 1
    if color == self.flush_color and not self.in_flight[color]:
        self.flush_color = NO_COLOR
        self.queue.color_left()


CLAIM = KernelWorker._claim
LEAVE = PoolQueue.leave


@pytest.mark.parametrize(
    ("owner", "name", "instead", "error"),
    [
        (Workqueues, "_where_it_runs", staticmethod(nowhere), "an item runs twice at once"),
        (PoolQueue, "enter", always_active, "ordered is out of order"),
        (PoolQueue, "leave", newest_first, "ordered is out of order"),
        (PoolQueue, "leave", without_successor, "an instance was lost"),
        (KernelWorker, "_claim", claim_and_let_go, "flush_work returned too early"),
        (WorkQueue, "_arm", without_colors, "flush_workqueue returned too early"),
        (KernelWorker, "goes_on", nowhere, "pool/0 has"),
    ],
)
def test_the_oracle_notices(monkeypatch: pytest.MonkeyPatch, owner: type, name: str, instead: Any, error: str) -> None:
    monkeypatch.setattr(owner, name, instead)
    assert any(found.startswith(error) for found in errors_of(60))
