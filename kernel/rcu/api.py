"""The RCU API of the emulated kernel, on the grace-period machine of the actors room.

Mirrors __rcu_read_lock()/__rcu_read_unlock(), call_rcu(), synchronize_rcu() and rcu_barrier() of kernel/rcu/tree.c
and tree_plugin.h (6.1), with one list of callbacks per processor in order of arrival; each waits for the sequence
number it got.

Who meets here: readers (nothing shared: a count in the thread), updaters that append to the list of *their* processor
with interrupts off, the grace-period machine, which tells processors that a grace period has ended, and the soft
interrupt that runs the callbacks of its processor.  `rcu_barrier` adds a callback to every list that is not empty: it
runs after all earlier ones.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ...actors import GracePeriod, Message, Op, OpKind
from ...actors.grace_period import GracePeriodEnded, QuiescentStates, StartGracePeriod, sequence_snap
from ..locks import Completion, Mutex
from ..locks.base import NOTHING

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from ...actors import Cpu
    from ..machine import Machine

RCU_SOFTIRQ = 9
BLIMIT = 10
"""Callbacks run in one soft interrupt before others get a turn (``blimit``)."""


class RcuHead:
    """``struct rcu_head``: a callback and the sequence number it waits for."""

    __slots__ = ("address", "function", "sequence")

    def __init__(self, function: Callable[[], Awaitable[None] | None], address: int = 0) -> None:
        self.function = function
        self.address = address
        self.sequence = 0


@dataclass(frozen=True, slots=True)
class EntrainBarrier(Message):
    """To a processor: put the barrier's callback behind those you have (``rcu_barrier_handler``)."""

    barrier: Barrier


class Barrier:
    """One `rcu_barrier` in progress: how many callbacks and processors it still waits for."""

    __slots__ = ("count", "done")

    def __init__(self, machine: Machine) -> None:
        # Two more than are waited for, so that it cannot end while processors are still being asked.
        self.count = 2
        self.done = Completion(machine, "&rcu_state.barrier_completion")

    def put(self, number: int = 1) -> None:
        """That many less to wait for."""
        self.count -= number
        if self.count == 0:
            self.done.complete_now()


class CallbackList:
    """The callbacks of one processor, which alone changes them; others see whether there are any."""

    __slots__ = ("queue",)

    def __init__(self) -> None:
        self.queue: deque[RcuHead] = deque()


