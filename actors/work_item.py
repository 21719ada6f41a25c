"""Work items: what can be queued, flushed and cancelled.

Mirrors ``struct work_struct``, ``struct delayed_work`` and ``struct wq_barrier`` of kernel/workqueue.c (6.1).

States of an item, and who may move it on:

========================  ====================================================  =================================
state                     told by                                               left by
========================  ====================================================  =================================
idle                      not ``pending``                                       who sets ``pending``: queues it, or
                                                                                cancels it
being queued              ``pending``, not ``timer``, no ``pool_queue``         the same one, a step later
waiting for its time      ``pending``, ``timer``                                the timer; who cancels or hurries it
pending, inactive         ``pool_queue``, ``on`` is that queue's ``inactive``   the end of another item of the queue
pending, active           ``pool_queue``, ``on`` is the pool's ``worklist``     a worker that takes it
pending, handed over      ``pool_queue``, ``on`` is a worker's ``scheduled``    the worker that runs it already
running                   in ``pool.busy``                                      its worker, when the function is over
being cancelled           ``pending``, ``canceling``                            who cancels it
========================  ====================================================  =================================

A running item is idle as well: it may be queued again, and is then pending and running at once.  ``pending`` belongs
to whoever has set it, an atomic bit of the item's own (`resource`); all the other fields belong to the pool the item
is on, or was on last, and change only in steps that declare the pool too.

A barrier waits for one *instance*, the one that is pending, or else the one that is running.  In the kernel it is an
item of its own that is linked to the instance and runs behind it in the same worker; here it is on a list of the
instance and is complete when the instance is, in the same step.  Left out: the lost wake-up of 346c09f80459 and
415d83249709, a matter of memory ordering (a failed test-and-set is a full barrier here).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .operation import Op, OpKind
from .resource import Access
from .signal import Signal

if TYPE_CHECKING:
    from collections import deque
    from collections.abc import Awaitable, Callable

    from .actor import Actor
    from .interleaver import Interleaver
    from .timers import Sleeper
    from .work_queue import PoolQueue, WorkQueue
    from .work_thread import KernelWorker
    from .worker_pool import WorkerPool


class Barrier(Signal):
    """Set when the instance it was put behind has ended, or will not come."""

    __slots__ = ("flusher", "worker")

    def __init__(self, interleaver: Interleaver, name: str, flusher: Actor) -> None:
        super().__init__(interleaver, name)
        self.flusher = flusher
        self.worker: KernelWorker | None = None  # who runs the instance

    def holders(self) -> list[Actor]:
        """Who must go on first, for the wait-for graph."""
        return [self.worker] if self.worker is not None else []


class WorkItem:
    """``work_struct``: a function to be run by a worker.  ``function`` gets the item itself.

    ``name`` is that of the function, ``lock_name`` the lock class that flushing and running it stand for, ``queue`` the
    one it goes to unless another is named.
    """

    __slots__ = (
        "address",
        "barriers",
        "canceling",
        "color",
        "done",
        "function",
        "grab",
        "grabbers",
        "interleaver",
        "lock_name",
        "look",
        "name",
        "on",
        "pending",
        "pool",
        "pool_queue",
        "queue",
        "queued",
        "resource",
        "set_pending",
        "timer",
    )

    def __init__(
        self,
        interleaver: Interleaver,
        name: str,
        function: Callable[[WorkItem], Awaitable[None]],
        queue: WorkQueue,
        *,
        address: int = 0,
        lock_name: str = "",
    ) -> None:
        self.interleaver = interleaver
        self.name = name
        self.function = function
        self.queue = queue
        self.address = address
        self.lock_name = lock_name or f"(work_completion)({name})"
        self.resource = interleaver.resource(name)
        self.set_pending = Op(OpKind.UPDATE, self.resource)
        self.look = Op(OpKind.READ, self.resource)
        self.grab = Op(OpKind.UPDATE, self.resource, admission=Access.WRITE, admit=self._admit_grab, aux=self)
        # Of whoever has set it.
        self.pending = False
        self.canceling: Actor | None = None
        self.timer: Sleeper | None = None  # what will queue it when its time has come
        self.grabbers: list[Actor] = []  # they wait until nobody is in the middle of queueing or cancelling it
        # Of the pool it is on, or was on last.
        self.pool: WorkerPool | None = None
        self.pool_queue: PoolQueue | None = None
        self.on: deque[WorkItem] | None = None
        self.color = 0
        self.barriers: list[Barrier] = []
        # Counts, for whoever watches.
        self.queued = 0  # instances queued so far
        self.done = 0  # instances finished so far

    def changes(self) -> None:
        """Declare that the step being made changes the item's state."""
        touch = self.interleaver.touch
        if touch is not None:
            touch(self.resource, Access.WRITE)

    @property
    def unsettled(self) -> bool:
        """Whether somebody is in the middle of queueing or cancelling it: ``pending``, but nowhere to be found."""
        return self.pending and self.pool_queue is None and self.timer is None

    def settle(self) -> None:
        """Let those look again who could not find it."""
        if self.grabbers:
            grabbers, self.grabbers = self.grabbers, []
            for actor in grabbers:
                actor.unblock()

    def _admit_grab(self, actor: Actor) -> None:
        if self.canceling is not None:
            self.grabbers.append(actor)
            actor.block()
        elif self.unsettled:
            self.grabbers.append(actor)
            actor.block_spinning()  # for as long as another processor has its interrupts off

    def holders(self) -> list[Actor]:
        """Who must go on before it can be grabbed, for the wait-for graph."""
        return [self.canceling] if self.canceling is not None else []

    def release_barriers(self) -> None:
        """Let those go on who wait for an instance that was cancelled."""
        barriers, self.barriers = self.barriers, []
        for barrier in barriers:
            barrier.set()
