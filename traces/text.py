"""Records as lines of text, in the manner of the kernel's trace file.

         creator-104     [002]     12.345678901: kmem_cache_free: call_site=4096 ptr=0xffff888004001000 name=dentry

Command and pid, CPU (`---` for a part of the machine that belongs to none), seconds since boot, event, fields.
Addresses are hexadecimal, other numbers decimal, text bare; characters a terminal would obey are escaped.
"""

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from .event import FIRST_FIELD, EventSpec, Record, is_pointer, is_text

_NS_PER_S = 1_000_000_000


def printable(text: str) -> str:
    """Return `text` with control characters escaped."""
    return text if text.isprintable() else text.encode("unicode_escape").decode("ascii")


def line_formatter(specs: Mapping[int, EventSpec]) -> Callable[[Record], str]:
    """Return the function that renders a record of these events as one line, without the newline."""
    formats = {event_id: _field_format(spec) for event_id, spec in specs.items()}
    texts = {event_id: spec.text_positions for event_id, spec in specs.items()}

    def line(record: Record) -> str:
        event_id, ts_ns, cpu, pid, comm = record[:FIRST_FIELD]
        positions = texts[event_id]
        if positions:
            values = list(record)
            for position in positions:
                values[position] = printable(values[position])
            fields = tuple(values[FIRST_FIELD:])
        else:
            fields = record[FIRST_FIELD:]
        where = f"{cpu:03d}" if cpu >= 0 else "---"
        seconds, ns = divmod(ts_ns, _NS_PER_S)
        return f"{printable(comm):>16}-{pid:<7} [{where}] {seconds:>6}.{ns:09d}: {formats[event_id] % fields}"

    return line


def json_formatter(specs: Mapping[int, EventSpec]) -> Callable[[Record], str]:
    """Return the function that renders a record as one JSON object: event, time_ns, cpu, pid, comm, fields."""
    names = {event_id: tuple(name for name, _ in spec.fields) for event_id, spec in specs.items()}
    full_names = {event_id: spec.full_name for event_id, spec in specs.items()}
    encode = msgspec.json.Encoder().encode

    def line(record: Record) -> str:
        event_id, ts_ns, cpu, pid, comm = record[:FIRST_FIELD]
        content: dict[str, Any] = {
            "event": full_names[event_id],
            "time_ns": ts_ns,
            "cpu": cpu,
            "pid": pid,
            "comm": comm,
            "fields": dict(zip(names[event_id], record[FIRST_FIELD:], strict=True)),
        }
        return encode(content).decode()

    return line


def _field_format(spec: EventSpec) -> str:
    parts = [f"{name}={_conversion(ctype)}" for name, ctype in spec.fields]
    return f"{spec.name}: {' '.join(parts)}".rstrip()


def _conversion(ctype: str) -> str:
    if is_text(ctype):
        return "%s"
    return "0x%x" if is_pointer(ctype) else "%d"
