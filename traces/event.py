"""The shape of an event: its names, its typed fields, and the record it becomes.

A *record* is a plain tuple `(event_id, ts_ns, cpu, pid, comm, *fields)`: integers, except `comm` and the fields whose
C type holds text, which are `str`.  Pointers are unsigned 64-bit integers, a `long` may be negative.  `cpu` is -1 for
a part of the machine that belongs to no CPU (a NUMA node, the grace-period machine, a notifier).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

Record = tuple[Any, ...]
Probe = Callable[[Record], object]
"""Whatever takes a record; a bare `list.append` is one.  Its result is ignored, its exception is not."""

FIRST_FIELD = 5
"""Position of the first event field in a record: event id, time, cpu, pid and comm come before it."""


def is_text(ctype: str) -> bool:
    """Whether a field of this C type travels as text: strings, char arrays, and bitmasks of any length."""
    return ctype in ("string", "const char *", "char *", "bitmask") or ctype.startswith("char[")


def is_pointer(ctype: str) -> bool:
    """Whether a field of this C type is an address, which a reader wants to see in hexadecimal."""
    return ctype.endswith("*") and not is_text(ctype)


@dataclass(frozen=True, slots=True)
class EventSpec:
    """One kind of event: the system and name of the kernel's tracepoint, and its fields as (name, C type)."""

    system: str
    name: str
    fields: tuple[tuple[str, str], ...]

    @property
    def full_name(self) -> str:
        """`system:name`, the spelling of trace-cmd and perf."""
        return f"{self.system}:{self.name}"

    @property
    def text_positions(self) -> tuple[int, ...]:
        """Positions in a record that hold text besides `comm`, ascending."""
        return tuple(at for at, (_, ctype) in enumerate(self.fields, FIRST_FIELD) if is_text(ctype))
