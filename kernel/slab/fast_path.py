"""Taking an object of a given node from the processor's slab without a lock: the variants.

The lockless fast path reads three fields of its processor, one after the other: ``tid``, ``freelist``, ``slab``.
Interrupts are on and preemption is possible, so another allocation, a free or a flush may come between any two, and
the free list and the slab may then not belong together.  Two things make that harmless:

- every such change gives the processor another ``tid``, and the last step takes the object by one compare-and-exchange
  of free list and ``tid``: what was read apart fails there and is read again;
- what is looked at before that step must stand any value.  A flush leaves no slab: the slab is tested before its node
  is looked at, and where there is none the slow path is taken.

With both, nobody can see that the fields were read apart, so `PairAtOnce` reads them in one step; so does the path
without a node (`allocate.kmem_cache_alloc`), which never looks at the slab.  The other variants take the steps:

============================ ============================================================== ============
patch                        the slab is tested                                             commit
============================ ============================================================== ============
page-never-null-rc           no more: "page is always non-NULL in node_match()"             6159d0f5c03e
page-tested-rc               by the fast path itself                                        22e4663e9163
============================ ============================================================== ============

Both came in while 5.10 was made (that, and the first commit, from memory), so no release had the fault.

Mirrors slab_alloc_node() and node_match() of mm/slub.c, 5.10-rc1 and 6.1.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from ...actors import Op, OpKind
from ..memory import null_of
from ..pages import NUMA_NO_NODE
from ..stack import part_of_caller
from .allocate import FAST_PATH_NS, slab_alloc_slow
from .cache import NIL, Slab
from .cpu_slab import this_cpu_slab
from .statistics import StatItem, stat

if TYPE_CHECKING:
    from .cache import KmemCache, KmemCacheCpu
    from .slub import Slub

READ_FREELIST = Op(OpKind.LOCAL, "c->freelist")
READ_SLAB = Op(OpKind.LOCAL, "c->slab")
CMPXCHG_FREELIST_AND_TID = Op(OpKind.LOCAL, "cmpxchg(c->freelist, c->tid)")


class FastPath(Protocol):
    """Seam: how an object of a given node is taken."""

    async def alloc_node(self, slub: Slub, cache: KmemCache, gfp: int, node: int) -> int | None:
        """An object of `node`, or by the slow path one of wherever there is one; its address, None without memory."""
        ...


def _taken(slub: Slub, cache: KmemCache, c: KmemCacheCpu, slab: Slab) -> int:
    """The first object of the free list, which is `slab`'s; the last step, which nothing interrupts."""
    index = c.freelist
    c.freelist = slab.links[index]
    slab.live |= 1 << index
    c.tid += 1
    interleaver = slub.interleaver
    if interleaver.costed:
        interleaver.running.clock.ns += FAST_PATH_NS
    stat(c, StatItem.ALLOC_FASTPATH)
    return slab.base + index * cache.size


class PairAtOnce:
    """Every release."""

    @part_of_caller
    async def alloc_node(self, slub: Slub, cache: KmemCache, gfp: int, node: int) -> int | None:
        """All in one step."""
        c = cache.cpu_slab.get(slub.interleaver.running.cpu_id)
        if c is not None and c.freelist != NIL and c.slab is not None and node in (NUMA_NO_NODE, c.slab.node):
            return _taken(slub, cache, c, c.slab)
        return await slab_alloc_slow(slub, cache, gfp, node)


class PageTested:
    """22e4663e9163."""

    @part_of_caller
    async def alloc_node(self, slub: Slub, cache: KmemCache, gfp: int, node: int) -> int | None:
        """Field by field, until what was read is still so when the object is taken."""
        while True:
            c = this_cpu_slab(slub, cache)
            tid = c.tid
            await READ_FREELIST
            first = c.freelist
            await READ_SLAB
            slab = c.slab
            if first == NIL or not self.slab_will_do(slub, slab, node):
                return await slab_alloc_slow(slub, cache, gfp, node)
            await CMPXCHG_FREELIST_AND_TID
            if this_cpu_slab(slub, cache) is c and (c.freelist, c.tid) == (first, tid) and c.slab is not None:
                return _taken(slub, cache, c, c.slab)
            stat(c, StatItem.CMPXCHG_DOUBLE_CPU_FAIL)

    @part_of_caller
    def slab_will_do(self, slub: Slub, slab: Slab | None, node: int) -> bool:
        """Whether there is a slab, and it is of the node."""
        return slab is not None and node in (NUMA_NO_NODE, slab.node)


class PageNeverNull(PageTested):
    """6159d0f5c03e."""

    @part_of_caller
    def slab_will_do(self, slub: Slub, slab: Slab | None, node: int) -> bool:
        """Whether it is of the node: who has a free list is taken to have a slab."""
        if slab is None:
            slab = null_of(slub.machine, Slab)
        return node in (NUMA_NO_NODE, slab.node)
