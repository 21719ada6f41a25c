"""The numbers of cgroups with accounted kernel memory, and the arrays they are an index of (up to 5.8).

Mirrors memcg_alloc_cache_id(), memcg_free_cache_id() of mm/memcontrol.c and memcg_update_all_caches(),
update_memcg_params() of mm/slab_common.c (4.14).

A number is given when a cgroup comes online and taken back when it goes offline, the lowest free one first.  Every root
cache has an array with room for ``nr_cache_ids`` numbers.  Who needs a larger one replaces all of them by arrays of
twice the size, and only then publishes the size: who has a number finds room for it in any array.  Readers look under
RCU, so an old array outlives them.

``memcg_cache_ids_sem`` is held for writing from the choice of the size to its publication, for reading by those who
create a root cache: its array must not be too small.  Order: ``cgroup_mutex`` → ``memcg_cache_ids_sem`` →
``slab_mutex``, and, creating, the hotplug locks → ``memcg_cache_ids_sem`` → ``slab_mutex``.
"""

from __future__ import annotations

from heapq import heappop, heappush
from typing import TYPE_CHECKING

from ..locks import RwSemaphore
from ..memory import allocated, free_structure
from ..stack import kernel_name
from .params import CacheArray

if TYPE_CHECKING:
    from ..slab.slub import Slub
    from .child_caches import RootCaches
    from .deferred import Deferred
    from .params import RootParams

MEMCG_CACHES_MIN_SIZE = 4
MEMCG_CACHES_MAX_SIZE = 65535
HEADER, POINTER = 16, 8
"""Bytes of an array's RCU head, and of an entry."""


class CacheIds:
    """The numbers in use on one machine; ``free`` and ``used`` change under ``cgroup_mutex``."""

    def __init__(self, slub: Slub, roots: RootCaches, deferred: Deferred) -> None:
        self._slub = slub
        self._roots = roots
        self._deferred = deferred
        self.cache_ids_sem = RwSemaphore(slub.machine, "memcg_cache_ids_sem")
        self._free: list[int] = []
        self._used = 0  # numbers below were given at some time
        # memcg_cache_ids_sem; also looked at by the only one who writes:
        self.nr_cache_ids = 0

    async def allocate(self) -> int:
        """The lowest free number, with room for it in every array; under ``cgroup_mutex``.  -1 where there is none."""
        if self._free:
            return heappop(self._free)
        if self._used >= MEMCG_CACHES_MAX_SIZE:
            return -1
        number = self._used
        self._used += 1
        if number >= self.nr_cache_ids:
            async with self.cache_ids_sem:
                size = min(max(2 * (number + 1), MEMCG_CACHES_MIN_SIZE), MEMCG_CACHES_MAX_SIZE)
                await self.memcg_update_all_caches(size)
                self.nr_cache_ids = size
        return number

    def release(self, number: int) -> None:
        """Take a number back; under ``cgroup_mutex``."""
        heappush(self._free, number)

    @kernel_name("memcg_update_all_caches")
    async def memcg_update_all_caches(self, size: int) -> None:
        """Replace the array of every root cache by one with `size` places."""
        async with self._slub.slab_mutex:
            for params in self._roots.newest_first():
                old = params.memcg_caches
                entries = [] if old is None else old.entries
                new = self.new_array(params, size)
                new.entries[: len(entries)] = entries
                await params.write
                params.memcg_caches = new
                if old is not None:
                    await self._free_after_readers(old)

    async def _free_after_readers(self, old: CacheArray) -> None:
        async def free_memcg_params() -> None:
            free_structure(old)

        await self._deferred.call_rcu(free_memcg_params)

    def new_array(self, params: RootParams, size: int) -> CacheArray:
        """An empty array."""
        machine = self._slub.machine
        array = CacheArray([None] * size, params.caches)
        length = HEADER + POINTER * size
        address = machine.static_address(length)
        allocated(machine, array, "struct memcg_cache_array", "kmalloc", address, length)
        return array
