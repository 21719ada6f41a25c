"""stop_machine(): one function runs on one processor while all the others stand still.

Mirrors stop_machine_cpuslocked(), multi_cpu_stop() and cpu_stopper_thread() of kernel/stop_machine.c (6.1).

Every online processor has a stopper, the thread ``migration/N``, made when it is first needed.  Who stops the machine
wakes all of them and sleeps.  A stopper runs as soon as its processor lets another thread run, so not before the
thread there has preemption and interrupts on; then it keeps the processor, and the phases are passed by all together:

=============== ==================================================================================================
PREPARE         each stopper that has its processor waits here, with interrupts on: the others may still need them
DISABLE_IRQ     all have theirs: interrupts off, wait until they are off everywhere
RUN             the stopper of the target calls the function; the others wait
EXIT            interrupts on again; the last one wakes who has asked
=============== ==================================================================================================

Left out: the priority of stoppers over all other threads (a processor's next thread is the strategy's decision).
``stop_cpus_mutex`` keeps two stops apart.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...actors import Access, KernelThread, Op, OpKind
from ..kthread import PerCpuKthread
from ..locks import Completion, Mutex
from ..stack import kernel_name

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from ...actors import Actor, Cpu
    from ..machine import Machine

PREPARE, DISABLE_IRQ, RUN, EXIT = range(4)


class MultiStop:
    """One stop (``struct multi_stop_data``): who takes part, and how far all of them are."""

    __slots__ = (
        "_waiting",
        "afterwards",
        "arrive",
        "cpus",
        "done",
        "function",
        "left",
        "phase",
        "resource",
        "result",
        "target",
    )

    def __init__(
        self,
        machine: Machine,
        target: int,
        function: Callable[[], Awaitable[int]],
        afterwards: Callable[[], object],
    ) -> None:
        self.target = target
        self.function = function
        self.afterwards = afterwards
        self.cpus = machine.online_cpus()
        self.left = len(self.cpus)  # stoppers that have not arrived at the end of this phase
        self.phase = PREPARE
        self.result = 0
        self.done = Completion(machine, "(stop_machine).completion")
        self.resource = machine.interleaver.resource("multi_stop_data")
        self._waiting: list[Actor] = []
        # Arriving is part of waiting: nobody can tell the two apart.
        self.arrive = Op(
            OpKind.WAIT, self.resource, access=Access.WRITE, admission=Access.WRITE, admit=self._arrive, aux=self
        )

    def _arrive(self, actor: Actor) -> None:
        self.left -= 1
        if self.left:
            self._waiting.append(actor)
            actor.block_spinning()
            return
        self.phase += 1
        self.left = len(self.cpus)
        waiting, self._waiting = self._waiting, []
        for other in waiting:
            other.unblock()

    def holders(self) -> list[Actor]:
        """Who has not arrived: whoever has a processor of theirs."""
        arrived = [actor.cpu for actor in self._waiting if isinstance(actor, KernelThread)]
        running = [cpu.current for cpu in self.cpus if cpu not in arrived]
        return [thread for thread in running if thread is not None]


class Stoppers:
    """The stoppers of one machine."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self.mutex = Mutex(machine, "stop_cpus_mutex")
        self._threads: dict[int, PerCpuKthread] = {}
        self._stop: MultiStop | None = None

    @kernel_name("stop_machine_cpuslocked")
    async def stop_machine(
        self, function: Callable[[], Awaitable[int]], target: int, *, afterwards: Callable[[], object] = int
    ) -> int:
        """Run `function` on processor `target` while nothing else runs anywhere; what it returned.

        `afterwards` is the last thing that the stopper of the target does before it sleeps again.  The caller holds
        ``cpu_hotplug_lock``, so that no processor comes or goes, and may sleep.
        """
        async with self.mutex:
            self._stop = stop = MultiStop(self._machine, target, function, afterwards)
            # A stopper waits for the others: the one of this processor must not come before all are woken.
            running = self._machine.running
            running.preempt_disable()
            for cpu in stop.cpus:
                await self._thread(cpu).wake_up()
            running.preempt_enable()
            await stop.done.wait()
            return stop.result

    def _thread(self, cpu: Cpu) -> PerCpuKthread:
        thread = self._threads.get(cpu.cpu_id)
        if thread is None:

            async def cpu_stopper_thread() -> None:
                stopper = self._machine.running
                while isinstance(stopper, PerCpuKthread):
                    await stopper.schedule
                    if self._stop is not None:
                        await self.multi_cpu_stop(self._stop, cpu)

            thread = PerCpuKthread(self._machine, cpu.cpu_id, f"migration/{cpu.cpu_id}", cpu_stopper_thread)
            self._threads[cpu.cpu_id] = thread
            self._machine.spawn(thread)
        return thread

    async def multi_cpu_stop(self, stop: MultiStop, cpu: Cpu) -> None:
        """One processor's part."""
        stopper = cpu.current
        if stopper is None:
            raise AssertionError("a stopper runs on its processor")
        stopper.preempt_disable()
        await stop.arrive  # PREPARE
        cpu.local_irq_disable()
        await stop.arrive  # DISABLE_IRQ
        if cpu.cpu_id == stop.target:
            stop.result = await stop.function()
        await stop.arrive  # RUN
        cpu.local_irq_enable()
        stopper.preempt_enable()
        await stop.arrive  # EXIT
        if cpu is stop.cpus[0]:
            await stop.done.complete()
        if cpu.cpu_id == stop.target:
            stop.afterwards()
