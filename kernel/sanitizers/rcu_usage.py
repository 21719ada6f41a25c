"""PROVE_RCU: wrong use of RCU, told when it happens.

Layout: lockdep_rcu_suspicious() and print_unlock_imbalance_bug() of kernel/locking/lockdep.c, __might_resched() of
kernel/sched/core.c (6.1).  Each check tells of a place once, as the kernel's do.

* a pointer dereferenced outside of the readers that protect it: `dereferenced_outside`;
* waiting for a grace period inside a reader: `illegal_wait`;
* sleeping, or taking a lock that may sleep, inside a reader: `illegal_switch`, `MightSleep`;
* leaving a reader of a flavour that was not entered: `unlock_imbalance`;
* a callback queued twice (DEBUG_OBJECTS_RCU_HEAD): `double_call_rcu`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ...actors import KernelThread
from .layout import HARDWARE, call_trace, identity, join, kernel_ident

if TYPE_CHECKING:
    from ..machine import Machine
    from ..rcu.head import RcuHead

SCHEDULER_RUNNING = 2
LOCK_MAPS = {
    "rcu_read_lock": (0xFFFFFFFF82764EC0, "{....}-{1:2}"),
    "rcu_read_lock_bh": (0xFFFFFFFF82764E80, "{....}-{1:2}"),
    "rcu_read_lock_sched": (0xFFFFFFFF82764E40, "{....}-{1:2}"),
}
"""Readers as lockdep lists them: address of the pseudo lock, usage and wait type."""
TRYLOCK = 1
SLEEPING = ("3:3", "4:4", "0:0")
"""Wait types of locks whose taking may sleep."""
ILLEGAL_SWITCH = "Illegal context switch in RCU{flavour} read-side critical section"
RCUPDATE_H, TREE_C, TREE_EXP_H, SRCUTREE_C = (
    "include/linux/rcupdate.h:376",
    "kernel/rcu/tree.c:3530",
    "kernel/rcu/tree_exp.h:916",
    "kernel/rcu/srcutree.c:1202",
)
"""Where 6.1 has the checks."""


def suspicious(machine: Machine, place: str, message: str) -> None:
    """Report ``suspicious RCU usage``, once for a `place` and message."""
    if not _first(machine, f"{place} {message}"):
        return
    lines = [
        "",
        "=" * 29,
        "WARNING: suspicious RCU usage",
        kernel_ident(machine),
        "-" * 29,
        f"{place} {message}!",
        "",
        "other info that might help us debug this:",
        "",
        "",
    ]
    if not _on_online_cpu(machine):
        lines.append("RCU used illegally from offline CPU!")
    lines.append(f"rcu_scheduler_active = {SCHEDULER_RUNNING}, debug_locks = 1")
    lines += [*held_locks(machine), "", "stack backtrace:", identity(machine), HARDWARE, *call_trace(machine.stack())]
    machine.violate("rcu-usage", f"suspicious RCU usage: {message}", join(lines))


def _first(machine: Machine, site: str) -> bool:
    told = machine.rcu.told
    if site in told:
        return False
    told[site] = None
    return True


def _on_online_cpu(machine: Machine) -> bool:
    cpu = machine.cpus.get(machine.running.cpu_id)
    return cpu is None or cpu.online


def held_locks(machine: Machine) -> list[str]:
    """``lockdep_print_held_locks``: the readers the context is in, innermost last."""
    names = machine.rcu.readers_held()
    if not names:
        return [f"no locks held by {machine.who()}."]
    lines = [f"{len(names)} lock{'s' if len(names) > 1 else ''} held by {machine.who()}:"]
    for number, name in enumerate(names):
        address, usage = LOCK_MAPS[name]
        lines.append(f" #{number}: {address:016x} ({name}){usage}, at: {name}")
    return lines


def dereferenced_outside(machine: Machine, place: str, check: str) -> None:
    """Report a pointer used outside of the readers that protect it; `check` is the macro that has noticed."""
    suspicious(machine, place, f"suspicious {check}() usage")


def illegal_wait(machine: Machine, function: str, place: str) -> None:
    """Report waiting for a grace period in a reader it must wait for."""
    what = "SRCU" if "srcu" in function else "RCU"
    where = "in same-type SRCU (or in RCU)" if what == "SRCU" else "in RCU"
    suspicious(machine, place, f"Illegal {function}() {where} read-side critical section")


def illegal_switch(machine: Machine, thread: KernelThread) -> None:
    """Report that `thread` gives up its processor inside a reader."""
    if machine.interleaver.outcome is None and machine.running is thread:
        suspicious(machine, RCUPDATE_H, ILLEGAL_SWITCH.format(flavour=""))


class MightSleep:
    """A probe on ``lock:lock_acquire``: taking a lock that may sleep inside a reader, whether it has to sleep or not.

    On from the first reader of a run: most of the runs without any pay nothing.
    """

    def __init__(self, machine: Machine) -> None:
        self._machine = machine

    def acquire(self, record: tuple[Any, ...]) -> None:
        """One lock about to be taken."""
        machine = self._machine
        thread = machine.interleaver.running
        if not isinstance(thread, KernelThread) or record[5] & TRYLOCK:
            return
        held = machine.rcu.readers_held() if thread.rcu_depth or machine.rcu.other_readers else []
        if held and machine.lock_classes.get(record[6], "") in SLEEPING:
            flavour = "" if "rcu_read_lock" in held else held[-1].removeprefix("rcu_read_lock_")
            suspicious(machine, RCUPDATE_H, ILLEGAL_SWITCH.format(flavour=f"-{flavour}" if flavour else ""))


def unlock_imbalance(machine: Machine, name: str) -> None:
    """Report that a reader is left which was not entered."""
    stack = machine.stack()
    if not _first(machine, f"imbalance {name} {stack[:1]}"):
        return
    held = held_locks(machine)
    lines = [
        "",
        "=" * 37,
        "WARNING: bad unlock balance detected!",
        kernel_ident(machine),
        "-" * 37,
        f"{machine.who()} is trying to release lock ({name}) at:",
        f"[<{stack[0] if stack else name}>]",
        "but there are no more locks to release!",
        "",
        "other info that might help us debug this:",
        *held,
        "",
        "stack backtrace:",
        identity(machine),
        HARDWARE,
        *call_trace(stack),
    ]
    machine.violate("rcu-usage", f"bad unlock balance detected: {name}", join(lines))


def double_call_rcu(machine: Machine, head: RcuHead) -> None:
    """Report a callback that is queued while it is queued already; it will leak."""
    title = f"ODEBUG: activate active (active state 1) object type: rcu_head hint: {head.name}"
    stack = machine.stack()
    machine.printk("error", f"call_rcu(): Double-freed CB {head.address:016x}->{head.name}()!!!")
    running = machine.running
    report = join(
        [
            "------------[ cut here ]------------",
            title,
            f"WARNING: CPU: {max(running.cpu_id, 0)} PID: {running.pid} at lib/debugobjects.c:505 debug_print_object",
            identity(machine),
            HARDWARE,
            "RIP: 0010:debug_print_object",
            *call_trace(stack),
            "---[ end trace 0000000000000000 ]---",
            f"call_rcu(): Double-freed CB {head.address:016x}->{head.name}()!!!",
        ]
    )
    machine.violate("rcu-usage", f"call_rcu(): Double-freed CB {head.name}", report)
    machine.taints["W"] = None


def double_kvfree(machine: Machine, address: int) -> None:
    """Report memory given to kfree_rcu() twice; the second time is ignored."""
    title = f"kvfree_call_rcu(): Double-freed call. rcu_head {address:016x}"
    running = machine.running
    report = join(
        [
            "------------[ cut here ]------------",
            title,
            f"WARNING: CPU: {max(running.cpu_id, 0)} PID: {running.pid} at kernel/rcu/tree.c:3343 kvfree_call_rcu",
            identity(machine),
            HARDWARE,
            "RIP: 0010:kvfree_call_rcu",
            *call_trace(machine.stack()),
            "---[ end trace 0000000000000000 ]---",
        ]
    )
    machine.violate("rcu-usage", title, report)
    machine.taints["W"] = None
