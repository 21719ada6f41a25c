"""A topology file as a whole: what to run, on what machine and kernel, and what is expected of it."""

from __future__ import annotations

import hashlib
import json
import re
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, StringConstraints, model_validator

from .cpu_operations import CpuNumber, CpuStateSection
from .machine import CpuList, Machine
from .operations import CgroupPath, NodeNumber, Operation, Size, SlabFlag, walk
from .parts import Model, Name
from .shrinker_operations import ShrinkerSection
from .work_operations import Queueing, WorkqueueSection

if TYPE_CHECKING:
    from collections.abc import Callable

ViolationKind = Literal[
    "null-deref",
    "use-after-free",
    "double-free",
    "lockdep-circular",
    "lockdep-recursive",
    "lockdep-irq",
    "deadlock",
    "hung-task",
    "sleep-in-atomic",
    "rcu-usage",
    "rcu-stall",
    "workqueue-stall",
    "refcount",
    "leak",
    "objects-remaining",
    "data-race",
    "invariant",
    "kernel-bug",
]
Release = Annotated[str, StringConstraints(pattern=r"^v\d{1,2}\.\d{1,3}(\.\d{1,3})?$")]
ComparedKernel = Annotated[str, StringConstraints(max_length=1024, pattern=r"^v\d{1,2}\.\d{1,3}(\.\d{1,3})?([+-].+)?$")]
INSTANCES_MAX = 4096
NOT_RUN = ("title", "description", "machine", "kernel", "explore", "compare", "expect")
"""Sections that have a digest of their own, or no part in what a run does."""


def release_key(release: str) -> tuple[int, ...]:
    """A release as numbers, for putting releases in order: major and minor."""
    return tuple(int(part) for part in re.findall(r"\d+", release)[:2])


class BootParameters(Model):
    """``[kernel.boot]``: parameters of the kernel command line.

    ``hung_task_timeout_secs`` is that sysctl, which may stand there too (0: nobody watches).
    ``memory_notifier_error_inject`` loads that module, and is its ``priority`` on the memory chain.
    """

    slab_nomerge: bool = False
    slub_debug: Annotated[str, StringConstraints(max_length=4096)] | None = None
    slub_min_order: Annotated[int, Field(ge=0, le=10)] | None = None
    slub_max_order: Annotated[int, Field(ge=0, le=10)] | None = None
    slub_min_objects: Annotated[int, Field(ge=0, le=32767)] | None = None
    rcu_cpu_stall_timeout: Annotated[int, Field(ge=3, le=300)] | None = None
    hung_task_timeout_secs: Annotated[int, Field(ge=0, le=1_000_000)] | None = None
    memory_notifier_error_inject: Annotated[int, Field(ge=-(1 << 31), lt=1 << 31)] | None = None


class KernelSection(Model):
    """``[kernel]``; ``sanitizers`` absent means all that are cheap.

    ``freelist_random`` and ``slub_stats`` are the options of the configuration of that name, ``kasan_quarantine`` is
    what comes with CONFIG_KASAN_GENERIC from v4.8 on (it needs the sanitizer ``kasan``); ``kmalloc`` makes the
    caches of kmalloc() when booting, by default if the workload allocates from them.  ``failslab`` is how many
    allocations of shrinkers and their maps may fail: whether one does is decided anew for each.
    """

    release: Release = "v6.1"
    apply: tuple[str, ...] = ()
    revert: tuple[str, ...] = ()
    preempt: Literal["none", "voluntary", "full"] = "full"
    hz: Annotated[int, Field(ge=24, le=10_000)] = 250
    kmem_accounting: bool = True
    kmalloc: bool | None = None
    freelist_random: bool = False
    slub_stats: bool = False
    kasan_quarantine: bool = False
    failslab: Annotated[int, Field(ge=0, le=1000)] = 0
    memory_model: Literal["sc"] = "sc"
    sanitizers: tuple[str, ...] | None = None
    boot: BootParameters = BootParameters()


class LockSection(Model):
    """``[[lock]]``: a lock for the workload's own use."""

    name: Name
    kind: Literal["mutex", "spinlock", "rwsem", "percpu_rwsem"] = "mutex"


class CacheSection(Model):
    """``[[cache]]``: a cache that exists when the tasks start."""

    name: Name
    size: Annotated[int, Field(ge=1, le=4 << 20)]
    align: Annotated[int, Field(ge=0, le=4096)] = 0
    flags: tuple[SlabFlag, ...] = ()
    ctor: bool = False