class Rcu:
    """Normal RCU of one machine; `preemptible` as in a kernel with CONFIG_PREEMPT_RCU."""

    def __init__(self, machine: Machine, *, preemptible: bool, jiffy_ns: int) -> None:
        self._machine = machine
        self.preemptible = preemptible
        self.name = "rcu_preempt" if preemptible else "rcu_sched"
        self.domain = GracePeriod(machine.interleaver, self.name, machine.cpus, scan_ns=jiffy_ns)
        self.quiescent = QuiescentStates(self.domain, preemptible=preemptible)
        self.callbacks = {number: CallbackList() for number in machine.cpus}
        lists = machine.interleaver.resource("rcu callbacks of every cpu")
        self._look_at_lists = Op(OpKind.READ, lists, perform=self.domain.looks_at_processors)
        self.barrier_mutex = Mutex(machine, "rcu_state.barrier_mutex")
        self._lock_op = Op(OpKind.LOCAL, "rcu_read_lock", perform=self._enter)
        self._unlock_op = Op(OpKind.LOCAL, "rcu_read_unlock", perform=self._leave)
        self._enqueue = Op(OpKind.LOCAL, "rcu callbacks of this cpu")
        self.barriers_run = 0
        for cpu in machine.cpus.values():
            cpu.handlers[GracePeriodEnded] = self._grace_period_ended
            cpu.handlers[EntrainBarrier] = self._entrain

    # --- readers

    def read_lock(self) -> Awaitable[None]:
        """Enter a read-side critical section; nests (``rcu_read_lock``)."""
        return self._lock_op

    def read_unlock(self) -> Awaitable[None]:
        """Leave it (``rcu_read_unlock``)."""
        return self._unlock_op

    def reader(self) -> Reader:
        """A read-side critical section as a context manager."""
        return Reader(self)

    def _enter(self, _: Any) -> None:
        thread = self._machine.current
        thread.rcu_depth += 1
        if not self.preemptible:
            thread.preempt_disable()

    def _leave(self, _: Any) -> None:
        thread = self._machine.current
        if not thread.rcu_depth:
            self._machine.kernel_bug("rcu_read_unlock without rcu_read_lock")
        thread.rcu_depth -= 1
        if not self.preemptible:
            thread.preempt_enable()
        if not thread.rcu_depth:
            self.quiescent.outermost_unlock(thread)

    # --- updaters

    async def call_rcu(self, head: RcuHead) -> None:
        """Run ``head.function`` in soft-interrupt context after a grace period that begins later than now."""
        await self._enqueue
        cpu = self._machine.this_cpu
        self._append(cpu, head)
        self._machine.count("rcu_callbacks")
        if (fire := self._machine.tracepoints.rcu_callback.fire) is not None:
            fire(self.name, head.address, 0, len(self.callbacks[cpu.cpu_id].queue))

    def _append(self, cpu: Cpu, head: RcuHead) -> None:
        self.domain.changes()
        head.sequence = sequence_snap(self.domain.sequence)
        self.callbacks[cpu.cpu_id].queue.append(head)
        self.domain.interested[cpu.cpu_id] = None
        self.domain.mailbox.post(StartGracePeriod(head.sequence))

    async def synchronize_rcu(self) -> None:
        """Sleep until every reader that has begun is over."""
        machine = self._machine
        if machine.current.rcu_depth:
            machine.kernel_bug("Illegal synchronize_rcu() in RCU read-side critical section")
        done = Completion(machine, "&rcu.completion")
        await self.call_rcu(RcuHead(done.complete_now))
        await done.wait()

    async def rcu_barrier(self) -> None:
        """Sleep until every callback queued so far, on any processor, has been run."""
        machine = self._machine
        async with self.barrier_mutex:
            barrier = Barrier(machine)
            self._tell_barrier("Begin", -1, barrier)
            await self._look_at_lists
            for number in [number for number, callbacks in self.callbacks.items() if callbacks.queue]:
                barrier.count += 1
                await machine.cpus[number].mailbox.send(EntrainBarrier(barrier))
            barrier.put(2)
            await barrier.done.wait()
            self.barriers_run += 1
            machine.count("rcu_barriers")
            self._tell_barrier("Inc2", -1, barrier)

    def _entrain(self, cpu: Cpu, message: EntrainBarrier) -> None:
        """The interrupt: behind the last callback, without asking for a grace period of its own."""
        barrier = message.barrier
        queue = self.callbacks[cpu.cpu_id].queue
        if not queue:
            self._tell_barrier("IRQNQ", cpu.cpu_id, barrier)
            barrier.put()
            return
        self._tell_barrier("IRQ", cpu.cpu_id, barrier)
        head = RcuHead(barrier.put)
        head.sequence = queue[-1].sequence
        queue.append(head)

    def _tell_barrier(self, what: str, cpu: int, barrier: Barrier) -> None:
        if (fire := self._machine.tracepoints.rcu_barrier.fire) is not None:
            fire(self.name, what, cpu, barrier.count, self.barriers_run)

    # --- running callbacks

    def _grace_period_ended(self, cpu: Cpu, _: GracePeriodEnded) -> None:
        cpu.raise_softirq(RCU_SOFTIRQ, self._do_batch)

    async def _do_batch(self, cpu: Cpu) -> None:
        """Run callbacks whose grace period is over, at most `BLIMIT` (``rcu_do_batch``)."""
        queue = self.callbacks[cpu.cpu_id].queue
        if not queue:
            return
        tracepoints = self._machine.tracepoints
        if (fire := tracepoints.rcu_batch_start.fire) is not None:
            fire(self.name, len(queue), BLIMIT)
        ran = 0
        while queue and ran < BLIMIT and queue[0].sequence <= self.domain.sequence:
            head = queue[0]
            if (fire := tracepoints.rcu_invoke_callback.fire) is not None:
                fire(self.name, head.address, 0)
            pending = head.function()
            if pending is not None:
                await pending
            queue.popleft()  # only now: a barrier must wait for a callback that is being run
            ran += 1
        if (fire := tracepoints.rcu_batch_end.fire) is not None:
            fire(self.name, ran, int(bool(queue)), 0, 0, 0)
        if not queue:
            self.domain.changes()
            self.domain.interested.pop(cpu.cpu_id, None)
        elif queue[0].sequence <= self.domain.sequence:
            cpu.raise_softirq(RCU_SOFTIRQ, self._do_batch)


class Reader:
    """``rcu_read_lock`` … ``rcu_read_unlock`` around a block."""

    __slots__ = ("_rcu",)

    def __init__(self, rcu: Rcu) -> None:
        self._rcu = rcu

    def __aenter__(self) -> Awaitable[None]:
        return self._rcu.read_lock()

    def __aexit__(self, kind: type[BaseException] | None, *_: Any) -> Awaitable[Any]:
        return NOTHING if kind is not None and not issubclass(kind, Exception) else self._rcu.read_unlock()
