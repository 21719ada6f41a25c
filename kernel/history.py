"""History: the tree that all releases descend from, and the patches that made them, in the order of merging."""

from __future__ import annotations

from dataclasses import replace

from .cpu_hotplug.page_alloc import PcpListsDrained, PcpListsResized
from .cpu_hotplug.quarantine import QuarantineOfOnlineCpus
from .kernfs import KernfsEra
from .memcg.deactivation import ShrinkLater, WaitForEachCache, WaitOnce
from .memcg.deferred import MEMCG_KMEM_CACHE, SYSTEM
from .memcg.dying import MarkedFirst, MarkedWhenUnused, NotMarked
from .memcg.objects import ObjectOwners
from .memcg.reparenting import ReparentedCaches
from .memory_hotplug import (
    AroundBlock,
    AroundPages,
    CountReaders,
    CountReadersBehindMutex,
    DrainInLoop,
    LockMemoryHotplug,
    MemHotplugBegin,
    PcpListsAndBatchesOff,
    PcpListsOff,
)
from .never_released import NEVER_RELEASED
from .rcu import CpusFree, CpusHeld, Flavours
from .seams import Kernel, Patch, sized
from .shrinker.iterate import mem_cgroup_iter
from .shrinker.lru_memcg import SetIfEmpty, UnderNodeLock
from .shrinker.maps import CopiedMaps
from .shrinker.rwsem import AskAll
from .shrinker_history import SHRINKER_NEVER_RELEASED, SHRINKER_RELEASED
from .slab.cache_release import (
    UnlinkThenWaitInWorkItem,
    WaitEachTime,
    WaitInWorkItem,
    WaitOncePerCaller,
    kvfree_first,
)
from .slab.cpu_flush import FlushByInterrupt, FlushByOwnQueue, FlushByWork
from .slab.cpu_partial import CpuPartialByObjects, CpuPartialBySlabs
from .slab.fast_path import PairAtOnce
from .slab.lock_variants import (
    CountUnlocked,
    CpusAndMemoryLocks,
    CpusWhereFlushed,
    MemoryHotplugMutex,
    NoHotplugLocks,
    OnlineMems,
)
from .slab.node_variants import (
    FreedWhenOffline,
    KeptForever,
    NormalMemoryNodes,
    SlabNodes,
)
from .slab.quarantine import Quarantine, QuarantineWithIrqsOn
from .slab.sizing import (
    CPU_PARTIAL_LARGE,
    SIZING_3_10,
    TRACK_WITH_HANDLE,
    free_pointer_middle,
    free_pointer_within,
    online_processors,
    order_by_more_waste,
    present_processors,
)
from .slab.validation import ValidateAnyCache, ValidateDebugCaches

ANCESTOR = Kernel(
    node_tracking=NormalMemoryNodes(),
    node_lifetime=FreedWhenOffline(),
    slab_locks=NoHotplugLocks(),
    counting_lock=MemoryHotplugMutex(),
    hotplug_locks=LockMemoryHotplug,
    hotplug_extent=AroundPages(),
    offline_drains=DrainInLoop(),
    pcp_hotplug=PcpListsDrained(),
    cpu_flush=FlushByInterrupt,
    cpu_partial=CpuPartialByObjects(),
    fast_path=PairAtOnce(),
    validation=ValidateAnyCache(),
    quarantine=None,
    cache_release=WaitOncePerCaller,
    kmem_memcg=WaitForEachCache,
    memcg_creation_queue=SYSTEM,
    memcg_dying=NotMarked,
    sizing=SIZING_3_10,
    kernfs=KernfsEra(),
    shrinkers=AskAll,
    shrinker_maps=CopiedMaps,
    shrinker_debugfs=None,
    lru_reparenting=SetIfEmpty(),
    lru_owner=UnderNodeLock(),
    cgroup_walk=mem_cgroup_iter,
    rcu_flavours=Flavours(consolidated=False),
    rcu_barrier=CpusHeld(),
    kvfree_queue="events",
)

