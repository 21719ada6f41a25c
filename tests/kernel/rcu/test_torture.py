"""Readers and updaters at random: no callback runs too early, none is lost, none runs twice, nothing stalls."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING, Any

import pytest
from slubloom.actors import BareInterleaver, Interleaver, Outcome
from slubloom.actors.strategies import Pos, RandomWalk, Timed
from slubloom.kernel import boot
from slubloom.kernel.sanitizers.footprint import audited
from slubloom.topology import loads

from ..helpers import run, start
from .oracle import SCENARIO, Oracle, reader, torture, updater

if TYPE_CHECKING:
    from slubloom.kernel import Machine


@pytest.mark.parametrize("release", ["v4.19", "v5.10", "v6.1"])
@pytest.mark.parametrize("preempt", ["full", "voluntary", "none"])
def test_nothing_goes_wrong_whatever_the_schedule(preempt: str, release: str) -> None:
    grace_periods = 0
    for seed in range(80):
        machine, oracle = torture(seed, preempt=preempt, release=release)
        assert run(machine) is Outcome.FINISHED
        assert machine.violations == [], machine.violations[0].report
        assert oracle.errors == []
        assert oracle.missing == []
        assert left_behind(machine) == []
        grace_periods += machine.counters.get("rcu_grace_periods", 0)
    assert grace_periods > 60


def left_behind(machine: Machine) -> list[Any]:
    """State that should be as before the first reader and the first grace period."""
    rcu = machine.rcu
    nodes = rcu.domain.nodes
    return [
        *(node.blocked for node in nodes if node.blocked),
        *(node.quorum for node in nodes if node.quorum is not None),
        *(node.expedited for node in nodes if node.expedited is not None),
        *(data.callbacks for data in rcu.normal.data.values() if data.callbacks.length),
        *(rcu.domain.interested),
        *(demands for demands in rcu.quiescent.demands.values() if demands),
    ]


def test_under_a_costed_clock_too() -> None:
    for seed in range(20):
        machine = boot(loads(SCENARIO.replace("PREEMPT", "full")), Interleaver(Timed())).machine
        oracle, random = Oracle(), Random(seed)
        for cpu in range(4):
            start(machine, cpu, f"reader{cpu}", reader(machine, oracle, f"r{cpu}", random))
        start(machine, 0, "updater", updater(machine, oracle, random))
        assert run(machine) is Outcome.FINISHED
        assert (machine.violations, oracle.errors, oracle.missing) == ([], [], [])


@pytest.mark.parametrize("strategy", [RandomWalk(3), Pos(3)])
def test_every_step_declares_what_it_touches(strategy: Any) -> None:
    interleaver = BareInterleaver(strategy)
    with audited(interleaver) as audit:
        machine = boot(loads(SCENARIO.replace("PREEMPT", "full")), interleaver).machine
        oracle, random = Oracle(), Random(5)
        for cpu in range(4):
            start(machine, cpu, f"reader{cpu}", reader(machine, oracle, f"r{cpu}", random))
        for number in range(3):
            start(machine, number, f"updater{number}", updater(machine, oracle, random))
        assert interleaver.run_bare() is Outcome.FINISHED
    assert list(audit.errors) == []
