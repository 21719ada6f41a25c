"""KASAN: accesses to freed memory and objects freed twice, in the layout of mm/kasan/report.c (6.1).

Structures are poisoned by class (see memory.py).  Objects of caches are addresses: whether one is free is read off
the masks of its slab, which is what the shadow bytes would say.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .layout import FIELD_OFFSETS, HARDWARE, call_trace, identity, join

if TYPE_CHECKING:
    from ..machine import Machine
    from ..memory import Shadow
    from ..slab.cache import KmemCache, Slab

RULE = "=" * 66
ROW_BYTES = 16 * 8
SHADOW_FREE, SHADOW_REDZONE = "fb", "fc"


class Kasan:
    """The reporting half; `reported` counts."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self.reported = 0

    def use_after_free(self, shadow: Shadow, field: str, *, write: bool) -> None:
        """An attribute of a freed structure was used; ends the thread where the run stops at violations."""
        machine = self._machine
        stack = machine.stack()
        where = stack[0] if stack else "unknown"
        title = f"BUG: KASAN: use-after-free in {where}"
        offset = FIELD_OFFSETS.get(field, 0)
        report = join(
            [
                RULE,
                title,
                f"{'Write' if write else 'Read'} of size 8 at addr {shadow.address + offset:016x} "
                f"by task {machine.who()}",
                f"  (field {field} of {shadow.type_name})",
                "",
                identity(machine),
                HARDWARE,
                *call_trace(stack),
                "",
                f"Allocated by task {shadow.allocated_by}:",
                *(f" {function}" for function in shadow.allocated_at),
                "",
                f"Freed by task {shadow.freed_by}:",
                *(f" {function}" for function in shadow.freed_at),
                "",
                f"The buggy address belongs to the object at {shadow.address:016x}",
                f" which belongs to the cache {shadow.cache_name} of size {shadow.size}",
                f"The buggy address is located {offset} bytes inside of",
                f" freed {shadow.size}-byte region [{shadow.address:016x}, {shadow.address + shadow.size:016x})",
                "",
                *self._memory_state(shadow.address, shadow.size, offset),
                RULE,
            ]
        )
        self.reported += 1
        if machine.stop_at_violation:
            machine.oops("use-after-free", title, report)
        machine.violate("use-after-free", title, report)

    def check_free(self, cache: KmemCache, slab: Slab, index: int, address: int) -> None:
        """Called before an object goes back: it must be one, and be in use."""
        if (address - slab.base) % cache.size or index >= slab.objects:
            self._bad_free("invalid-free", cache, address)
        if not self._is_free(cache, slab, index):
            return
        self._bad_free("double-free", cache, address)

    def check_access(self, cache: KmemCache, slab: Slab | None, address: int, *, write: bool) -> None:
        """A task touches an object: it must be in use."""
        if (
            slab is not None
            and slab.cache is cache
            and not self._is_free(cache, slab, (address - slab.base) // cache.size)
        ):
            return
        machine = self._machine
        stack = machine.stack()
        title = f"BUG: KASAN: use-after-free in {stack[0] if stack else 'unknown'}"
        report = join(
            [
                RULE,
                title,
                f"{'Write' if write else 'Read'} of size {min(cache.object_size, 8)} at addr {address:016x} "
                f"by task {machine.who()}",
                "",
                identity(machine),
                HARDWARE,
                *call_trace(stack),
                "",
                f"The buggy address belongs to the object at {address:016x}",
                f" which belongs to the cache {cache.name} of size {cache.object_size}",
                "The buggy address is located 0 bytes inside of",
                f" freed {cache.object_size}-byte region [{address:016x}, {address + cache.object_size:016x})",
                "",
                *self._memory_state(address, cache.object_size),
                RULE,
            ]
        )
        self.reported += 1
        if machine.stop_at_violation:
            machine.oops("use-after-free", title, report)
        machine.violate("use-after-free", title, report)

    def _is_free(self, cache: KmemCache, slab: Slab, index: int) -> bool:
        bit = 1 << index
        if slab.free_mask & bit:
            return True
        return slab.frozen and any(c.slab is slab and c.freelist & bit for c in cache.cpu_slab.values())

    def _bad_free(self, kind: str, cache: KmemCache, address: int) -> None:
        machine = self._machine
        stack = machine.stack()
        title = f"BUG: KASAN: {kind} in {stack[0] if stack else 'unknown'}"
        report = join(
            [
                RULE,
                title,
                f"Free of addr {address:016x} by task {machine.who()}",
                "",
                identity(machine),
                HARDWARE,
                *call_trace(stack),
                "",
                f"The buggy address belongs to the object at {address:016x}",
                f" which belongs to the cache {cache.name} of size {cache.object_size}",
                "",
                *self._memory_state(address, cache.object_size),
                RULE,
            ]
        )
        self.reported += 1
        machine.oops("double-free", title, report)

    def _memory_state(self, address: int, size: int, offset: int = 0) -> list[str]:
        """Five rows of shadow bytes around the object, the guilty one marked; of the neighbours nothing is said."""
        row = address & ~(ROW_BYTES - 1)
        lines = ["Memory state around the buggy address:"]
        for base in range(row - 2 * ROW_BYTES, row + 3 * ROW_BYTES, ROW_BYTES):
            cells = [
                SHADOW_FREE if address <= base + 8 * cell < address + size else SHADOW_REDZONE for cell in range(16)
            ]
            lines.append(f"{'>' if base == row else ' '}{base:016x}: {' '.join(cells)}")
            if base == row:
                lines.append(" " * (19 + 3 * ((address + offset - row) // 8)) + "^")
        return lines
