"""The files of processors: /sys/devices/system/cpu.

Mirrors ``online`` of drivers/base/core.c, ``online``, ``offline``, ``possible``, ``present`` of drivers/base/cpu.c and
the folders ``hotplug`` of kernel/cpu.c (6.1).  All processors have ``online``, the first too, as on arm64 and unlike
on x86; all that are possible are present.

Who writes carries the request out himself, inside of what kernfs holds.  Who finds ``device_hotplug_lock`` held waits
5 ms and starts the system call again, as for memory, without that.
"""

from __future__ import annotations

from errno import EACCES, EINVAL, EISDIR, ENOENT
from typing import TYPE_CHECKING

from ...actors import Access
from ..kernfs import kernfs_read, kernfs_write
from ..memory_hotplug.device import ERESTARTNOINTR, lock_device_hotplug_sysfs
from ..proc_pages import node_list
from ..stack import kernel_name, part_of_caller
from .states import CANT_STOP, CpuhpState, is_atomic_state

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from ...actors import Cpu
    from ..machine import Machine
    from .cpu_state import CpuhpCpuState

CPU_FOLDER = "/sys/devices/system/cpu"
MASKS: dict[str, Callable[[Cpu], bool]] = {
    "offline": lambda cpu: not cpu.online,
    "online": lambda cpu: cpu.online,
    "possible": lambda _: True,
    "present": lambda _: True,
}
SHOWN: dict[str, Callable[[Cpu, CpuhpCpuState], int]] = {
    "online": lambda cpu, _: int(cpu.online),
    "hotplug/state": lambda _, st: st.state,
    "hotplug/target": lambda _, st: st.target,
    "hotplug/fail": lambda _, st: st.fail,
}
"""The files of one processor."""
TRUE = ("1", "y", "Y", "t", "T", "on", "On", "ON", "oN")
FALSE = ("0", "n", "N", "f", "F", "off", "Off", "OFF")


def is_of_cpus(path: str) -> bool:
    """Whether a path is in the folder, or is it."""
    return f"{path}/".startswith(f"{CPU_FOLDER}/")


@part_of_caller
async def read_cpu_file(machine: Machine, path: str) -> str | int:
    """The text of a file, or what is in a directory; a negative errno where there is neither."""
    name, _, rest = path.removeprefix(CPU_FOLDER).strip("/").partition("/")
    if not name:
        return _listed([*MASKS, "hotplug", *(f"cpu{number}" for number in machine.cpus)])
    if name in MASKS and not rest:
        await machine.this_cpu.masks.read
        return node_list([cpu.cpu_id for cpu in machine.cpus.values() if MASKS[name](cpu)]) + "\n"
    if name == "hotplug":
        return "states\n" if not rest else await states_show(machine) if rest == "states" else -ENOENT
    cpu = _find(machine, name)
    if cpu is None:
        return -ENOENT
    if rest in ("", "hotplug"):
        return _listed([*STORE, "state"] if rest else ["hotplug", "online"])
    if rest not in SHOWN:
        return -ENOENT
    return await kernfs_read(machine.kernfs.file(path, f"cpu/{rest}"), lambda: _show(machine, cpu, rest))


@kernel_name("dev_attr_show")
async def _show(machine: Machine, cpu: Cpu, attribute: str) -> str:
    await machine.cpu_hotplug.read
    return f"{SHOWN[attribute](cpu, machine.cpu_hotplug.state_of(cpu))}\n"


@part_of_caller
async def write_cpu_file(machine: Machine, path: str, text: str) -> int:
    """Write to a file; 0 or a negative errno."""
    name, _, rest = path.removeprefix(CPU_FOLDER).strip("/").partition("/")
    if name in MASKS and not rest:
        return -EACCES
    cpu = _find(machine, name)
    if cpu is None:
        return -EISDIR if not name else -ENOENT
    if rest in ("", "hotplug"):
        return -EISDIR
    store = online_store if rest == "online" else STORE.get(rest.removeprefix("hotplug/"))
    if store is None:
        return -EACCES if rest == "hotplug/state" else -ENOENT
    file = machine.kernfs.file(path, f"cpu/{rest}")
    error = -ERESTARTNOINTR
    while error == -ERESTARTNOINTR:  # ``restart_syscall``
        error = await kernfs_write(file, lambda: store(machine, cpu, text))
    return error


def _find(machine: Machine, name: str) -> Cpu | None:
    number = name.removeprefix("cpu")
    return machine.cpus.get(int(number)) if number.isdecimal() and name == f"cpu{int(number)}" else None


def _listed(names: list[str]) -> str:
    return "".join(f"{name}\n" for name in sorted(names))


async def states_show(machine: Machine) -> str:
    """The states that have a name."""
    await machine.cpu_hotplug.read
    steps = machine.cpu_hotplug.table.steps
    return "".join(f"{state:3d}: {steps[state].name}\n" for state in sorted(steps))


async def online_store(machine: Machine, cpu: Cpu, text: str) -> int:
    """Bring the processor online or take it offline; what it is already is no error."""
    wanted = text.removesuffix("\n")
    if wanted not in (*TRUE, *FALSE):
        return -EINVAL
    hotplug = machine.cpu_hotplug
    error = await lock_device_hotplug_sysfs(machine.memory_hotplug)
    if error:
        return error
    answer = await (hotplug.device_online if wanted in TRUE else hotplug.device_offline)(cpu.cpu_id)
    await machine.memory_hotplug.device_hotplug_lock.unlock()
    return min(answer, 0)


async def target_store(machine: Machine, cpu: Cpu, text: str) -> int:
    """Bring the processor to any state that has a name and may be stayed in (CONFIG_CPU_HOTPLUG_STATE_CONTROL)."""
    target = _number(text)
    hotplug = machine.cpu_hotplug
    if target is None or not CpuhpState.OFFLINE <= target <= CpuhpState.ONLINE:
        return -EINVAL
    error = await lock_device_hotplug_sysfs(machine.memory_hotplug)
    if error:
        return error
    hotplug.changes(Access.READ)
    if target not in hotplug.table.steps or target in CANT_STOP:
        error = -EINVAL
    elif hotplug.state_of(cpu).state < target:
        error = await hotplug.cpu_up(cpu.cpu_id, target)
    else:
        error = await hotplug.cpu_down(cpu.cpu_id, target)
    await machine.memory_hotplug.device_hotplug_lock.unlock()
    return error


async def fail_store(machine: Machine, cpu: Cpu, text: str) -> int:
    """Have the next callback of a state fail (EAGAIN); -1 is none.  What must not fail cannot be made to."""
    fail = _number(text)
    hotplug = machine.cpu_hotplug
    if fail is None or not CpuhpState.INVALID <= fail <= CpuhpState.ONLINE or is_atomic_state(fail):
        return -EINVAL
    await hotplug.read
    st = hotplug.state_of(cpu)
    hotplug.changes()
    if fail != CpuhpState.INVALID:
        if fail <= CpuhpState.BRINGUP_CPU < st.state:
            return -EINVAL  # DEAD callbacks, and a start that would stand in the way of undoing
        step = hotplug.table.steps.get(fail)
        if step is None or (step.empty(bringup=True) and step.empty(bringup=False)):
            return -EINVAL
    st.fail = fail
    return 0


def _number(text: str) -> int | None:
    try:
        return int(text.strip(), 10)
    except ValueError:
        return None


STORE: dict[str, Callable[[Machine, Cpu, str], Awaitable[int]]] = {"fail": fail_store, "target": target_store}
