"""``rcu_barrier``: wait until every callback queued so far, on any processor, has been invoked.

Mirrors rcu_barrier(), rcu_barrier_entrain(), rcu_barrier_handler() and rcu_barrier_callback() of kernel/rcu/tree.c
(6.1).  It adds a callback of its own behind the last one of each list that is not empty: it asks for no grace period,
and waits for none where there are no callbacks.

Steps: (1) take a snapshot of ``sequence``, then ``barrier_mutex``; if somebody's barrier has begun and ended
since, leave.  (2) Start: count is 2, so that it cannot end while processors are still being asked.  (3) Each possible
processor: no callbacks, nothing to do; online, an interrupt that entrains there, waited for; offline with callbacks,
entrain from here; an interrupt that did not arrive because its processor went away is tried again.  (4) Subtract the
2, wait.  (5) End, and every processor has dealt with it.

Lock order: ``barrier_mutex`` → up to 5.17 ``cpu_hotplug_lock`` (read).  What the kernel does under the raw
``barrier_lock`` is one step here; `migrating` is the other side of that lock.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from ...actors import Message, Op, OpKind
from ...actors.rcu_sequence import sequence_done, sequence_end, sequence_snap, sequence_start, sequence_state
from ...actors.resource import Access
from ...actors.signal import Signal
from ..locks import Completion, Mutex, Together
from .head import RcuHead

if TYPE_CHECKING:
    from ...actors import Cpu
    from ..machine import Machine
    from .data import RcuData
    from .flavour import RcuFlavour


class BarrierSection(Protocol):
    """Seam: what keeps processors from coming and going while they are asked."""

    def held(self, machine: Machine) -> Together:
        """The locks around step 3."""
        ...


class CpusHeld:
    """Up to 5.17: CPU hotplug is kept out (``get_online_cpus``, ``cpus_read_lock``)."""

    def held(self, machine: Machine) -> Together:
        """The read side of ``cpu_hotplug_lock``."""
        lock = machine.cpu_hotplug.lock
        return Together((lock.down_read, lock.up_read))


class CpusFree:
    """From 5.18: nothing; a processor that leaves entrains a pending barrier itself (a16578dd5e3a, 80b3fd474c91)."""

    def held(self, _: Machine) -> Together:
        """No lock."""
        return Together()


@dataclass(frozen=True, slots=True)
class EntrainBarrier(Message):
    """To a processor: put the barrier's callback behind those you have (``rcu_barrier_handler``)."""

    barrier: RcuBarrier


class RcuBarrier:
    """The barrier of one flavour: ``sequence`` is ``barrier_sequence``, ``count`` is ``barrier_cpu_count``."""

    def __init__(self, machine: Machine, flavour: RcuFlavour, section: BarrierSection) -> None:
        self._machine = machine
        self._flavour = flavour
        self._section = section
        self.sequence = 0
        self.count = 0
        self.mutex = Mutex(machine, "rcu_state.barrier_mutex")
        self.done = Completion(machine, "&rcu_state.barrier_completion")
        self.resource = machine.interleaver.resource("rcu_state.barrier_lock")
        self._start = Op(OpKind.UPDATE, self.resource)
        self._next = Op(OpKind.UPDATE, self.resource)

    async def rcu_barrier(self) -> None:
        """Sleep until every callback queued so far has been invoked."""
        machine = self._machine
        self._touch()
        snap = sequence_snap(self.sequence)
        self.trace("Begin", done=snap)
        async with self.mutex:
            self._touch()
            if sequence_done(self.sequence, snap):
                self.trace("EarlyExit")
                return
            async with self._section.held(machine):
                await self._ask_processors()
            self.put(2)
            await self.done.wait()
            self._touch()
            self.trace("Inc2")
            self.sequence = sequence_end(self.sequence)
            for data in self._flavour.data.values():
                data.barrier_snap = self.sequence
            machine.count("rcu_barriers")

    async def _ask_processors(self) -> None:
        await self._start
        self._flavour.domain.changes()
        self.sequence = sequence_start(self.sequence)
        self.count = 2
        self.trace("Inc1")
        self.done.init()
        for data in self._flavour.data.values():
            self._nothing_to_do(data)
        for data in self._flavour.data.values():
            while data.barrier_snap != self.sequence:
                await self._ask(data)

    def _nothing_to_do(self, data: RcuData) -> bool:
        if data.callbacks.length:
            return False
        data.barrier_snap = self.sequence
        self.trace("NQ", data.cpu.cpu_id)
        return True

    async def _ask(self, data: RcuData) -> None:
        """One processor with callbacks."""
        await self._next
        self._flavour.domain.changes()
        if data.barrier_snap == self.sequence or self._nothing_to_do(data):
            return
        number = data.cpu.cpu_id
        if not self._flavour.is_online(number):
            self.entrain(data)
            self.trace("OfflineNoCBQ", number)
            return
        data.barrier_call = arrived = Signal(self._machine.interleaver, f"rcu_barrier on cpu {number}")
        data.cpu.mailbox.post(EntrainBarrier(self))
        await arrived.wait
        if data.barrier_snap == self.sequence:
            self.trace("OnlineQ", number)

    def called(self, cpu: Cpu) -> None:
        """The interrupt."""
        data = self._flavour.data[cpu.cpu_id]
        self._touch()
        self._flavour.domain.changes()
        self.entrain(data)
        self.answer(data)

    def answer(self, data: RcuData) -> None:
        """Whoever has sent an interrupt there need not wait for it any longer."""
        call, data.barrier_call = data.barrier_call, None
        if call is not None:
            call.set()

    def entrain(self, data: RcuData) -> None:
        """Behind the last callback; nothing where this barrier has been here before, or none runs."""
        if not sequence_state(self.sequence) or data.barrier_snap == self.sequence:
            return
        self.trace("IRQ")
        head = RcuHead(self._callback, name="rcu_barrier_callback")
        if data.callbacks.entrain(head):
            head.queued = True
            self.count += 1
        else:
            self.trace("IRQNQ")
        data.barrier_snap = self.sequence

    def _callback(self) -> None:
        self._touch()
        self.trace("LastCB" if self.count == 1 else "CB")
        self.put(1)

    def put(self, number: int) -> None:
        """That many less to wait for."""
        self._touch()
        self.count -= number
        if self.count == 0:
            self.done.complete_now()

    def migrating(self, data: RcuData) -> None:
        """The callbacks of a dead processor are about to be moved: a barrier that waits for them must not lose them."""
        self._touch()
        self.entrain(data)

    def _touch(self) -> None:
        touch = self._machine.interleaver.touch
        if touch is not None:
            touch(self.resource, Access.WRITE)

    def trace(self, what: str, cpu: int = -1, *, done: int | None = None) -> None:
        """Fire ``rcu:rcu_barrier``."""
        if (fire := self._machine.tracepoints.rcu_barrier.fire) is not None:
            fire(self._flavour.name, what, cpu, self.count, self.sequence if done is None else done)
