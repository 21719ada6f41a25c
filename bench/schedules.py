"""Schedules per second: a program of 4 actors with 25 steps each, and the shipped scenarios with all sanitizers on.

The baseline does the least there could be: the same four coroutines resumed in random order by a plain loop, with no
tape, no fingerprint and no locks.  Rows are taken in turn, several rounds, the best of each is compared.  For the
scenarios the share of booting is shown: it should not be the larger half.
"""

from __future__ import annotations

import argparse
import random
import time
from typing import TYPE_CHECKING, Any

import trio
from slubloom.actors import Actor, BareInterleaver, Fingerprint, Interleaver, Op, OpKind
from slubloom.actors.strategies import RandomWalk
from slubloom.kernel import boot
from slubloom.topology import gallery_path, load

from slubloom.explore import Pilot, ScenarioSubject, Schedule, execute
from slubloom.explore.subject import many_schedules

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from slubloom.topology import Scenario

ACTORS, STEPS = 4, 25


class Worker(Actor):
    """Writes one variable of its own and one that all share, in turn."""

    def __init__(self, interleaver: Interleaver, number: int, shared: Op) -> None:
        super().__init__(interleaver, f"worker/{number}")
        self.shared = shared
        self.own = Op(OpKind.WRITE, interleaver.resource("own"))

    async def body(self) -> None:
        own, shared = self.own, self.shared
        for _ in range(STEPS // 2):
            await own
            await shared


def populate(interleaver: Interleaver) -> None:
    """The four workers."""
    shared = Op(OpKind.WRITE, interleaver.resource("shared"))
    for number in range(ACTORS):
        interleaver.spawn(Worker(interleaver, number, shared))


def explored(seed: int) -> None:
    """As `slubloom explore` runs it: tape and fingerprint."""
    interleaver = BareInterleaver(RandomWalk(seed))
    fingerprint = Fingerprint(interleaver)
    interleaver.observe(fingerprint)
    populate(interleaver)
    interleaver.run_bare()
    fingerprint.digest()


def hosted(seed: int) -> None:
    """As `slubloom run` runs it: actors are trio tasks."""
    interleaver = Interleaver(RandomWalk(seed))
    populate(interleaver)
    trio.run(interleaver.run)


class _Tick:
    def __await__(self) -> Generator[None, None, None]:
        yield


def least(seed: int) -> None:
    """The baseline."""

    async def work() -> None:
        for _ in range(STEPS):
            await TICK

    draw = random.Random(seed).random
    alive: list[Any] = [work() for _ in range(ACTORS)]
    while alive:
        index = int(draw() * len(alive))
        try:
            alive[index].send(None)
        except StopIteration:
            del alive[index]


TICK = _Tick()


def rate(run: Callable[[int], None], count: int) -> float:
    """Schedules per second."""
    begun = time.perf_counter()
    with many_schedules():
        for seed in range(count):
            run(seed)
    return count / (time.perf_counter() - begun)


def scenario_rates(scenario: Scenario, count: int) -> tuple[float, float]:
    """Schedules per second, and boots per second, of a scenario."""
    subject = ScenarioSubject(scenario)
    pilot = Pilot(subject)
    whole = rate(lambda seed: consume(execute(subject, Schedule(seed, "random", seed), pilot)), count)
    boots = rate(lambda seed: consume(boot(scenario, BareInterleaver(RandomWalk(seed)))), count)
    return whole, boots


def consume(_: object) -> None:
    """Nothing is done with it."""


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--count", type=int, default=400)
    chosen = parser.parse_args()
    rows = {"least there could be": least, "explored": explored, "as trio tasks": hosted}
    best = dict.fromkeys(rows, 0.0)
    for _ in range(chosen.rounds):
        for name, run in rows.items():
            best[name] = max(best[name], rate(run, chosen.count))
    print(f"schedules/s of {ACTORS} x {STEPS} steps, one process, best of {chosen.rounds} rounds in turn")
    for name, value in best.items():
        print(f"  {name:<34}{value:>10,.0f}   {value / best['least there could be']:.2f}x the least")
    print("schedules/s of the shipped scenarios, all sanitizers on")
    for name, release in (("missed-node", "v6.1"), ("missed-node", "v3.15"), ("node-offline-uaf", "v5.11")):
        scenario = load(gallery_path(name), release=release)
        pairs = [scenario_rates(scenario, chosen.count // 2) for _ in range(chosen.rounds)]
        whole, boots = max(pair[0] for pair in pairs), max(pair[1] for pair in pairs)
        relative = whole / best["explored"]
        print(f"  {name + ' ' + release:<34}{whole:>10,.0f}   {relative:.2f}x explored; boot {whole / boots:.0%} of it")


if __name__ == "__main__":
    main()
