"""Oopses: a null pointer was used, or the kernel found its own state impossible.

Layout: arch/x86/mm/fault.c and kernel/panic.c (6.1).  The thread that oopses is dead, with what it holds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

from .layout import FIELD_OFFSETS, HARDWARE, call_trace, identity, join

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..machine import Machine


def null_dereference(machine: Machine, field: str, *, write: bool) -> NoReturn:
    """Report an access to `field` of a null pointer, and end the running thread."""
    stack = machine.stack()
    address = FIELD_OFFSETS.get(field, 0)
    title = f"BUG: kernel NULL pointer dereference, address: {address:016x}"
    if stack:
        title += f" in {stack[0]}"
    report = join(
        [
            f"BUG: kernel NULL pointer dereference, address: {address:016x}",
            f"#PF: supervisor {'write' if write else 'read'} access in kernel mode",
            f"#PF: error_code(0x{2 if write else 0:04x}) - not-present page",
            f"Oops: {2 if write else 0:04x} [#1] PREEMPT SMP",
            identity(machine),
            HARDWARE,
            f"RIP: 0010:{stack[0] if stack else 'unknown'} (->{field})",
            *call_trace(stack),
            f"CR2: {address:016x}",
            "---[ end trace ]---",
        ]
    )
    machine.oops("null-deref", title, report)


def kernel_bug(machine: Machine, message: str) -> NoReturn:
    """Report a ``BUG()`` and end the running thread."""
    stack = machine.stack()
    where = f" in {stack[0]}" if stack else ""
    report = join(
        [
            "------------[ cut here ]------------",
            f"kernel BUG{where}: {message}",
            "invalid opcode: 0000 [#1] PREEMPT SMP",
            identity(machine),
            HARDWARE,
            *call_trace(stack),
            "---[ end trace ]---",
        ]
    )
    machine.oops("kernel-bug", f"kernel BUG{where}: {message}", report)


def objects_remaining(machine: Machine, cache: str, listed: Sequence[str] = ()) -> None:
    """Report a cache that was to be destroyed but still has objects (``kmem_cache_destroy``); the kernel goes on.

    `listed` is what SLUB has printed about the slabs they are in.
    """
    stack = machine.stack()
    caller = stack[1] if len(stack) > 1 else "user mode"
    title = f"kmem_cache_destroy {cache}: Slab cache still has objects when called from {caller}"
    _warning(machine, "objects-remaining", title, stack, "mm/slab_common.c kmem_cache_destroy", listed)


def wrong_cache(machine: Machine, given: str, found: str) -> None:
    """Report an object freed to a cache it is not of (``cache_from_obj``); the kernel takes the right one."""
    stack = machine.stack()
    title = f"cache_from_obj: Wrong slab cache. {given} but object is from {found}"
    _warning(machine, "kernel-bug", title, stack, f"mm/slab.h {stack[0] if stack else 'cache_from_obj'}")


def refcount_warning(machine: Machine, what: str) -> None:
    """Report wrong use of a ``refcount_t`` (``refcount_warn_saturate``); the kernel goes on with a leak."""
    _warning(machine, "refcount", f"refcount_t: {what}.", machine.stack(), "lib/refcount.c:25 refcount_warn_saturate")


def _warning(
    machine: Machine, kind: str, title: str, stack: Sequence[str], where: str, before: Sequence[str] = ()
) -> None:
    """Lay out what ``WARN()`` prints, below the lines `before`; the kernel goes on."""
    running = machine.running
    report = join(
        [
            *before,
            "------------[ cut here ]------------",
            title,
            f"WARNING: CPU: {max(running.cpu_id, 0)} PID: {running.pid} at {where}",
            identity(machine),
            HARDWARE,
            f"RIP: 0010:{where.rsplit(maxsplit=1)[-1]}",
            *call_trace(stack[1:]),
            "---[ end trace 0000000000000000 ]---",
        ]
    )
    machine.violate(kind, title, report)
    machine.taints["W"] = None