class MemcgSection(Model):
    """``[[memcg]]``: a cgroup that exists when the tasks start; ``limit`` is its memory.max."""

    path: CgroupPath
    limit: Size | None = None


class TaskSection(Model):
    """``[[task]]``: a program, run by one thread or several copies of it, in a cgroup or in the root."""

    name: Name
    memcg: CgroupPath | None = None
    cpu: CpuList | None = None
    instances: Annotated[int, Field(ge=1, le=INSTANCES_MAX)] = 1
    program: tuple[Operation, ...]

    def cpu_of(self, number: int) -> int | None:
        """The processor copy `number` is pinned to, if any."""
        return None if not self.cpu else self.cpu[number % len(self.cpu)]


class EventSection(Model):
    """``[[event]]``: hotplug, at a virtual time or competing with the tasks from the start.

    Memory that comes or goes is that of ``node``, and ``cpu`` the processor of who sees to it; otherwise ``cpu`` is the
    processor that comes or goes.
    """

    kind: Literal["memory_online", "memory_offline", "cpu_online", "cpu_offline"]
    node: NodeNumber | None = None
    at_ns: Annotated[int, Field(ge=0, le=1 << 60)] | None = None
    cpu: CpuNumber | None = None

    @property
    def of_cpu(self) -> bool:
        """Whether it is about a processor."""
        return self.kind in ("cpu_online", "cpu_offline")

    @model_validator(mode="after")
    def _says_what(self) -> EventSection:
        if self.of_cpu and (self.cpu is None or self.node is not None):
            raise ValueError(f"{self.kind} is about a processor; expected cpu, and no node")
        if not self.of_cpu and self.node is None:
            raise ValueError(f"{self.kind} is about a node's memory; expected node")
        return self


class ExploreSection(Model):
    """``[explore]``: how the schedules of this scenario are best searched."""

    strategy: str = "portfolio"
    schedules: Annotated[int, Field(ge=1)] = 1000
    seed: Annotated[int, Field(ge=0)] = 0


class CompareSection(Model):
    """``[compare]``: under which kernels this scenario is best compared, and what is of interest.

    ``locks`` are those whose times are told, ``workqueues`` those whose items' longest wait is.

    A kernel is a release, with patches to apply behind ``+`` and to leave out behind ``-``: ``v5.11+666716fd267d``.
    """

    releases: tuple[ComparedKernel, ...] = ()
    locks: tuple[Annotated[str, StringConstraints(min_length=1, max_length=256)], ...] = ()
    workqueues: tuple[Name, ...] = ()


PatchName = Annotated[str, StringConstraints(min_length=1, max_length=256)]


class ExpectWhere(Model):
    """``[[expect.where]]``: for one release, or from one to another, both included; with or without certain patches.

    ``with`` and ``without`` name patches that the kernel has or has not, be it by its release or by being applied or
    reverted; all of them must be so.
    """

    release: Release | None = None
    from_release: Release | None = Field(default=None, alias="from")
    until: Release | None = None
    having: tuple[PatchName, ...] = Field(default=(), alias="with")
    lacking: tuple[PatchName, ...] = Field(default=(), alias="without")
    violations: tuple[ViolationKind, ...]

    @model_validator(mode="after")
    def _says_where(self) -> ExpectWhere:
        if not (self.release or self.from_release or self.until or self.having or self.lacking):
            raise ValueError("says nothing about where; expected release, from, until, with or without")
        if self.release is not None and (self.from_release or self.until):
            raise ValueError("release excludes from and until")
        return self

    def matches(self, release: str, has_patch: Callable[[str], bool]) -> bool:
        """Whether this is about `release`, with the patches that `has_patch` says it has."""
        if not all(map(has_patch, self.having)) or any(map(has_patch, self.lacking)):
            return False
        key = release_key(release)
        if self.release is not None:
            return key == release_key(self.release)
        low = self.from_release is None or release_key(self.from_release) <= key
        return low and (self.until is None or key <= release_key(self.until))


class ExpectSection(Model):
    """``[expect]``: kinds of violation that are to be found; others, or any where none is named, are not."""

    violations: tuple[ViolationKind, ...] = ()
    where: tuple[ExpectWhere, ...] = ()


