"""Deadlock: some wait for each other in a circle, or nothing can go on and somebody still waits.

When nothing can go on that is known at once.  A circle is one also while others go on, which may be for ever: who does
not get ``device_hotplug_lock`` tries again every few milliseconds.  So when timers expire, and a second has passed
since the last look, a circle among those who wait for locks is looked for.

The report has the wait-for graph, and the circle in terms of lock classes: whoever waits holds what the one before him
wants.  Lockdep warns of an order that may lead there; where it has warned of this one, the report says so.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...actors import Access, Outcome
from ...actors.waitfor import Waiting, find_cycle, wait_for_graph
from ..stack import stack_of
from .layout import join, kernel_ident

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ...actors import Actor
    from ..machine import Machine

NS_PER_S = 1_000_000_000
LOOK_EVERY_NS = NS_PER_S


class Deadlocks:
    """Looks for circles in one machine while it runs, and is told when nothing can go on; either ends the run."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._looked_ns = 0

    def nothing_can_go_on(self, stuck: Sequence[Actor]) -> None:
        """Report it."""
        report_deadlock(self._machine, stuck)

    def time_has_passed(self) -> None:
        """Look, if it is time."""
        machine = self._machine
        now_ns = machine.interleaver.now_ns
        if now_ns - self._looked_ns < LOOK_EVERY_NS:
            return
        self._looked_ns = now_ns
        waiting = [actor for actor in machine.interleaver.actors if actor.blocked and _holders(actor)]
        touch = machine.interleaver.touch
        if touch is not None:
            for actor in waiting:
                touch(actor.host, Access.READ)
        if _has_circle(waiting):
            report_deadlock(machine, waiting, "some wait for each other")
            machine.interleaver.stop(Outcome.DEADLOCK)  # that does not end, and the others might not either


def report_deadlock(machine: Machine, stuck: Sequence[Actor], state: str = "nothing can go on") -> None:
    """Report that the `stuck` actors wait for ever, or those of them that wait in a circle."""
    waiting = wait_for_graph(stuck)
    cycle = find_cycle(waiting)
    names = " -> ".join(_label(entry.actor) for entry in cycle)
    if cycle:
        title = f"deadlock: {names} -> {_label(cycle[0].actor)}"
    else:
        title = "deadlock: " + ", ".join(f"{_label(entry.actor)} waits at {entry.wants}" for entry in waiting[:3])
    lines = [
        "=" * 54,
        f"WARNING: deadlock, {state}",
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
            *_lock_order(machine, cycle),
        ]
    lines += ["", "stacks:"]
    for entry in waiting:
        lines += [f"{_label(entry.actor)}:", *(f" {function}" for function in stack_of(entry.actor))]
    machine.violate("deadlock", title, join(lines))


def _lock_order(machine: Machine, cycle: Sequence[Waiting]) -> list[str]:
    """The circle in terms of lock classes, and whether lockdep has warned of it."""
    classes: list[str] = []
    for entry in cycle:
        name = getattr(entry.actor.pending.aux, "name", None)
        if name is None:
            return []
        if name not in classes:  # who waits for a lock may stand behind another one who does
            classes.append(name)
    lines = ["", "lock order:", f"  {' --> '.join([*classes, classes[0]])}"]
    for violation in machine.violations:
        # What one of them holds in between is part of lockdep's circle only.
        warned_of = violation.bug.removeprefix("cycle of ").split(", ")
        if violation.kind == "lockdep-circular" and all(name in warned_of for name in classes):
            lines.append(f"  This is what lockdep has warned of: {violation.title}")
    return lines


def _has_circle(waiting: Sequence[Actor]) -> bool:
    """Whether some of those who wait do so for each other."""
    done: dict[Actor, bool] = {}  # false while what it waits for is being looked at

    def leads_back(actor: Actor) -> bool:
        if actor in done:
            return not done[actor]
        if not actor.blocked:
            return False
        done[actor] = False
        found = any(leads_back(holder) for holder in _holders(actor))
        done[actor] = True
        return found

    return any(leads_back(actor) for actor in waiting)


def _holders(actor: Actor) -> Sequence[Actor]:
    holders = getattr(actor.pending.aux, "holders", None)
    return holders() if holders is not None else ()


def _entry(entry: Waiting) -> list[str]:
    holders = ", ".join(_label(holder) for holder in entry.holders) or "nobody"
    return [f"  {_label(entry.actor)} waits to {entry.wants}, held by {holders}"]


def _label(actor: Actor) -> str:
    return f"{actor.comm}/{actor.pid}" if actor.pid else actor.name
