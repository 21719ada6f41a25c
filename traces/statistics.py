"""What is in a trace, in numbers: events by kind and CPU, time span, sizes, losses, and whether it is whole."""

from collections import Counter
from dataclasses import dataclass, field
from operator import itemgetter
from typing import Any

from .reader import TraceReader
from .text import printable

SCHEMA = "slubloom-trace-stats-1"

_event_of = itemgetter(0)
_cpu_of = itemgetter(2)
_NS_PER_S = 1_000_000_000
_DESCRIBED = ("scenario", "release", "strategy", "seed")


def _described(value: Any) -> str:
    """A header value on one line: of a map, what says something."""
    if isinstance(value, dict):
        return ", ".join(f"{key} {entry}" for key, entry in value.items() if entry not in ("", []))
    return str(value)


@dataclass(slots=True)
class TraceStatistics:
    """Counts over one trace.  Times in nanoseconds since boot, None in an empty trace; sizes in bytes."""

    name: str
    header: dict[str, Any]
    by_event: Counter[str] = field(default_factory=Counter)
    by_cpu: Counter[int] = field(default_factory=Counter)
    lost: dict[int, int] = field(default_factory=dict)
    first_ns: int | None = None
    last_ns: int | None = None
    chunks: int = 0
    trace_bytes: int = 0  # up to the last whole block
    damage: list[str] = field(default_factory=list)
    truncated: bool = False
    closed_cleanly: bool = False
    end: dict[str, Any] | None = None

    @property
    def events(self) -> int:
        """All records."""
        return self.by_cpu.total()

    def as_dict(self) -> dict[str, Any]:
        """Return everything as plain data for JSON."""
        return {
            "schema": SCHEMA,
            "name": self.name,
            "run": {key: self.header[key] for key in _DESCRIBED if key in self.header},
            "events": self.events,
            "by_event": dict(sorted(self.by_event.items())),
            "by_cpu": {str(cpu): count for cpu, count in sorted(self.by_cpu.items())},
            "lost": {str(cpu): count for cpu, count in sorted(self.lost.items())},
            "first_ns": self.first_ns,
            "last_ns": self.last_ns,
            "chunks": self.chunks,
            "bytes": self.trace_bytes,
            "damage": self.damage,
            "truncated": self.truncated,
            "closed_cleanly": self.closed_cleanly,
            "end": self.end,
        }

    def as_text(self) -> str:
        """Return a table for a person: the most frequent events first."""
        lost = [str(sum(self.lost.values())), *(f"cpu{cpu}: {count}" for cpu, count in sorted(self.lost.items()))]
        rows = [("trace", self.name)]
        rows += [(key, _described(self.header[key])) for key in _DESCRIBED if key in self.header]
        rows += [
            ("events", str(self.events)),
            ("chunks", str(self.chunks)),
            ("bytes", f"{self.trace_bytes} ({self.trace_bytes / max(1, self.events):.1f} per event)"),
            ("time", self._span()),
            ("lost", ", ".join(lost)),
            ("closed", "cleanly" if self.closed_cleanly else "no: the run ended early or is still writing"),
        ]
        if self.end is not None and "verdict" in self.end:
            rows.append(("verdict", str(self.end["verdict"])))
        rows += [("damage", damage) for damage in self.damage]
        lines = [f"{key:<9} {printable(value)}" for key, value in rows]
        lines += ["", f"{'count':>12}  event"]
        lines += [f"{n:>12}  {name}" for name, n in sorted(self.by_event.items(), key=lambda item: (-item[1], item[0]))]
        lines += ["", f"{'count':>12}  cpu"]
        lines += [f"{n:>12}  {cpu if cpu >= 0 else 'none'}" for cpu, n in sorted(self.by_cpu.items())]
        return "\n".join(lines)

    def _span(self) -> str:
        if self.first_ns is None or self.last_ns is None:
            return "none"
        span_ns = self.last_ns - self.first_ns
        return f"{self.first_ns / _NS_PER_S:.9f} to {self.last_ns / _NS_PER_S:.9f} s ({span_ns} ns)"


def collect_statistics(reader: TraceReader) -> TraceStatistics:
    """Read the rest of a trace and return its statistics; a damaged trace gives those of what is readable."""
    statistics = TraceStatistics(reader.name, reader.header)
    by_id: Counter[int] = Counter()
    for chunk in reader.chunks():
        by_id.update(map(_event_of, chunk.records))
        statistics.by_cpu.update(map(_cpu_of, chunk.records))
        statistics.chunks += 1
        if chunk.records:
            if statistics.first_ns is None:
                statistics.first_ns = chunk.first_ns
            statistics.last_ns = chunk.last_ns
    statistics.by_event = Counter({reader.specs[event_id].full_name: count for event_id, count in by_id.items()})
    statistics.lost = dict(reader.lost)
    statistics.trace_bytes = reader.clean_length
    statistics.damage = [str(damage) for damage in reader.damage]
    statistics.truncated = reader.truncated
    statistics.closed_cleanly = reader.closed_cleanly
    statistics.end = reader.end
    return statistics
