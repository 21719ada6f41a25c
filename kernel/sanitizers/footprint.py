"""The footprint audit: does every step declare what it touches?

Exhaustive search, fingerprints and POS take two steps for independent when their declared footprints do not conflict.
That is only right if no step changes, behind its declaration, what another one looks at.  Under audit every field of
the kernel's structures and of the machine parts is instrumented.  Two touches of one field from different processors,
at least one of them a change, must be ordered by what the steps between them *declare*: by the happens-before order of
their resources (vector clocks, as a data-race detector has them, with declared footprints in the place of
synchronisation).  Two that are not are an error of the emulation or of a patch file: some step is missing a resource.

What a lock protects needs no declaration of its own: taking and leaving the lock orders it.  A container counts as
changed if it has other contents when the step is over.  Giving a structure's memory back changes all of it.
"""

from __future__ import annotations

import sys
from collections import deque
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ...actors import Access, Cpu, GracePeriod, KernelThread, NumaNode, WorkerPool
from ...actors.buddy import Buddy
from ...actors.rcu_expedited import Expedited
from ...actors.rcu_node import Quorum, RcuNode
from ...actors.work_queue import PoolQueue, WorkQueue
from ...actors.worker_pool import KernelWorker, WorkItem
from ...actors.zone import Zone
from ..bag import Bag
from ..cpu_hotplug import CpuHotplug
from ..cpu_hotplug.cpu_state import CpuhpCpuState
from ..cpu_hotplug.states import StateTable
from ..cpu_hotplug.stop_machine import MultiStop, Stoppers
from ..kernfs import KernfsDirectory, KernfsNode
from ..kthread import Kthread
from ..lru import LruLists, UserPage
from ..memcg.cache_ids import CacheIds
from ..memcg.cgroup import Cgroup, Cgroups
from ..memcg.child_caches import RootCaches
from ..memcg.memcg import MemCgroup
from ..memcg.objcg import ObjCgroup
from ..memcg.page_counter import PageCounter
from ..memcg.params import CacheArray, ChildParams, RootParams
from ..memcg.percpu_ref import PercpuRef
from ..memcg.stock import ObjStock
from ..memory_hotplug import MemoryHotplug, NodeWatch
from ..memory_hotplug.block import MemoryBlock
from ..memory_hotplug.chain import ErrorInjection
from ..node_states import NodeMask, NodeStates
from ..pages import PageAllocator
from ..rcu.api import Rcu
from ..rcu.barrier import RcuBarrier
from ..rcu.data import RcuData
from ..rcu.expedited import ExpeditedRcu
from ..rcu.flavour import RcuFlavour
from ..rcu.head import RcuHead
from ..rcu.kvfree import Batch, KvfreeCpu
from ..rcu.polled import PolledSequence
from ..rcu.segcblist import SegmentedCallbacks
from ..rcu.srcu import SrcuStruct
from ..shrinker.debugfs import DebugfsEntry, ShrinkerDebugfs
from ..shrinker.info import MemcgPerNode, ShrinkerInfo, ShrinkerInfoUnit
from ..shrinker.list_lru import ListLru, ListLruMemcg, ListLruNode, ListLruOne
from ..shrinker.maps import CopiedMaps
from ..shrinker.reclaim import Reclaim
from ..shrinker.registry import Registry
from ..shrinker.shrinker import Shrinker
from ..shrinker.shrinkers import Shrinkers
from ..shrinker.superblock import Superblock
from ..slab import placement
from ..slab.cache import KmemCache, KmemCacheCpu, KmemCacheNode, Slab
from ..slab.debug_memory import DebugMemory
from ..slab.quarantine import QuarantineList, QuarantineWithIrqsOn
from ..slab.slab_list import SlabList
from ..slab.slub import Slub
from ..stack import stack_of
from ..workload import Workload
from . import leaks
from .kasan import Kasan
from .slab_invariants import SlabInvariants

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ...actors import Actor, Interleaver, Op, Resource

AUDITED: tuple[type, ...] = (
    Bag,
    Batch,
    Buddy,
    CacheArray,
    CacheIds,
    Cgroup,
    Cgroups,
    ChildParams,
    CopiedMaps,
    Cpu,
    CpuHotplug,
    CpuhpCpuState,
    DebugMemory,
    DebugfsEntry,
    Expedited,
    ErrorInjection,
    ExpeditedRcu,
    GracePeriod,
    KernelThread,
    KernelWorker,
    KernfsDirectory,
    KernfsNode,
    KmemCache,
    KmemCacheCpu,
    KmemCacheNode,
    Kthread,
    KvfreeCpu,
    ListLru,
    ListLruMemcg,
    ListLruNode,
    ListLruOne,
    LruLists,
    MemCgroup,
    MemcgPerNode,
    MemoryBlock,
    MemoryHotplug,
    MultiStop,
    NodeMask,
    NodeStates,
    NodeWatch,
    NumaNode,
    ObjCgroup,
    ObjStock,
    PageAllocator,
    PageCounter,
    PercpuRef,
    PolledSequence,
    PoolQueue,
    QuarantineList,
    QuarantineWithIrqsOn,
    Quorum,
    Rcu,
    RcuBarrier,
    RcuData,
    RcuFlavour,
    RcuHead,
    RcuNode,
    Reclaim,
    Registry,
    RootCaches,
    RootParams,
    SegmentedCallbacks,
    Shrinker,
    ShrinkerDebugfs,
    ShrinkerInfo,
    ShrinkerInfoUnit,
    Shrinkers,
    Slab,
    SlabList,
    Slub,
    SrcuStruct,
    StateTable,
    Stoppers,
    UserPage,
    Superblock,
    WorkItem,
    WorkQueue,
    WorkerPool,
    Workload,
    Zone,
)
"""Classes whose fields are watched; locks are not among them: only their own operations look inside."""

