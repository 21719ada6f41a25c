"""The operations of a program that concern work items and workqueues.

An item without a name is made anew each time, and runs its program for the task that queued it.  Named items are made
before the tasks start, with the program they are first given in the file; counters in their texts are all 0.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from ..actors.worker_pool import WorkItem
    from ..topology import Scenario
    from .machine import Machine
    from .workload import Workload
    from .workqueue import Workqueue


class NamedWork:
    """Stands for the task in the program of a named item."""

    __slots__ = ("machine", "name", "variables", "workload")

    def __init__(self, workload: Workload, name: str) -> None:
        self.machine = workload.machine
        self.workload = workload
        self.name = name
        self.variables: dict[str, int] = {"i": 0, "task": 0}


def make_workqueues(machine: Machine, scenario: Scenario, flags: dict[str, int]) -> None:
    """The workqueues of the topology, whose `flags` have these values."""
    for spec in scenario.workqueues:
        machine.workqueues.make_queue(spec.name, sum(flags[flag] for flag in spec.flags), spec.max_active)


def make_named_works(workload: Workload, scenario: Scenario) -> dict[str, WorkItem]:
    """The named items of the programs."""
    return {
        name: _make_work(NamedWork(workload, name), name, operation) for name, operation in scenario.named_works.items()
    }


def _make_work(task: Any, name: str, operation: Any) -> WorkItem:
    async def run(_: WorkItem) -> None:
        perform = task.workload.perform
        for inner in operation.program:
            await perform(task, inner)

    work: WorkItem = task.machine.workqueues.make_work(name, run, queue=operation.queue or "events")
    return work


def _work_of(task: Any, operation: Any) -> WorkItem:
    if operation.name is None:
        return _make_work(task, f"work of {task.name}", operation)
    work: WorkItem = task.workload.works[operation.name]
    return work


def _queue_of(task: Any, name: str | None) -> Workqueue | None:
    queue: Workqueue | None = None if name is None else task.machine.workqueues.queue(name)
    return queue


async def queue_work(task: Any, operation: Any) -> None:
    """Run operations in a worker."""
    workqueues = task.machine.workqueues
    work = _work_of(task, operation)
    await workqueues.queue_work_on(operation.cpu, work, _queue_of(task, operation.queue))
    if operation.wait:
        await workqueues.flush_work(work)


async def queue_delayed_work(task: Any, operation: Any) -> None:
    """Run operations in a worker after a time."""
    work = _work_of(task, operation)
    await task.machine.workqueues.queue_delayed_work_on(
        operation.cpu, work, operation.delay_ns, _queue_of(task, operation.queue)
    )


async def mod_delayed_work(task: Any, operation: Any) -> None:
    """Run operations in a worker after a time from now, whatever was arranged before."""
    work = _work_of(task, operation)
    await task.machine.workqueues.mod_delayed_work_on(
        operation.cpu, work, operation.delay_ns, _queue_of(task, operation.queue)
    )


async def flush_work(task: Any, operation: Any) -> None:
    """Wait for an item."""
    await task.machine.workqueues.flush_work(task.workload.works[operation.name])


async def cancel_work_sync(task: Any, operation: Any) -> None:
    """Cancel an item."""
    await task.machine.workqueues.cancel_work_sync(task.workload.works[operation.name])


async def flush_workqueue(task: Any, operation: Any) -> None:
    """Wait for all items of a workqueue."""
    await task.machine.workqueues.flush_workqueue(operation.queue)


async def drain_workqueue(task: Any, operation: Any) -> None:
    """Wait until a workqueue is empty."""
    await task.machine.workqueues.drain_workqueue(operation.queue)


WORK_OPERATIONS: dict[str, Callable[[Any, Any], Awaitable[None]]] = {
    function.__name__: function
    for function in (
        queue_work,
        queue_delayed_work,
        mod_delayed_work,
        flush_work,
        cancel_work_sync,
        flush_workqueue,
        drain_workqueue,
    )
}
"""By the name a program uses."""
