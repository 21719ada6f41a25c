"""Filling a machine that boots with the caches of a recorded /proc/slabinfo.

What a row says is made true by the arithmetic that /proc/slabinfo itself uses: num_slabs slabs of pages that the nodes'
page allocators give away, active_objs objects in use.  Whose objects they are is not recorded: they belong to nobody,
and nobody frees them.  No processor has a slab.  As in get_slabinfo(), the free objects are those of the partial slabs:
these are taken to be half full, as SLUB itself estimates, and where that is not enough all slabs are partial and free
objects are spread evenly, so that as few slabs as possible are empty.  All other slabs are full, on no list.

SLAB tells slabs with objects from empty ones; SLUB does not, so of active_slabs nothing can be reproduced:
/proc/slabinfo shows num_slabs twice.  The structures of the emulated caches live in ``kmem_cache`` and
``kmem_cache_node``, whose rows count them in; where a machine needs more of them than were recorded, for it has more
nodes, that is said in the log.

Slabs are made here and not by new_slab(), and pages are taken from the nodes without a message: a dump can have
hundreds of thousands of them.  Only while the machine boots, when nobody else runs; no event is fired, since all this
was there before the trace began.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...actors.garbage import rare_garbage_collection
from ...actors.zone import WMARK_LOW, ZONE_NORMAL
from ..gfp import gfp_zone
from ..pages import page_address
from .cache import NIL, Slab
from .cpu_slab import deactivate_slab, unfreeze_partials
from .create import kmem_cache_create
from .flags import SLAB_NO_USER_FLAGS, SLAB_NOLEAKTRACE
from .node import add_partial, remove_partial

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ...actors import NumaNode
    from ...topology.slabinfo import SlabinfoRow
    from .cache import KmemCache
    from .slub import Slub

UNMERGED = SLAB_NOLEAKTRACE | SLAB_NO_USER_FLAGS
"""Flags without any effect here but that a cache is for itself: caches of a dump are not merged, nor debugged."""


class PopulationError(Exception):
    """The machine has no room for the recorded caches; the message says at which row."""


async def create_recorded_caches(slub: Slub) -> None:
    """Make the caches of `Slub.recorded` that are not there already, the oldest first, without any slab.

    Raises:
        PopulationError: there is no memory for their structures.
    """
    for row in reversed(slub.recorded.values()):
        if slub.find(row.name) is None:
            cache = await kmem_cache_create(slub, row.name, row.objsize, 0, UNMERGED)
            if cache is None:
                raise PopulationError(f"line {row.line}, cache {row.name}: there is no memory for its structures")


async def populate(slub: Slub) -> None:
    """Give every recorded cache its slabs and objects; those that structures are made of come last.

    Raises:
        PopulationError: no node has pages left.
    """
    share = _Share(slub)
    last = (slub.kmem_cache, slub.kmem_cache_node)
    with rare_garbage_collection(200_000, 20, 20):
        for row in reversed(slub.recorded.values()):
            cache = slub.names[row.name]
            if cache not in last:
                _fill(slub, cache, row, share)
        for cache in last:
            if cache.name in slub.recorded:
                await _give_up_cpu_slabs(slub, cache)
                _fill(slub, cache, slub.recorded[cache.name], share)
    slub.recorded = {}


async def _give_up_cpu_slabs(slub: Slub, cache: KmemCache) -> None:
    """Put what processors have of `cache` on the nodes' lists, where free objects count as free."""
    for c in list(cache.cpu_slab.values()):
        slab, freelist = c.detach()
        if slab is not None:
            await deactivate_slab(slub, cache, slab, freelist)
        await unfreeze_partials(slub, cache, c)


def _fill(slub: Slub, cache: KmemCache, row: SlabinfoRow, share: _Share) -> None:
    """Make what is still missing of a row, beside what `cache` has."""
    slabs, objects, free = _totals(cache)
    missing = max(0, row.num_slabs - slabs)
    smallest = min(row.smallest_slabs, missing)
    sizes = [(row.order, row.objperslab)] * (missing - smallest)
    sizes += [(row.smallest_order, row.smallest_objperslab)] * smallest
    to_be_free = row.num_objs - row.active_objs - free
    shares = _free_objects([count for _, count in sizes], to_be_free, row.objperslab)
    nodes = share.deal(missing, 1 << row.order)
    for (order, count), free_objects, node in zip(sizes, shares, nodes, strict=True):
        pages = share.take(node, order, cache.geometry.allocflags)
        if pages is None:
            piece = f"{1 << order} pages in one piece" if order else "a page"
            raise PopulationError(
                f"line {row.line}, cache {row.name}: no node has {piece} left for a slab;"
                " expected a machine with more memory"
            )
        _add_slab(slub, cache, Slab(cache, pages[0], page_address(pages[0]), pages[1], order, count), free_objects)
    if to_be_free < 0:
        _use_up(cache, -to_be_free)
    slabs, objects, free = _totals(cache)
    if (slabs, objects, objects - free) != (row.num_slabs, row.num_objs, row.active_objs):
        slub.machine.printk(
            "warning",
            f"slabinfo line {row.line}: {cache.name} has {objects - free} objects in use of {objects} in {slabs} slabs,"
            f" not {row.active_objs} of {row.num_objs} in {row.num_slabs}: this machine needs them",
        )