NOT_SHARED = {
    "DebugMemory.allocated",
    "DebugMemory.freed",
    "KernfsDirectory.nodes",
    "KmemCache.cpu_slab",
    "QuarantineWithIrqsOn.of_cpu",
    "Rcu._watched",
    "Rcu.other_readers",
    "Rcu.told",
    "CopiedMaps.infos",
    "Reclaim.memcgs",
    "Reclaim.reclaimed",
    "Slab.live",
    "SrcuStruct.inside",
    "Slab.objcgs",
    "Slub.directories",
    "Slub.large",
    "Slub.slabs",
    "Slub.structures",
    "WorkQueue.pool_queues",
    "Workload._bags",
    "Workload.files_read",
}
"""Containers in which everybody finds only what is theirs: per-CPU data, and structures by address.

What is in them is watched, the containers themselves are not: that an entry of somebody else comes or goes, nobody
can see.  ``Slab.live`` is one too: a bit for each object, and KASAN's alone; and ``Slab.objcgs``, which has a place
for each object.
"""

ATOMIC = {"nr_charged_bytes", "nr_slabs", "references", "total_objects", "usage"}
"""Counters that are added to atomically: additions commute where the step declares just that."""

LIFETIME = "lifetime"
"""The field that every touch of a structure reads, and giving its memory back writes."""

Clock = dict[int, int]
"""For each processor, by identity, the number of its last step that happened before."""


def _join(into: Clock, other: Clock) -> None:
    for host, tick in other.items():
        if tick > into.get(host, 0):
            into[host] = tick


OBSERVERS = (Kasan.__module__, SlabInvariants.__module__, leaks.__name__, placement.__name__)
"""Look at memory to judge the kernel: no step of the kernel's depends on what they see."""


class _ResourceClocks:
    """What has happened before a resource's last write, and its reads and additions since."""

    __slots__ = ("added", "read", "written")

    def __init__(self) -> None:
        self.written: Clock = {}
        self.read: Clock = {}
        self.added: Clock = {}


class _Touch:
    """The last touches of one field: who, when on whose processor, where."""

    __slots__ = ("adds", "reads", "write")

    def __init__(self) -> None:
        self.write: tuple[int, int, str] | None = None
        self.reads: dict[int, tuple[int, str]] = {}
        self.adds: dict[int, tuple[int, str]] = {}


