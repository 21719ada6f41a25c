"""How long work items waited on each workqueue, folded from ``workqueue:*`` events.

An item waits from when it is queued, active or not, until a worker begins with it.  An item that never began does not
count: it may have been cancelled, of which there is no event.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ..traces import Record, Tracepoints


class WorkWaits:
    """The probe; `figures` is what it has found so far."""

    def __init__(self) -> None:
        self._queued: dict[int, tuple[str, int]] = {}  # address of the item → its workqueue, since when
        self._longest: dict[str, int] = {}

    def attach(self, points: Tracepoints) -> None:
        """Listen."""
        points.workqueue_queue_work.attach(self.queued)
        points.workqueue_execute_start.attach(self.started)

    def queued(self, record: Record) -> None:
        """``workqueue:workqueue_queue_work``."""
        self._queued[record[5]] = record[7], record[1]

    def started(self, record: Record) -> None:
        """``workqueue:workqueue_execute_start``."""
        queued = self._queued.pop(record[5], None)
        if queued is not None:
            queue, since_ns = queued
            self._longest[queue] = max(self._longest.get(queue, 0), record[1] - since_ns)

    def figures(self, queues: Iterable[str]) -> dict[str, int | None]:
        """``work.<queue>.waited_max_ns`` of each of `queues`, in nanoseconds; None where nothing has run there."""
        return {f"work.{queue}.waited_max_ns": self._longest.get(queue) for queue in queues}
