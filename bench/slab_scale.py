"""What SLUB costs at scale: an object, a cache and an allocation, and whether that grows with how many there are.

Memory is what Python's allocator holds for it (tracemalloc), time the best of several rounds of the same program.
Three sizes each: the cost for one must stay the same.  The fast path is put beside a pair of bare method calls.
"""

from __future__ import annotations

import argparse
import gc
import time
import tracemalloc
from typing import TYPE_CHECKING, Any

from slubloom.actors import BareInterleaver
from slubloom.actors.garbage import rare_garbage_collection
from slubloom.actors.strategies import RandomWalk
from slubloom.kernel import boot
from slubloom.kernel.machine import FunctionThread
from slubloom.kernel.slab.allocate import kmem_cache_alloc
from slubloom.kernel.slab.create import kmem_cache_create
from slubloom.kernel.slab.destroy import kmem_cache_destroy
from slubloom.kernel.slab.free import kmem_cache_free
from slubloom.topology import loads

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from slubloom.kernel import Machine

BYTES_AN_OBJECT, BYTES_A_CACHE, FAST_PATH = 200, 4096, 0.1
CACHES_OF_OBJECTS = 100
MACHINE = """
[[machine.node]]
id = 0
cpus = "0-1"
memory = "256G"
[kernel]
boot = {slab_nomerge = true}
"""


def on_a_machine(body: Callable[[Machine], Awaitable[None]], sanitizers: str = "") -> None:
    """Run `body` as the only thread of a machine."""
    interleaver = BareInterleaver(RandomWalk(0))
    machine = boot(loads(MACHINE + f"sanitizers = [{sanitizers}]\n"), interleaver).machine
    machine.spawn(FunctionThread(machine, machine.cpus[0], "bench", lambda: body(machine)))  # type: ignore[arg-type, return-value]
    with rare_garbage_collection(200_000, 20, 20):
        interleaver.run_bare()


class Costs:
    """Time and memory between two moments."""

    def __init__(self, *, memory: bool) -> None:
        gc.collect()
        self._memory = memory
        if memory:
            tracemalloc.start()
        self._start = time.perf_counter()

    def stop(self) -> tuple[float, int]:
        """Seconds, and bytes more than before."""
        seconds = time.perf_counter() - self._start
        held = 0
        if self._memory:
            held = tracemalloc.get_traced_memory()[0]
            tracemalloc.stop()
        return seconds, held


def objects(count: int, *, memory: bool) -> dict[str, float]:
    """`count` live objects in a hundred caches, then freed."""
    result: dict[str, float] = {}

    async def body(machine: Machine) -> None:
        slub = machine.slab
        caches = [await kmem_cache_create(slub, f"cache-{number}", 64 + 8 * number) for number in range(100)]
        live: list[tuple[Any, int]] = []
        costs = Costs(memory=memory)
        for number in range(count):
            cache = caches[number % CACHES_OF_OBJECTS]
            address = await kmem_cache_alloc(slub, cache)  # type: ignore[arg-type]
            live.append((cache, address or 0))
        seconds, held = costs.stop()
        held -= count * (8 + 56 + 32)  # what this list keeps of them: a place, a pair, a number
        result["allocate"], result["bytes"] = seconds / count, max(held, 0) / count
        start = time.perf_counter()
        for cache, address in live:
            await kmem_cache_free(slub, cache, address)
        result["free"] = (time.perf_counter() - start) / count

    on_a_machine(body)
    return result


def caches(count: int, *, memory: bool) -> dict[str, float]:
    """`count` caches made, used, emptied, destroyed."""
    result: dict[str, float] = {}

    async def body(machine: Machine) -> None:
        slub = machine.slab
        costs = Costs(memory=memory)
        made = [await kmem_cache_create(slub, f"cache-{number}", 128) for number in range(count)]
        seconds, held = costs.stop()
        result["create"], result["bytes"] = seconds / count, held / count
        start = time.perf_counter()
        for cache in made:
            await kmem_cache_free(slub, cache, await kmem_cache_alloc(slub, cache) or 0)  # type: ignore[arg-type]
        result["use"] = (time.perf_counter() - start) / count
        start = time.perf_counter()
        for cache in made:
            await kmem_cache_destroy(slub, cache)  # type: ignore[arg-type]
        result["destroy"] = (time.perf_counter() - start) / count

    on_a_machine(body)
    return result


class Peer:
    """What a pair of calls costs at least."""

    def take(self, thing: int) -> int:
        """Return something."""
        return thing

    def give(self, thing: int) -> int:
        """Return something."""
        return thing


def fast_path(pairs: int, rounds: int, sanitizers: str = "") -> tuple[float, float]:
    """Seconds of an allocation and a free on the processor's own slab, and of two bare calls; the best of each."""
    best = [1e9, 1e9]

    async def body(machine: Machine) -> None:
        slub = machine.slab
        cache = await kmem_cache_create(slub, "x", 64)
        assert cache is not None
        peer = Peer()
        for _ in range(rounds):
            start = time.perf_counter()
            for _ in range(pairs):
                address = await kmem_cache_alloc(slub, cache)
                await kmem_cache_free(slub, cache, address or 0)
            best[0] = min(best[0], time.perf_counter() - start)
            start = time.perf_counter()
            for number in range(pairs):
                peer.take(number)
                peer.give(number)
            best[1] = min(best[1], time.perf_counter() - start)

    on_a_machine(body, sanitizers)
    return best[0] / pairs, best[1] / pairs


def table(title: str, measure: Callable[..., dict[str, float]], sizes: list[int], limit: int) -> None:
    """A row a size, and how much dearer one is in the largest than in the smallest."""
    print(title)
    # Watching memory takes time: the times are of a run of their own.
    rows = [measure(size, memory=False) | {"bytes": measure(size, memory=True)["bytes"]} for size in sizes]
    names = [name for name in rows[0] if name != "bytes"]
    print("  " + f"{'how many':>10}" + "".join(f"{name + ', us':>15}" for name in names) + f"{'bytes each':>15}")
    for size, row in zip(sizes, rows, strict=True):
        print("  " + f"{size:>10,}" + "".join(f"{row[name] * 1e6:>15.2f}" for name in names) + f"{row['bytes']:>15.0f}")
    growth = [f"{rows[-1][name] / rows[0][name]:>14.2f}x" for name in names]
    print("  " + f"{'growth':>10}" + "".join(growth) + f"{rows[-1]['bytes'] / limit:>9.2f} of {limit}")


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--objects", type=int, default=1_000_000, help="the largest number of objects")
    parser.add_argument("--caches", type=int, default=200_000, help="the largest number of caches")
    options = parser.parse_args()
    print("alloc+free pair on the fast path, against a pair of bare method calls (more is better)")
    for name, sanitizers in (("sanitizers off", ""), ("KASAN on", '"kasan"')):
        pair, bare = fast_path(200_000, 7, sanitizers)
        print(f"  {name:<16}{pair * 1e9:>8.0f} ns {bare / pair:>8.3f}x   (floor {FAST_PATH}x)")
    for title, measure, most, limit in (
        ("live objects in 100 caches", objects, options.objects, BYTES_AN_OBJECT),
        ("caches made, used, destroyed", caches, options.caches, BYTES_A_CACHE),
    ):
        table(title, measure, [most // 100, most // 10, most], limit)


if __name__ == "__main__":
    main()