def _totals(cache: KmemCache) -> tuple[int, int, int]:
    """Slabs, objects, and those free as /proc/slabinfo counts them."""
    nodes = cache.node.values()
    free = sum(slab.objects - slab.inuse for n in nodes for slab in n.partial)
    return sum(n.nr_slabs for n in nodes), sum(n.total_objects for n in nodes), free


def _free_objects(sizes: list[int], free: int, per_slab: int) -> Iterator[int]:
    """How many objects are to be free in each of these slabs, `free` in all: the first ones half, the others none."""
    partial = min(len(sizes), -(-2 * free // per_slab))
    for objects in sizes:
        here = min(objects, -(-free // partial)) if free > 0 else 0
        free -= here
        partial = max(1, partial - 1)
        yield here


def _add_slab(slub: Slub, cache: KmemCache, slab: Slab, free: int) -> None:
    """Count a slab in whose first objects are in use and whose last `free` are not, and put it where it belongs."""
    slab.inuse = slab.objects - free
    slab.live = (1 << slab.inuse) - 1
    slab.freelist = slab.inuse if free else NIL
    for page in range(slab.pfn, slab.pfn + (1 << slab.order)):
        slub.slabs[page] = slab
    n = cache.node[slab.node]
    n.nr_slabs += 1
    n.total_objects += slab.objects
    if free:
        add_partial(n, slab, tail=True)


def _use_up(cache: KmemCache, objects: int) -> None:
    """Take free objects away from partial slabs, for nobody."""
    for n in cache.node.values():
        for slab in n.partial:
            while objects and slab.freelist != NIL:
                index = slab.freelist
                slab.freelist = slab.links[index]
                slab.live |= 1 << index
                slab.inuse += 1
                objects -= 1
            if slab.freelist == NIL:
                remove_partial(n, slab)


class _Share:
    """Deals slabs to the nodes in proportion to their memory, over all caches together."""

    def __init__(self, slub: Slub) -> None:
        machine = slub.machine
        self._nodes = {number: machine.nodes[number] for number in machine.pages.states.normal_memory}
        self._memory = {number: node.present_pages for number, node in self._nodes.items()}
        self._total = sum(self._memory.values())
        self._owed = dict.fromkeys(self._nodes, 0)  # in pages times `_total`

    def deal(self, slabs: int, pages: int) -> list[int]:
        """The node for each of `slabs` slabs of `pages` pages: in turn, as long as a node is to have more."""
        if not slabs:
            return []
        unit = pages * self._total
        for number, memory in self._memory.items():
            self._owed[number] += slabs * pages * memory
        counts = {number: max(0, owed // unit) for number, owed in self._owed.items()}
        for number, owed in self._owed.items():
            self._owed[number] = owed - counts[number] * unit
        over = sum(counts.values()) - slabs
        for number in sorted(counts, key=self._owed.__getitem__, reverse=over < 0) * (abs(over) + 1):
            if not over:
                break
            if over < 0 or counts[number]:
                step = 1 if over < 0 else -1
                counts[number] += step
                self._owed[number] -= step * unit
                over += step
        dealt: list[int] = []
        while counts:
            counts = {number: count for number, count in counts.items() if count}
            turns = min(counts.values(), default=0)
            dealt += list(counts) * turns
            counts = {number: count - turns for number, count in counts.items()}
        return dealt

    def take(self, node: int, order: int, allocflags: int) -> tuple[int, int] | None:
        """Pages in one piece, from `node` or else from whoever has most: (page frame number, node)."""
        zone = gfp_zone(allocflags)
        zone = ZONE_NORMAL if zone is None else zone
        pfn = self._nodes[node].allocate(order, zone, WMARK_LOW)
        if pfn is not None:
            return pfn, node
        for number, other in sorted(self._nodes.items(), key=_most_free):
            pfn = other.allocate(order, zone, WMARK_LOW)
            if pfn is not None:
                return pfn, number
        return None


def _most_free(numbered: tuple[int, NumaNode]) -> tuple[int, int]:
    return -numbered[1].free_pages, numbered[0]
