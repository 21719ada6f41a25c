"""What has changed about shrinkers and LRU lists: the patches of `kernel/shrinker`, in the order of merging.

The id of the first is from memory.  Some stand for their series: ca1d36b82394 also for what made shrinkers be
allocated, 50d09da8e119 for 8a0e8bb112af (the rwsem became a mutex) and 604b8b655020 (deferred counts are reparented
under it).  Of the two that 7.2 and June 2026 brought the catalogue has no commit, and those releases are not emulated:
they are for `apply`.
"""

from __future__ import annotations

from dataclasses import replace

from .seams import Patch
from .shrinker.debugfs import ShrinkerDebugfs
from .shrinker.iterate import without_reference
from .shrinker.lru_memcg import BeforeLock, SetIfMoved, UnderRcu
from .shrinker.maps import SerialisedTeardown, SharedUnits, SharedUnitsNoLeak
from .shrinker.refcounted import (
    DeferredWithoutRcu,
    PutBeforeNext,
    Refcounted,
    RefcountedGlobalWalk,
    RefcountedPutAlways,
)
from .shrinker.rwsem import ClearWithoutRecount, RwsemShrinkers
from .shrinker.srcu import SrcuGlobalWalk, SrcuWalks

SHRINKER_RELEASED: tuple[Patch, ...] = (
    Patch(
        "map-of-shrinkers",
        "b0dedc49a2da",
        (4, 19),
        "mm/vmscan.c: iterate only over charged shrinkers during memcg shrink_slab()",
        lambda kernel: replace(kernel, shrinkers=RwsemShrinkers),
    ),
    Patch(
        "reparented-items-set-bit",
        "8199be001a47",
        (5, 10),
        "mm: list_lru: set shrinker map bit when child nr_items is not zero",
        lambda kernel: replace(kernel, lru_reparenting=SetIfMoved()),
    ),
    Patch(
        "shrinker-debugfs",
        "",
        (6, 0),
        "mm: shrinkers: introduce debugfs interface for memory shrinkers",
        lambda kernel: replace(kernel, shrinker_debugfs=ShrinkerDebugfs),
    ),
    Patch(
        "shared-shrinker-units",
        "307bececcd12",
        (6, 7),
        "mm: shrinker: add a secondary array for shrinker_info::{map, nr_deferred}",
        lambda kernel: replace(kernel, shrinker_maps=SharedUnits),
    ),
    Patch(
        "lockless-global-shrink",
        "ca1d36b82394",
        (6, 7),
        "mm: shrinker: make global slab shrink lockless",
        lambda kernel: replace(kernel, shrinkers=RefcountedGlobalWalk),
    ),
    Patch(
        "lockless-memcg-shrink",
        "50d09da8e119",
        (6, 7),
        "mm: shrinker: make memcg slab shrink lockless",
        lambda kernel: replace(kernel, shrinkers=Refcounted),
    ),
    Patch(
        "lru-explicit-memcg",
        "0a97c01cd20b",
        (6, 8),
        "list_lru: allow explicit memcg and NUMA node selection",
        lambda kernel: replace(kernel, lru_owner=BeforeLock()),
    ),
    Patch(
        "lru-owner-under-rcu",
        "5161b48712dc",
        (6, 11),
        "mm: list_lru: fix UAF for memory cgroup",
        lambda kernel: replace(kernel, lru_owner=UnderRcu()),
    ),
    Patch(
        "free-unpublished-shrinker-info",
        "15e8156713cc",
        (6, 12),
        "mm: shrinker: avoid memleak in alloc_shrinker_info",
        lambda kernel: replace(kernel, shrinker_maps=SharedUnitsNoLeak),
    ),
)

SHRINKER_NEVER_RELEASED: tuple[Patch, ...] = (
    Patch(
        "clear-bit-without-recount",
        "",
        None,
        "never sent: a shrinker that had nothing is not asked again after its bit was cleared",
        lambda kernel: replace(kernel, shrinkers=ClearWithoutRecount),
    ),
    Patch(
        "srcu-global-shrink-rc",
        "f95bdb700bc6",
        None,
        "mm: vmscan: make global slab shrink lockless",
        lambda kernel: replace(kernel, shrinkers=SrcuGlobalWalk),
    ),
    Patch(
        "srcu-memcg-shrink-rc",
        "caa05325c912",
        None,
        "mm: vmscan: make memcg slab shrink lockless",
        lambda kernel: replace(kernel, shrinkers=SrcuWalks),
    ),
    Patch(
        "put-skipped-shrinker",
        "",
        None,
        "as in 7.2: whoever skips a shrinker puts the reference it took",
        lambda kernel: replace(kernel, shrinkers=RefcountedPutAlways),
    ),
    Patch(
        "serialised-shrinker-info-teardown",
        "",
        None,
        "as in June 2026: a shrinker_info that is half built is torn down under shrinker_mutex",
        lambda kernel: replace(kernel, shrinker_maps=SerialisedTeardown),
    ),
    Patch(
        "walk-cgroups-without-reference",
        "",
        None,
        "never sent: reclaim walks over cgroups without references to them",
        lambda kernel: replace(kernel, cgroup_walk=without_reference),
    ),
    Patch(
        "put-shrinker-before-next",
        "",
        None,
        "never sent: the walk over all shrinkers puts its reference before it is an RCU reader again",
        lambda kernel: replace(kernel, shrinkers=PutBeforeNext),
    ),
    Patch(
        "deferred-counts-without-rcu",
        "",
        None,
        "never sent: no RCU reader in xchg_nr_deferred_memcg() and add_nr_deferred_memcg()",
        lambda kernel: replace(kernel, shrinkers=DeferredWithoutRcu),
    ),
)
"""The first is for 4.19 to 6.6, the next two are of 6.4-rc, for releases up to 6.6; the others for 6.7 and later.

The last three answer questions of the review of lockless slab shrink: each takes away one thing that it rests on.
"""
