"""What a cache of a cgroup costs from its first object to its last trace, 4.11's way, with the trace on.

Cgroups come, use ten SLAB_TYPESAFE_BY_RCU caches each, which gives them ten of their own, and go.  Three sizes: what
one cache costs must stay the same.  Peak memory is the process's; each size runs in a process of its own.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import resource
import tempfile
import time

from slubloom.topology import loads

from slubloom.run import RunOptions, run_scenario

CACHES_EACH = 10
PARALLEL = 4
TEXT = """
[[machine.node]]
id = 0
cpus = "0-3"
memory = "64G"
[kernel]
release = "v4.11"
preempt = "voluntary"
sanitizers = []
boot = {{slab_nomerge = true}}
{caches}
[[task]]
name = "container"
cpu = [0, 1, 2, 3]
instances = {parallel}
program = [{{op = "repeat", count = {cgroups}, program = [
    {{op = "cgroup_mkdir", path = "c{{task}}-{{i}}"}},
    {{op = "cgroup_attach", path = "c{{task}}-{{i}}"}},
    {allocate}
    {{op = "sleep", ns = 300000}},
    {allocate}
    {free}
    {{op = "cgroup_attach", path = "/"}},
    {{op = "cgroup_rmdir", path = "c{{task}}-{{i}}"}},
]}}]
"""


def scenario_text(caches: int) -> str:
    """A topology in which about `caches` caches of cgroups come and go."""
    numbers = range(CACHES_EACH)
    sections = "".join(
        f'[[cache]]\nname = "x{number}"\nsize = {128 + 8 * number}\nflags = ["SLAB_TYPESAFE_BY_RCU", "SLAB_ACCOUNT"]\n'
        for number in numbers
    )
    return TEXT.format(
        caches=sections,
        parallel=PARALLEL,
        cgroups=caches // CACHES_EACH // PARALLEL,
        allocate=" ".join(
            f'{{op = "kmem_cache_alloc", cache = "x{number}", bag = "x{number}-{{task}}"}},' for number in numbers
        ),
        free=" ".join(
            f'{{op = "kmem_cache_free", cache = "x{number}", bag = "x{number}-{{task}}"}},' for number in numbers
        ),
    )


def measure(caches: int, answer: multiprocessing.SimpleQueue[tuple[int, int, float, int, int, int]]) -> None:
    """Run one size, and send back what it took."""
    with tempfile.TemporaryDirectory() as folder:
        trace = os.path.join(folder, "run.slabtrc")
        start = time.perf_counter()
        result = run_scenario(loads(scenario_text(caches)), RunOptions(strategy="timed", trace=trace))
        seconds = time.perf_counter() - start
        peak_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        counters = result.counters
        assert result.violations == (), result.violations[0].report
        assert counters["memcg_caches_destroyed"] == counters["memcg_caches_created"]
        answer.put(
            (
                counters["memcg_caches_created"],
                result.steps,
                seconds,
                peak_kib,
                os.path.getsize(trace),
                counters["rcu_barriers"],
            )
        )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--caches", type=int, default=200_000, help="the largest number of caches")
    options = parser.parse_args()
    print("caches of cgroups created and destroyed under v4.11, trace on")
    print(f"  {'caches':>9}{'us each':>10}{'steps each':>12}{'trace, B each':>15}{'peak, MiB':>11}{'barriers':>10}")
    each: list[float] = []
    for wanted in (options.caches // 100, options.caches // 10, options.caches):
        answer: multiprocessing.SimpleQueue[tuple[int, int, float, int, int, int]] = multiprocessing.SimpleQueue()
        process = multiprocessing.Process(target=measure, args=(wanted, answer))
        process.start()
        caches, steps, seconds, peak_kib, size, barriers = answer.get()
        process.join()
        each.append(seconds / caches)
        print(
            f"  {caches:>9,}{seconds / caches * 1e6:>10.0f}{steps / caches:>12.1f}{size / caches:>15.0f}"
            f"{peak_kib / 1024:>11.0f}{barriers:>10,}"
        )
    print(f"  growth of the cost of one: {each[-1] / each[0]:.2f}x")


if __name__ == "__main__":
    main()
