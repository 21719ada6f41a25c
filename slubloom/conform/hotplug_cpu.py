"""Recorded CPU hotplug: writes to the files of processors, and what the recorder's own callbacks saw.

The recorder had two states of its own, a dynamic one of the PREPARE section and a dynamic one of the ONLINE section,
registered without calling.  Each callback noted on which processor it ran, and whether the processor that came or went
had a slab, or partial slabs, of the cache that the operation names at that moment.

Where the shell ran that did the writing is a matter of the scheduler, and is taken from the recording.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from ..actors import KernelThread
from ..kernel.cpu_hotplug import CpuhpState
from ..kernel.cpu_hotplug.sysfs import write_cpu_file
from ..kernel.kthread import kthread_run
from ..kernel.slab.placement import placement_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from ..kernel import Machine
    from ..kernel.slab.cache import KmemCache
    from .sequence_records import Write

CPU_FILE = re.compile(r"/sys/devices/system/cpu/cpu(\d+)/online")
FIELDS = ("stage", "cpu", "on", "has_cpu_slab", "has_cpu_partial")


def is_cpu_write(operation: Write) -> bool:
    """Whether a write brings a processor online or takes it offline."""
    return CPU_FILE.fullmatch(operation.path) is not None


def expected_cpu_events(events: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """What the recorder's callbacks noted."""
    return [{name: event.get(name) for name in FIELDS} for event in events if event.get("t") == "cpu"]


class CpuWrites:
    """Does recorded writes on a machine that does not run yet."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._events: list[dict[str, Any]] = []
        self._cache: KmemCache | None = None

        async def register() -> None:
            setup = machine.cpu_hotplug.setup_state_nocalls
            prepare, dead = self._noting("prepare"), self._noting("dead")
            online, offline = self._noting("online"), self._noting("offline")
            await setup(CpuhpState.BP_PREPARE_DYN, "rig:prepare", prepare, dead)
            await setup(CpuhpState.AP_ONLINE_DYN, "rig:online", online, offline)

        machine.run_alone(KernelThread(machine.online_cpus()[0], "rig", pid=0), register())

    def _noting(self, stage: str) -> Callable[[int], Awaitable[None]]:
        async def note(cpu: int) -> None:
            c = None if self._cache is None else placement_of(self._cache).cpus.get(cpu)
            has_slab, has_partial = c is not None and c.slab is not None, c is not None and bool(c.partial)
            seen = (stage, cpu, self._machine.smp_processor_id(), int(has_slab), int(has_partial))
            self._events.append(dict(zip(FIELDS, seen, strict=True)))

        return note

    async def write(self, operation: Write, cache: KmemCache) -> dict[str, Any]:
        """Write to the file of a processor, while the callbacks look at `cache`; where the recorder's shell ran."""
        self._events, self._cache = [], cache
        answers: list[int] = []

        async def shell() -> None:
            answers.append(await write_cpu_file(self._machine, operation.path, operation.value))

        await kthread_run(self._machine, shell, cpu=self._shell_of(operation), name="sh").join()
        return {"rc": answers[0], "cpus": self._events}

    def _shell_of(self, operation: Write) -> int:
        """The processor that the writer ran on, as seen by those callbacks that run there; the first if it cannot be.

        One that took its own processor down was seen where it went on.
        """
        events = expected_cpu_events(operation.ev)
        seen = [event["on"] for event in events if event["stage"] in ("prepare", "dead")]
        online = [cpu.cpu_id for cpu in self._machine.online_cpus()]
        return seen[0] if seen and seen[0] in online else online[0]
