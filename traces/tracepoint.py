"""Tracepoints: the places where the emulated machine says what happens, and the probes that listen.

Mirrors the kernel's tracepoints: one per event, named as there, and nearly free while nobody listens.  Hot code writes

    fire = tp.lock_acquire.fire
    if fire is not None:
        fire(flags, name, address)

A firing builds one record (see event.py) and hands that same tuple to every probe, in the order of attaching.  Who and
when come from the scene, which the tracepoint only reads.  The stream, the sanitizers, the counters and the logs are
all probes; no kernel code calls them.

Owner: one `Tracepoints` per machine; nothing here is shared between machines.
"""

from collections.abc import Callable, Iterator, Sequence
from fnmatch import fnmatchcase
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, cast

from .catalogue import CATALOGUE
from .errors import TraceError
from .event import EventSpec, Probe


class Context(Protocol):
    """What is running: the CPU (-1 when none), the process id and the name of the thread."""

    @property
    def cpu_id(self) -> int: ...  # noqa: D102
    @property
    def pid(self) -> int: ...  # noqa: D102
    @property
    def comm(self) -> str: ...  # noqa: D102


class Scene(Protocol):
    """Who and when: virtual time in nanoseconds since boot, and the running context.  The interleaver is one."""

    @property
    def now_ns(self) -> int: ...  # noqa: D102
    @property
    def running(self) -> Context: ...  # noqa: D102


# A firing with fixed parameters takes 115 ns with one `list.append` probe and three fields, one with `*fields` 165 ns
# (CPython 3.11, one machine, one run).  The source differs only in its parameter list and in how many probes are called
# by name, so it is generated, once per process for each pair of counts, as dataclasses do for __init__.
_NAMED_PROBES = 2

_TEMPLATE = """\
def bind(scene, event_id, probes):
    {named} = probes
    def fire({parameters}):
        running = scene.running
        record = (event_id, scene.now_ns, running.cpu_id, running.pid, running.comm, {parameters})
        {calls}
    return fire
"""

Fire = Callable[..., None]
_Bind = Callable[[Scene, int, tuple[Probe, ...]], Fire]


@cache
def _firing(field_count: int, probe_count: int) -> _Bind:
    """Return the function that binds a scene, an event id and `probe_count` probes into a `fire`."""
    if probe_count <= _NAMED_PROBES:
        names = [f"probe{number}" for number in range(probe_count)]
        named, calls = ", ".join(names) + ",", "; ".join(f"{name}(record)" for name in names)
    else:
        named, calls = "every", "for probe in every: probe(record)"
    parameters = "".join(f"field{number}, " for number in range(field_count))
    namespace: dict[str, Any] = {}
    exec(_TEMPLATE.format(named=named, parameters=parameters, calls=calls), namespace)
    return cast(_Bind, namespace["bind"])


class Tracepoint:
    """One event of one machine.  `fire` is None while no probe is attached."""

    __slots__ = ("_probes", "_scene", "fire", "id", "spec")

    def __init__(self, spec: EventSpec, event_id: int, scene: Scene) -> None:
        """Make the tracepoint of `spec`, with no probe."""
        self.spec = spec
        self.id = event_id
        self.fire: Fire | None = None
        self._scene = scene
        self._probes: tuple[Probe, ...] = ()

    def __repr__(self) -> str:
        """Say which event, and how many listen."""
        return f"<Tracepoint {self.spec.full_name} probes={len(self._probes)}>"

    @property
    def probes(self) -> tuple[Probe, ...]:
        """The attached probes in calling order."""
        return self._probes

    def attach(self, probe: Probe) -> None:
        """Call `probe` with every record from now on, after the probes that are already here.

        A probe attached twice is called twice.  Attaching or detaching inside a probe counts from the next firing.
        """
        self._listen((*self._probes, probe))

    def detach(self, probe: Probe) -> None:
        """Stop calling `probe`; its latest attaching is undone first.

        Raises:
            ValueError: `probe` is not attached.
        """
        remaining = list(reversed(self._probes))
        if probe not in remaining:
            raise ValueError(f"{probe!r} is not attached to {self.spec.full_name}")
        remaining.remove(probe)
        self._listen(tuple(reversed(remaining)))

    def _listen(self, probes: tuple[Probe, ...]) -> None:
        self._probes = probes
        if probes:
            self.fire = _firing(len(self.spec.fields), len(probes))(self._scene, self.id, probes)
        else:
            self.fire = None


