"""What SLUB prints when it finds something wrong, in the layout of mm/slub.c (6.1), and as which violation it counts.

====================================================================  ===============
reason                                                                violation
====================================================================  ===============
Object already free; Invalid object pointer; Slab has N allocated     double-free
objects but M are to be freed
Poison overwritten; End Poison overwritten                            use-after-free
any other: red zones and padding overwritten, free pointers and       invariant
free lists corrupt, counts that do not add up
Objects remaining in NAME on __kmem_cache_shutdown()                  objects-remaining
====================================================================  ===============

A red zone or padding is overwritten by a write out of bounds, for which there is no kind; a free pointer by that or by
a use after free, and nobody can tell.  Freeing what is no object counts as KASAN counts its invalid-free.  The kernel
goes on after a report: what was overwritten is restored, and ``FIX`` says how.  The counter ``slab_errors`` counts
reports and fixes as KUnit does for the kernel's own tests.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..sanitizers.layout import HARDWARE, call_trace, identity, join, print_tainted
from ..stack import kernel_name
from .debug_memory import POISON_INUSE
from .debug_object import (
    get_freelist,
    get_freepointer,
    left_pad,
    memory_of,
    metadata_end,
    object_address,
    place_of,
    size_from_object,
    slab_address,
)
from .flags import SLAB_POISON, SLAB_RED_ZONE, SLAB_STORE_USER
from .sizing import PAGE_SIZE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..machine import Machine
    from .cache import KmemCache, Slab
    from .debug_memory import Track
    from .slub import Slub

RULE = 77
REASON_MAX = 99
"""Characters of a reason that has numbers put in; more are cut."""
BYTES_BEFORE = 16

KINDS = (
    ("Object already free", "double-free"),
    ("Invalid object pointer", "double-free"),
    ("Slab has", "double-free"),
    ("Poison overwritten", "use-after-free"),
    ("End Poison overwritten", "use-after-free"),
)
"""Violation kinds, by how the reason begins."""

VMEMMAP_BASE = 0xFFFF_EA00_0000_0000
STRUCT_PAGE_SIZE = 64
PG_SLAB, PG_HEAD = 9, 16
LAST_CPUPID_SHIFT, LAST_CPUPID = 30, 0x1F_FFFF
ZONE_SHIFT, NODE_SHIFT = 51, 54
"""Where ``page->flags`` keeps what, with SPARSEMEM_VMEMMAP and ten bits of node (x86-64)."""


def object_err(slub: Slub, cache: KmemCache, slab: Slab, index: int, reason: str) -> None:
    """Report something wrong with an object."""
    _report(slub, cache, reason, _trailer(slub, cache, slab, index))


def check_bytes_and_report(
    slub: Slub, cache: KmemCache, slab: Slab, index: int, what: str, start: int, value: int, length: int
) -> bool:
    """Whether `length` bytes, `start` bytes into an object, are all `value`; else that is reported, and mended."""
    memory = memory_of(slab)
    fault = memory.fault(place_of(cache, index) + start, length, value)
    if fault is None:
        return True
    first, _ = fault
    detail = f"{_range(slab, fault)} @offset={first}. First byte 0x{memory.data[first]:x} instead of 0x{value:x}"
    fix = f"Restoring {what} {_range(slab, fault)}=0x{value:x}"
    lines = [detail, *_trailer(slub, cache, slab, index), _fix_line(cache, fix)]
    _report(slub, cache, f"{what} overwritten", lines)
    _restore_bytes(slub, cache, slab, fix, fault, value)
    return False


def slab_pad_check(slub: Slub, cache: KmemCache, slab: Slab) -> None:
    """Check what is left over at the end of a slab, and mend it."""
    if not cache.flags & SLAB_POISON:
        return
    length = PAGE_SIZE << slab.order
    remainder = length % cache.size
    pad = length - remainder
    fault = memory_of(slab).fault(pad, remainder, POISON_INUSE)
    if fault is None:
        return
    fix = f"Restoring slab padding {_range(slab, fault)}=0x{POISON_INUSE:x}"
    after = [*memory_of(slab).dump("Padding ", pad, remainder), _fix_line(cache, fix)]
    slab_err(slub, cache, slab, f"Padding overwritten. {_range(slab, fault)} @offset={fault[0]}", after)
    _restore_bytes(slub, cache, slab, fix, fault, POISON_INUSE)


def slab_err(slub: Slub, cache: KmemCache, slab: Slab, reason: str, after: Sequence[str] = ()) -> None:
    """Report something wrong with a slab as a whole; `after` is printed last."""
    _report(slub, cache, reason[:REASON_MAX], [*_slab_lines(slub, cache, slab), *after])


def slab_fix(slub: Slub, cache: KmemCache, message: str) -> None:
    """Say what was done about it."""
    slub.machine.count("slab_errors")
    slub.machine.printk("error", _fix_line(cache, message))


def slab_bug(machine: Machine, cache: KmemCache, reason: str) -> list[str]:
    """How every report begins."""
    headline = f"BUG {cache.name} ({print_tainted(machine)}): {reason}"
    return ["=" * RULE, *headline.split("\n"), "-" * RULE, ""]


@kernel_name("slab_err")
def objects_remaining(slub: Slub, cache: KmemCache, slab: Slab, objects: Sequence[int]) -> list[str]:
    """The part of a report that is about one slab in which `objects` are left; the caller makes the violation."""
    reason = f"Objects remaining in {cache.name} on __kmem_cache_shutdown()"
    lines = [*slab_bug(slub.machine, cache, reason[:REASON_MAX]), *_slab_lines(slub, cache, slab)]
    slub.machine.count("slab_errors")
    slub.machine.taints["B"] = None
    for index in objects:
        address = object_address(cache, slab, index)
        lines.append(f"Object 0x{address:016x} @offset={address - slab_address(slab)}")
        lines += _tracking(slub, cache, slab, index)
    return lines


@kernel_name("dump_stack_lvl")
def dump_stack(machine: Machine) -> list[str]:
    """Who is running, and where."""
    return [identity(machine), HARDWARE, *call_trace(machine.stack())]


def page_flags(machine: Machine, slab: Slab) -> str:
    """``page->flags`` of the first page, in hex and by name (``%pGp``)."""
    zone = next(zone.index for zone in machine.nodes[slab.node].zones if zone.part_of(slab.pfn, 1))
    named = {PG_SLAB: "slab"} | ({PG_HEAD: "head"} if slab.order else {})
    value = slab.node << NODE_SHIFT | zone << ZONE_SHIFT | LAST_CPUPID << LAST_CPUPID_SHIFT
    value |= sum(1 << bit for bit in named)
    places = f"node={slab.node}|zone={zone}|lastcpupid=0x{LAST_CPUPID:x}"
    return f"0x{value:x}({'|'.join(named.values())}|{places})"


def _report(slub: Slub, cache: KmemCache, reason: str, lines: Sequence[str]) -> None:
    machine = slub.machine
    machine.count("slab_errors")
    kind = next((kind for start, kind in KINDS if reason.startswith(start)), "invariant")
    head = slab_bug(machine, cache, reason)
    machine.violate(kind, f"BUG {cache.name}: {reason.strip()}", join([*head, *lines]))
    machine.taints["B"] = None


def _range(slab: Slab, fault: tuple[int, int]) -> str:
    address = memory_of(slab).address
    first, end = fault
    return f"0x{address + first:016x}-0x{address + end - 1:016x}"


def _restore_bytes(slub: Slub, cache: KmemCache, slab: Slab, fix: str, fault: tuple[int, int], value: int) -> None:
    slab_fix(slub, cache, fix)
    first, end = fault
    memory_of(slab).fill(first, end - first, value)


def _fix_line(cache: KmemCache, message: str) -> str:
    return f"FIX {cache.name}: {message}"


def _slab_lines(slub: Slub, cache: KmemCache, slab: Slab) -> list[str]:
    return [_slab_info(slub, cache, slab), *dump_stack(slub.machine)]


def _slab_info(slub: Slub, cache: KmemCache, slab: Slab) -> str:
    page = VMEMMAP_BASE + slab.pfn * STRUCT_PAGE_SIZE
    return (
        f"Slab 0x{page:016x} objects={slab.objects} used={slab.inuse} "
        f"fp=0x{get_freelist(cache, slab):016x} flags={page_flags(slub.machine, slab)}"
    )


def _trailer(slub: Slub, cache: KmemCache, slab: Slab, index: int) -> list[str]:
    """Everything about an object, its slab, and who is running (``print_trailer``)."""
    memory, at, red = memory_of(slab), place_of(cache, index), bool(cache.flags & SLAB_RED_ZONE)
    fp = get_freepointer(cache, slab, index)
    lines = [
        *_tracking(slub, cache, slab, index),
        _slab_info(slub, cache, slab),
        f"Object 0x{memory.address + at:016x} @offset={at} fp=0x{fp:016x}",
        "",
    ]
    if red:
        pad = left_pad(cache)
        lines += memory.dump("Redzone  ", at - pad, pad)
    elif at > BYTES_BEFORE:
        lines += memory.dump("Bytes b4 ", at - BYTES_BEFORE, BYTES_BEFORE)
    lines += memory.dump("Object   ", at, min(cache.object_size, PAGE_SIZE))
    if red:
        lines += memory.dump("Redzone  ", at + cache.object_size, cache.inuse - cache.object_size)
    end = metadata_end(slub, cache)
    if end != size_from_object(cache):
        lines += memory.dump("Padding  ", at + end, size_from_object(cache) - end)
    return [*lines, *dump_stack(slub.machine)]


def _tracking(slub: Slub, cache: KmemCache, slab: Slab, index: int) -> list[str]:
    """Who has allocated an object, and who has freed it (``print_tracking``)."""
    memory = slab.memory
    if memory is None or not cache.flags & SLAB_STORE_USER:
        return []
    now = slub.machine.jiffies
    return [
        *_track("Allocated", memory.allocated.get(index), now),
        *_track("Freed", memory.freed.get(index), now),
    ]


def _track(what: str, track: Track | None, now: int) -> list[str]:
    if track is None:
        return []
    line = f"{what} in {track.function} age={now - track.when} cpu={track.cpu} pid={track.pid}"
    return [line, *(f" {function}" for function in track.stack)]
