"""rcu_work: the item runs a grace period after it was asked for, once, and can be waited for."""

from __future__ import annotations

from typing import Any

import pytest
from slubloom.actors.strategies import Pos, RandomWalk
from slubloom.kernel.workqueue.rcu_work import RcuWork

from .helpers import STEP, machine_with_workqueues, run, start


@pytest.mark.parametrize("seed", range(12))
def test_it_runs_once_and_never_before_readers_have_left(seed: int) -> None:
    machine = machine_with_workqueues(strategy=Pos(seed) if seed % 2 else RandomWalk(seed))
    story: list[str] = []
    inside: list[Any] = []

    async def item(_: Any) -> None:
        assert not inside, "the item runs while a reader from before is inside"
        story.append("ran")

    rcu_work = RcuWork(machine.workqueues, machine.workqueues.make_work("free_late", item), "events")

    async def reader() -> None:
        async with machine.rcu.reader():
            inside.append(None)
            asked = start(machine, 1, "asks", ask)
            for _ in range(20):
                await STEP
            assert asked is not None
            inside.pop()

    async def ask() -> None:
        story.append(f"queued {await rcu_work.queue_after_grace_period()}")
        again = await rcu_work.queue_after_grace_period()
        story.append(f"again {again}")
        assert await rcu_work.flush() or "ran" in story
        assert story.count("ran") >= 1
        assert not await rcu_work.flush()

    start(machine, 0, "reader", reader)
    run(machine)
    assert not machine.violations
    # Asked for while it was pending it is not queued twice; if the first had run already, the second is a new one.
    assert story.count("ran") == 1 + ("again True" in story)
