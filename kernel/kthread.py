"""Kernel threads of one's own: started with a function, woken, parked, stopped, waited for.

Mirrors kthread_run(), kthread_create_on_cpu(), kthread_should_stop(), kthread_stop(), kthread_park(), kthread_parkme()
and kthread_unpark() of kernel/kthread.c (6.1).

Who meets here: the thread, and whoever wakes, parks or stops it.  Shared are the thread's flags, which stand for
``kthread->flags`` and the task's state; every step that looks at them or changes them declares the thread's
``state``.  A wake-up is kept until the thread sleeps the next time (`schedule`), so one that comes between the
thread's look at what there is to do and its sleep is not lost.

=========== =============================================== ========================================================
asked by    the thread                                      the asker
=========== =============================================== ========================================================
wake_up     returns from `schedule`                         goes on
park        calls `parkme`, says so, sleeps until `unpark`  sleeps until the thread has said so
stop        sees `should_stop`, returns                     sleeps until it is over; a parked thread is unparked first
=========== =============================================== ========================================================
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..actors import Access, Op, OpKind
from .locks import Completion
from .machine import FunctionThread
from .stack import kernel_name

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

    from ..actors import Actor
    from .machine import Machine


class Kthread(FunctionThread):
    """A running thread; ``await thread.join()`` sleeps until its function has returned."""

    __slots__ = ("_exited", "_parked", "_resume", "_tell", "_woken", "schedule", "should_park", "should_stop", "state")

    def __init__(
        self, machine: Machine, cpu: int, name: str, function: Callable[[], Coroutine[Any, Any, None]]
    ) -> None:
        super().__init__(machine, machine.cpus[cpu], name, lambda: self._run(function))
        self._exited = Completion(machine, f"exit of {name}", lock_class="&kthread->exited")
        self._parked = Completion(machine, f"parking of {name}", lock_class="&kthread->parked")
        self.should_stop = False
        self.should_park = False
        self._woken = False
        self.state = machine.interleaver.resource(f"state of {name}")
        # Awaited by the thread itself: sleep until somebody wakes it.
        self.schedule = Op(
            OpKind.WAIT,
            self.state,
            access=Access.WRITE,
            admission=Access.WRITE,
            admit=self._sleep,
            perform=self._wake,
        )
        self.idle_op = self.schedule  # an interruptible sleep, in which nobody is hung
        self._resume = Op(OpKind.WAIT, self.state, admit=self._stay_parked)
        self._tell = Op(OpKind.SIGNAL, self.state)

    async def _run(self, function: Callable[[], Coroutine[Any, Any, None]]) -> None:
        await function()
        self._exited.complete_all()

    def join(self) -> Awaitable[None]:
        """Sleep until the thread is over; for ever, if it died in an oops."""
        return self._exited.wait()

    # --- the thread's side

    def _sleep(self, actor: Actor) -> None:
        if not self._woken:
            actor.block()

    def _wake(self, _: Actor) -> None:
        self._woken = False
        if (fire := self.machine.tracepoints.kthread_woken.fire) is not None:
            fire(self.pid)

    def _stay_parked(self, actor: Actor) -> None:
        if self.should_park:
            actor.block()

    @kernel_name("kthread_parkme")
    async def parkme(self) -> None:
        """Say that the thread is parked, and sleep until it is unparked (the thread itself calls this)."""
        rest = self.idle_op
        while self.should_park:
            await self._parked.complete()
            self.idle_op = self._resume
            await self._resume
        self.idle_op = rest

    # --- the others' side

    @kernel_name("wake_up_process")
    async def wake_up(self) -> None:
        """Have the thread return from `schedule`, now or when it comes there."""
        await self._tell
        self._wake_now()

    def _wake_now(self) -> None:
        self._woken = True
        if self.blocked and self.pending is self.schedule:
            self.unblock()

    @kernel_name("kthread_park")
    async def park(self) -> None:
        """Have the thread park, and sleep until it has; it must call `parkme` when it sees ``should_park``."""
        await self._tell
        self.should_park = True
        self._wake_now()
        await self._parked.wait()

    @kernel_name("kthread_unpark")
    async def unpark(self) -> None:
        """Let a parked thread go on."""
        await self._tell
        self.should_park = False
        if self.blocked and self.pending is self._resume:
            self.unblock()

    @kernel_name("kthread_stop")
    async def stop(self) -> None:
        """Have the thread end, and sleep until it has; it must return when it sees ``should_stop``."""
        await self._tell
        self.should_stop = True
        self.should_park = False
        if self.blocked and self.pending is self._resume:
            self.unblock()
        self._wake_now()
        await self._exited.wait()


class PerCpuKthread(Kthread):
    """A thread that belongs to its processor, also while that is not active; nobody waits for its end."""

    daemon = True

    def __init__(
        self, machine: Machine, cpu: int, name: str, function: Callable[[], Coroutine[Any, Any, None]]
    ) -> None:
        super().__init__(machine, cpu, name, function)
        self.per_cpu = True


def kthread_run(
    machine: Machine, function: Callable[[], Coroutine[Any, Any, None]], *, cpu: int = 0, name: str = ""
) -> Kthread:
    """Start a thread that runs `function` on processor `cpu`.

    Raises:
        ValueError: the machine has no such processor, or it is offline.
    """
    if cpu not in machine.cpus or not machine.cpus[cpu].online:
        online = [processor.cpu_id for processor in machine.online_cpus()]
        raise ValueError(f"processor {cpu} is not online; those that are: {online}")
    thread = Kthread(machine, cpu, name or getattr(function, "__name__", "kthread"), function)
    machine.spawn(thread)
    return thread
