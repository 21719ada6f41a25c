"""The operations a task's program is made of: one model each, told apart by ``op``.

Every text may contain ``{i}``, the counter of the innermost repeat, and ``{task}``, the number of the task's copy.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated, Literal, get_args

from pydantic import AfterValidator, BeforeValidator, Field, StringConstraints, WithJsonSchema

from .cpu_operations import CpuOffline, CpuOnline, CpuStateSection
from .memory_operations import AllocPages, FreePages
from .parts import Model, Name, Nanoseconds, placeholders
from .shrinker_operations import ShrinkerOperation
from .units import parse_size
from .work_operations import (
    WITH_PROGRAM,
    CancelWorkSync,
    DrainWorkqueue,
    FlushWork,
    FlushWorkqueue,
    ModDelayedWork,
    QueueDelayedWork,
    Queueing,
    QueueWork,
)

REPEAT_MAX = 10_000_000
COUNT_MAX = 10_000_000
BULK_MAX = 100_000
WRITE_MAX = 4 << 20


Path = Annotated[str, StringConstraints(min_length=1, max_length=4096, pattern=r"^/"), AfterValidator(placeholders)]
CgroupPath = Annotated[
    str,
    StringConstraints(min_length=1, max_length=1024, pattern=r"^/?[A-Za-z0-9_.:{}-]+(/[A-Za-z0-9_.:{}-]+)*$"),
    AfterValidator(placeholders),
]
"""Where a cgroup is in the hierarchy, without the place where that is mounted."""
SlabFlag = Literal[
    "SLAB_HWCACHE_ALIGN",
    "SLAB_TYPESAFE_BY_RCU",
    "SLAB_RECLAIM_ACCOUNT",
    "SLAB_ACCOUNT",
    "SLAB_PANIC",
    "SLAB_CACHE_DMA",
    "SLAB_CACHE_DMA32",
    "SLAB_NOLEAKTRACE",
    "SLAB_NO_USER_FLAGS",
    "SLAB_CONSISTENCY_CHECKS",
    "SLAB_RED_ZONE",
    "SLAB_POISON",
    "SLAB_STORE_USER",
    "SLAB_TRACE",
]
"""What kmem_cache_create() takes; in the kernel room each has its value."""
SIZE_SCHEMA = {
    "anyOf": [{"type": "integer", "minimum": 0}, {"type": "string", "pattern": "^[0-9]+ *[KMGTkmgt]?i?[Bb]?$"}],
    "description": "bytes, or a number with K, M, G or T (powers of 1024)",
}
Size = Annotated[int, BeforeValidator(parse_size), WithJsonSchema(SIZE_SCHEMA)]
NodeNumber = Annotated[int, Field(ge=0, le=1023)]
Count = Annotated[int, Field(ge=1, le=COUNT_MAX)]


class KmemCacheCreate(Model):
    """Create a cache of objects of ``size`` bytes."""

    op: Literal["kmem_cache_create"]
    cache: Name
    size: Annotated[int, Field(ge=1, le=4 << 20)]
    align: Annotated[int, Field(ge=0, le=4096)] = 0
    flags: tuple[SlabFlag, ...] = ()
    ctor: bool = False


class KmemCacheDestroy(Model):
    """Destroy a cache."""

    op: Literal["kmem_cache_destroy"]
    cache: Name


class KmemCacheAlloc(Model):
    """Allocate objects into a bag; node -1 is any node."""

    op: Literal["kmem_cache_alloc"]
    cache: Name
    node: Annotated[int, Field(ge=-1, le=1023)] = -1
    count: Count = 1
    bag: Name | None = None


class KmemCacheFree(Model):
    """Free the first ``count`` objects of a bag, or all; with ``keep`` their addresses stay in the bag, stale."""

    op: Literal["kmem_cache_free"]
    cache: Name
    count: Count | None = None
    bag: Name | None = None
    keep: bool = False


class KmemCacheAllocBulk(Model):
    """Allocate ``count`` objects into a bag at once; all or none."""

    op: Literal["kmem_cache_alloc_bulk"]
    cache: Name
    count: Annotated[int, Field(ge=1, le=BULK_MAX)]
    bag: Name | None = None


class KmemCacheFreeBulk(Model):
    """Free the first ``count`` objects of a bag, or all, at once."""

    op: Literal["kmem_cache_free_bulk"]
    cache: Name
    count: Count | None = None
    bag: Name | None = None


class Kmalloc(Model):
    """Allocate ``count`` pieces of ``size`` bytes into a bag; node -1 is any node, ``account`` is GFP_ACCOUNT."""

    op: Literal["kmalloc"]
    size: Annotated[int, Field(ge=0, le=4 << 20)]
    node: Annotated[int, Field(ge=-1, le=1023)] = -1
    count: Count = 1
    bag: Name = "kmalloc"
    atomic: bool = False
    account: bool = False


class Kfree(Model):
    """Free the first ``count`` pieces of a bag that kmalloc filled, or all."""

    op: Literal["kfree"]
    count: Count | None = None
    bag: Name = "kmalloc"


class KmemCacheShrink(Model):
    """Shrink a cache."""

    op: Literal["kmem_cache_shrink"]
    cache: Name


class Access(Model):
    """Touch the first object of a bag."""

    op: Literal["access"]
    cache: Name
    bag: Name | None = None
    write: bool = False


class WriteMemory(Model):
    """Write ``bytes``, hexadecimal, ``times`` over, at ``offset`` from the start of an object of a bag: a stray write.

    Offsets outside of the object, and stale objects of the bag, are what it is for; only the object's slab must not be
    left.
    """

    op: Literal["write_memory"]
    cache: Name
    bag: Name | None = None
    object: Annotated[int, Field(ge=0, le=COUNT_MAX)] = 0
    offset: Annotated[int, Field(ge=-WRITE_MAX, le=WRITE_MAX)] = 0
    bytes: Annotated[str, StringConstraints(min_length=2, max_length=8192, pattern=r"^([0-9A-Fa-f]{2})+$")]
    times: Annotated[int, Field(ge=1, le=4096)] = 1


class Read(Model):
    """Read a file of /sys or /proc."""

    op: Literal["read"]
    path: Path


class Write(Model):
    """Write to a file of /sys."""

    op: Literal["write"]
    path: Path
    value: str


class Lock(Model):
    """Take a lock of the workload's own."""

    op: Literal["lock"]
    lock: Name
    mode: Literal["write", "read"] = "write"


