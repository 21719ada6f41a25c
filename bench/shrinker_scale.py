"""What it costs to ask one shrinker about one cgroup and node, for more and more cgroups.

A pass of reclaim over N cgroups x 16 memcg-aware shrinkers x 4 nodes, under the rwsem of 6.6, SRCU, and the references
of 6.7: it visits each shrinker once for each cgroup and node.  What one visit costs must stay the same, whatever N is.
Beside it, in the same run, stands what two operations alone cost, which is the least a visit has: it takes what was
deferred and adds to it.  Times are the processor's.  Each size runs in a process of its own; peak memory is that
process's.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import time

import trio
from slubloom.actors import Interleaver, KernelThread, Op, OpKind, RunLimits
from slubloom.actors.strategies import make_strategy
from slubloom.kernel import boot
from slubloom.kernel.gfp import GFP_KERNEL
from slubloom.kernel.machine import FunctionThread, Machine
from slubloom.kernel.shrinker import ShrinkControl, Shrinker
from slubloom.kernel.shrinker.shrinker import SHRINKER_MEMCG_AWARE, SHRINKER_NUMA_AWARE
from slubloom.topology import loads

SHRINKERS = 16
NODES = 4
PROTOCOLS: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("rwsem, v6.6", "v6.6", ()),
    ("SRCU, 6.4-rc", "v6.3", ("srcu-memcg-shrink-rc",)),
    ("references, v6.7", "v6.7", ()),
)
FREEABLE = 4096
"""At the lowest priority 2 of these are to be scanned, which is left for later: a visit takes and adds a count."""

Figures = tuple[int, float, float, float, int]


def topology() -> str:
    """Four nodes; one shrinker, so that there is reclaim."""
    nodes = "".join(f'[[machine.node]]\nid = {nid}\ncpus = "{nid}"\nmemory = "4G"\n' for nid in range(NODES))
    return f'{nodes}[kernel]\nsanitizers = []\npreempt = "none"\n[[memcg]]\npath = "g"\n[[shrinker]]\nname = "fs"\n'


class Counter:
    """A cache of which nothing is ever scanned; ``visits`` is how often it was asked."""

    def __init__(self) -> None:
        self.visits = 0

    async def count(self, _: Shrinker, __: ShrinkControl) -> int:
        """How many there are."""
        self.visits += 1
        return FREEABLE

    async def scan(self, _: Shrinker, sc: ShrinkControl) -> int:
        """Free what is asked for."""
        return sc.nr_to_scan


async def populate(machine: Machine, cgroups: int, counter: Counter) -> None:
    """Cgroups, shrinkers, and every bit set; while booting."""
    shrinkers = machine.shrinkers
    assert machine.cgroups is not None
    assert shrinkers is not None
    assert shrinkers.maps is not None
    protocol = shrinkers.protocol
    made = []
    for number in range(SHRINKERS):
        flags = SHRINKER_MEMCG_AWARE | SHRINKER_NUMA_AWARE
        kept_by = protocol.kept_by
        mine = Shrinker(machine, f"s{number}", counter.count, counter.scan, flags=flags, kept_by=kept_by)
        assert await protocol.alloc(mine)
        await protocol.register(mine)
        made.append(mine)
    for number in range(cgroups - 1):
        assert await machine.cgroups.mkdir(f"c{number}") == 0
    for memcg in machine.cgroups.root.memcg.descendants():
        for nid in range(NODES):
            for mine in made:
                await shrinkers.maps.set_bit(memcg, nid, mine.id)


def measure(release: str, apply: tuple[str, ...], cgroups: int, answer: multiprocessing.SimpleQueue[Figures]) -> None:
    """One size: visits, seconds of processor time to set up, for the pass, for the baseline, peak memory in KiB."""
    start = time.process_time()
    interleaver = Interleaver(make_strategy("timed", 0, None), limits=RunLimits(1_000_000_000))
    machine = boot(loads(topology(), release=release, apply=apply), interleaver).machine
    counter = Counter()
    machine.run_alone(KernelThread(machine.cpus[0], "swapper/0", pid=0), populate(machine, cgroups, counter))
    ready = time.process_time()
    assert machine.reclaim is not None
    reclaim, passes = machine.reclaim, [0.0, 0.0]

    async def one_pass() -> None:
        before = time.process_time()
        for nid in range(NODES):
            await reclaim.shrink_node_memcgs(nid, None, GFP_KERNEL, 12)
        passes[0] = time.process_time() - before
        op = Op(OpKind.UPDATE, machine.interleaver.resource("baseline"))
        before = time.process_time()
        for _ in range(counter.visits):
            await op
            await op
        passes[1] = time.process_time() - before

    machine.spawn(FunctionThread(machine, machine.cpus[0], "reclaimer", one_pass))
    trio.run(interleaver.run)
    assert machine.violations == [], machine.violations[0].report
    # Each cgroup's maps, and at the root of the hierarchy all shrinkers on the list.
    assert counter.visits == (cgroups + 1) * SHRINKERS * NODES, counter.visits
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    answer.put((counter.visits, ready - start, passes[0], passes[1], peak))


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cgroups", type=int, default=4000, help="the largest number of cgroups")
    options = parser.parse_args()
    for name, release, apply in PROTOCOLS:
        print(f"a pass of reclaim, {SHRINKERS} shrinkers, {NODES} nodes; {name}")
        print(f"  {'cgroups':>8}{'visits':>10}{'us a visit':>12}{'of two ops':>13}{'set-up, us':>12}{'peak, MiB':>11}")
        each: list[float] = []
        for cgroups in (options.cgroups // 16, options.cgroups // 4, options.cgroups):
            answer: multiprocessing.SimpleQueue[Figures] = multiprocessing.SimpleQueue()
            process = multiprocessing.Process(target=measure, args=(release, apply, cgroups, answer))
            process.start()
            visits, ready, seconds, baseline, peak = answer.get()
            process.join()
            each.append(seconds / visits)
            print(
                f"  {cgroups:>8,}{visits:>10,}{seconds / visits * 1e6:>12.1f}{seconds / baseline:>12.1f}x"
                f"{ready / cgroups * 1e6:>12.0f}{peak / 1024:>11.0f}"
            )
        print(f"  growth of the cost of one: {each[-1] / each[0]:.2f}x")


if __name__ == "__main__":
    main()
