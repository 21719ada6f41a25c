"""Read-side critical sections, and the checks of PROVE_RCU about them.

Mirrors rcu_read_lock() and its relatives, rcu_dereference*() and rcu_read_lock_held() of include/linux/rcupdate.h and
kernel/rcu/update.c (6.1).  Nothing here is shared: a reader is a count in its thread (in an interrupt, of the
interrupted thread), and what lockdep would know of the other flavours is kept by context.

| flavour | entered by          | forbids                                    |
|---------|---------------------|--------------------------------------------|
| rcu     | rcu_read_lock       | preemption, where RCU is not preemptible   |
| bh      | rcu_read_lock_bh    | soft interrupts                            |
| sched   | rcu_read_lock_sched | preemption                                 |
"""

from __future__ import annotations

import sys
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from ...actors import KernelThread, Op, OpKind
from ..locks.base import NOTHING
from ..memory import Structure, shadow_of
from ..sanitizers.rcu_usage import MightSleep, dereferenced_outside, unlock_imbalance
from ..stack import part_of_caller

if TYPE_CHECKING:
    from collections.abc import Awaitable
    from typing import TypeVar

    from ...actors import Actor
    from ...actors.rcu_quiescent import QuiescentStates
    from ..machine import Machine

    T = TypeVar("T")

NAMES = {"rcu": "rcu_read_lock", "bh": "rcu_read_lock_bh", "sched": "rcu_read_lock_sched"}


class Reader:
    """``rcu_read_lock`` … ``rcu_read_unlock`` around a block."""

    __slots__ = ("_rcu",)

    def __init__(self, rcu: RcuReaders) -> None:
        self._rcu = rcu

    def __aenter__(self) -> Awaitable[None]:
        return self._rcu.read_lock()

    def __aexit__(self, kind: type[BaseException] | None, *_: Any) -> Awaitable[Any]:
        return NOTHING if kind is not None and not issubclass(kind, Exception) else self._rcu.read_unlock()


