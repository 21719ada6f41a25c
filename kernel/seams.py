"""Seams: where one implementation of a protocol stands and another might; patches change what stands there."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from .cpu_hotplug.page_alloc import PcpHotplug
    from .fault import FailSlab
    from .kernfs import KernfsEra
    from .machine import Machine
    from .memcg import Cgroups, KmemMemcg
    from .memcg.child_caches import PerMemcgCaches
    from .memcg.dying import Dying
    from .memory_hotplug import HotplugExtent, HotplugLocks, OfflineDrains
    from .rcu import Flavours
    from .rcu.barrier import BarrierSection
    from .shrinker.debugfs import ShrinkerDebugfs
    from .shrinker.lru_memcg import LruOwner, LruReparenting
    from .shrinker.maps import CopiedMaps
    from .shrinker.reclaim import CgroupWalk
    from .shrinker.registry import Registry
    from .shrinker.walks import ShrinkerProtocol
    from .slab import Slub
    from .slab.cache_release import CacheRelease
    from .slab.cpu_flush import CpuFlush
    from .slab.cpu_partial import CpuPartial
    from .slab.fast_path import FastPath
    from .slab.lock_variants import CountingLock, SlabHotplugLocks
    from .slab.node_variants import NodeLifetime, NodeTracking
    from .slab.quarantine import QuarantineWithIrqsOn
    from .slab.sizing import Sizing
    from .slab.validation import Validation


@dataclass(frozen=True, slots=True)
class Kernel:
    """One tree: which implementation stands at each seam."""

    node_tracking: NodeTracking
    node_lifetime: NodeLifetime
    slab_locks: SlabHotplugLocks
    counting_lock: CountingLock
    hotplug_locks: Callable[[Machine], HotplugLocks]
    hotplug_extent: HotplugExtent
    offline_drains: OfflineDrains
    pcp_hotplug: PcpHotplug
    cpu_flush: Callable[[Slub], CpuFlush]
    cpu_partial: CpuPartial
    fast_path: FastPath
    validation: Validation
    quarantine: Callable[[Slub], QuarantineWithIrqsOn] | None  # None where SLUB has none
    cache_release: Callable[[Slub], CacheRelease]
    kmem_memcg: Callable[[Cgroups, Slub], KmemMemcg]
    memcg_creation_queue: str
    memcg_dying: Callable[[PerMemcgCaches], Dying]
    sizing: Sizing
    kernfs: KernfsEra
    shrinkers: Callable[[Machine, Registry, Cgroups | None, CopiedMaps | None], ShrinkerProtocol]
    shrinker_maps: Callable[[Machine, Cgroups, FailSlab], CopiedMaps]
    shrinker_debugfs: Callable[[Machine, Registry, Cgroups | None], ShrinkerDebugfs] | None  # None where there is none
    lru_reparenting: LruReparenting
    lru_owner: LruOwner
    cgroup_walk: CgroupWalk
    rcu_flavours: Flavours
    rcu_barrier: BarrierSection
    kvfree_queue: str


@dataclass(frozen=True, slots=True)
class Patch:
    """One change of history, or a user's; ``release`` is the first that has it, as (major, minor)."""

    name: str
    commit: str
    release: tuple[int, int] | None
    title: str
    apply: Callable[[Kernel], Kernel]


def sized(kernel: Kernel, **changes: Any) -> Kernel:
    """`kernel` with parts of its `sizing` replaced."""
    return replace(kernel, sizing=replace(kernel.sizing, **changes))
