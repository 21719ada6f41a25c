"""Processors that come and go: the functions CPU hotplug will call, in its order, with ``cpu.online`` flipped here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from slubloom.actors import GracePeriod, Outcome
from slubloom.actors.rcu_node import RcuNode
from slubloom.kernel.rcu import RcuHead
from slubloom.kernel.rcu.barrier import RcuBarrier
from slubloom.kernel.rcu.segcblist import SegmentedCallbacks

from ..helpers import booted, run, start
from .oracle import SCENARIO, STEP

if TYPE_CHECKING:
    from slubloom.kernel import Machine


async def take_down(machine: Machine, cpu: int) -> None:
    """An idle processor goes, as hotplug will do it."""
    hotplug = machine.rcu.hotplug
    await hotplug.offline_cpu(cpu)
    machine.cpus[cpu].online = False
    await hotplug.dying_cpu(cpu)
    await hotplug.report_dead(cpu)
    await hotplug.migrate_callbacks(cpu)
    await hotplug.dead_cpu(cpu)


async def bring_up(machine: Machine, cpu: int) -> None:
    """And comes again."""
    hotplug = machine.rcu.hotplug
    await hotplug.prepare_cpu(cpu)
    machine.cpus[cpu].online = True
    await hotplug.cpu_starting(cpu)
    await hotplug.online_cpu(cpu)


def leaving(seed: int, callbacks: int = 3) -> tuple[Machine, list[int], list[int]]:
    """CPU 3 queues callbacks and goes, while others wait for grace periods and for all callbacks."""
    machine = booted(seed, SCENARIO.replace("PREEMPT", "full"))
    ran: list[int] = []
    left: list[int] = []
    queued: list[int] = []

    async def queue() -> None:
        for number in range(callbacks):
            await machine.rcu.call_rcu(RcuHead(lambda number=number: ran.append(number)))
            queued.append(number)

    async def control() -> None:
        while len(queued) < callbacks or machine.cpus[3].current is not None or not machine.cpus[3].idle:
            await STEP
        await take_down(machine, 3)
        for _ in range(3):
            await STEP
        await bring_up(machine, 3)

    async def wait() -> None:
        await machine.rcu.synchronize_rcu()
        before = list(queued)
        await machine.rcu.rcu_barrier()
        left.extend(number for number in before if number not in ran)

    start(machine, 3, "queue", queue)
    start(machine, 0, "control", control)
    start(machine, 1, "wait", wait)
    return machine, ran, left


def test_callbacks_of_a_dead_processor_run_elsewhere_and_barriers_wait_for_them() -> None:
    for seed in range(150):
        machine, ran, left = leaving(seed)
        assert run(machine) is Outcome.FINISHED
        assert machine.violations == []
        assert (sorted(ran), left) == ([0, 1, 2], [])
        assert list(machine.rcu.domain.nodes[0].starting) == [0, 1, 2, 3]


def test_callbacks_that_are_not_moved_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SegmentedCallbacks, "merge", lambda *_: None)
    lost = 0
    for seed in range(60):
        machine, ran, _ = leaving(seed)
        run(machine)
        lost += len(ran) < 3
    assert lost


def test_a_barrier_that_is_not_entrained_before_the_move_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """It has seen the processor that takes the callbacks over as empty, and then finds the dead one empty."""
    monkeypatch.setattr(RcuBarrier, "migrating", lambda *_: None)
    early = 0
    for seed in range(1500):
        machine, _, left = leaving(seed)
        run(machine)
        early += bool(left)
        if early:
            break
    assert early


def test_an_offline_processor_is_not_waited_for_and_one_that_came_is() -> None:
    machine = booted(0, SCENARIO.replace("PREEMPT", "full"))
    waited: list[list[int]] = []
    machine.tracepoints.rcu_grace_period_init.attach(lambda record: waited.append(record[10]))

    async def body() -> None:
        await take_down(machine, 2)
        await machine.rcu.synchronize_rcu()
        await bring_up(machine, 2)
        await machine.rcu.synchronize_rcu()

    start(machine, 0, "t", body)
    assert run(machine) is Outcome.FINISHED
    assert waited == [0b1011, 0b1111]


@pytest.mark.parametrize("checked", [True, False])
def test_a_processor_that_leaves_between_onoff_and_init_is_looked_at_again(
    monkeypatch: pytest.MonkeyPatch, checked: bool
) -> None:
    """Without the check between ONOFF and INIT, and without that of the scan, the grace period never ends."""
    if not checked:
        monkeypatch.setattr(RcuNode, "left_meanwhile", lambda _: [])
        force_one = GracePeriod._force_one

        def without(self: GracePeriod, node: RcuNode, number: int) -> None:
            if number in node.starting:
                force_one(self, node, number)

        monkeypatch.setattr(GracePeriod, "_force_one", without)
    kinds: dict[str, None] = {}
    for seed in range(80):
        machine = booted(seed, SCENARIO.replace("PREEMPT", "full"), stop=False)

        async def wait(machine: Any = machine) -> None:
            await machine.rcu.synchronize_rcu()

        async def control(machine: Any = machine) -> None:
            await take_down(machine, 3)

        start(machine, 1, "wait", wait)
        start(machine, 0, "control", control)
        run(machine)
        kinds.update(dict.fromkeys(violation.kind for violation in machine.violations))
    assert ("rcu-stall" in kinds) is not checked


def test_a_node_sees_a_grace_period_start_after_and_end_before_the_global_number() -> None:
    """R1, on a machine with three leaves."""
    text = SCENARIO.replace("PREEMPT", "full").replace('"0-3"', '"0-39"')
    for seed in range(10):
        machine = booted(seed, text)
        domain = machine.rcu.domain
        assert len(domain.nodes) == 3

        def check(domain: GracePeriod = domain) -> None:
            for node in domain.nodes:
                runs_here, runs = node.sequence & 3, domain.sequence & 3
                if runs_here:
                    assert domain.sequence == node.sequence  # the global number has started, and not ended
                elif runs:
                    assert node.sequence in (domain.sequence - 1, domain.sequence + 3)  # not yet started, or ended
                else:
                    assert domain.sequence == node.sequence

        machine.interleaver.on_step = check

        async def body(machine: Any = machine) -> None:
            await machine.rcu.synchronize_rcu()

        for cpu in (0, 17, 39):
            start(machine, cpu, f"t{cpu}", body)
        assert run(machine) is Outcome.FINISHED