class RcuReaders:
    """The readers' side of RCU on one machine.  ``told`` are the places that a check has told of."""

    def __init__(self, machine: Machine, quiescent: QuiescentStates, *, preemptible: bool) -> None:
        self._machine = machine
        self.preemptible = preemptible
        self.quiescent = quiescent
        self.told: dict[str, None] = {}
        self.other_readers: dict[Actor, list[str]] = {}  # readers of the flavours bh and sched, by context
        self._watched = False
        self._lock_op = Op(OpKind.LOCAL, "rcu_read_lock", perform=self._enter)
        self._unlock_op = Op(OpKind.LOCAL, "rcu_read_unlock", perform=self._leave)

    # --- rcu

    def read_lock(self) -> Awaitable[None]:
        """Enter a read-side critical section; nests (``rcu_read_lock``)."""
        return self._lock_op

    def read_unlock(self) -> Awaitable[None]:
        """Leave it (``rcu_read_unlock``)."""
        return self._unlock_op

    def reader(self) -> Reader:
        """A read-side critical section as a context manager."""
        return Reader(self)

    def _thread(self) -> KernelThread | None:
        """Whose count it is: the running thread's, in an interrupt the interrupted one's, None where that is idle."""
        running = self._machine.interleaver.running
        return running if isinstance(running, KernelThread) else self._machine.this_cpu.current

    def _enter(self, _: Any) -> None:
        if not self._watched:
            self.watch()
        thread = self._thread()
        if thread is None:
            self.quiescent.idle_depth[self._machine.smp_processor_id()] += 1
            return
        thread.rcu_depth += 1
        if not self.preemptible:
            thread.preempt_count_inc()
        if (fire := self._machine.tracepoints.reader_enter.fire) is not None:
            fire("rcu")

    def _leave(self, _: Any) -> None:
        thread = self._thread()
        cpu = self._machine.this_cpu
        if not self.depth():
            unlock_imbalance(self._machine, NAMES["rcu"])
        elif thread is None:
            self.quiescent.idle_depth[cpu.cpu_id] -= 1
            if cpu.qs_needed is not None:
                self.quiescent.quiet(cpu, resched=False)
        else:
            if (fire := self._machine.tracepoints.reader_leave.fire) is not None:
                fire("rcu")
            thread.rcu_depth -= 1
            if not self.preemptible:
                thread.preempt_count_dec()
            if not thread.rcu_depth:
                self.quiescent.outermost_unlock(thread)

    def depth(self) -> int:
        """How many readers the running context is in (``rcu_preempt_depth``)."""
        thread = self._thread()
        return self.quiescent.idle_depth[self._machine.smp_processor_id()] if thread is None else thread.rcu_depth

    # --- bh and sched

    async def read_lock_bh(self) -> None:
        """Enter a section without soft interrupts (``rcu_read_lock_bh``)."""
        await self._lock_other
        self._push("bh")
        thread = self._thread()
        if thread is not None:
            thread.bh_count += 1
            if (fire := self._machine.tracepoints.softirq_disable.fire) is not None:
                fire(thread.bh_count)

    async def read_unlock_bh(self) -> None:
        """Leave it (``rcu_read_unlock_bh``)."""
        await self._lock_other
        if not self._pop("bh"):
            return
        thread = self._thread()
        if thread is not None:
            thread.bh_count -= 1
            if (fire := self._machine.tracepoints.softirq_enable.fire) is not None:
                fire(thread.bh_count)
            if not thread.bh_count:
                self._after_bh(thread)

    def _after_bh(self, thread: KernelThread) -> None:
        cpu = thread.cpu
        if cpu.softirq is not None:
            cpu.softirq.nudge()
        if cpu.qs_needed is not None:
            self.quiescent.quiet(cpu, resched=False)

    async def read_lock_sched(self) -> None:
        """Enter a section without preemption (``rcu_read_lock_sched``)."""
        await self._lock_other
        self._push("sched")
        self._machine.running.preempt_count_inc()

    async def read_unlock_sched(self) -> None:
        """Leave it (``rcu_read_unlock_sched``)."""
        await self._lock_other
        if self._pop("sched"):
            self._machine.running.preempt_count_dec()

    _lock_other = Op(OpKind.LOCAL, "rcu_read_lock of another flavour")

    def _push(self, flavour: str) -> None:
        if not self._watched:
            self.watch()
        self.other_readers.setdefault(self._machine.running, []).append(flavour)

    def _pop(self, flavour: str) -> bool:
        held = self.other_readers.get(self._machine.running, [])
        if flavour not in held:
            unlock_imbalance(self._machine, NAMES[flavour])
            return False
        held.reverse()
        held.remove(flavour)
        held.reverse()
        if not held:
            del self.other_readers[self._machine.running]
        return True

    # --- checks

    def watch(self) -> None:
        """There are readers in this run: from now on look for what may sleep in one."""
        self._watched = True
        if self._machine.tracepoints.lock_acquire.fire is not None:  # lock checking is on
            self._machine.tracepoints.lock_acquire.attach(MightSleep(self._machine).acquire)

    def readers_held(self) -> list[str]:
        """The readers the running context is in, as lockdep lists them."""
        others = self.other_readers.get(self._machine.running, [])
        return [NAMES["rcu"]] * self.depth() + [NAMES[flavour] for flavour in others]

    def read_lock_held(self, flavour: str = "rcu") -> bool:
        """Whether a reader of `flavour` protects the running context (``rcu_read_lock_held`` and relatives)."""
        held = self.other_readers.get(self._machine.running, [])
        if flavour == "rcu":
            return self.depth() > 0
        if flavour == "bh":
            return "bh" in held or self._machine.this_cpu.in_softirq
        thread = self._thread()
        atomic = thread is None or bool(thread.preempt_count or thread.bh_count)
        return "sched" in held or atomic or bool(self._machine.this_cpu.irqs_off)

    @part_of_caller
    def dereference(self, pointer: T, *, held: bool = False, flavour: str = "rcu", place: str = "") -> T:
        """`pointer`, which readers of `flavour` protect, or what `held` says (``rcu_dereference_check``).

        Outside of both that is reported, with `place` (``file:line``; by default the caller's).
        """
        if not held and not self.read_lock_held(flavour):
            dereferenced_outside(self._machine, place or caller_place(), "rcu_dereference_check")
        return self.loaded(pointer)

    @part_of_caller
    def dereference_protected(self, pointer: T, *, held: bool, place: str = "") -> T:
        """`pointer` for an updater who is sure that nobody changes it: `held` (``rcu_dereference_protected``)."""
        if not held:
            dereferenced_outside(self._machine, place or caller_place(), "rcu_dereference_protected")
        return self.loaded(pointer)

    @part_of_caller
    def loaded(self, pointer: T) -> T:
        """`pointer`, as found just now by what checks nothing: ``idr_find``, ``xa_load``, a list under a lock."""
        if (fire := self._machine.tracepoints.pointer_load.fire) is not None and isinstance(pointer, Structure):
            shadow = shadow_of(pointer)  # not a use of it: it may be freed
            if shadow is not None:
                fire(shadow.address)
        return pointer


def caller_place() -> str:
    """``file:line`` of who has called the caller."""
    frame = sys._getframe(2)
    return f"{PurePath(frame.f_code.co_filename).name}:{frame.f_lineno}"
