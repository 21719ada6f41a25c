"""A scene to stand in, events to fire, and traces to damage."""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from pathlib import Path

from slubloom.traces import EventSpec, Record, StreamWriter, TraceReader, open_sink


@dataclass
class Somebody:
    cpu_id: int = 2
    pid: int = 104
    comm: str = "creator"


@dataclass
class Stage:
    now_ns: int = 123_456
    running: Somebody = field(default_factory=Somebody)


SPECS = (
    EventSpec("lock", "lock_acquire", (("flags", "unsigned int"), ("name", "string"), ("lockdep_addr", "void *"))),
    EventSpec("kmem", "kfree", (("call_site", "unsigned long"), ("ptr", "const void *"))),
    EventSpec("kmem", "rss_stat", (("size", "long"),)),
)


def some_records(count: int) -> list[Record]:
    """Records of three kinds on four CPUs, five threads; no two alike."""
    records: list[Record] = []
    for n in range(count):
        who = (n * 10, n % 4, 100 + n % 5, f"task-{n % 5}")
        if n % 3 == 0:
            records.append((1, *who, n % 2, f"lock-{n % 7}", 0xFFFF_8880_0000_0000 + n))
        elif n % 3 == 1:
            records.append((2, *who, 4096, 0xFFFF_FFFF_FFFF_0000 + n))
        else:
            records.append((3, *who, -n))
    return records


def write_trace(path: Path, records: list[Record], chunk_events: int = 10) -> bytes:
    writer = StreamWriter(open_sink(str(path)), {"seed": 7, "ncpu": 4}, SPECS, chunk_events)
    for record in records:
        writer.probe(record)
        writer.poll()
    writer.finish({"verdict": "clean"})
    return path.read_bytes()


def read_bytes(data: bytes) -> tuple[TraceReader, list[Record]]:
    reader = TraceReader(io.BytesIO(data))
    return reader, list(reader)
