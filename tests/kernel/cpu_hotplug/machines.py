"""Machines for tests of CPU hotplug, and one thread on them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from slubloom.actors import BareInterleaver, Op, OpKind, Outcome, RunLimits
from slubloom.actors.strategies import RandomWalk, Strategy
from slubloom.kernel import Machine, boot
from slubloom.kernel.machine import FunctionThread
from slubloom.topology import loads

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

STEP = Op(OpKind.LOCAL, "step")

NODES = """
[machine]
[[machine.node]]
id = 0
cpus = "0-1"
memory = "64M"
[[machine.node]]
id = 1
cpus = "2-3"
memory = "64M"
"""


def machine_of(text: str = NODES, strategy: Strategy | None = None, **options: Any) -> Machine:
    """A booted machine that does not run yet."""
    interleaver = BareInterleaver(strategy or RandomWalk(0), limits=RunLimits(400_000))
    return boot(loads(text, **options), interleaver).machine


def run(machine: Machine) -> Outcome:
    """Run it to its end."""
    assert isinstance(machine.interleaver, BareInterleaver)
    return machine.interleaver.run_bare()


def start(machine: Machine, cpu: int, body: Callable[[], Awaitable[None]]) -> FunctionThread:
    """A thread that runs `body`."""

    async def function() -> None:
        await body()

    thread = FunctionThread(machine, machine.cpus[cpu], f"t{cpu}", function)
    machine.spawn(thread)
    return thread


def finish(machine: Machine, body: Callable[[], Awaitable[None]], cpu: int = 0) -> None:
    """Run `body` as the only thread, and everything to its end, without a violation."""
    start(machine, cpu, body)
    outcome = run(machine)
    assert [violation.title for violation in machine.violations] == []
    assert outcome is Outcome.FINISHED


def online(machine: Machine) -> list[int]:
    """The numbers of the processors that are online."""
    return [cpu.cpu_id for cpu in machine.online_cpus()]
