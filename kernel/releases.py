"""Releases and patches: which variant of each protocol the kernel under test has.

The one place where a release is looked at.  A *seam* is a field of `Kernel`; a patch is a function that replaces
values at seams; a release is the ancestor of all with every patch up to it applied, in the order of history.  `apply`
and `revert` of a topology file add and leave out patches by id, commit or title; ``./file.py`` is a patch of the
user's own: a module with ``apply(kernel: Kernel) -> Kernel``.
"""

from __future__ import annotations

import importlib.util
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .memcg.deactivation import ShrinkLater, WaitForEachCache, WaitOnce
from .memcg.deferred import MEMCG_KMEM_CACHE, SYSTEM
from .memcg.dying import Dying, MarkedFirst, MarkedWhenUnused, NotMarked
from .memcg.objects import ObjectOwners
from .memcg.reparenting import ReparentedCaches
from .memory_hotplug import HotplugSection, LockMemoryHotplug, MemHotplugBegin
from .rcu import CpusFree, CpusHeld, Flavours
from .slab.cache_release import (
    CacheRelease,
    NeverPutKobject,
    UnlinkThenWaitInWorkItem,
    WaitEachTime,
    WaitInWorkItem,
    WaitOncePerCaller,
)
from .slab.cpu_flush import CpuFlush, FlushByInterrupt, FlushByOwnQueue, FlushByWork
from .slab.cpu_partial import CpuPartial, CpuPartialByObjects, CpuPartialBySlabs
from .slab.lock_variants import CpusAndMemoryLocks, CpusWhereFlushed, NoHotplugLocks, SlabHotplugLocks
from .slab.node_variants import (
    FreedWhenOffline,
    KeptForever,
    NodeLifetime,
    NodeTracking,
    NormalMemoryNodes,
    SlabNodes,
)
from .slab.sizing import (
    CPU_PARTIAL_LARGE,
    SIZING_3_10,
    TRACK_WITH_HANDLE,
    Sizing,
    free_pointer_middle,
    free_pointer_within,
    online_processors,
    order_by_more_waste,
    present_processors,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .memcg import Cgroups, KmemMemcg
    from .memcg.child_caches import PerMemcgCaches
    from .rcu.barrier import BarrierSection
    from .slab import Slub

OLDEST = (3, 10)
NEWEST = (6, 12)
"""Releases outside are refused: their SLUB is not this one."""


class ReleaseError(Exception):
    """An unknown release or patch; the message says which and what there is."""

    exit_status = 2


@dataclass(frozen=True, slots=True)
class Kernel:
    """One tree: which implementation stands at each seam."""

    node_tracking: NodeTracking
    node_lifetime: NodeLifetime
    slab_locks: SlabHotplugLocks
    hotplug_section: HotplugSection
    cpu_flush: Callable[[Slub], CpuFlush]
    cpu_partial: CpuPartial
    cache_release: Callable[[Slub], CacheRelease]
    kmem_memcg: Callable[[Cgroups, Slub], KmemMemcg]
    memcg_creation_queue: str
    memcg_dying: Callable[[PerMemcgCaches], Dying]
    sizing: Sizing
    rcu_flavours: Flavours
    rcu_barrier: BarrierSection


@dataclass(frozen=True, slots=True)
class Patch:
    """One change of history, or a user's; ``release`` is the first that has it, as (major, minor)."""

    name: str
    commit: str
    release: tuple[int, int] | None
    title: str
    apply: Callable[[Kernel], Kernel]


def _sized(kernel: Kernel, **changes: Any) -> Kernel:
    """`kernel` with parts of its `sizing` replaced."""
    return replace(kernel, sizing=replace(kernel.sizing, **changes))


ANCESTOR = Kernel(
    node_tracking=NormalMemoryNodes(),
    node_lifetime=FreedWhenOffline(),
    slab_locks=NoHotplugLocks(),
    hotplug_section=LockMemoryHotplug(),
    cpu_flush=FlushByInterrupt,
    cpu_partial=CpuPartialByObjects(),
    cache_release=WaitOncePerCaller,
    kmem_memcg=WaitForEachCache,
    memcg_creation_queue=SYSTEM,
    memcg_dying=NotMarked,
    sizing=SIZING_3_10,
    rcu_flavours=Flavours(consolidated=False),
    rcu_barrier=CpusHeld(),
)

HISTORY: tuple[Patch, ...] = (
    Patch(
        "get-online-mems",
        "bfc8c90139eb",
        (3, 16),
        "mem-hotplug: implement get/put_online_mems",
        lambda kernel: replace(kernel, hotplug_section=MemHotplugBegin()),
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
        lambda kernel: _sized(kernel, left_red_zone=True),
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
        "free-pointer-middle",
        "3202fa62fb43",
        (5, 7),
        "slub: relocate freelist pointer to middle of object",
        lambda kernel: _sized(kernel, free_pointer=free_pointer_middle),
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
        lambda kernel: _sized(kernel, processors=online_processors),
    ),
    Patch(
        "order-by-present-cpus",
        "3286222fc609",
        (5, 11),
        "mm, slub: better heuristic for number of cpus when calculating slab order",
        lambda kernel: _sized(kernel, processors=present_processors),
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
        "free-pointer-within-object",
        "e41a49fadbc8",
        (5, 13),
        "mm/slub: actually fix freelist pointer vs redzoning",
        lambda kernel: _sized(kernel, free_pointer=free_pointer_within),
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
        lambda kernel: replace(_sized(kernel, counts_slabs=True), cpu_partial=CpuPartialBySlabs()),
    ),
    Patch(
        "longer-cpu-partial-lists",
        "23e98ad1ce89",
        (5, 16),
        "mm/slub: increase default cpu partial list sizes",
        lambda kernel: _sized(kernel, cpu_partial_objects=CPU_PARTIAL_LARGE),
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
        lambda kernel: _sized(kernel, track_size=TRACK_WITH_HANDLE),
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
        "kmalloc-requested-size",
        "6edf2576a6cc",
        (6, 1),
        "mm/slub: enable debugging memory wasting of kmalloc",
        lambda kernel: _sized(kernel, keeps_requested_size=True),
    ),
    Patch(
        "order-by-more-waste",
        "0fe2735d5e2e",
        (6, 7),
        "mm/slub: remove min_objects loop from calculate_order()",
        lambda kernel: _sized(kernel, find_order=order_by_more_waste),
    ),
    Patch(
        "destroy-waits-again",
        "2eb14c1c2717",
        (6, 12),
        "mm, slab: reintroduce rcu_barrier() into kmem_cache_destroy()",
        lambda kernel: replace(kernel, cache_release=WaitEachTime),
    ),
    Patch(
        "unlink-cache-at-once-rc",
        "4ec10268ed98",
        None,
        "mm, slab: unlink slabinfo, sysfs and debugfs immediately",
        lambda kernel: replace(kernel, cache_release=NeverPutKobject),
    ),
)
"""In the order of merging.

Some stand for their series: fb2f2b0adb98 also for f0a3a24b532d, which made caches of cgroups count their pages,
10befea91b61 for 9855609bde03, which did the same to accounted caches, 7e1fa93deff4 also for 59450bbc12be, which stopped
taking the CPU lock, 3202fa62fb43 for 89b83f282d8b, e41a49fadbc8 for 74c1d3e08153, 0fe2735d5e2e for 5886fc82b6e3.
"""


def parse_release(text: str) -> tuple[int, int]:
    """``v5.12`` or ``5.12.3`` as (5, 12).

    Raises:
        ReleaseError: not a release this emulator knows.
    """
    match = re.fullmatch(r"v?(\d+)\.(\d+)(?:[.-].*)?", text)
    if match is None:
        raise ReleaseError(f"kernel.release: {text!r} is not a release; expected something like v5.12")
    release = (int(match[1]), int(match[2]))
    if not OLDEST <= release <= NEWEST:
        raise ReleaseError(
            f"kernel.release: {text} is outside of what is emulated: "
            f"v{OLDEST[0]}.{OLDEST[1]} to v{NEWEST[0]}.{NEWEST[1]}"
        )
    return release


def checkout(
    release: str, apply: Sequence[str] = (), revert: Sequence[str] = (), *, folder: Path | None = None
) -> Kernel:
    """The tree of `release`, with the patches of `apply` on top and without those of `revert`.

    `folder` is where relative paths of patch files start.

    Raises:
        ReleaseError: an unknown release or patch, or a patch file that is none.
    """
    wanted = parse_release(release)
    left_out = [_find(name) for name in revert]
    added = [_from_file(name, folder) if name.endswith(".py") else _find(name) for name in apply]
    kernel = ANCESTOR
    for patch in HISTORY:
        if patch.release is not None and patch.release <= wanted and patch not in left_out:
            kernel = patch.apply(kernel)
    for patch in added:
        kernel = patch.apply(kernel)
    return kernel


def _find(name: str) -> Patch:
    for patch in HISTORY:
        if name in (patch.name, patch.title) or (len(name) >= 7 and patch.commit.startswith(name[:12])):  # noqa: PLR2004
            return patch
    known = ", ".join(f"{patch.name} ({patch.commit})" for patch in HISTORY)
    raise ReleaseError(f"kernel.apply/revert: there is no patch {name!r}; there are: {known}")


def _from_file(name: str, folder: Path | None) -> Patch:
    path = (folder or Path()) / name
    spec = importlib.util.spec_from_file_location(f"slubloom_patch_{path.stem}", path)
    if not path.is_file() or spec is None or spec.loader is None:
        raise ReleaseError(f"kernel.apply: there is no patch file {path}")
    module: Any = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
        function = module.apply
    except AttributeError:
        raise ReleaseError(f"kernel.apply: {path} has no function apply(kernel)") from None
    except Exception as error:
        raise ReleaseError(f"kernel.apply: {path} cannot be loaded: {type(error).__name__}: {error}") from error
    return Patch(path.stem, "", None, f"patch file {name}", function)
