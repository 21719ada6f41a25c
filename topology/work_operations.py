"""Operations on work items, and the workqueues of a topology.

An item without a ``name`` is a new one each time.  A named item is one and the same wherever it is named, with one
program: it can be queued again while it runs, flushed and cancelled.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer

from .parts import Model, Name, Nanoseconds

if TYPE_CHECKING:
    from .operations import Operation

SYSTEM_WORKQUEUES = (
    "events",
    "events_highpri",
    "events_long",
    "events_unbound",
    "events_freezable",
    "events_power_efficient",
    "events_freezable_power_efficient",
    "rcu_gp",
    "rcu_par_gp",
)
"""Workqueues that every machine has."""

WorkqueueFlag = Literal[
    "WQ_UNBOUND",
    "WQ_FREEZABLE",
    "WQ_MEM_RECLAIM",
    "WQ_HIGHPRI",
    "WQ_CPU_INTENSIVE",
    "WQ_SYSFS",
    "WQ_POWER_EFFICIENT",
    "__WQ_ORDERED",
    "__WQ_LEGACY",
]
"""What alloc_workqueue() takes; in the kernel room each has its value."""


class WorkqueueSection(Model):
    """``[[workqueue]]``: a workqueue of the workload's own; ``max_active`` 0 is the default of the kernel."""

    name: Name
    flags: tuple[WorkqueueFlag, ...] = ()
    max_active: Annotated[int, Field(ge=0, le=4096)] = 0


class Queueing(Model):
    """Base of the operations that give a program to a workqueue, on processor ``cpu`` or on that of the task."""

    cpu: Annotated[int, Field(ge=0)] | None = None
    program: tuple[Operation, ...]
    name: Name | None = None
    queue: Name | None = None

    @model_serializer(mode="wrap")
    def _without_absent(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out what is not said, so that files which do not say it mean what they always meant."""
        values: dict[str, Any] = handler(self)
        return {key: value for key, value in values.items() if value is not None or key not in ("cpu", "name", "queue")}


class QueueWork(Queueing):
    """Run operations in a kworker; with ``wait``, until they are done."""

    op: Literal["queue_work"]
    wait: bool = False


class QueueDelayedWork(Queueing):
    """Run operations in a kworker after a time."""

    op: Literal["queue_delayed_work"]
    delay_ns: Nanoseconds


class ModDelayedWork(Queueing):
    """The same for a named item that may be queued already: what counts is the time from now."""

    op: Literal["mod_delayed_work"]
    delay_ns: Nanoseconds
    name: Name


class FlushWork(Model):
    """Wait until the instance of a named item that is queued, or else running, is over."""

    op: Literal["flush_work"]
    name: Name


class CancelWorkSync(Model):
    """Cancel a named item, and wait until it runs nowhere."""

    op: Literal["cancel_work_sync"]
    name: Name


class FlushWorkqueue(Model):
    """Wait until all items that are queued on a workqueue are over."""

    op: Literal["flush_workqueue"]
    queue: Name


class DrainWorkqueue(Model):
    """Wait until a workqueue is empty; meanwhile only its own items may queue more."""

    op: Literal["drain_workqueue"]
    queue: Name


WITH_PROGRAM = (QueueWork, QueueDelayedWork, ModDelayedWork)
"""Operations with operations inside."""