class Unlock(Model):
    """Leave a lock of the workload's own."""

    op: Literal["unlock"]
    lock: Name
    mode: Literal["write", "read"] = "write"


class RcuReadLock(Model):
    """Enter an RCU reader."""

    op: Literal["rcu_read_lock"]


class RcuReadUnlock(Model):
    """Leave an RCU reader."""

    op: Literal["rcu_read_unlock"]


class SynchronizeRcu(Model):
    """Wait for a grace period."""

    op: Literal["synchronize_rcu"]


class RcuBarrier(Model):
    """Wait for all RCU callbacks queued so far."""

    op: Literal["rcu_barrier"]


class CallRcu(Model):
    """Free all objects of a bag after a grace period."""

    op: Literal["call_rcu"]
    cache: Name
    bag: Name | None = None


class SynchronizeRcuExpedited(Model):
    """Wait for a grace period, and interrupt the processors for it."""

    op: Literal["synchronize_rcu_expedited"]


class GetStateSynchronizeRcu(Model):
    """Note which grace periods have passed, for cond_synchronize_rcu."""

    op: Literal["get_state_synchronize_rcu"]


class CondSynchronizeRcu(Model):
    """Wait for a grace period, unless one has passed since get_state_synchronize_rcu."""

    op: Literal["cond_synchronize_rcu"]


class KfreeRcu(Model):
    """Give the first ``count`` pieces of a bag, or all, to kfree_rcu()."""

    op: Literal["kfree_rcu"]
    count: Count | None = None
    bag: Name = "kmalloc"


