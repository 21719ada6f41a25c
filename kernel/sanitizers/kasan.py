"""KASAN: accesses to freed memory and objects freed twice, in the layout of mm/kasan/report.c (6.1).

Structures are poisoned by class (see memory.py).  Objects of caches are addresses: whether one is free is read off
the masks of its slab, which is what the shadow bytes would say.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..slab.flags import SLAB_TYPESAFE_BY_RCU
from .layout import FIELD_OFFSETS, HARDWARE, call_trace, identity, join

if TYPE_CHECKING:
    from ..machine import Machine
    from ..memory import Shadow
    from ..slab.cache import KmemCache, Slab

RULE = "=" * 66
ROW_BYTES = 16 * 8
SHADOW_FREE, SHADOW_REDZONE = "fb", "fc"


KINDS = {
    "use-after-free": "use-after-free",
    "double-free": "double-free",
    "invalid-free": "double-free",
    "slab-out-of-bounds": "invariant",
}
"""The violation kind of each report; for a write out of bounds there is none, so it is what red zones report."""


class Kasan:
    """The reporting half; `reported` counts."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self.reported = 0

    def use_after_free(self, shadow: Shadow, field: str, *, write: bool) -> None:
        """An attribute of a freed structure was used; ends the thread where the run stops at violations."""
        offset = FIELD_OFFSETS.get(field, 0)
        access = f"{'Write' if write else 'Read'} of size 8 at addr {shadow.address + offset:016x}"
        history = [
            f"Allocated by task {shadow.allocated_by}:",
            *(f" {function}" for function in shadow.allocated_at),
            "",
            f"Freed by task {shadow.freed_by}:",
            *(f" {function}" for function in shadow.freed_at),
            "",
        ]
        whose = [
            f"The buggy address belongs to the object at {shadow.address:016x}",
            f" which belongs to the cache {shadow.cache_name} of size {shadow.size}",
            *_located(shadow.address, shadow.size, offset),
        ]
        remark = f"  (field {field} of {shadow.type_name})"
        self._report("use-after-free", access, [remark], [*history, *whose], _memory_state(shadow, offset))

    def check_free(self, cache: KmemCache, slab: Slab, index: int, address: int) -> bool:
        """Called before an object goes back: it must be one, and be in use; whether it is."""
        if (address - slab.base) % cache.size or index >= slab.objects:
            what = "invalid-free"
        elif not slab.live >> index & 1:
            what = "double-free"
        else:
            return True
        self._report(what, f"Free of addr {address:016x}", [], _object(cache, address), [])
        return False

    def check_access(self, cache: KmemCache, slab: Slab | None, address: int, *, write: bool) -> None:
        """A task touches an object: it must be in use, or of a type that may be looked at until its slab goes."""
        index = (address - slab.base) // cache.size if slab is not None and slab.cache is cache else -1
        if slab is None or index < 0 or not (cache.flags & SLAB_TYPESAFE_BY_RCU or slab.live >> index & 1):
            access = f"{'Write' if write else 'Read'} of size {min(cache.object_size, 8)} at addr {address:016x}"
            whose = [*_object(cache, address), *_located(address, cache.object_size, 0)]
            self._report("use-after-free", access, [], whose, [])

    def check_write(self, cache: KmemCache, slab: Slab | None, address: int, offset: int, size: int) -> None:
        """A task writes `size` bytes at `offset` from the start of an object: all inside of it, and it is in use."""
        if offset >= 0 and offset + size <= cache.object_size:
            self.check_access(cache, slab, address, write=True)
            return
        outside = min(offset, 0) or max(offset, cache.object_size)  # the first bad byte
        access = f"Write of size {size} at addr {address + offset:016x}"
        distance, side = (-outside, "left") if outside < 0 else (outside - cache.object_size, "right")
        whose = [
            *_object(cache, address),
            f"The buggy address is located {distance} bytes to the {side} of",
            f" {cache.object_size}-byte region [{address:016x}, {address + cache.object_size:016x})",
        ]
        self._report("slab-out-of-bounds", access, [], whose, [])

    def _report(self, what: str, access: str, remark: list[str], whose: list[str], state: list[str]) -> None:
        """Lay the report out, and make the violation of it; freeing twice always ends the thread."""
        machine = self._machine
        stack = machine.stack()
        title = f"BUG: KASAN: {what} in {stack[0] if stack else 'unknown'}"
        head = [RULE, title, f"{access} by task {machine.who()}", *remark, "", identity(machine), HARDWARE]
        report = join([*head, *call_trace(stack), "", *whose, *(["", *state] if state else []), RULE])
        self.reported += 1
        kind = KINDS[what]
        if machine.stop_at_violation or kind == "double-free":
            machine.oops(kind, title, report)
        machine.violate(kind, title, report)


def _object(cache: KmemCache, address: int) -> list[str]:
    return [
        f"The buggy address belongs to the object at {address:016x}",
        f" which belongs to the cache {cache.name} of size {cache.object_size}",
    ]


def _located(address: int, size: int, offset: int) -> list[str]:
    return [
        f"The buggy address is located {offset} bytes inside of",
        f" freed {size}-byte region [{address:016x}, {address + size:016x})",
    ]


def _memory_state(shadow: Shadow, offset: int) -> list[str]:
    """Five rows of shadow bytes around a structure, the guilty one marked; of the neighbours nothing is said."""
    address, size = shadow.address, shadow.size
    row = address & ~(ROW_BYTES - 1)
    lines = ["Memory state around the buggy address:"]
    for base in range(row - 2 * ROW_BYTES, row + 3 * ROW_BYTES, ROW_BYTES):
        cells = [SHADOW_FREE if address <= base + 8 * cell < address + size else SHADOW_REDZONE for cell in range(16)]
        lines.append(f"{'>' if base == row else ' '}{base:016x}: {' '.join(cells)}")
        if base == row:
            lines.append(" " * (19 + 3 * ((address + offset - row) // 8)) + "^")
    return lines
