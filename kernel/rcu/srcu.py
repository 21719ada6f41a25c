"""Sleepable RCU: a domain of its own, whose readers may sleep.

Mirrors __srcu_read_lock(), __srcu_read_unlock(), srcu_readers_active_idx_check(), srcu_advance_state(), call_srcu()
and synchronize_srcu() of kernel/rcu/srcutree.c (6.1); the tree of nodes is left out.

Readers count their entries and exits, per processor and for two indices.  To enter: read the current index, then count
an entry of that index: between the two a grace period may flip the index.  A grace period waits until the index that
is not current has as many exits as entries (SCAN1: stragglers of the flip before), flips, and waits for the other one
(SCAN2).  *Exits are summed before entries*: an exit that is seen has its entry seen too, so equal sums mean that there
was a moment without readers.

States, in the low bits of ``sequence``: idle 0 → SCAN1 1 → SCAN2 2 → idle.  Only the machine (`SrcuGracePeriod`)
changes it.  It looks again when a reader of the index it scans has left; under a costed clock at the next jiffy, as
the kernel's retries are that far apart.  Callbacks are invoked by a kworker of the processor they were queued on.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from ...actors import Actor, Mailbox, Message, Op, OpKind
from ...actors.rcu_sequence import sequence_done, sequence_end, sequence_snap, sequence_start
from ..locks import Completion
from ..sanitizers.rcu_usage import SRCUTREE_C, dereferenced_outside, illegal_wait, unlock_imbalance
from ..stack import kernel_name, part_of_caller
from .head import RcuHead
from .readers import caller_place
from .segcblist import SegmentedCallbacks
from .waiting import GracePeriodCompletion

if TYPE_CHECKING:
    from typing import TypeVar

    from ...actors.worker_pool import WorkItem
    from ..machine import Machine

    T = TypeVar("T")

SCAN2 = 2


@dataclass(frozen=True, slots=True)
class StartSrcuGracePeriod(Message):
    """A grace period is needed."""


@dataclass(frozen=True, slots=True)
class SrcuReaderLeft(Message):
    """A reader of the index that is being scanned has left: look again."""


@dataclass(frozen=True, slots=True)
class QueueSrcuCallbacks(Message):
    """To a processor: have a kworker invoke the callbacks of a domain that were queued on processor ``number``."""

    srcu: SrcuStruct
    number: int


class SrcuStruct:
    """``struct srcu_struct``: one domain."""

    def __init__(self, machine: Machine, name: str) -> None:
        self.machine = machine
        self.name = name
        self.resource = machine.interleaver.resource(f"srcu_struct {name}")
        self.index = 0
        self.entries = {cpu: [0, 0] for cpu in machine.cpus}
        self.exits = {cpu: [0, 0] for cpu in machine.cpus}
        self.inside: dict[Actor, list[int]] = {}  # the readers, with the indices they count for
        self.scanned: int | None = None
        self.sequence = 0
        self.needed = 0
        self.callbacks = {cpu: SegmentedCallbacks() for cpu in machine.cpus}
        self.domain = SrcuGracePeriod(self)
        self._works: dict[int, WorkItem] = {}
        self._look = Op(OpKind.READ, self.resource)
        self.change = Op(OpKind.UPDATE, self.resource)
        machine.interleaver.spawn(self.domain)

    # --- readers

    @kernel_name("__srcu_read_lock")
    async def read_lock(self) -> int:
        """Enter; returns the index to leave with (``srcu_read_lock``)."""
        await self._look
        index = self.index & 1
        await self.change
        self.entries[self.machine.smp_processor_id()][index] += 1
        self.inside.setdefault(self.machine.running, []).append(index)
        if (fire := self.machine.tracepoints.reader_enter.fire) is not None:
            fire(self.name)
        return index

    @kernel_name("__srcu_read_unlock")
    async def read_unlock(self, index: int | None = None) -> None:
        """Leave with the index that `read_lock` gave, by default the latest (``srcu_read_unlock``)."""
        await self.change
        mine = self.inside.get(self.machine.running, [])
        if index is None and mine:
            index = mine[-1]
        if index is None or index not in mine:
            unlock_imbalance(self.machine, self.name)
            return
        if (fire := self.machine.tracepoints.reader_leave.fire) is not None:
            fire(self.name)
        self.exits[self.machine.smp_processor_id()][index] += 1
        mine.remove(index)
        if not mine:
            del self.inside[self.machine.running]
        if self.scanned == index:
            self.domain.mailbox.post(SrcuReaderLeft())

    def read_lock_held(self) -> bool:
        """Whether the running context is a reader."""
        return self.machine.running in self.inside

    @part_of_caller
    def dereference(self, pointer: T, *, held: bool = False, place: str = "") -> T:
        """`pointer`, which readers of this domain protect; outside of them, and not `held`, that is reported."""
        if not held and not self.read_lock_held():
            dereferenced_outside(self.machine, place or caller_place(), "srcu_dereference_check")
        return self.machine.rcu.loaded(pointer)

    # --- updaters

    @kernel_name("call_srcu")
    async def call(self, head: RcuHead) -> None:
        """Have ``head.function`` run by a kworker after a grace period of this domain (``call_srcu``)."""
        await self.change
        head.queued = True
        cpu = self.machine.smp_processor_id()
        self.callbacks[cpu].enqueue(head)
        self._accelerate(cpu)

    def _accelerate(self, cpu: int) -> None:
        wanted = sequence_snap(self.sequence)
        if self.callbacks[cpu].accelerate(wanted) and self.needed < wanted:
            self.needed = wanted
            self.domain.mailbox.post(StartSrcuGracePeriod())

    @kernel_name("synchronize_srcu")
    async def synchronize(self) -> None:
        """Sleep until every reader of this domain that has begun is over (``synchronize_srcu``)."""
        if self.read_lock_held() or self.machine.rcu.readers_held():
            illegal_wait(self.machine, "synchronize_srcu", SRCUTREE_C)
        done = GracePeriodCompletion(self.machine, "&rcu.completion", lambda: self.inside)
        await self.call(RcuHead(done.complete_now, name="wakeme_after_rcu"))
        await done.wait()

    @kernel_name("srcu_barrier")
    async def barrier(self) -> None:
        """Sleep until every callback queued so far has been run (``srcu_barrier``)."""
        await self.change
        finished = Completion(self.machine, f"{self.name} barrier", lock_class="&ssp->srcu_barrier_completion")
        waits = 0
        for callbacks in self.callbacks.values():
            waits += callbacks.entrain(RcuHead(finished.complete_now, name="srcu_barrier_cb"))
        for _ in range(waits):
            await finished.wait()

    # --- polling

    def get_state(self) -> int:
        """A cookie for `poll_state` (``get_state_synchronize_srcu``)."""
        self.domain.changes()
        return sequence_snap(self.sequence)

    def poll_state(self, cookie: int) -> bool:
        """Whether a grace period has passed since (``poll_state_synchronize_srcu``)."""
        self.domain.changes()
        return sequence_done(self.sequence, cookie)

    # --- callbacks

    def ended(self) -> None:
        """A grace period has ended: have what waited for it invoked, in the step being made."""
        for cpu, callbacks in self.callbacks.items():
            callbacks.advance(self.sequence)
            self._accelerate(cpu)
        for cpu, callbacks in self.callbacks.items():
            if callbacks.ready:
                processor = self.machine.online_cpu_for(self.machine.cpus[cpu])
                processor.mailbox.post(QueueSrcuCallbacks(self, cpu))

    async def queue_callbacks(self, number: int) -> None:
        """The interrupt (``srcu_delay_timer``)."""
        await self.machine.workqueues.queue_work_on(number, self._work(number))

    def _work(self, cpu: int) -> WorkItem:
        work = self._works.get(cpu)
        if work is None:

            async def invoke(_: Any) -> None:
                await self.srcu_invoke_callbacks(cpu)

            work = self.machine.workqueues.make_work(f"srcu_invoke_callbacks {self.name}", invoke, queue="rcu_gp")
            self._works[cpu] = work
        return work

    async def srcu_invoke_callbacks(self, cpu: int) -> None:
        """The work: run callbacks whose grace period is over."""
        await self.change
        callbacks = self.callbacks[cpu]
        done = callbacks.extract_done()
        count = len(done)
        for head in done:
            head.queued = False
            running: Any = head.function()
            if running is not None:
                await running
        await self.change
        callbacks.invoked(count)


class SrcuGracePeriod(Actor):
    """The grace periods of one domain."""

    daemon: ClassVar[bool] = True

    __slots__ = ("_srcu", "mailbox")

    def __init__(self, srcu: SrcuStruct) -> None:
        super().__init__(srcu.machine.interleaver, f"srcu {srcu.name}")
        self._srcu = srcu
        self.mailbox = Mailbox(self)

    async def body(self) -> None:
        """Run grace periods while somebody needs one."""
        srcu = self._srcu
        while True:
            await self.mailbox.receive()
            while srcu.needed > srcu.sequence:
                await srcu.change
                srcu.sequence = sequence_start(srcu.sequence)
                self._trace("start")
                await self._drain((srcu.index + 1) & 1)
                await srcu.change
                self._flip()
                await self._drain((srcu.index + 1) & 1)
                await srcu.change
                srcu.sequence = sequence_end(srcu.sequence)
                self._trace("end")
                srcu.ended()

    def _flip(self) -> None:
        """New readers count for the other index from now on."""
        srcu = self._srcu
        srcu.index += 1
        srcu.sequence = srcu.sequence - 1 + SCAN2

    async def _drain(self, index: int) -> None:
        """Wait until there was a moment without readers of `index` (``try_check_zero``)."""
        srcu = self._srcu
        while True:
            await srcu.change
            srcu.scanned = index
            if await self.no_readers(index):
                srcu.scanned = None
                return
            await self.mailbox.receive()
            if self.interleaver.costed:
                await self.sleep(srcu.machine.jiffy_ns)

    async def no_readers(self, index: int) -> bool:
        """Exits first, then entries (``srcu_readers_active_idx_check``)."""
        srcu = self._srcu
        exits = sum(counts[index] for counts in srcu.exits.values())
        await srcu.change
        return exits == sum(counts[index] for counts in srcu.entries.values())

    def changes(self) -> None:
        """Declare that the step being made looks at or changes the domain's state."""
        touch = self.interleaver.touch
        if touch is not None:
            touch(self._srcu.resource, self._srcu.change.access)

    def _trace(self, event: str) -> None:
        if (fire := self.interleaver.tracepoints.rcu_grace_period.fire) is not None:
            fire(self._srcu.name, self._srcu.sequence, event)