class KvfreeRcuBarrier(Model):
    """Wait until everything given to kfree_rcu() so far has been freed."""

    op: Literal["kvfree_rcu_barrier"]


class SrcuReadLock(Model):
    """Enter a reader of an SRCU domain; it may sleep."""

    op: Literal["srcu_read_lock"]
    srcu: Name


class SrcuReadUnlock(Model):
    """Leave the latest reader of an SRCU domain."""

    op: Literal["srcu_read_unlock"]
    srcu: Name


class SynchronizeSrcu(Model):
    """Wait for a grace period of an SRCU domain."""

    op: Literal["synchronize_srcu"]
    srcu: Name


class MemoryOnline(Model):
    """Bring a node's memory online, and wait until that is done."""

    op: Literal["memory_online"]
    node: NodeNumber


class MemoryOffline(Model):
    """Take a node's memory offline, and wait until that is done."""

    op: Literal["memory_offline"]
    node: NodeNumber


class WaitOnline(Model):
    """Wait until a node's memory is online."""

    op: Literal["wait_online"]
    node: NodeNumber


class Sleep(Model):
    """Sleep for virtual time."""

    op: Literal["sleep"]
    ns: Nanoseconds


class Compute(Model):
    """Use the processor for virtual time."""

    op: Literal["compute"]
    ns: Nanoseconds


class CondResched(Model):
    """Let another thread have the processor."""

    op: Literal["cond_resched"]


class CgroupMkdir(Model):
    """Make a cgroup, whose parent exists; ``limit`` is its memory.max."""

    op: Literal["cgroup_mkdir"]
    path: CgroupPath
    limit: Size | None = None


class CgroupRmdir(Model):
    """Remove a cgroup, in which no task and no cgroup is."""

    op: Literal["cgroup_rmdir"]
    path: CgroupPath


class CgroupAttach(Model):
    """Move the running task to a cgroup; ``/`` is the root."""

    op: Literal["cgroup_attach"]
    path: CgroupPath | Literal["/"]


class Repeat(Model):
    """Run operations several times."""

    op: Literal["repeat"]
    count: Annotated[int, Field(ge=1, le=REPEAT_MAX)]
    program: tuple[Operation, ...]


Operation = Annotated[
    KmemCacheCreate
    | KmemCacheDestroy
    | KmemCacheAlloc
    | KmemCacheFree
    | KmemCacheAllocBulk
    | KmemCacheFreeBulk
    | Kmalloc
    | Kfree
    | AllocPages
    | FreePages
    | KmemCacheShrink
    | Access
    | WriteMemory
    | Read
    | Write
    | Lock
    | Unlock
    | RcuReadLock
    | RcuReadUnlock
    | SynchronizeRcu
    | RcuBarrier
    | CallRcu
    | SynchronizeRcuExpedited
    | GetStateSynchronizeRcu
    | CondSynchronizeRcu
    | KfreeRcu
    | KvfreeRcuBarrier
    | SrcuReadLock
    | SrcuReadUnlock
    | SynchronizeSrcu
    | MemoryOnline
    | MemoryOffline
    | WaitOnline
    | CpuOnline
    | CpuOffline
    | Sleep
    | Compute
    | CondResched
    | CgroupMkdir
    | CgroupRmdir
    | CgroupAttach
    | ShrinkerOperation
    | QueueWork
    | QueueDelayedWork
    | ModDelayedWork
    | FlushWork
    | CancelWorkSync
    | FlushWorkqueue
    | DrainWorkqueue
    | Repeat,
    Field(discriminator="op"),
]

for _model in (*WITH_PROGRAM, CpuStateSection):
    _model.model_rebuild(_types_namespace={"Operation": Operation})
Repeat.model_rebuild()


def operation_names() -> list[str]:
    """The ``op`` of every operation."""
    return [model.model_fields["op"].annotation.__args__[0] for model in get_args(get_args(Operation)[0])]


def walk(program: Sequence[Operation]) -> Iterator[Operation]:
    """Every operation of a program, those inside of others included."""
    for operation in program:
        yield operation
        if isinstance(operation, Queueing | Repeat):
            yield from walk(operation.program)
