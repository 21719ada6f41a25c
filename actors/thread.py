"""A kernel thread: an actor that needs a processor to run.

States: *current* (its processor's), *queued* (runnable, not current; ``off_cpu``), *blocked* (its pending operation
waits). A blocked thread has given up its processor, unless it spins: a spinlock waiter (``preempt_count`` > 0) keeps
the processor for good, an optimistic mutex waiter until another thread wants it.

A thread belongs to one processor at a time and stays there, unless that goes: then it is pushed away (`push_away`) or,
if it sleeps, looks for another one when it wakes (`find_processor`, as select_fallback_rq() does).  Threads that are a
processor's own (``per_cpu``) stay, and must see to it that they sleep by the time it goes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from .actor import Actor
from .resource import Access

if TYPE_CHECKING:
    from .cpu import Cpu


class KernelThread(Actor):
    """Runs kernel functions on one processor (``cpu``); subclasses write `body`.

    ``preempt_count`` > 0 forbids taking the processor away, ``bh_count`` > 0 soft interrupts; ``rcu_depth`` counts the
    read-side critical sections it is in.
    """

    waits_visibly: ClassVar[bool] = True

    __slots__ = (
        "asleep_ns",
        "bh_count",
        "cpu",
        "per_cpu",
        "preempt_count",
        "rcu_blocking",
        "rcu_depth",
        "slice_ns",
        "spinning",
        "vruntime_ns",
    )

    def __init__(self, cpu: Cpu, name: str, *, pid: int, comm: str | None = None) -> None:
        super().__init__(cpu.interleaver, name, cpu_id=cpu.cpu_id, pid=pid)
        self.comm = comm or name
        self.cpu = cpu
        self.clock = cpu.clock
        self.host = cpu.host
        self.per_cpu = False  # may run while its processor is not active (KTHREAD_IS_PER_CPU)
        self.asleep_ns = 0  # virtual time at which it began to wait, if it does
        self.preempt_count = 0
        self.bh_count = 0
        self.rcu_depth = 0
        self.rcu_blocking = False  # preempted inside a reader: on the list of readers that hold up grace periods
        self.slice_ns = 0  # virtual time at which it last got the processor
        self.vruntime_ns = 0  # processor time it has had, up to the last switch; sleepers do not fall far behind
        self.spinning = False  # if blocked: waits with the processor, not asleep
        self.off_cpu = True

    def block(self) -> None:
        """Sleep: the processor goes to the next runnable thread, or idle."""
        if self.interleaver.touch is not None:
            self.interleaver.touch(self.host, Access.WRITE)
        self.blocked = True
        self.spinning = False
        self.asleep_ns = self.interleaver.now_ns
        self.interleaver.disable(self)
        cpu = self.cpu
        if cpu.current is self:
            if cpu.queue:
                cpu.settle()  # the switch itself comes with the next thread's step
            elif not self.preempt_count:
                cpu.put_current()
        else:
            cpu.leave_queue(self)

    def block_spinning(self) -> None:
        """Wait on the processor; where preemption is possible another thread may still take it."""
        if self.interleaver.touch is not None:
            self.interleaver.touch(self.host, Access.WRITE)
        self.blocked = self.spinning = True
        self.asleep_ns = self.interleaver.now_ns
        # Interleaver.disable, inlined: with `unblock` below the hottest path of a contended lock.
        slot = self.slot
        if slot >= 0:
            enabled = self.interleaver.enabled
            last = enabled.pop()
            if last is not self:
                enabled[slot] = last
                last.slot = slot
            self.slot = -1
        cpu = self.cpu
        if cpu.current is not self:
            cpu.leave_queue(self)
        elif cpu.queue:
            cpu.settle()
        elif cpu.qs_needed is not None:
            cpu.on_quiet(cpu, True)

    def unblock(self) -> None:
        """Become runnable: go on at once on one's own processor, or queue for it."""
        self.blocked = False
        cpu = self.cpu
        interleaver = self.interleaver
        if interleaver.touch is not None:
            interleaver.touch(cpu.host, Access.WRITE)
        if cpu.current is self:
            if cpu.runs_threads and self.slot < 0:
                # Interleaver.enable, inlined.
                enabled = interleaver.enabled
                self.slot = len(enabled)
                enabled.append(self)
                if interleaver.costed or interleaver.watch is not None:
                    interleaver.announce(self)
            if cpu.queue:
                cpu.settle()
        else:
            if not cpu.active and not self.per_cpu:
                self.find_processor()
                cpu = self.cpu
            cpu.enqueue(self)

    def find_processor(self) -> None:
        """Belong to another processor, since one's own is going or gone: one of the same node if there is any."""
        home = self.cpu
        interleaver = self.interleaver
        if interleaver.touch is not None:
            interleaver.touch(home.masks.resource, Access.READ)
        active = [cpu for cpu in home.masks.cpus if cpu.active]
        near = [cpu for cpu in active if cpu.node == home.node] or active
        if near:
            self.move_to(near[interleaver.choose("which processor takes a thread over", len(near))])

    def move_to(self, cpu: Cpu) -> None:
        """Belong to another processor from now on; the thread is on no run queue."""
        if cpu is self.cpu:
            return
        touch = self.interleaver.touch
        if touch is not None:
            touch(self.host, Access.WRITE)
            touch(cpu.host, Access.WRITE)
        self.cpu = cpu
        self.cpu_id = cpu.cpu_id
        self.clock = cpu.clock
        self.host = cpu.host

    def push_away(self) -> None:
        """Leave the run queue it waits in for that of another processor."""
        cpu = self.cpu
        self.interleaver.disable(self)
        cpu.queue.remove(self)
        if cpu.preempting is self:
            cpu.preempting = None
        self.find_processor()
        if self.interleaver.touch is not None:
            self.interleaver.touch(self.cpu.host, Access.WRITE)
        self.cpu.enqueue(self)

    def turn(self) -> Actor:
        """Who goes on: one whose wake-up preempts, the current thread until its slice ends, the first in the queue."""
        cpu = self.cpu
        current = cpu.current
        woken = cpu.preempting
        if woken is not None and woken.slot >= 0:
            return woken
        if current is not None and current.slot >= 0 and self.clock.ns - current.slice_ns < cpu.slice_max_ns:
            return current
        return next((thread for thread in cpu.queue if thread.slot >= 0), current or self)

    def take_processor(self) -> None:
        """Called before a step of a thread that is not its processor's current one."""
        self.cpu.switch_to(self)

    def preempt_disable(self) -> None:
        """Keep the processor until `preempt_enable`, and say so; nests."""
        self.preempt_count_inc()
        if (fire := self.interleaver.tracepoints.preempt_disable.fire) is not None:
            fire(self.preempt_count)

    def preempt_enable(self) -> None:
        """Undo one `preempt_disable`."""
        interleaver = self.interleaver
        if interleaver.outcome is None and (fire := interleaver.tracepoints.preempt_enable.fire) is not None:
            fire(self.preempt_count)  # not where a run ends and its threads are unwound
        self.preempt_count_dec()

    def in_atomic(self) -> bool:
        """Whether preemption, soft interrupts or the processor's interrupts are off."""
        return bool(self.preempt_count or self.bh_count or self.cpu.irqs_off)

    def preempt_count_inc(self) -> None:
        """`preempt_disable` of what is announced otherwise: locks and readers."""
        self.preempt_count += 1
        if self.cpu.queue:
            self.cpu.settle()

    def preempt_count_dec(self) -> None:
        """Undo one `preempt_count_inc`."""
        self.preempt_count -= 1
        cpu = self.cpu
        if cpu.queue:
            cpu.settle()
        if cpu.qs_needed is not None:
            cpu.on_quiet(cpu, False)

    def on_finished(self) -> None:
        """Leave the processor (``do_exit``)."""
        interleaver = self.interleaver
        if interleaver.outcome is None and (fire := interleaver.tracepoints.sched_process_exit.fire) is not None:
            fire(self.comm, self.pid, 120)  # not where a run ends and its threads are unwound
        if self.cpu.current is self:
            self.cpu.put_current()
        elif self in self.cpu.queue:
            self.cpu.queue.remove(self)
