"""Whether the workqueues and named work items that operations refer to exist."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .errors import Problem
from .work_operations import SYSTEM_WORKQUEUES

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from .scenario import Scenario


def check_workqueues(scenario: Scenario) -> Iterator[Problem]:
    """Whether no workqueue of the topology has the name of one that is there anyway."""
    for index, queue in enumerate(scenario.workqueues):
        if queue.name in SYSTEM_WORKQUEUES:
            yield Problem(
                f"workqueue[{index}].name", f"{queue.name!r} is a workqueue of the system; expected another name"
            )


def check_queueing(scenario: Scenario, here: str, operation: Any) -> Iterator[Problem]:
    """Whether the workqueue exists, and a named item has one program wherever it is queued."""
    if operation.queue is not None:
        yield from _check_queue(scenario, f"{here}.queue", operation.queue)
    if operation.name is None:
        return
    if "{" in operation.name:
        yield Problem(f"{here}.name", f"{operation.name!r}: an item is there once; expected a name without braces")
    elif operation.program != scenario.named_works[operation.name].program:
        yield Problem(
            f"{here}.program", f"the work item {operation.name!r} has another program where it is first named"
        )


def check_waiting(scenario: Scenario, here: str, operation: Any) -> Iterator[Problem]:
    """Whether what is waited for, or cancelled, exists."""
    if hasattr(operation, "queue"):
        yield from _check_queue(scenario, f"{here}.queue", operation.queue)
    elif operation.name not in scenario.named_works:
        yield Problem(
            f"{here}.name",
            f"no operation queues a work item {operation.name!r}; named are: {_list(scenario.named_works)}",
        )


def _check_queue(scenario: Scenario, place: str, name: str) -> Iterator[Problem]:
    known = [*(queue.name for queue in scenario.workqueues), *SYSTEM_WORKQUEUES]
    if name not in known:
        yield Problem(place, f"there is no [[workqueue]] {name!r}; there are: {_list(known)}")


def _list(names: Iterable[str]) -> str:
    return ", ".join(names) or "none"
