"""A processor: its interrupt context, and the run queue of its threads.

Three kinds of context share a processor, the higher ones first: hard interrupts (the `Cpu` actor itself, receiving
messages while interrupts are enabled), soft interrupts (`SoftIrq`), threads.  The processor decides which of them
*may* take the next step; which of those *does* is the strategy's decision:

* while a hard interrupt is being handled, only its handler;
* while soft interrupts run, they and hard interrupts;
* otherwise the current thread, and every queued thread where the current one can be preempted: it waits, or
  ``preempt_count`` is 0, interrupts are on and the kernel is preemptible (``full``), or it is at `cond_resched`.

A processor comes and goes (`online`), and before it goes it is no more *active*: then only threads that belong to it
(`KernelThread.per_cpu`) run there, and others that wake up look for another one (`KernelThread.find_processor`).

The rules stand in `Cpu.settle`, which is called when one of their inputs changed and more than one context is
concerned.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

from .actor import Actor
from .clock import Clock
from .mailbox import Mailbox, Message
from .operation import Op, OpKind
from .resource import Access
from .softirq import SoftIrq

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from .interleaver import Interleaver
    from .thread import KernelThread


def _offer(thread: Any) -> None:
    cpu = thread.cpu
    if cpu.queue:
        cpu.offers_processor = True
        cpu.settle()
    elif cpu.qs_needed is not None:
        cpu.on_quiet(cpu, True)


def _withdraw(thread: Any) -> None:
    if thread.cpu.offers_processor:
        thread.cpu.offers_processor = False
        thread.cpu.settle()


COND_RESCHED = Op(OpKind.RESCHEDULE, "cond_resched", admit=_offer, perform=_withdraw)
"""Awaited by a thread to let another one have the processor, whatever the preemption model."""


SLEEPER_CREDIT_NS = 3_000_000
WAKEUP_GRANULARITY_NS = 1_000_000
"""Of the scheduler (CFS up to 6.5, on one processor): a sleeper is placed that much behind, and that much preempts."""


class InterruptMailbox(Mailbox):
    """Messages to a processor; they wait while its interrupts are disabled."""

    __slots__ = ("cpu",)

    def __init__(self, cpu: Cpu) -> None:
        super().__init__(cpu)
        self.cpu = cpu

    def arrived(self) -> None:
        """Let the interrupt in, if the processor takes interrupts: sending one is a step on that processor too."""
        interleaver = self.cpu.interleaver
        if interleaver.touch is not None:
            interleaver.touch(self.cpu.host, Access.WRITE)
        super().arrived()

    def may_receive(self) -> bool:
        """Whether an interrupt waits and may come in."""
        cpu = self.cpu
        return bool(self._queue) and not (cpu.irqs_off or cpu.in_hardirq or cpu.halted)


class CpuMasks:
    """The processors of one machine by number, and the resource that stands for who of them is online or active."""

    __slots__ = ("cpus", "read", "resource")

    def __init__(self, interleaver: Interleaver) -> None:
        self.cpus: list[Cpu] = []
        self.resource = interleaver.resource("cpu_online_mask")
        self.read = Op(OpKind.READ, self.resource)


class Cpu(Actor):
    """One processor.

    ``handlers`` maps message classes to functions of (cpu, message), plain or async; ``on_switch`` functions are told
    (cpu, previous, next, preempted) of every context switch, where None is the idle thread.
    """

    daemon = True

    __slots__ = (
        "_online",
        "active",
        "current",
        "dying",
        "halted",
        "handlers",
        "in_hardirq",
        "in_softirq",
        "in_user_mode",
        "irqs_off",
        "mailbox",
        "masks",
        "min_vruntime_ns",
        "node",
        "offers_processor",
        "on_quiet",
        "on_switch",
        "preempt_model",
        "preempting",
        "qs_needed",
        "queue",
        "runs_threads",
        "slice_max_ns",
        "softirq",
    )

    def __init__(
        self,
        interleaver: Interleaver,
        cpu_id: int,
        node: int,
        *,
        preempt_model: str,
        tick_ns: int,
        masks: CpuMasks | None = None,
    ) -> None:
        super().__init__(interleaver, f"cpu/{cpu_id}", cpu_id=cpu_id)
        self.clock = Clock()
        self.comm = f"swapper/{cpu_id}"
        self.node = node
        self.masks = masks if masks is not None else CpuMasks(interleaver)
        self.masks.cpus.append(self)
        # What the masks say.
        self._online = False
        self.active = True  # any thread may run here
        self.dying = False  # on its way down
        self.halted = False  # takes no interrupts, hard or soft, as it is not online any more
        self.preempt_model = preempt_model
        self.slice_max_ns = tick_ns
        self.handlers: dict[type[Message], Callable[[Cpu, Any], Awaitable[None] | None]] = {}
        self.on_switch: list[Callable[[Cpu, KernelThread | None, KernelThread | None, bool], object]] = []
        self.mailbox = InterruptMailbox(self)
        # Who has the processor.
        self.current: KernelThread | None = None
        self.queue: deque[KernelThread] = deque()  # runnable, not current
        self.offers_processor = False  # the current thread is at cond_resched
        self.preempting: KernelThread | None = None  # woken with so little processor time that it goes first
        self.min_vruntime_ns = 0  # only grows
        self.irqs_off = 0
        self.in_hardirq = False
        self.in_softirq = False
        self.runs_threads = True
        self.in_user_mode = False  # the current thread is between two calls into the kernel
        self.softirq: SoftIrq | None = None
        # The grace period this processor still owes a quiescent state for, the latest of several; None: none.
        self.qs_needed: int | None = None
        # Called while it owes one, with whether the thread would give the processor up, when a region may have ended
        # that had kept the processor from being quiescent.
        self.on_quiet: Callable[[Cpu, bool], object] = _nothing_owed

    # --- coming and going

    @property
    def online(self) -> bool:
        """Whether the processor runs anything (``cpu_online``); everybody may look."""
        if (touch := self.interleaver.touch) is not None:
            touch(self.masks.resource, Access.READ)
        return self._online

    @online.setter
    def online(self, value: bool) -> None:
        self.masks_change()
        self._online = value

    def masks_change(self) -> None:
        """Declare that the step being made changes what the masks say of this processor."""
        if (touch := self.interleaver.touch) is not None:
            touch(self.masks.resource, Access.WRITE)
            touch(self.host, Access.WRITE)

    def deactivate(self) -> None:
        """Send away whoever may run elsewhere, and take no more of them (``balance_push_set``)."""
        self.masks_change()
        self.active = False
        for thread in list(self.queue):
            if not thread.per_cpu:
                thread.push_away()

    # --- interrupts

    async def body(self) -> None:
        """Take interrupts for ever."""
        while True:
            message = await self.mailbox.receive()
            current = self.current
            self.pid, self.comm = (current.pid, current.comm) if current else (0, f"swapper/{self.cpu_id}")
            name = type(message).__name__
            tracepoints = self.interleaver.tracepoints
            if (fire := tracepoints.irq_handler_entry.fire) is not None:
                fire(0, name)
            pending = self.handlers[type(message)](self, message)
            if pending is not None:
                self.in_hardirq = True
                self.settle()
                await pending
                self.in_hardirq = False
                self.settle()
            if self.softirq is not None:
                self.softirq.nudge()
            if (fire := tracepoints.irq_handler_exit.fire) is not None:
                fire(0, 1)

    def halt(self) -> None:
        """Take no interrupts any more, and be offline: the processor is about to go (``__cpu_disable``)."""
        self.online = False
        self.halted = True
        if self.slot >= 0 and self.pending is self.idle_op:
            self.block()

    def unhalt(self) -> None:
        """Be online, and take interrupts again."""
        self.online = True
        self.halted = False
        if self.mailbox:
            self.mailbox.arrived()
        if self.softirq is not None:
            self.softirq.nudge()

    async def handle_pending(self) -> None:
        """Do what the messages that wait ask for, in the running context of this processor.

        For one that takes no interrupts any more and is about to go (``smpcfd_dying_cpu``).
        """
        while self.mailbox:
            message = self.mailbox.take()
            pending = self.handlers[type(message)](self, message)
            if pending is not None:
                await pending

    def local_irq_disable(self) -> None:
        """Let no interrupt in until `local_irq_enable`; nests."""
        self.irqs_off += 1
        if self.irqs_off == 1:
            if (fire := self.interleaver.tracepoints.irq_disable.fire) is not None:
                fire(self.in_hardirq * 2 + self.in_softirq)
            if self.slot >= 0 and self.pending is self.idle_op:
                self.block()
            if self.queue:
                self.settle()

    def local_irq_enable(self) -> None:
        """Undo one `local_irq_disable`."""
        if self.irqs_off == 1 and (fire := self.interleaver.tracepoints.irq_enable.fire) is not None:
            fire(self.in_hardirq * 2 + self.in_softirq)
        self.irqs_off -= 1
        if not self.irqs_off:
            if self.mailbox:
                self.mailbox.arrived()
            if self.softirq is not None:
                self.softirq.nudge()
            if self.queue:
                self.settle()
            if self.qs_needed is not None:
                self.on_quiet(self, False)

    def raise_softirq(self, vector: int, action: Callable[[Cpu], Awaitable[None]]) -> None:
        """Have `action` run in soft-interrupt context on this processor, soon; once, however often it is raised."""
        if (fire := self.interleaver.tracepoints.softirq_raise.fire) is not None:
            fire(vector)
        if self.softirq is None:
            self.softirq = SoftIrq(self)
            self.interleaver.spawn(self.softirq)
        self.softirq.raised[vector] = action
        self.softirq.nudge()

    # --- threads

    def enqueue(self, thread: KernelThread) -> None:
        """A thread became runnable here."""
        thread.off_cpu = True
        self.queue.append(thread)
        # Under a clock without costs nobody ever has run for long.  A daemon that never ran has slept since booting.
        placed = self.min_vruntime_ns - SLEEPER_CREDIT_NS
        thread.vruntime_ns = placed if thread.daemon and not thread.slice_ns else max(thread.vruntime_ns, placed)
        current = self.current
        if current is not None and self._vruntime_ns(current) - thread.vruntime_ns > WAKEUP_GRANULARITY_NS:
            self.preempting = thread
        if (fire := self.interleaver.tracepoints.sched_waking.fire) is not None:
            fire(thread.comm, thread.pid, 120, self.cpu_id)
        thread.contested = True
        if self.runs_threads and self.switchable():
            if self.current is not None:
                self.current.contested = True
            self.interleaver.enable(thread)

    def leave_queue(self, thread: KernelThread) -> None:
        """A queued thread must wait after all: a sleeper that was to make way for it leaves the processor idle."""
        self.queue.remove(thread)
        current = self.current
        if self.queue or current is None or not current.blocked:
            return
        if not current.spinning and not current.preempt_count:
            self.put_current()

    @property
    def idle(self) -> bool:
        """Whether no context of this processor has anything to do: an extended quiescent state for RCU."""
        softirq = self.softirq
        return self.current is None and not self.in_hardirq and not self.in_softirq and not (softirq and softirq.raised)

    def switchable(self) -> bool:
        """Whether a queued thread may have the processor."""
        current = self.current
        if current is None:
            return True
        if current.preempt_count or self.irqs_off:
            return False
        return current.blocked or self.preempt_model == "full" or self.offers_processor

    def settle(self) -> None:
        """Bring the enabled contexts of this processor in line with the rules at the head of this file."""
        interleaver = self.interleaver
        hard, soft = self.in_hardirq, self.in_softirq
        self.runs_threads = runs_threads = not (hard or soft)
        softirq = self.softirq
        if softirq is not None and soft and not softirq.blocked:
            if hard:
                interleaver.disable(softirq)
            else:
                interleaver.enable(softirq)
        current = self.current
        if current is not None and not current.blocked:
            if runs_threads:
                interleaver.enable(current)
            else:
                interleaver.disable(current)
        others = runs_threads and self.switchable()
        if current is not None:
            current.contested = others and bool(self.queue)
        for thread in self.queue:
            thread.contested = True
            if others:
                interleaver.enable(thread)
            else:
                interleaver.disable(thread)

    def put_current(self) -> None:
        """The current thread is no more on this processor, which is idle until a queued thread steps."""
        previous, self.current = self.current, None
        if previous is not None:
            previous.vruntime_ns = self._vruntime_ns(previous)
            previous.off_cpu = True
            self._switched(previous, None, preempted=False)
            if self.queue:
                self.settle()

    def switch_to(self, thread: KernelThread) -> None:
        """Make a queued thread current; the previous one, if it could go on, is preempted."""
        previous = self.current
        self.offers_processor = False
        self.preempting = None
        self.queue.remove(thread)
        preempted = False
        if previous is not None:
            previous.vruntime_ns = self._vruntime_ns(previous)
            previous.off_cpu = True
            if not previous.blocked:
                preempted = True
                self.queue.append(previous)
        thread.off_cpu = False
        thread.slice_ns = self.interleaver.now_ns
        self.min_vruntime_ns = max(self.min_vruntime_ns, thread.vruntime_ns)
        self.current = thread
        self._switched(previous, thread, preempted=preempted)
        if self.queue:
            self.settle()
        else:
            thread.contested = False

    def _vruntime_ns(self, current: KernelThread) -> int:
        """Processor time of the current thread up to now."""
        return current.vruntime_ns + self.clock.ns - current.slice_ns

    def _switched(self, previous: KernelThread | None, thread: KernelThread | None, *, preempted: bool) -> None:
        if (fire := self.interleaver.tracepoints.sched_switch.fire) is not None:
            idle = f"swapper/{self.cpu_id}"
            old = (previous.comm, previous.pid, 120) if previous else (idle, 0, 120)
            new = (thread.comm, thread.pid, 120) if thread else (idle, 0, 120)
            state = TASK_RUNNING if previous is None or not previous.blocked else TASK_UNINTERRUPTIBLE
            fire(*old, state, *new)
        for told in self.on_switch:
            told(self, previous, thread, preempted)


def _nothing_owed(cpu: Cpu, _: bool) -> None:
    cpu.qs_needed = None


TASK_RUNNING = 0
TASK_UNINTERRUPTIBLE = 2
