"""What a run took, counted from tracepoints.

A *destroy batch* is what one context releases between two takings of ``slab_mutex``: one call of
kmem_cache_destroy(), or one run of the work item to which caches are left, whatever the kernel calls them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from ..traces import Record, Tracepoints

SLAB_MUTEX = "slab_mutex"


class Events(NamedTuple):
    """The figures; ``last_cache_gone_ns`` is None where no cache was destroyed."""

    rcu_barriers: int
    grace_periods: int
    caches_created: int
    caches_destroyed: int
    last_cache_gone_ns: int | None
    largest_destroy_batch: int
    work_items_run: int


class EventCounts:
    """The probe; `figures` is what it has found so far."""

    def __init__(self) -> None:
        self._barriers = 0
        self._grace_periods = 0
        self._created = 0
        self._destroyed = 0
        self._last_gone_ns: int | None = None
        self._work_items = 0
        self._batches: dict[int, int] = {}  # pid → caches it has released since it took slab_mutex
        self._largest_batch = 0

    def attach(self, points: Tracepoints) -> None:
        """Listen."""
        points.rcu_barrier.attach(self.rcu_barrier)
        points.rcu_grace_period.attach(self.rcu_grace_period)
        points.rcu_exp_grace_period.attach(self.rcu_grace_period)
        points.kmem_cache_create.attach(self.kmem_cache_create)
        points.kmem_cache_destroy.attach(self.kmem_cache_destroy)
        points.workqueue_execute_start.attach(self.workqueue_execute_start)
        points.lock_acquire.attach(self.lock_acquire)

    def rcu_barrier(self, record: Record) -> None:
        """``rcu:rcu_barrier``: one of a call's steps."""
        self._barriers += record[6] == "Begin"

    def rcu_grace_period(self, record: Record) -> None:
        """``rcu:rcu_grace_period`` and ``rcu:rcu_exp_grace_period``: one that ends was one."""
        self._grace_periods += record[7] == "end"

    def kmem_cache_create(self, _: Record) -> None:
        """``slab:kmem_cache_create``."""
        self._created += 1

    def kmem_cache_destroy(self, record: Record) -> None:
        """``slab:kmem_cache_destroy``: the cache itself is released."""
        ns, pid = record[1], record[3]
        self._destroyed += 1
        self._last_gone_ns = ns
        self._batches[pid] = batch = self._batches.get(pid, 0) + 1
        self._largest_batch = max(self._largest_batch, batch)

    def workqueue_execute_start(self, record: Record) -> None:
        """``workqueue:workqueue_execute_start``: what a worker releases from now on is another batch."""
        self._work_items += 1
        self._batches.pop(record[3], None)

    def lock_acquire(self, record: Record) -> None:
        """``lock:lock_acquire``: who takes ``slab_mutex`` destroys something else now."""
        if record[6] == SLAB_MUTEX:
            self._batches.pop(record[3], None)

    def figures(self) -> Events:
        """What has happened so far."""
        return Events(
            self._barriers,
            self._grace_periods,
            self._created,
            self._destroyed,
            self._last_gone_ns,
            self._largest_batch,
            self._work_items,
        )
