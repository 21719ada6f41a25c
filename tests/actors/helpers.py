"""Actors made of functions, processors without a kernel, and records by name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import trio
from slubloom.actors import Actor, Cpu, Interleaver, KernelThread, Op, OpKind, Outcome
from slubloom.actors.gate import Gate
from slubloom.actors.strategies import RandomWalk, Strategy

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

STEP = Op(OpKind.LOCAL, "step")


class Doing(Actor):
    """An actor that runs a function of itself."""

    def __init__(self, interleaver: Interleaver, name: str, function: Callable[[Any], Awaitable[None]]) -> None:
        super().__init__(interleaver, name)
        self.function = function

    async def body(self) -> None:
        await self.function(self)


class Thread(KernelThread):
    """A thread that runs a function of itself."""

    def __init__(self, cpu: Cpu, name: str, function: Callable[[Any], Awaitable[None]], *, pid: int = 0) -> None:
        super().__init__(cpu, name, pid=pid)
        self.function = function

    async def body(self) -> None:
        await self.function(self)


class HeldGate(Gate):
    """A gate that tells the wait-for graph who holds it."""

    def holders(self) -> list[Actor]:
        return [] if self.holder is None else [self.holder]


def act(interleaver: Interleaver, name: str, function: Callable[[Any], Awaitable[None]]) -> Doing:
    actor = Doing(interleaver, name, function)
    interleaver.spawn(actor)
    return actor


def start(cpu: Cpu, name: str, function: Callable[[Any], Awaitable[None]], *, pid: int = 0) -> Thread:
    thread = Thread(cpu, name, function, pid=pid)
    cpu.interleaver.spawn(thread)
    return thread


def processors(
    count: int = 1, *, seed: int = 0, preempt: str = "full", strategy: Strategy | None = None, tick_ns: int = 4_000_000
) -> tuple[Interleaver, list[Cpu]]:
    """An interleaver with `count` online processors of node 0."""
    interleaver = Interleaver(strategy or RandomWalk(seed))
    cpus = [Cpu(interleaver, number, 0, preempt_model=preempt, tick_ns=tick_ns) for number in range(count)]
    for cpu in cpus:
        cpu.online = True
        interleaver.spawn(cpu)
    return interleaver, cpus


def run(interleaver: Interleaver) -> Outcome:
    return trio.run(interleaver.run)


def listen(interleaver: Interleaver, pattern: str) -> list[tuple[Any, ...]]:
    """Every event that fits `pattern` from now on: its name, then its fields."""
    seen: list[tuple[Any, ...]] = []
    names = {point.id: point.spec.name for point in interleaver.tracepoints}
    interleaver.tracepoints.attach(pattern, lambda record: seen.append((names[record[0]], *record[5:])))
    return seen
