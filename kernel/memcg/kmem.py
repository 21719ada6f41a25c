"""Seam: how kernel memory of a cgroup is accounted.

============= ==================================================================================== ==================
from          how                                                                                  commit
============= ==================================================================================== ==================
--            a cache of its own for each cgroup and cache (`child_caches`); going offline waits
              for a grace period for each cache, under ``slab_mutex``
v4.10         one grace period for all, without ``slab_mutex``                                     89e364db71fb
v4.11         nobody waits: callback, then work item                                               01fb58bcba63
v5.3          caches go to the parent cgroup, and end with their last page (`reparenting`)         fb2f2b0adb98
v5.9          one cache for everybody, an owner for each object (`objects`)                        10befea91b61
============= ==================================================================================== ==================

Beside it: the queue on which caches are created (v4.10), and what keeps deactivation away from a cache that is being
destroyed (`dying`, v4.18 and v5.8).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from ..locks import Together
    from ..slab.cache import KmemCache, Slab
    from .charge import Charging
    from .memcg import MemCgroup


class KmemMemcg(Protocol):
    """Accounting of kernel memory: what cgroups call, and what SLUB calls for memory that is to be accounted."""

    charging: Charging

    async def mem_cgroup_init(self) -> None:
        """Register what is to be done when a processor goes."""
        ...

    async def online(self, memcg: MemCgroup) -> bool:
        """Begin to account `memcg`, under ``cgroup_mutex``; false where memory ran out."""
        ...

    async def offline(self, memcg: MemCgroup) -> None:
        """`memcg` was removed: its memory stays accounted, to it or to its parent.  Under ``cgroup_mutex``."""
        ...

    async def free(self, memcg: MemCgroup) -> None:
        """Nothing is accounted to `memcg` any more, and it ends."""
        ...

    async def kmem_cache_alloc(self, cache: KmemCache, gfp: int, node: int) -> int | None:
        """Allocate an object for the running task's cgroup."""
        ...

    async def kmem_cache_alloc_bulk(self, cache: KmemCache, gfp: int, count: int) -> list[int]:
        """Allocate several, all or none."""
        ...

    async def free_hook(self, slab: Slab, index: int) -> None:
        """An object of a slab with owners is about to be freed."""
        ...

    async def charge_slab(self, cache: KmemCache, gfp: int, pages: int) -> bool:
        """Pages were found for a slab of a cgroup's own cache; false where its limit forbids them."""
        ...

    async def uncharge_slab(self, cache: KmemCache, pages: int) -> None:
        """They are about to be given back."""
        ...

    def creating(self, locks: Together) -> Together:
        """What creating a cache holds, around ``slab_mutex``: `locks`, and what accounting needs."""
        ...

    def link(self, cache: KmemCache) -> None:
        """A cache was created, for everybody; under ``slab_mutex``."""
        ...

    async def destroy(self, cache: KmemCache) -> bool:
        """``kmem_cache_destroy`` of such a cache; false where objects were left in it."""
        ...

    async def release(self, cache: KmemCache) -> None:
        """A cache is given back: so is what accounting has put there."""
        ...

    async def slab_bytes(self, memcg: MemCgroup) -> tuple[int, int]:
        """Bytes in slabs that belong to `memcg` and those below: of reclaimable caches, of others."""
        ...

    async def drain_all_stock(self, memcg: MemCgroup) -> None:
        """Have every processor give up what it keeps for `memcg` and those below."""
        ...
