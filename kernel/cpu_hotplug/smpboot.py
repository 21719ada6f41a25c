"""Threads that a subsystem has one of on every processor: made, parked and unparked as processors come and go.

Mirrors smpboot_register_percpu_thread(), smpboot_unpark_threads(), smpboot_park_threads() and smpboot_thread_fn() of
kernel/smpboot.c (6.1).

A thread is made when its processor is online for the first time, runs there whenever its subsystem says that there is
something to do, and is parked while the processor is away: at AP_SMPBOOT_THREADS, on the way down before the last
threads leave the run queue.  Lock order: ``cpu_hotplug_lock`` → ``smpboot_threads_lock``.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ..kthread import PerCpuKthread
from ..locks import Mutex
from ..stack import kernel_name

if TYPE_CHECKING:
    from ..machine import Machine


@dataclass(slots=True, eq=False)
class HotplugThread:
    """What the threads of a subsystem do (``struct smp_hotplug_thread``): both are called with the processor's number.

    ``name`` has a ``%u`` in the place of that number.
    """

    name: str
    should_run: Callable[[int], bool]
    function: Callable[[int], Awaitable[None]]
    threads: dict[int, PerCpuKthread] = field(default_factory=dict)


class SmpbootThreads:
    """All such threads of one machine."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._plugs: list[HotplugThread] = []
        self.lock: Mutex | None = None  # made when there is something to protect

    @kernel_name("smpboot_register_percpu_thread")
    async def register(self, plug: HotplugThread) -> None:
        """Have the threads of `plug` on every processor that is online, and on others when they come."""
        machine = self._machine
        async with machine.cpu_hotplug.cpus_read_lock():
            self.lock = self.lock or Mutex(machine, "smpboot_threads_lock")
            async with self.lock:
                for cpu in machine.online_cpus():
                    self._make(plug, cpu.cpu_id)
                self._plugs.append(plug)

    def _make(self, plug: HotplugThread, cpu: int) -> None:
        machine = self._machine

        @kernel_name("smpboot_thread_fn")
        async def smpboot_thread_fn() -> None:
            thread = machine.running
            while isinstance(thread, PerCpuKthread):
                if thread.should_park:
                    await thread.parkme()
                elif plug.should_run(cpu):
                    await plug.function(cpu)
                else:
                    await thread.schedule

        plug.threads[cpu] = thread = PerCpuKthread(machine, cpu, plug.name.replace("%u", str(cpu)), smpboot_thread_fn)
        machine.spawn(thread)

    async def smpboot_unpark_threads(self, cpu: int) -> None:
        """The processor has come: so do its threads."""
        if self.lock is None:
            return
        async with self.lock:
            for plug in self._plugs:
                if cpu in plug.threads:
                    await plug.threads[cpu].unpark()
                else:
                    self._make(plug, cpu)

    async def smpboot_park_threads(self, cpu: int) -> None:
        """The processor is about to go: each of its threads ends what it does, and sleeps."""
        if self.lock is None:
            return
        async with self.lock:
            for plug in reversed(self._plugs):
                if cpu in plug.threads:
                    await plug.threads[cpu].park()
