"""``struct memcg_cache_params``: what accounting hangs on a cache, up to 5.8.

A *root* cache is one that somebody created.  Its *children* are the caches that cgroups have of it; one that is in use
is found through an array, by the number of its cgroup.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...actors import Access, Op, OpKind
from ..memory import Structure

if TYPE_CHECKING:
    from ...actors import Interleaver, Resource
    from ..slab.cache import KmemCache
    from .memcg import MemCgroup
    from .percpu_ref import PercpuRef


class CacheArray(Structure):
    """``struct memcg_cache_array``: children by number; replaced by a larger one under RCU, never changed in length."""

    __slots__ = ("_resource", "entries")

    def __init__(self, entries: list[KmemCache | None], resource: Resource) -> None:
        self.shadow = None
        self._resource = resource
        self.entries = entries

    def resources(self) -> tuple[Resource, ...]:
        """What those declare who look."""
        return (self._resource,)


class RootParams:
    """Of a root cache."""

    __slots__ = ("_interleaver", "caches", "children", "children_resource", "dying", "memcg_caches")

    def __init__(self, interleaver: Interleaver, name: str) -> None:
        self._interleaver = interleaver
        self.caches = interleaver.resource(f"{name}.memcg_caches[]")
        self.children_resource = interleaver.resource(f"{name}.children")
        # Changed under slab_mutex, by an operation each; read under RCU.
        self.memcg_caches: CacheArray | None = None
        # slab_mutex, those of removed cgroups included; whether there are any is also asked without.
        self.children: dict[KmemCache, None] = {}
        # See `dying`.
        self.dying = False

    @property
    def read(self) -> Op:
        """A look at the array, or at what is in it."""
        return Op(OpKind.READ, self.caches)

    @property
    def write(self) -> Op:
        """A change of it."""
        return Op(OpKind.WRITE, self.caches)

    def children_change(self) -> None:
        """Declare, under ``slab_mutex``, what those will see who look without it."""
        touch = self._interleaver.touch
        if touch is not None:
            touch(self.children_resource, Access.WRITE)


class ChildParams:
    """Of a child: whose, of which cache; from 5.3 the cgroup changes, and pages have references of their own.

    ``shrunk`` says that the last step of its deactivation was made: kept for the leak sanitizer.
    """

    __slots__ = ("memcg", "refcnt", "root_cache", "shrunk")

    def __init__(self, root_cache: KmemCache, memcg: MemCgroup) -> None:
        self.root_cache = root_cache
        self.memcg = memcg
        self.refcnt: PercpuRef | None = None
        self.shrunk = False