class FootprintAudit:
    """Audits one run; ``errors`` has a line for each pair of places that no declaration orders."""

    def __init__(self, interleaver: Interleaver) -> None:
        self.errors: dict[str, None] = {}
        self._interleaver = interleaver
        self._host = 0
        self._clocks: dict[int, Clock] = {}
        self._resources: dict[Resource, _ResourceClocks] = {}
        self._declared: list[tuple[Resource, Access]] = []
        self._fields: dict[Any, dict[str, _Touch]] = {}
        self._touched: dict[tuple[Any, str], tuple[bool, str]] = {}
        self._containers: list[tuple[Any, str, Any, tuple[Any, ...]]] = []
        self._commutes = False  # the step declares an addition whose result it does not look at

    # --- what steps declare

    def before_step(self, actor: Actor, op: Op) -> None:
        """The step before is complete; this one begins, with what it declares."""
        self.finish()
        self._host = host = actor.host.identity
        clock = self._clocks.setdefault(host, {})
        clock[host] = clock.get(host, 0) + 1
        self._declare(actor.host, Access.WRITE)
        if op.access:
            self._declare(op.resource, op.access)

    def touch(self, resource: Resource, access: Access) -> None:
        """The step declares one more resource."""
        if self._host:
            self._declare(resource, access)

    def _declare(self, resource: Resource, access: Access) -> None:
        self._commutes |= access is Access.COMMUTE
        clocks = self._resources.get(resource)
        if clocks is None:
            clocks = self._resources[resource] = _ResourceClocks()
        clock = self._clocks[self._host]
        _join(clock, clocks.written)
        if access is not Access.READ:
            _join(clock, clocks.read)
        if access is not Access.COMMUTE:
            _join(clock, clocks.added)
        self._declared.append((resource, access))

    # --- what steps do

    def touched(self, thing: Any, name: str, value: Any, *, write: bool) -> None:
        """A field of `thing` is looked at, or changed."""
        if not self._host or self._interleaver.outcome is not None:
            return  # booting, when nobody else is there; or unwinding
        key = (thing, name)
        known = self._touched.get(key)
        if known is None or (write and not known[0]):
            self._touched[key] = (write, self._place())
        if known is None and not write and isinstance(value, list | dict | deque | set):
            self._containers.append((thing, name, value, _contents(value)))
        if name != LIFETIME:
            self.touched(thing, LIFETIME, None, write=False)

    def _place(self) -> str:
        running = self._interleaver.running
        stack = stack_of(running)
        return f"{running.name} in {stack[0] if stack else 'no function'} ({running.pending!r})"

    def finish(self) -> None:
        """Compare what the step has done with what was done before it."""
        if not self._host:
            return
        host, clock = self._host, self._clocks[self._host]
        for thing, name, value, before in self._containers:
            now = _contents(value)
            if len(now) != len(before) or any(a is not b for a, b in zip(before, now, strict=True)):
                self._touched[thing, name] = (True, self._touched[thing, name][1])
        for (thing, name), (write, place) in self._touched.items():
            self._check(thing, name, host, clock, place, write=write)
        for resource, access in self._declared:
            clocks = self._resources[resource]
            if access is Access.READ:
                _join(clocks.read, clock)
            elif access is Access.COMMUTE:
                _join(clocks.added, clock)
            else:
                clocks.written, clocks.read, clocks.added = dict(clock), {}, {}
        self._host = 0
        self._declared.clear()
        self._touched.clear()
        self._containers.clear()
        self._commutes = False

    def _check(self, thing: Any, name: str, host: int, clock: Clock, place: str, *, write: bool) -> None:
        touch = self._fields.setdefault(thing, {}).setdefault(name, _Touch())
        before = touch.write
        if before is not None and before[0] != host and clock.get(before[0], 0) < before[1]:
            self._accuse(thing, name, before[2], place)
        adds = write and self._commutes and name in ATOMIC
        others = [touch.reads] if adds else [touch.reads, touch.adds] if write else [touch.adds]
        for by_host in others:
            for other, (tick, there) in by_host.items():
                if other != host and clock.get(other, 0) < tick:
                    self._accuse(thing, name, there, place)
        if adds:
            touch.adds[host] = (clock[host], place)
        elif write:
            touch.write = (host, clock[host], place)
            touch.reads, touch.adds = {}, {}
        else:
            touch.reads[host] = (clock[host], place)

    def _accuse(self, thing: Any, name: str, first: str, second: str) -> None:
        kind = type(thing).__name__
        self.errors[f"{kind}.{name}: {first} and {second}: nothing that the two declare orders them"] = None


def _contents(container: Any) -> tuple[Any, ...]:
    return tuple(item for pair in container.items() for item in pair) if isinstance(container, dict) else (*container,)


@contextmanager
def audited(interleaver: Interleaver) -> Iterator[FootprintAudit]:
    """Audit the run of `interleaver`, which must begin and end inside.  One at a time in a process: classes change."""
    audit = FootprintAudit(interleaver)
    interleaver.observe(audit)
    interleaver.on_finished.insert(0, audit.finish)  # who looks when everything has come to rest takes no step
    for cls in AUDITED:
        _instrument(cls, audit)
    try:
        yield audit
        audit.finish()
    finally:
        for cls in AUDITED:
            del cls.__getattribute__, cls.__setattr__


def _instrument(cls: type, audit: FootprintAudit) -> None:
    """Have every field of `cls`'s own be watched; fields of the actor machinery, further up, are not."""
    if "__slots__" in vars(cls):
        bases = [base for base in cls.__mro__ if base is cls or base.__name__ == "Structure"]
        own = {name for base in bases for name in vars(base).get("__slots__", ())} - {"shadow", "__weakref__"}
    else:
        own = None
    read: Callable[[Any, str], Any] = getattr(cls, "__getattribute__")  # noqa: B009  # mypy takes it for bound
    write: Callable[[Any, str, Any], None] = getattr(cls, "__setattr__")  # noqa: B009

    def watched(thing: Any, name: str) -> bool:
        if f"{cls.__name__}.{name}" in NOT_SHARED:
            return False
        return name in own if own is not None else name in object.__getattribute__(thing, "__dict__")

    def get(thing: Any, name: str) -> Any:
        value = read(thing, name)
        if name[:2] != "__" and watched(thing, name) and sys._getframe(1).f_globals["__name__"] not in OBSERVERS:
            audit.touched(thing, name, value, write=False)
        return value

    def put(thing: Any, name: str, value: Any) -> None:
        if name == "__class__":
            audit.touched(thing, LIFETIME, None, write=True)
        elif (own is None or name in own) and f"{cls.__name__}.{name}" not in NOT_SHARED:
            audit.touched(thing, name, value, write=True)
        write(thing, name, value)

    setattr(cls, "__getattribute__", get)  # noqa: B010
    setattr(cls, "__setattr__", put)  # noqa: B010
