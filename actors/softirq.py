"""The soft-interrupt context of a processor."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .actor import Actor
from .operation import Op, OpKind

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from .cpu import Cpu


class SoftIrq(Actor):
    """The soft-interrupt context of one processor; made on first use.

    ``raised`` holds the pending actions by vector number, lowest first.  Runs between steps of threads that have soft
    interrupts enabled; hard interrupts come in between its own steps.
    """

    daemon = True

    __slots__ = ("_run", "cpu", "raised")

    def __init__(self, cpu: Cpu) -> None:
        super().__init__(cpu.interleaver, f"ksoftirqd/{cpu.cpu_id}", cpu_id=cpu.cpu_id)
        self.cpu = cpu
        self.clock = cpu.clock
        self.host = cpu.host
        self.raised: dict[int, Callable[[Cpu], Awaitable[None]]] = {}
        self._run = Op(OpKind.WAIT, cpu.host, admit=self._admit)
        self.idle_op = self._run

    def _admit(self, actor: Actor) -> None:
        if not self._may_run():
            self.block()

    def _may_run(self) -> bool:
        cpu = self.cpu
        if not self.raised or cpu.irqs_off or cpu.in_hardirq or cpu.halted:
            return False
        return cpu.current is None or not cpu.current.bh_count

    def nudge(self) -> None:
        """Go on if what kept soft interrupts from running is over."""
        if self.blocked and self.pending is self._run and self._may_run():
            self.unblock()

    def unblock(self) -> None:
        """Go on, unless a hard interrupt is being handled."""
        self.blocked = False
        if not self.cpu.in_hardirq:
            self.interleaver.enable(self)

    async def body(self) -> None:
        """Run raised actions for ever."""
        cpu = self.cpu
        tracepoints = self.interleaver.tracepoints
        while True:
            await self._run
            if not self._may_run():
                continue
            vector = min(self.raised)
            action = self.raised.pop(vector)
            cpu.in_softirq = True
            cpu.settle()
            if (fire := tracepoints.softirq_entry.fire) is not None:
                fire(vector)
            await action(cpu)
            if (fire := tracepoints.softirq_exit.fire) is not None:
                fire(vector)
            cpu.in_softirq = False
            cpu.settle()
            if cpu.qs_needed is not None:
                cpu.on_quiet(cpu, False)