class Scenario(Model):
    """A whole topology file, checked."""

    title: str = ""
    description: str = ""
    machine: Machine
    kernel: KernelSection = KernelSection()
    locks: tuple[LockSection, ...] = Field(default=(), alias="lock")
    caches: tuple[CacheSection, ...] = Field(default=(), alias="cache")
    memcgs: tuple[MemcgSection, ...] = Field(default=(), alias="memcg")
    workqueues: tuple[WorkqueueSection, ...] = Field(default=(), alias="workqueue")
    shrinkers: tuple[ShrinkerSection, ...] = Field(default=(), alias="shrinker")
    tasks: tuple[TaskSection, ...] = Field(default=(), alias="task")
    cpu_states: tuple[CpuStateSection, ...] = Field(default=(), alias="cpu_state")
    events: tuple[EventSection, ...] = Field(default=(), alias="event")
    explore: ExploreSection = ExploreSection()
    compare: CompareSection = CompareSection()
    expect: ExpectSection = ExpectSection()
    source: str | None = Field(default=None, exclude=True)

    @cached_property
    def digest(self) -> str:
        """SHA-256 of what the file means: the same whatever its place, comments and order of keys."""
        return hashlib.sha256(canonical(self.document).encode()).hexdigest()

    @cached_property
    def section_digests(self) -> dict[str, str]:
        """SHA-256 of the machine, of the kernel, and of all the rest that a run depends on."""
        document = self.document
        rest = {key: value for key, value in document.items() if key not in NOT_RUN}
        parts = {"machine": document["machine"], "kernel": document["kernel"], "workload": rest}
        return {name: hashlib.sha256(canonical(part).encode()).hexdigest() for name, part in parts.items()}

    @cached_property
    def document(self) -> dict[str, Any]:
        """What the file means, as plain values."""
        document = self.model_dump(mode="json", by_alias=True)
        if not self.machine.slabinfo:
            del document["machine"]["slabinfo"]
        for parameter in ("rcu_cpu_stall_timeout", "hung_task_timeout_secs", "memory_notifier_error_inject"):
            if document["kernel"]["boot"][parameter] is None:
                del document["kernel"]["boot"][parameter]
        if not self.kernel.kasan_quarantine:
            del document["kernel"]["kasan_quarantine"]
        if not self.memcgs:
            del document["memcg"]
        if not self.workqueues:
            del document["workqueue"]
        if not self.shrinkers:
            del document["shrinker"]
        if not self.cpu_states:
            del document["cpu_state"]
        if not self.kernel.failslab:
            del document["kernel"]["failslab"]
        for task in document["task"]:
            if task["memcg"] is None:
                del task["memcg"]
        for where in document["expect"]["where"]:
            for key in ("with", "without"):
                if not where[key]:
                    del where[key]
        if self.compare == CompareSection():
            del document["compare"]
        elif not self.compare.workqueues:
            del document["compare"]["workqueues"]
        return document

    @cached_property
    def operations(self) -> tuple[Operation, ...]:
        """Every operation of every program."""
        programs = [task.program for task in self.tasks]
        for state in self.cpu_states:
            programs += [state.startup, state.teardown]
        return tuple(op for program in programs for op in walk(program))

    @cached_property
    def uses_kmalloc(self) -> bool:
        """Whether a program allocates with kmalloc()."""
        return any(op.op == "kmalloc" for op in self.operations)

    @cached_property
    def named_works(self) -> dict[str, Queueing]:
        """The operation that stands first in the file for each named work item."""
        named: dict[str, Queueing] = {}
        for operation in self.operations:
            if isinstance(operation, Queueing) and operation.name is not None:
                named.setdefault(operation.name, operation)
        return named

    @cached_property
    def uses_cgroups(self) -> bool:
        """Whether there are cgroups, or may be."""
        return bool(self.memcgs) or any(op.op.startswith("cgroup_") for op in self.operations)

    @cached_property
    def mounts(self) -> tuple[str, ...]:
        """The names that operations mount at."""
        return tuple(op.at for op in self.operations if op.op == "mount")

    @cached_property
    def uses_shrinkers(self) -> bool:
        """Whether there is something to reclaim."""
        return bool(self.shrinkers)

    def expected(self, release: str, has_patch: Callable[[str], bool]) -> tuple[str, ...]:
        """The violation kinds expected under `release`, sorted; `has_patch` says whether the kernel has a patch."""
        kinds = dict.fromkeys(self.expect.violations)
        for where in self.expect.where:
            if where.matches(release, has_patch):
                kinds.update(dict.fromkeys(where.violations))
        return tuple(sorted(kinds))


def canonical(value: Any) -> str:
    """JSON with sorted keys and no spaces."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
