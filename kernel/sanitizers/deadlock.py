"""Deadlock: nothing can go on, and somebody still waits.  Reported with the wait-for graph, at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...actors.waitfor import Waiting, find_cycle, wait_for_graph
from ..stack import stack_of
from .layout import join, kernel_ident

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ...actors import Actor
    from ..machine import Machine


def report_deadlock(machine: Machine, stuck: Sequence[Actor]) -> None:
    """Report that the `stuck` actors wait for ever."""
    waiting = wait_for_graph(stuck)
    cycle = find_cycle(waiting)
    names = " -> ".join(_label(entry.actor) for entry in cycle)
    if cycle:
        title = f"deadlock: {names} -> {_label(cycle[0].actor)}"
    else:
        title = "deadlock: " + ", ".join(f"{_label(entry.actor)} waits at {entry.wants}" for entry in waiting[:3])
    lines = [
        "=" * 54,
        "WARNING: deadlock, nothing can go on",
        kernel_ident(machine),
        "-" * 54,
        f"{len(waiting)} blocked, wait-for graph:",
    ]
    for entry in waiting:
        lines += _entry(entry)
    if cycle:
        lines += [
            "",
            "cycle:",
            *(f"  {_label(entry.actor)} waits to {entry.wants}, held by the next" for entry in cycle),
        ]
    lines += ["", "stacks:"]
    for entry in waiting:
        lines += [f"{_label(entry.actor)}:", *(f" {function}" for function in stack_of(entry.actor))]
    machine.violate("deadlock", title, join(lines))


def _entry(entry: Waiting) -> list[str]:
    holders = ", ".join(_label(holder) for holder in entry.holders) or "nobody"
    return [f"  {_label(entry.actor)} waits to {entry.wants}, held by {holders}"]


def _label(actor: Actor) -> str:
    return f"{actor.comm}/{actor.pid}" if actor.pid else actor.name
