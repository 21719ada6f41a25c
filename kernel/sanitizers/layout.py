"""What the kernel's reports have in common: rules, identity lines, call traces."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..machine import Machine

HARDWARE = "Hardware name: slubloom emulated machine"


TAINTS = "FSRMBUDAWCIOELKXTN"
"""The letters of taints after the first, which tells proprietary modules (P) from their absence (G)."""

FIELD_OFFSETS = {"list_lock": 0x0, "nr_partial": 0x8, "partial": 0x10, "nr_slabs": 0x20, "total_objects": 0x28}
"""Byte offsets in ``struct kmem_cache_node`` (6.1, 64-bit, no lock debugging): the address of the fault."""


def identity(machine: Machine) -> str:
    """``CPU: 1 PID: 101 Comm: creator Not tainted 5.11.0-slubloom``."""
    running = machine.running
    return f"CPU: {max(running.cpu_id, 0)} PID: {running.pid} Comm: {running.comm} {kernel_ident(machine)}"


def kernel_ident(machine: Machine) -> str:
    """Taint and release, as in the identity lines."""
    return f"{print_tainted(machine)} {machine.release.removeprefix('v')}-slubloom #1"


def print_tainted(machine: Machine) -> str:
    """``Not tainted``, or ``Tainted:`` and the letter or blank of each possible taint."""
    if not machine.taints:
        return "Not tainted"
    return "Tainted: G" + "".join(letter if letter in machine.taints else " " for letter in TAINTS)


def call_trace(stack: Iterable[str]) -> list[str]:
    """A stack, innermost first, as the kernel prints one."""
    return ["Call Trace:", " <TASK>", *(f" {function}" for function in stack), " </TASK>"]


def join(lines: Iterable[str]) -> str:
    """A report ends with one line feed."""
    return "\n".join(lines) + "\n"
