"""Records without a machine: tracepoints on a stage where a test says who runs and what time it is."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from slubloom.traces import Tracepoints


class Stage:
    """``stage(ns, pid, "lock_release", name, address)`` fires an event."""

    def __init__(self) -> None:
        self.now_ns = 0
        self.running: Any = None
        self.points = Tracepoints(self)

    def __call__(self, ns: int, pid: int, event: str, *fields: int | str, cpu: int = 0) -> None:
        self.now_ns = ns
        self.running = SimpleNamespace(cpu_id=cpu, pid=pid, comm="x")
        fire = getattr(self.points, event).fire
        if fire is not None:
            fire(*fields)


@pytest.fixture
def stage() -> Stage:
    return Stage()
