"""Contended lock pairs per second: the interleaver, bare and with everything on, beside SimPy, trio and asyncio.

All rows do the same: N actors take and give back one lock, over and over.  Machines are noisy, so rows are taken in
turn, several rounds, and the best of each is compared; the ratios to SimPy's ``Resource`` are the result.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import tempfile
import time
from typing import TYPE_CHECKING

import simpy
import trio
from slubloom.actors import Actor, Cpu, Gate, Interleaver
from slubloom.actors.strategies import RandomWalk, Timed
from slubloom.kernel.boot import enable_sanitizers
from slubloom.kernel.locks import Mutex
from slubloom.kernel.machine import FunctionThread, Machine
from slubloom.traces import StreamWriter, open_sink

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from slubloom.actors.strategies import Strategy

FLOORS = {"interleaver, bare": 1.5, "interleaver, lockdep + KASAN + trace": 1.0}


def bare(actors: int, pairs: int, strategy: Callable[[int], Strategy]) -> float:
    """The interleaver and a gate, nothing else."""
    interleaver = Interleaver(strategy(1))
    gate = Gate(interleaver, "lock")

    class Worker(Actor):
        async def body(self) -> None:
            acquire, release = gate.acquire, gate.release
            for _ in range(pairs):
                await acquire
                await release

    for number in range(actors):
        interleaver.spawn(Worker(interleaver, f"worker/{number}"))
    start = time.perf_counter()
    trio.run(interleaver.run)
    return actors * pairs / (time.perf_counter() - start)


def full(actors: int, pairs: int, strategy: Callable[[int], Strategy], *, trace: bool = True) -> float:
    """A kernel mutex and kernel threads, one a processor, with the sanitizers and the trace on."""
    interleaver = Interleaver(strategy(1))
    machine = Machine(interleaver, release="v6.1")
    enable_sanitizers(machine, None)
    for number in range(actors):
        cpu = Cpu(interleaver, number, 0, preempt_model="full", tick_ns=4_000_000)
        cpu.online = True
        machine.cpus[number] = cpu
        interleaver.spawn(cpu)
    mutex = Mutex(machine, "slab_mutex")

    async def work() -> None:
        for _ in range(pairs):
            await mutex.lock()
            await mutex.unlock()

    for number in range(actors):
        machine.spawn(FunctionThread(machine, machine.cpus[number], f"worker/{number}", work))
    handle, path = tempfile.mkstemp()
    os.close(handle)
    try:
        start = time.perf_counter()
        if trace:
            writer = StreamWriter(open_sink(path), {"producer": "bench"})
            interleaver.tracepoints.attach("*", writer.probe)
            interleaver.on_pause.append(writer.poll)
        trio.run(interleaver.run)
        if trace:
            writer.finish({})
        return actors * pairs / (time.perf_counter() - start)
    finally:
        os.unlink(path)


def with_simpy(actors: int, pairs: int) -> float:
    """SimPy's Resource of capacity one."""
    environment = simpy.Environment()
    resource = simpy.Resource(environment, 1)

    def worker() -> Iterator[object]:
        for _ in range(pairs):
            request = resource.request()
            yield request
            resource.release(request)

    for _ in range(actors):
        environment.process(worker())
    start = time.perf_counter()
    environment.run()
    return actors * pairs / (time.perf_counter() - start)


def with_trio(actors: int, pairs: int) -> float:
    """trio.Lock."""

    async def main() -> None:
        lock = trio.Lock()

        async def worker() -> None:
            for _ in range(pairs):
                async with lock:
                    pass

        async with trio.open_nursery() as nursery:
            for _ in range(actors):
                nursery.start_soon(worker)

    start = time.perf_counter()
    trio.run(main)
    return actors * pairs / (time.perf_counter() - start)


def with_asyncio(actors: int, pairs: int) -> float:
    """asyncio.Lock, giving up the loop while it is held, or there would be no contention."""

    async def main() -> None:
        lock = asyncio.Lock()

        async def worker() -> None:
            for _ in range(pairs):
                async with lock:
                    await asyncio.sleep(0)

        await asyncio.gather(*(worker() for _ in range(actors)))

    start = time.perf_counter()
    asyncio.run(main())
    return actors * pairs / (time.perf_counter() - start)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--actors", type=int, default=4)
    parser.add_argument("--pairs", type=int, default=20_000, help="pairs each actor does in a round")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    actors, pairs = arguments.actors, arguments.pairs
    rows: dict[str, Callable[[], float]] = {
        "SimPy Resource": lambda: with_simpy(actors, pairs),
        "trio.Lock": lambda: with_trio(actors, pairs),
        "asyncio.Lock": lambda: with_asyncio(actors, pairs),
        "interleaver, bare": lambda: bare(actors, pairs, RandomWalk),
        "interleaver, bare, timed": lambda: bare(actors, pairs, Timed),
        "interleaver, lockdep + KASAN": lambda: full(actors, pairs, RandomWalk, trace=False),
        "interleaver, lockdep + KASAN + trace": lambda: full(actors, pairs, RandomWalk),
        "interleaver, all on, timed": lambda: full(actors, pairs, Timed),
    }
    best = dict.fromkeys(rows, 0.0)
    for _ in range(arguments.rounds):
        for name, row in rows.items():
            best[name] = max(best[name], row())
    peer = best["SimPy Resource"]
    print(f"contended lock pairs/s, {actors} actors, best of {arguments.rounds} rounds in turn")
    for name, rate in best.items():
        floor = f"   floor {FLOORS[name]:.1f}x" if name in FLOORS else ""
        print(f"  {name:<38} {rate:>12,.0f}   {rate / peer:5.2f}x SimPy{floor}")


if __name__ == "__main__":
    main()