RELEASED: tuple[Patch, ...] = (
    Patch(
        "get-online-mems",
        "bfc8c90139eb",
        (3, 16),
        "mem-hotplug: implement get/put_online_mems",
        lambda kernel: replace(kernel, hotplug_locks=CountReaders, counting_lock=OnlineMems()),
    ),
    Patch(
        "slab-get-online-mems",
        "03afc0e25f7f",
        (3, 16),
        "slab: get_online_mems for kmem_cache_{create,destroy,shrink}",
        lambda kernel: replace(kernel, slab_locks=CpusAndMemoryLocks()),
    ),
    Patch(
        "left-red-zone",
        "d86bd1bece6f",
        (4, 6),
        "mm/slub: support left redzone",
        lambda kernel: sized(kernel, left_red_zone=True),
    ),
    Patch(
        "slub-quarantine",
        "80a9201a5965",
        (4, 8),
        "mm, kasan: switch SLUB to stackdepot, enable memory quarantine for SLUB",
        lambda kernel: replace(kernel, quarantine=QuarantineWithIrqsOn),
    ),
    Patch(
        "memcg-cache-workqueue",
        "",
        (4, 10),
        "mm: memcontrol: use special workqueue for creating per-memcg caches",
        lambda kernel: replace(kernel, memcg_creation_queue=MEMCG_KMEM_CACHE),
    ),
    Patch(
        "deactivate-waits-once",
        "89e364db71fb",
        (4, 10),
        "slub: move synchronize_sched out of slab_mutex on shrink",
        lambda kernel: replace(kernel, kmem_memcg=WaitOnce),
    ),
    Patch(
        "memory-add-remove-lock",
        "55adc1d05dca",
        (4, 11),
        "mm: add private lock to serialize memory hotplug operations",
        lambda kernel: replace(kernel, hotplug_locks=CountReadersBehindMutex),
    ),
    Patch(
        "quarantine-races",
        "",
        (4, 11),
        "kasan: fix races in quarantine_remove_cache()",
        lambda kernel: replace(kernel, quarantine=Quarantine),
    ),
    Patch(
        "destroy-in-work-item",
        "657dc2f97220",
        (4, 11),
        "slab: remove synchronous rcu_barrier() call in memcg cache release path",
        lambda kernel: replace(kernel, cache_release=WaitInWorkItem),
    ),
    Patch(
        "deactivate-later",
        "01fb58bcba63",
        (4, 11),
        "slab: remove synchronous synchronize_sched() from memcg cache deactivation path",
        lambda kernel: replace(kernel, kmem_memcg=ShrinkLater),
    ),
    Patch(
        "mem-hotplug-percpu-rwsem",
        "3f906ba23689",
        (4, 13),
        "mm/memory-hotplug: switch locking to a percpu rwsem",
        lambda kernel: replace(kernel, hotplug_locks=MemHotplugBegin),
    ),
    Patch(
        "memcg-root-dying",
        "92ee383f6daa",
        (4, 18),
        "mm: fix race between kmem_cache destroy, create and deactivate",
        lambda kernel: replace(kernel, memcg_dying=MarkedFirst),
    ),
    Patch(
        "unlink-cache-first",
        "d50d82faa0c9",
        (4, 18),
        "slub: fix failure when we delete and create a slab cache",
        lambda kernel: replace(kernel, cache_release=UnlinkThenWaitInWorkItem),
    ),
    Patch(
        "rcu-one-flavour",
        "45975c7d21a1",
        (5, 0),
        "rcu: Define RCU-sched API in terms of RCU for Tree RCU PREEMPT builds",
        lambda kernel: replace(kernel, rcu_flavours=Flavours(consolidated=True)),
    ),
    Patch(
        "count-without-mems",
        "e4f8e513c3d3",
        (5, 4),
        "mm/slub: fix a deadlock in show_slab_objects()",
        lambda kernel: replace(kernel, counting_lock=CountUnlocked()),
    ),
    Patch(
        "kernfs-active-name",
        "0f605db5bdd4",
        (5, 7),
        'kernfs: Change kernfs_node lockdep name to "kn->active"',
        lambda kernel: replace(kernel, kernfs=replace(kernel.kernfs, active_name="kn->active")),
    ),
    Patch(
        "free-pointer-middle",
        "3202fa62fb43",
        (5, 7),
        "slub: relocate freelist pointer to middle of object",
        lambda kernel: sized(kernel, free_pointer=free_pointer_middle),
    ),
    Patch(
        "reparent-memcg-caches",
        "fb2f2b0adb98",
        (5, 3),
        "mm: memcg/slab: reparent memcg kmem_caches on cgroup removal",
        lambda kernel: replace(kernel, kmem_memcg=ReparentedCaches),
    ),
    Patch(
        "memcg-root-dying-when-unused",
        "d38a2b7a9c93",
        (5, 8),
        "mm: memcg/slab: fix memory leak at non-root kmem_cache destroy",
        lambda kernel: replace(kernel, memcg_dying=MarkedWhenUnused),
    ),
    Patch(
        "single-set-of-caches",
        "10befea91b61",
        (5, 9),
        "mm: memcg/slab: use a single set of kmem_caches for all allocations",
        lambda kernel: replace(kernel, kmem_memcg=ObjectOwners),
    ),
    Patch(
        "order-by-online-cpus",
        "045ab8c9487b",
        (5, 11),
        "mm/slub: let number of online CPUs determine the slub page order",
        lambda kernel: sized(kernel, processors=online_processors),
    ),
    Patch(
        "order-by-present-cpus",
        "3286222fc609",
        (5, 11),
        "mm, slub: better heuristic for number of cpus when calculating slab order",
        lambda kernel: sized(kernel, processors=present_processors),
    ),
    Patch(
        "pcp-lists-off",
        "ec6e8c7e0314",
        (5, 11),
        "mm, page_alloc: disable pcplists during memory offline",
        lambda kernel: replace(kernel, offline_drains=PcpListsOff()),
    ),
    Patch(
        "quarantine-of-offline-cpus",
        "6c82d45c7f03",
        (5, 11),
        "kasan: fix object remaining in offline per-cpu quarantine",
        lambda kernel: replace(kernel, quarantine=QuarantineOfOnlineCpus),
    ),
    Patch(
        "keep-cache-nodes",
        "666716fd267d",
        (5, 12),
        "mm, slub: stop freeing kmem_cache_node structures on node offline",
        lambda kernel: replace(kernel, node_lifetime=KeptForever()),
    ),
    Patch(
        "slab-nodes",
        "7e1fa93deff4",
        (5, 12),
        "mm, slab, slub: stop taking memory hotplug lock",
        lambda kernel: replace(kernel, node_tracking=SlabNodes(), slab_locks=NoHotplugLocks()),
    ),
    Patch(
        "lru-cache-off",
        "d479960e44f2",
        (5, 13),
        "mm: disable LRU pagevec during the migration temporarily",
        lambda kernel: replace(kernel, offline_drains=PcpListsAndBatchesOff()),
    ),
    Patch(
        "free-pointer-within-object",
        "e41a49fadbc8",
        (5, 13),
        "mm/slub: actually fix freelist pointer vs redzoning",
        lambda kernel: sized(kernel, free_pointer=free_pointer_within),
    ),
    Patch(
        "pcp-high-follows-cpus",
        "",
        (5, 14),
        "mm/page_alloc: adjust pcp->high after CPU hotplug events",
        lambda kernel: replace(kernel, pcp_hotplug=PcpListsResized()),
    ),
    Patch(
        "flush-by-work",
        "5a836bf6b09f",
        (5, 15),
        "mm: slub: move flush_cpu_slab() invocations __free_slab() invocations out of IRQ context",
        lambda kernel: replace(kernel, cpu_flush=FlushByWork, slab_locks=CpusWhereFlushed()),
    ),
    Patch(
        "cpu-partial-slabs",
        "b47291ef02b0",
        (5, 16),
        "mm, slub: change percpu partial accounting from objects to pages",
        lambda kernel: replace(sized(kernel, counts_slabs=True), cpu_partial=CpuPartialBySlabs()),
    ),
    Patch(
        "longer-cpu-partial-lists",
        "23e98ad1ce89",
        (5, 16),
        "mm/slub: increase default cpu partial list sizes",
        lambda kernel: sized(kernel, cpu_partial_objects=CPU_PARTIAL_LARGE),
    ),
    Patch(
        "rcu-barrier-without-cpus-lock",
        "80b3fd474c91",
        (5, 18),
        "rcu: Make rcu_barrier() no longer block CPU-hotplug operations",
        lambda kernel: replace(kernel, rcu_barrier=CpusFree()),
    ),
    Patch(
        "track-by-stack-depot",
        "5cf909c553e9",
        (5, 19),
        "mm/slub: use stackdepot to save stack trace in objects",
        lambda kernel: sized(kernel, track_size=TRACK_WITH_HANDLE),
    ),
    Patch(
        "delete-kobject-unlocked",
        "0495e337b703",
        (6, 0),
        "mm/slab_common: Deleting kobject in kmem_cache_destroy() without holding slab_mutex/cpu_hotplug_lock",
        lambda kernel: replace(kernel, cache_release=WaitInWorkItem),
    ),
    Patch(
        "own-flush-queue",
        "e45cc288724f",
        (6, 0),
        "mm: slub: fix flush_cpu_slab()/__free_slab() invocations in task context",
        lambda kernel: replace(kernel, cpu_flush=FlushByOwnQueue),
    ),
    Patch(
        "kernfs-drains-used",
        "2d7f9f8c1815",
        (6, 1),
        "kernfs: Improve kernfs_drain() and always call on removal",
        lambda kernel: replace(kernel, kernfs=replace(kernel.kernfs, drains_unused=False)),
    ),
    Patch(
        "validate-debug-caches",
        "c7323a5ad078",
        (6, 1),
        "mm/slub: restrict sysfs validation to debug caches and make it safe",
        lambda kernel: replace(kernel, validation=ValidateDebugCaches()),
    ),
    Patch(
        "kmalloc-requested-size",
        "6edf2576a6cc",
        (6, 1),
        "mm/slub: enable debugging memory wasting of kmalloc",
        lambda kernel: sized(kernel, keeps_requested_size=True),
    ),
    Patch(
        "hotplug-begin-around-block",
        "001002e73712",
        (6, 7),
        "mm/memory_hotplug: add missing mem_hotplug_lock",
        lambda kernel: replace(kernel, hotplug_extent=AroundBlock()),
    ),
    Patch(
        "kmalloc-red-zone",
        "946fa0dbf2d8",
        (6, 2),
        "mm/slub: extend redzone check to extra allocated kmalloc space than requested",
        lambda kernel: sized(kernel, red_zone_from_request=True),
    ),
    Patch(
        "order-by-more-waste",
        "0fe2735d5e2e",
        (6, 7),
        "mm/slub: remove min_objects loop from calculate_order()",
        lambda kernel: sized(kernel, find_order=order_by_more_waste),
    ),
    Patch(
        "destroy-waits-again",
        "2eb14c1c2717",
        (6, 12),
        "mm, slab: reintroduce rcu_barrier() into kmem_cache_destroy()",
        lambda kernel: replace(kernel, cache_release=WaitEachTime),
    ),
    Patch(
        "kvfree-barrier-before-destroy",
        "6c6c47b063b5",
        (6, 12),
        "mm, slab: call kvfree_rcu_barrier() from kmem_cache_destroy()",
        lambda kernel: replace(kernel, cache_release=kvfree_first(kernel.cache_release)),
    ),
    Patch(
        "kvfree-unbound-queue",
        "",
        (6, 12),
        "rcu: Use system_unbound_wq to avoid disturbing isolated CPUs",
        lambda kernel: replace(kernel, kvfree_queue="events_unbound"),
    ),
)
"""In the order of merging.

Some stand for their series: fb2f2b0adb98 also for f0a3a24b532d, which made caches of cgroups count their pages,
10befea91b61 for 9855609bde03, which did the same to accounted caches, 7e1fa93deff4 also for 59450bbc12be, which stopped
taking the CPU lock, 3202fa62fb43 for 89b83f282d8b, e41a49fadbc8 for 74c1d3e08153, 0fe2735d5e2e for 5886fc82b6e3.
"""

HISTORY = (*RELEASED, *SHRINKER_RELEASED, *NEVER_RELEASED, *SHRINKER_NEVER_RELEASED)
"""All patches that `apply` and `revert` may name."""
