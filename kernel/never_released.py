"""Patches that were in no release: versions that review or testing sent back, and some that nobody should send."""

from __future__ import annotations

from dataclasses import replace

from .memcg.deactivation import ShrinkAtOnce
from .seams import Patch
from .slab.cache_release import (
    NeverPutKobject,
)
from .slab.cpu_flush import CpusLockUnderSlabMutex, FlushLockFirst
from .slab.cpu_partial import CpuPartialInterruptible
from .slab.fast_path import PageNeverNull, PageTested
from .slab.lock_variants import SlabMutexInShrink

NEVER_RELEASED: tuple[Patch, ...] = (
    Patch(
        "slab-mutex-in-shrink-rfc",
        "",
        None,
        "RFC of 7e1fa93deff4 (5.12): kmem_cache_shrink() takes slab_mutex instead of the memory hotplug lock",
        lambda kernel: replace(kernel, slab_locks=SlabMutexInShrink(kernel.slab_locks)),
    ),
    Patch(
        "put-cpu-partial-interruptible",
        "",
        None,
        "before 3.2, and not on x86: this_cpu_cmpxchg() of c->partial with interrupts on",
        lambda kernel: replace(kernel, cpu_partial=CpuPartialInterruptible()),
    ),
    Patch(
        "slub-flush-work-v4",
        "",
        None,
        "v4 of 5a836bf6b09f (for 5.14): flush in work items, under flush_lock and then cpu_hotplug_lock",
        lambda kernel: replace(kernel, cpu_flush=FlushLockFirst),
    ),
    Patch(
        "slub-flush-work-v4-fixup",
        "",
        None,
        "v4 of 5a836bf6b09f with its first fixup: cpu_hotplug_lock before flush_lock",
        lambda kernel: replace(kernel, cpu_flush=CpusLockUnderSlabMutex),
    ),
    Patch(
        "unlink-cache-at-once-rc",
        "4ec10268ed98",
        None,
        "mm, slab: unlink slabinfo, sysfs and debugfs immediately",
        lambda kernel: replace(kernel, cache_release=NeverPutKobject),
    ),
    Patch(
        "page-never-null-rc",
        "6159d0f5c03e",
        None,
        "mm/slub.c: page is always non-NULL in node_match()",
        lambda kernel: replace(kernel, fast_path=PageNeverNull()),
    ),
    Patch(
        "page-tested-rc",
        "22e4663e9163",
        None,
        "mm/slub: fix panic in slab_alloc_node()",
        lambda kernel: replace(kernel, fast_path=PageTested()),
    ),
    Patch(
        "kvfree-own-queue",
        "dfd3df31c9db",
        None,
        "mm/slab/kvfree_rcu: Switch to WQ_MEM_RECLAIM wq",
        lambda kernel: replace(kernel, kvfree_queue="kvfree_rcu_reclaim"),
    ),
    Patch(
        "deactivate-at-once",
        "",
        None,
        "never sent: deactivate the caches of a cgroup without a grace period",
        lambda kernel: replace(kernel, kmem_memcg=ShrinkAtOnce),
    ),
)
"""Named by `apply` only; each is made for the release that its description names, or for any."""