class _Index(NamedTuple):
    """A catalogue by name: numbers and descriptions, and the bare name of each full one."""

    ids: dict[str, int]
    specs: dict[str, EventSpec]
    names: dict[str, str]


@cache
def _index(catalogue: tuple[EventSpec, ...]) -> _Index:
    ids = {spec.name: event_id for event_id, spec in enumerate(catalogue, 1)}
    assert len(ids) == len(catalogue), "two tracepoints have one name"
    return _Index(ids, {spec.name: spec for spec in catalogue}, {spec.full_name: spec.name for spec in catalogue})


_INDEX = _index(tuple(CATALOGUE))


class Tracepoints:
    """All tracepoints of one machine: `tp.lock_acquire`, `tp["lock:lock_acquire"]`, or in id order by iteration.

    The names below are those of the catalogue (a test compares them); events that a caller adds to `catalogue` are
    reached by their full name.
    """

    # kmem
    kmem_cache_alloc: Tracepoint
    kmalloc: Tracepoint
    kfree: Tracepoint
    kmem_cache_free: Tracepoint
    mm_page_free: Tracepoint
    mm_page_free_batched: Tracepoint
    mm_page_alloc: Tracepoint
    mm_page_alloc_zone_locked: Tracepoint
    mm_page_pcpu_drain: Tracepoint
    mm_page_alloc_extfrag: Tracepoint
    rss_stat: Tracepoint
    # rcu
    rcu_utilization: Tracepoint
    rcu_grace_period: Tracepoint
    rcu_future_grace_period: Tracepoint
    rcu_grace_period_init: Tracepoint
    rcu_exp_grace_period: Tracepoint
    rcu_exp_funnel_lock: Tracepoint
    rcu_nocb_wake: Tracepoint
    rcu_preempt_task: Tracepoint
    rcu_unlock_preempted_task: Tracepoint
    rcu_quiescent_state_report: Tracepoint
    rcu_fqs: Tracepoint
    rcu_stall_warning: Tracepoint
    rcu_dyntick: Tracepoint
    rcu_callback: Tracepoint
    rcu_segcb_stats: Tracepoint
    rcu_kvfree_callback: Tracepoint
    rcu_batch_start: Tracepoint
    rcu_invoke_callback: Tracepoint
    rcu_invoke_kvfree_callback: Tracepoint
    rcu_invoke_kfree_bulk_callback: Tracepoint
    rcu_batch_end: Tracepoint
    rcu_torture_read: Tracepoint
    rcu_barrier: Tracepoint
    # workqueue
    workqueue_queue_work: Tracepoint
    workqueue_activate_work: Tracepoint
    workqueue_execute_start: Tracepoint
    workqueue_execute_end: Tracepoint
    # cpuhp
    cpuhp_enter: Tracepoint
    cpuhp_multi_enter: Tracepoint
    cpuhp_exit: Tracepoint
    # lock
    lock_acquire: Tracepoint
    lock_release: Tracepoint
    lock_contended: Tracepoint
    lock_acquired: Tracepoint
    contention_begin: Tracepoint
    contention_end: Tracepoint
    # vmscan
    mm_vmscan_wakeup_kswapd: Tracepoint
    mm_shrink_slab_start: Tracepoint
    mm_shrink_slab_end: Tracepoint
    # sched
    sched_waking: Tracepoint
    sched_wakeup: Tracepoint
    sched_wakeup_new: Tracepoint
    sched_switch: Tracepoint
    sched_migrate_task: Tracepoint
    sched_process_exit: Tracepoint
    sched_process_hang: Tracepoint
    # ipi
    ipi_raise: Tracepoint
    ipi_entry: Tracepoint
    ipi_exit: Tracepoint
    # percpu
    percpu_alloc_percpu: Tracepoint
    percpu_free_percpu: Tracepoint
    percpu_alloc_percpu_fail: Tracepoint
    percpu_create_chunk: Tracepoint
    percpu_destroy_chunk: Tracepoint
    # actor
    message_send: Tracepoint
    message_receive: Tracepoint
    actor_start: Tracepoint
    actor_end: Tracepoint
    # slab
    kmem_cache_create: Tracepoint
    kmem_cache_shutdown: Tracepoint
    kmem_cache_destroy: Tracepoint
    sysfs_slab_unlink: Tracepoint
    kmem_cache_node_alloc: Tracepoint
    kmem_cache_node_free: Tracepoint
    slab_new: Tracepoint
    slab_discard: Tracepoint
    slab_deactivate: Tracepoint
    cpu_slab_flush: Tracepoint
    # memory
    memory_notify: Tracepoint
    notifier_call: Tracepoint
    node_state: Tracepoint
    # irq
    irq_handler_entry: Tracepoint
    irq_handler_exit: Tracepoint
    softirq_entry: Tracepoint
    softirq_exit: Tracepoint
    softirq_raise: Tracepoint
    softirq_disable: Tracepoint
    softirq_enable: Tracepoint
    # raw_syscalls
    sys_exit: Tracepoint
    # sched, ours
    might_sleep: Tracepoint
    kthread_woken: Tracepoint
    # preemptirq
    irq_disable: Tracepoint
    irq_enable: Tracepoint
    preempt_disable: Tracepoint
    preempt_enable: Tracepoint
    # completion
    completion_init: Tracepoint
    completion_wait: Tracepoint
    completion_complete: Tracepoint
    completion_done: Tracepoint
    # lock, ours
    lock_class: Tracepoint
    lock_nest: Tracepoint
    # pointer
    pointer_load: Tracepoint
    pointer_use: Tracepoint
    structure_free: Tracepoint
    reference_get: Tracepoint
    reference_put: Tracepoint
    reader_enter: Tracepoint
    reader_leave: Tracepoint
    # violation
    violation_report: Tracepoint

    def __init__(self, scene: Scene, catalogue: Sequence[EventSpec] = CATALOGUE) -> None:
        """Stand for one tracepoint per event of the catalogue, ids from 1; each is made when it is first asked for."""
        self._scene = scene
        self._index = _index(tuple(catalogue)) if catalogue is not CATALOGUE else _INDEX

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Tracepoint:
            """Make a tracepoint: a machine uses few of them, and an exploration makes thousands of machines."""
            if name.startswith("_") or name not in self._index.ids:
                raise AttributeError(f"there is no tracepoint {name}")
            tracepoint = Tracepoint(self._index.specs[name], self._index.ids[name], self._scene)
            setattr(self, name, tracepoint)
            return tracepoint

    def __getitem__(self, full_name: str) -> Tracepoint:
        """Return the tracepoint called `system:name`; KeyError when there is none."""
        tracepoint: Tracepoint = getattr(self, self._index.names[full_name])
        return tracepoint

    def __iter__(self) -> Iterator[Tracepoint]:
        """All tracepoints, ids ascending."""
        return (self[full_name] for full_name in self._index.names)

    def __len__(self) -> int:
        """Count the tracepoints."""
        return len(self._index.names)

    def matching(self, pattern: str) -> list[Tracepoint]:
        """Tracepoints whose full name fits a shell pattern such as `lock:*`, ids ascending.

        Raises:
            TraceError: none fits, which is a misspelled pattern.
        """
        found = [self[name] for name in self._index.names if fnmatchcase(name, pattern)]
        if not found:
            systems = ", ".join(dict.fromkeys(tracepoint.spec.system for tracepoint in self))
            raise TraceError(f"no event matches {pattern!r}; expected system:name with systems {systems}")
        return found

    def attach(self, pattern: str, probe: Probe) -> None:
        """Attach `probe` to every tracepoint that fits `pattern`; TraceError when none does."""
        for tracepoint in self.matching(pattern):
            tracepoint.attach(probe)

    def detach(self, probe: Probe) -> None:
        """Detach `probe` wherever it is attached, as often as it is."""
        for tracepoint in self:
            while probe in tracepoint.probes:
                tracepoint.detach(probe)
