"""The operations and sections of a topology that concern processors which come and go.

Who asks carries it out himself: a task is a driver that calls add_cpu() and remove_cpu().  Programs of
``[[cpu_state]]`` run as whoever calls the state back, for a task of that name.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..actors import KernelThread
from .cpu_hotplug import CpuhpState
from .files import error_name
from .stack import part_of_caller
from .work_operations import NamedWork

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from ..topology import Scenario
    from .machine import Machine
    from .workload import Workload

SECTIONS = {"prepare": CpuhpState.BP_PREPARE_DYN, "online": CpuhpState.AP_ONLINE_DYN}


async def request(machine: Machine, cpu: int, *, online: bool, who: str) -> int:
    """Have a processor brought online or taken offline; a refusal is said, not fatal."""
    hotplug = machine.cpu_hotplug
    error = await (hotplug.add_cpu if online else hotplug.remove_cpu)(cpu)
    if error < 0:
        wanted = "online" if online else "offline"
        machine.printk("warning", f"{who}: cannot take CPU {cpu} {wanted}: {error_name(error)}")
        machine.count("failed_cpu_hotplug")
    return error


async def cpu_online(task: Any, operation: Any) -> None:
    """Bring a processor online."""
    await request(task.machine, operation.cpu, online=True, who=task.name)


async def cpu_offline(task: Any, operation: Any) -> None:
    """Take a processor offline."""
    await request(task.machine, operation.cpu, online=False, who=task.name)


def register_cpu_states(workload: Workload, scenario: Scenario) -> None:
    """Register the programs of the topology, without running any: before there is a task."""
    machine = workload.machine

    async def init() -> None:
        for spec in scenario.cpu_states:
            await machine.cpu_hotplug.setup_state_nocalls(
                SECTIONS[spec.section],
                spec.name,
                _program(workload, spec.name, spec.startup),
                _program(workload, spec.name, spec.teardown),
            )

    if scenario.cpu_states:
        machine.run_alone(KernelThread(machine.online_cpus()[0], "swapper/0", pid=0), init())


def _program(workload: Workload, name: str, program: Sequence[Any]) -> Callable[[int], Awaitable[None]] | None:
    if not program:
        return None
    actor = NamedWork(workload, name)

    @part_of_caller
    async def run(_: int) -> None:
        for operation in program:
            await workload.perform(actor, operation)

    return run


CPU_OPERATIONS: dict[str, Callable[[Any, Any], Awaitable[None]]] = {
    function.__name__: function for function in (cpu_online, cpu_offline)
}
"""By the name a program uses."""
