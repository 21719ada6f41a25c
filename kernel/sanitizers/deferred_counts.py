"""Deferred counts are conserved: what shrinkers left for later, and was not taken since, is there at the end of a run.

A fold over two of the kernel's own events: ``mm_shrink_slab_start`` says how much was taken, what
``mm_shrink_slab_end`` leaves of it follows from both by the arithmetic of do_shrink_slab().  Their sum over a run has
to be what the maps of all cgroups and the shrinker itself hold at the end; a count that was added to a map that had
been copied already is missing, one that was taken from it is there twice.

Only said of shrinkers that are registered when the run ends and that nobody is asking then, and only if nothing went:
the counts of a cgroup that goes are its parent's *and* stay where they are, and who gets the id of a shrinker that went
gets its counts.  Nothing is said where something else was found.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..shrinker.arithmetic import Plan, next_deferred
from ..shrinker.info import BITS_PER_LONG
from ..shrinker.shrinker import SHRINKER_MEMCG_AWARE, Shrinker
from .layout import join

if TYPE_CHECKING:
    from ...actors import Actor
    from ..machine import Machine
    from ..memcg import MemCgroup

GONE = ("struct shrinker", "struct mem_cgroup")


class DeferredCounts:
    """The balance of each shrinker, by address."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._asking: dict[Actor, tuple[Any, ...]] = {}
        self._left: dict[int, int] = {}
        self._something_went = False
        points = machine.tracepoints
        points.mm_shrink_slab_start.attach(self._start)
        points.mm_shrink_slab_end.attach(self._end)
        points.structure_free.attach(self._free)
        machine.interleaver.on_finished.append(self.report)

    def _start(self, record: tuple[Any, ...]) -> None:
        self._asking[self._machine.running] = record

    def _end(self, record: tuple[Any, ...]) -> None:
        start = self._asking.pop(self._machine.running)
        address, _, _, taken, _, freeable, delta, total_scan, _ = start[5:]
        scanned = total_scan - record[11]
        put_back = next_deferred(Plan(freeable, taken, delta, total_scan, 0), scanned)
        self._left[address] = self._left.get(address, 0) + put_back - taken

    def _free(self, record: tuple[Any, ...]) -> None:
        self._something_went |= record[6] in GONE

    def report(self) -> None:
        """Report the first shrinker whose counts are not what they should be."""
        machine = self._machine
        shrinkers = machine.shrinkers
        if shrinkers is None or machine.violations or self._something_went:
            return
        memcgs: list[MemCgroup] = []
        if machine.cgroups is not None:
            root = machine.cgroups.root.memcg
            memcgs = [root, *root.descendants()]
        if not all(memcg.online for memcg in memcgs):
            return
        asked = [record[5] for record in self._asking.values()]
        shrinker = shrinkers.registry.first
        while shrinker is not None:
            expected = self._left.get(shrinker.address)
            if expected is not None and shrinker.address not in asked:
                there = _counts(shrinker, memcgs)
                if sum(count for _, count in there) != expected:
                    self._tell(shrinker, expected, there)
                    return
            shrinker = shrinker.next

    def _tell(self, shrinker: Shrinker, expected: int, there: list[tuple[str, int]]) -> None:
        difference = sum(count for _, count in there) - expected
        what = f"{-difference} deferred objects were lost" if difference < 0 else f"{difference} are counted twice"
        title = f"nr_deferred of shrinker {shrinker.name}: {what}"
        lines = [
            f"  {expected} were left for later and not taken since; there are:",
            *(f"  {count:>8} {where}" for where, count in there),
        ]
        self._machine.violate("invariant", title, join([title, *lines]), bug="nr_deferred is conserved")


def _counts(shrinker: Shrinker, memcgs: list[MemCgroup]) -> list[tuple[str, int]]:
    """Where how many are deferred."""
    found = [(f"for node {nid}", count) for nid, count in sorted(shrinker.nr_deferred.items())]
    if not shrinker.flags & SHRINKER_MEMCG_AWARE:
        return found
    index, offset = divmod(shrinker.id, BITS_PER_LONG)
    for memcg in memcgs:
        for nid, node in memcg.nodeinfo.items():
            info = node.shrinker_info
            if info is not None and index < len(info.units):
                found.append((f"for cgroup {memcg.name} on node {nid}", info.units[index].nr_deferred[offset]))
    return found
