"""Kernel threads of one's own: started with a function, waited for.

Mirrors kthread_run() and the waiting half of kthread_stop() of kernel/kthread.c (6.1); parking and asking a thread to
stop are left out until something needs them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .locks import Completion
from .machine import FunctionThread

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

    from .machine import Machine


class Kthread(FunctionThread):
    """A running thread; ``await thread.join()`` sleeps until its function has returned."""

    __slots__ = ("_exited",)

    def __init__(
        self, machine: Machine, cpu: int, name: str, function: Callable[[], Coroutine[Any, Any, None]]
    ) -> None:
        super().__init__(machine, machine.cpus[cpu], name, lambda: self._run(function))
        self._exited = Completion(machine, f"exit of {name}")

    async def _run(self, function: Callable[[], Coroutine[Any, Any, None]]) -> None:
        await function()
        self._exited.complete_all()

    def join(self) -> Awaitable[None]:
        """Sleep until the thread is over; for ever, if it died in an oops."""
        return self._exited.wait()


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
