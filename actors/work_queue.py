"""A workqueue's share of each pool, and the colours by which it is flushed; plain state, changed within steps.

Mirrors ``struct workqueue_struct``, ``struct pool_workqueue``, pwq_dec_nr_in_flight(), flush_workqueue_prep_pwqs() and
the two phases of __flush_workqueue() of kernel/workqueue.c (6.1).

Every item gets the colour its `PoolQueue` has when it is queued, and each `PoolQueue` counts its items in flight by
colour.  A flush takes the present colour for its own, gives new items the next one, and is over when nothing of its
colour is left anywhere.  One flusher at a time is served, the *first* one; when it is done it wakes those of its
colour and makes the next one first.  Colours are used in turn; when all are, flushers wait on ``overflow`` without a
colour until one is free, and then share it.

Who may touch what: ``nr_active``, ``inactive``, ``in_flight``, ``work_color`` and ``flush_color`` of a `PoolQueue`
belong to its pool, everything else of a `WorkQueue` to its ``mutex``, except ``nr_to_flush`` and ``first_flusher``,
which the end of an item looks at too: those steps declare ``resource``.

* W1  ``nr_active <= max_active``, and ``inactive`` is empty where it is less, at the end of each step.
* W2  ``in_flight`` is nothing outside of the colours from ``flush_color`` up to ``work_color`` of the queue.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from .resource import Access, Resource

if TYPE_CHECKING:
    from collections.abc import Callable

    from .interleaver import Interleaver
    from .work_item import WorkItem
    from .work_thread import Rescuer
    from .worker_pool import WorkerPool

COLORS = 16 - 1
"""Colours in use at once; the sixteenth means none."""

NO_COLOR = -1


def next_color(color: int) -> int:
    """The colour after `color`."""
    return (color + 1) % COLORS


class Flusher:
    """One flush of a workqueue in progress; ``complete`` is called when it is over."""

    __slots__ = ("color", "complete")

    def __init__(self, complete: Callable[[], object]) -> None:
        self.color = NO_COLOR
        self.complete = complete


class PoolQueue:
    """``pool_workqueue``: the items of one workqueue on one pool."""

    __slots__ = ("calls_for_help", "flush_color", "in_flight", "inactive", "nr_active", "pool", "queue", "work_color")

    def __init__(self, queue: WorkQueue, pool: WorkerPool) -> None:
        self.queue = queue
        self.pool = pool
        self.nr_active = 0
        self.inactive: deque[WorkItem] = deque()
        self.in_flight = [0] * COLORS
        self.work_color = queue.work_color
        self.flush_color = NO_COLOR
        self.calls_for_help = False  # is on the queue's list of maydays

    def enter(self) -> tuple[int, bool]:
        """Count one more item: its colour, and whether it may run, or must wait among the inactive ones."""
        color = self.work_color
        self.in_flight[color] += 1
        active = self.nr_active < self.queue.max_active
        if active:
            self.nr_active += 1
        return color, active

    def leave(self, color: int, *, was_active: bool) -> WorkItem | None:
        """Count an item of `color` that has ended or was cancelled; the inactive item that may run now, if any."""
        activated = None
        if was_active:
            self.nr_active -= 1
            if self.inactive and self.nr_active < self.queue.max_active:
                activated = self.inactive.popleft()
                self.nr_active += 1
        self.in_flight[color] -= 1
        if color == self.flush_color and not self.in_flight[color]:
            self.flush_color = NO_COLOR
            self.queue.color_left()
        return activated

    @property
    def busy(self) -> bool:
        """Whether it has anything to do."""
        return bool(self.nr_active or self.inactive)


class WorkQueue:
    """``workqueue_struct``.

    ``max_active`` items run at once on each pool.  An ``unbound`` queue uses the pools of nodes instead of those of
    processors, an ``ordered`` one a pool of the whole machine; ``highpri`` ones those of high priority.  Where
    ``mem_reclaim`` is set a rescuer stands by: ``rescuer`` is made when first called for help.
    """

    __slots__ = (
        "cpu_intensive",
        "first_flusher",
        "flush_color",
        "flushers",
        "highpri",
        "interleaver",
        "lock_address",
        "lock_name",
        "max_active",
        "maydays",
        "mem_reclaim",
        "name",
        "nr_drainers",
        "nr_to_flush",
        "ordered",
        "overflow",
        "pool_queues",
        "rescuer",
        "resource",
        "unbound",
        "work_color",
    )

    def __init__(
        self,
        interleaver: Interleaver,
        name: str,
        max_active: int,
        *,
        unbound: bool = False,
        ordered: bool = False,
        highpri: bool = False,
        cpu_intensive: bool = False,
        mem_reclaim: bool = False,
        address: int = 0,
    ) -> None:
        self.interleaver = interleaver
        self.name = name
        self.lock_name = f"(wq_completion){name}"
        self.lock_address = address
        self.max_active = max_active
        self.unbound = unbound
        self.ordered = ordered
        self.highpri = highpri
        self.cpu_intensive = cpu_intensive
        self.mem_reclaim = mem_reclaim
        self.resource: Resource = interleaver.resource(name)
        self.pool_queues: dict[WorkerPool, PoolQueue] = {}
        self.nr_drainers = 0
        # Flushing.
        self.work_color = 0
        self.flush_color = 0
        self.first_flusher: Flusher | None = None
        self.flushers: deque[Flusher] = deque()
        self.overflow: deque[Flusher] = deque()
        self.nr_to_flush = 0
        # Rescuing.
        self.rescuer: Rescuer | None = None
        self.maydays: deque[PoolQueue] = deque()

    def changes(self) -> None:
        """Declare that the step being made changes the queue's state."""
        touch = self.interleaver.touch
        if touch is not None:
            touch(self.resource, Access.WRITE)

    def on(self, pool: WorkerPool) -> PoolQueue:
        """Its share of `pool`, made on first use."""
        share = self.pool_queues.get(pool)
        if share is None:
            self.changes()
            share = self.pool_queues[pool] = PoolQueue(self, pool)
        return share

    def all_shares(self) -> list[PoolQueue]:
        """Its share of each pool; the step being made may change all of them."""
        for pool in self.pool_queues:
            pool.changes()
        return [*self.pool_queues.values()]

    # --- flushing

    def start_flush(self, flusher: Flusher) -> bool:
        """Begin to wait for everything queued so far; false where there is nothing to wait for."""
        following = next_color(self.work_color)
        if following == self.flush_color:
            self.overflow.append(flusher)  # every colour is in use
            return True
        flusher.color = self.work_color
        self.work_color = following
        if self.first_flusher is not None:
            self.flushers.append(flusher)
            self._recolor(following)
            return True
        self.first_flusher = flusher
        self._recolor(following)
        if self._arm(flusher.color):
            return True
        self.flush_color = following
        self.first_flusher = None
        return False

    def finish_flush(self, flusher: Flusher) -> None:
        """The first flusher is done: wake those of its colour, and serve the next colour that has something left."""
        if self.first_flusher is not flusher:
            return
        self.first_flusher = None
        while True:
            while self.flushers and self.flushers[0].color == self.flush_color:
                self.flushers.popleft().complete()
            self.flush_color = next_color(self.flush_color)
            if self.overflow:
                for waiting in self.overflow:
                    waiting.color = self.work_color
                self.flushers.extend(self.overflow)
                self.overflow.clear()
                self.work_color = next_color(self.work_color)
                self._recolor(self.work_color)
            if not self.flushers:
                return
            self.first_flusher = self.flushers.popleft()
            if self._arm(self.flush_color):
                return
            # Nothing of that colour is left: complete it, and all that share it, at once.
            self.first_flusher.complete()
            self.first_flusher = None

    def color_left(self) -> None:
        """Another pool has nothing left of the colour that is being flushed."""
        self.changes()
        self.nr_to_flush -= 1
        if not self.nr_to_flush and self.first_flusher is not None:
            self.first_flusher.complete()

    def _recolor(self, color: int) -> None:
        """Give new items another colour, on every pool."""
        for share in self.all_shares():
            share.work_color = color

    def _arm(self, color: int) -> bool:
        """Have every pool say when it has nothing left of `color`; whether any has something now."""
        self.nr_to_flush = 0
        for share in self.all_shares():
            if share.in_flight[color]:
                share.flush_color = color
                self.nr_to_flush += 1
        return bool(self.nr_to_flush)
