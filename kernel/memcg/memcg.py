"""``struct mem_cgroup``: the memory controller's half of a cgroup, fields grouped by who may change them.

Mirrors struct mem_cgroup of include/linux/memcontrol.h and the part of struct cgroup_subsys_state that all controllers
share; what only one era has is None or empty in the others.
"""

from __future__ import annotations

from bisect import bisect_right
from enum import Enum
from typing import TYPE_CHECKING

from ...actors import Access, Op, OpKind
from ..memory import Structure
from .page_counter import PageCounter
from .percpu_ref import PercpuRef

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from ...actors import Resource
    from ..machine import Machine
    from ..shrinker.info import MemcgPerNode
    from ..slab.cache import KmemCache
    from .objcg import ObjCgroup

NO_ID = -1
STRUCT_SIZE = 4096
"""Bytes that the structure stands for; a real one is of that order."""


class KmemState(Enum):
    """``memcg->kmem_state``: each only follows the one before."""

    NONE = 0
    ONLINE = 1
    ALLOCATED = 2  # offline, but still there: no cache is created for it any more


class MemCgroup(Structure):
    """One memory cgroup.  ``css`` counts the references to it, and says whether it was removed."""

    __slots__ = (
        "_children",
        "_kmem",
        "_machine",
        "children",
        "css",
        "kmem",
        "kmem_caches",
        "kmem_state",
        "kmemcg_id",
        "memory",
        "name",
        "nodeinfo",
        "objcg",
        "objcg_list",
        "online",
        "parent",
        "serial",
    )

    embedded = ("css", "memory", "kmem")

    def __init__(
        self, machine: Machine, name: str, parent: MemCgroup | None, serial: int, release: Callable[[], Awaitable[None]]
    ) -> None:
        # Constant.
        self.shadow = None
        self._machine = machine
        self.name = name
        self.parent = parent
        self.serial = serial
        # Each with rules of its own.
        self.css = PercpuRef(machine, "css.refcnt", release)
        self.memory: PageCounter = PageCounter(machine, "memcg->memory", parent.memory if parent is not None else None)
        self.kmem: PageCounter = PageCounter(machine, "memcg->kmem", parent.kmem if parent is not None else None)
        # cgroup_mutex: those that are not released yet, removed ones included; walked under RCU.
        self._children = machine.interleaver.resource("memcg children")
        self.children: list[MemCgroup] = []  # by serial
        # Written under cgroup_mutex, looked at without: each access is declared.
        self._kmem = machine.interleaver.resource("memcg->kmem_state")
        self.kmem_state = KmemState.NONE
        self.kmemcg_id = NO_ID
        self.objcg: ObjCgroup | None = None
        self.online = False  # from when its maps of shrinkers are there until it goes offline
        # Its maps of shrinkers, by node: see the package of these.
        self.nodeinfo: dict[int, MemcgPerNode] = {}
        # slab_mutex, up to 5.8:
        self.kmem_caches: dict[KmemCache, None] = {}
        # objcg_lock, from 5.9: those that belonged to a removed child.
        self.objcg_list: dict[ObjCgroup, None] = {}

    @property
    def read_kmem(self) -> Op:
        """A look at the fields about kernel memory, without ``cgroup_mutex``."""
        return Op(OpKind.READ, self._kmem)

    @property
    def write_kmem(self) -> Op:
        """A change of them, under ``cgroup_mutex``."""
        return Op(OpKind.WRITE, self._kmem)

    @property
    def read_children(self) -> Op:
        """A look at `children`, under RCU."""
        return Op(OpKind.READ, self._children)

    def children_change(self) -> None:
        """Declare, under ``cgroup_mutex``, what those will see who walk without it."""
        touch = self._machine.interleaver.touch
        if touch is not None:
            touch(self._children, Access.WRITE)

    def child_after(self, serial: int) -> int:
        """Where in `children` the first one is that is younger than `serial`."""
        return bisect_right(self.children, serial, key=lambda child: child.serial)

    def look_at_kmem(self) -> None:
        """Declare a look as part of the step being made."""
        touch = self._machine.interleaver.touch
        if touch is not None:
            touch(self._kmem, Access.READ)

    def resources(self) -> tuple[Resource, ...]:
        """What those declare who use it."""
        return (self._kmem, self._children, *self.css.resources(), *self.memory.resources(), *self.kmem.resources())

    def is_below(self, other: MemCgroup) -> bool:
        """Whether this is `other`, or below it; where a cgroup is never changes."""
        level: MemCgroup | None = self
        while level is not None and level is not other:
            level = level.parent
        return level is other

    def descendants(self) -> Iterator[MemCgroup]:
        """All below, parents first; under ``cgroup_mutex``."""
        for child in self.children:
            yield child
            yield from child.descendants()
