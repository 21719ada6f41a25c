"""A machine without a topology file, for tests of single parts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import trio
from slubloom.actors import Cpu, Interleaver, Outcome
from slubloom.actors.strategies import RandomWalk
from slubloom.kernel import Machine, boot
from slubloom.kernel.boot import enable_sanitizers
from slubloom.kernel.machine import FunctionThread
from slubloom.topology import loads

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

TWO_NODES = """
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


def bare_machine(seed: int = 0, cpus: int = 2, *, preempt: str = "full") -> Machine:
    """Processors and sanitizers, no memory."""
    interleaver = Interleaver(RandomWalk(seed))
    machine = Machine(interleaver, release="v6.1")
    enable_sanitizers(machine, None)
    for number in range(cpus):
        cpu = Cpu(interleaver, number, 0, preempt_model=preempt, tick_ns=4_000_000)
        cpu.online = True
        machine.cpus[number] = cpu
        interleaver.spawn(cpu)
    return machine


def booted(seed: int = 0, text: str = TWO_NODES, *, stop: bool = True, **options: Any) -> Machine:
    """A booted machine of `text`, not running yet."""
    interleaver = Interleaver(RandomWalk(seed))
    return boot(loads(text, **options), interleaver, stop_at_violation=stop).machine


def start(machine: Machine, cpu: int, name: str, function: Callable[[], Awaitable[object]]) -> FunctionThread:
    """A thread that runs `function` on processor `cpu`."""
    thread = FunctionThread(machine, machine.cpus[cpu], name, function)
    machine.spawn(thread)
    return thread


def run(machine: Machine) -> Outcome:
    """Run to the end."""
    return trio.run(machine.interleaver.run)
