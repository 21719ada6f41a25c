"""What CPU hotplug knows of one processor, and the two threads that work for it there.

Mirrors struct cpuhp_cpu_state of kernel/cpu.c (6.1), the thread ``cpuhp/N`` of kernel/smpboot.c, and the idle task as
far as it starts and ends a processor (start_secondary() of arch/x86/kernel/smpboot.c, do_idle()).

Threads are made when their processor first needs them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...actors import Access, KernelThread, Op, OpKind
from ..kthread import PerCpuKthread
from ..locks import Completion
from .states import CpuhpState

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

    from ...actors import Actor, Cpu
    from ..machine import Machine


class IdleTask(KernelThread):
    """``swapper/N`` where it does something: what `tell` gave it, once each time."""

    daemon = True

    __slots__ = ("_told", "_work")

    def __init__(self, cpu: Cpu) -> None:
        super().__init__(cpu, f"swapper/{cpu.cpu_id}", pid=0)
        self.per_cpu = True
        self._work: Callable[[], Awaitable[None]] | None = None
        self._told = Op(OpKind.WAIT, cpu.host, admit=self._idle)
        self.idle_op = self._told

    def _idle(self, actor: Actor) -> None:
        if self._work is None:
            actor.block()

    def tell(self, work: Callable[[], Awaitable[None]]) -> None:
        """Do `work` next, as part of the step being made."""
        if (touch := self.interleaver.touch) is not None:
            touch(self.host, Access.WRITE)
        self._work = work
        if self.blocked and self.pending is self._told:
            self.unblock()
        elif self.serial < 0:
            self.interleaver.spawn(self)

    async def body(self) -> None:
        """Work when told to."""
        while True:
            await self._told
            work, self._work = self._work, None
            if work is not None:
                await work()


class Milestones:
    """What a control thread sleeps for: the work of ``cpuhp/N`` in each direction, the start and the end of it all."""

    __slots__ = ("dead", "done_down", "done_up", "running")

    def __init__(self, machine: Machine, cpu: int) -> None:
        self.done_up = Completion(machine, f"cpuhp_state.done_up of cpu {cpu}", lock_class="&st->done_up")
        self.done_down = Completion(machine, f"cpuhp_state.done_down of cpu {cpu}", lock_class="&st->done_down")
        self.running = Completion(machine, f"cpu_running of cpu {cpu}", lock_class="cpu_running")
        self.dead = Completion(machine, f"death of cpu {cpu}", lock_class="cpu_dead")


class CpuhpCpuState:
    """How far processor `cpu` is, and how far it is to go.

    Changed by the control thread while ``cpuhp/N`` and the idle task sleep, and by these while it waits for them;
    whoever changes it declares the resource of `CpuHotplug.changes`.
    """

    __slots__ = (
        "_machine",
        "_milestones",
        "bringup",
        "cb_state",
        "cpu",
        "fail",
        "idle",
        "instance",
        "result",
        "rollback",
        "rolled_back_from",
        "should_run",
        "single",
        "state",
        "target",
        "thread",
    )

    def __init__(self, machine: Machine, cpu: Cpu, state: int) -> None:
        self._machine = machine
        self.cpu = cpu
        self.state = state  # while a callback runs upward it is that of the callback already
        self.target = state
        self.fail: int = CpuhpState.INVALID  # a state whose next callback is to fail: for tests, as in /sys
        self.bringup = True
        self.rollback = False
        self.single = False  # only the callback of one state: it is installed, or removed
        self.cb_state: int = CpuhpState.OFFLINE
        self.instance: object | None = None
        self.rolled_back_from: object | None = None  # the instance that failed: undo up to it, and not beyond
        self.should_run = False
        self.result = 0
        self.thread: PerCpuKthread | None = None
        self.idle: IdleTask | None = None
        self._milestones: Milestones | None = None

    @property
    def milestones(self) -> Milestones:
        """What the control thread waits for; made on first use, for nobody waits while booting."""
        if self._milestones is None:
            self._milestones = Milestones(self._machine, self.cpu.cpu_id)
        return self._milestones

    def idle_task(self) -> IdleTask:
        """``swapper/N``."""
        if self.idle is None:
            self.idle = IdleTask(self.cpu)
        return self.idle

    def make_thread(self, function: Callable[[], Coroutine[None, None, None]]) -> PerCpuKthread:
        """``cpuhp/N``, running `function`; its processor must be online."""
        number = self.cpu.cpu_id
        self.thread = thread = PerCpuKthread(self._machine, number, f"cpuhp/{number}", function)
        self._machine.spawn(thread)
        return thread
