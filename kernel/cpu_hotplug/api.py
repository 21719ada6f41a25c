"""CPU hotplug of one machine, for the rest of the kernel: locks, requests, registration of callbacks.

Mirrors cpus_read_lock(), cpu_up(), cpu_down(), add_cpu(), remove_cpu(), cpu_hotplug_disable() and cpuhp_setup_state()
with its relatives of kernel/cpu.c, device_online() and device_offline() of drivers/base/core.c (6.1).  The protocol is
described at the head of this package.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ...actors import Access, KernelThread, Op, OpKind
from ..locks import Mutex, PercpuRwsem, Together
from ..stack import kernel_name
from .callbacks import Callbacks
from .cpu_state import CpuhpCpuState
from .registration import Registration
from .states import EBUSY, EINVAL, CpuhpState, StateTable
from .transition import Transitions
from .walk import Walk

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from ...actors import Cpu
    from ..machine import Machine


class CpuHotplug:
    """CPU hotplug of one machine.  `setup_state` and its relatives register callbacks (see `Registration`)."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self.lock = PercpuRwsem(machine, "cpu_hotplug_lock", self._grace_period)
        self.cpu_add_remove_lock = Mutex(machine, "cpu_add_remove_lock")
        self.disabled = 0  # under cpu_add_remove_lock
        self.table = StateTable()
        self._stand_in: KernelThread | None = None
        self._states: dict[int, CpuhpCpuState] = {}
        self._devices: dict[int, Mutex] = {}
        self._resource = machine.interleaver.resource("cpuhp_state")
        self.read = Op(OpKind.READ, self._resource)
        self.walk = Walk(machine, self)
        self.transitions = Transitions(machine, self)
        callbacks = Callbacks(machine)
        callbacks.fill(self.table, self.transitions)
        self.smpboot = callbacks.smpboot
        registration = Registration(machine, self)
        self.setup_state = registration.setup_state
        self.setup_state_nocalls = registration.setup_state_nocalls
        self.setup_state_multi = registration.setup_state_multi
        self.remove_state = registration.remove_state
        self.remove_state_nocalls = registration.remove_state_nocalls
        self.add_instance = registration.add_instance
        self.add_instance_nocalls = registration.add_instance_nocalls
        self.remove_instance = registration.remove_instance
        self.remove_instance_nocalls = registration.remove_instance_nocalls

    async def _grace_period(self) -> None:
        if not self._machine.booting:  # there are no readers yet
            await self._machine.rcu.synchronize_rcu()

    def cpus_read_lock(self) -> Together:
        """A section in which no processor comes or goes (``cpus_read_lock`` … ``cpus_read_unlock``)."""
        return Together((self.lock.down_read, self.lock.up_read))

    # --- what is known of each processor

    def state_of(self, cpu: Cpu) -> CpuhpCpuState:
        """How far `cpu` is; made on first use."""
        st = self._states.get(cpu.cpu_id)
        if st is None:
            state = CpuhpState.ONLINE if cpu.online else CpuhpState.OFFLINE
            st = self._states[cpu.cpu_id] = CpuhpCpuState(self._machine, cpu, state)
        return st

    def changes(self, access: Access = Access.WRITE) -> None:
        """Declare that the step being made changes how far some processor is, or (`access`) looks at it."""
        if (touch := self._machine.interleaver.touch) is not None:
            touch(self._resource, access)

    def run_while_booting(self, cpu: Cpu, comm: str, work: Coroutine[Any, Any, Any]) -> None:
        """Run to its end, now, what `comm` does on a processor; one thread object stands for all of them."""
        thread = self._stand_in
        if thread is None:
            thread = self._stand_in = KernelThread(cpu, comm, pid=0)
        thread.comm = comm
        thread.move_to(cpu)
        self._machine.run_alone(thread, work)

    # --- requests

    async def cpu_up(self, cpu: int, target: int = CpuhpState.ONLINE) -> int:
        """Bring processor `cpu` online, or to another `target`; 0, also where it is there already, or an errno.

        -EINVAL for a processor that is not possible, -EBUSY while CPU hotplug is disabled, otherwise that of the
        callback that refused.
        """
        processor = self._machine.cpus.get(cpu)
        if processor is None:
            self._machine.printk(
                "error", f"can't online cpu {cpu} because it is not configured as may-hotadd at boot time"
            )
            return -EINVAL
        async with self.cpu_add_remove_lock:
            if self.disabled:
                return -EBUSY
            error = await self.transitions.up(processor, target)
        if not error and not self._machine.booting:
            self._machine.count("cpus_onlined")
        return error

    async def cpu_down(self, cpu: int, target: int = CpuhpState.OFFLINE) -> int:
        """Take processor `cpu` offline, or to another `target`; 0 or a negative errno.

        -EBUSY for the last one that is online and while CPU hotplug is disabled, -EINVAL for one that does not exist,
        otherwise that of the callback that refused.
        """
        processor = self._machine.cpus.get(cpu)
        if processor is None:
            return -EINVAL
        async with self.cpu_add_remove_lock:
            if self.disabled:
                return -EBUSY
            error = await self.transitions.down(processor, target)
        if not error:
            self._machine.count("cpus_offlined")
        return error

    @kernel_name("add_cpu")
    async def add_cpu(self, cpu: int) -> int:
        """Bring a processor online as its device; 0, 1 where it is there already, or a negative errno."""
        async with self._machine.memory_hotplug.device_hotplug_lock:
            return await self.device_online(cpu)

    @kernel_name("remove_cpu")
    async def remove_cpu(self, cpu: int) -> int:
        """Take a processor offline as its device; 0, 1 where it is so already, or a negative errno."""
        async with self._machine.memory_hotplug.device_hotplug_lock:
            return await self.device_offline(cpu)

    async def device_online(self, cpu: int) -> int:
        """The same as `add_cpu`, for a caller that holds ``device_hotplug_lock``."""
        if cpu not in self._machine.cpus:
            return -EINVAL
        async with self._device(cpu):
            return 1 if self._machine.cpus[cpu].online else await self.cpu_up(cpu)

    async def device_offline(self, cpu: int) -> int:
        """The same as `remove_cpu`, for a caller that holds ``device_hotplug_lock``."""
        if cpu not in self._machine.cpus:
            return -EINVAL
        async with self._device(cpu):
            return await self.cpu_down(cpu) if self._machine.cpus[cpu].online else 1

    def _device(self, cpu: int) -> Mutex:
        """``dev->mutex`` of the processor's device."""
        self.changes()
        mutex = self._devices.get(cpu)
        if mutex is None:
            mutex = self._devices[cpu] = Mutex(self._machine, "&dev->mutex")
        return mutex

    async def cpu_hotplug_disable(self) -> None:
        """Wait for a transition that is under way, and refuse others until `cpu_hotplug_enable`; nests."""
        async with self.cpu_add_remove_lock:
            self.disabled += 1

    async def cpu_hotplug_enable(self) -> None:
        """Undo one `cpu_hotplug_disable`."""
        async with self.cpu_add_remove_lock:
            if not self.disabled:
                self._machine.printk("warning", "WARNING: Unbalanced cpu hotplug enable")
                return
            self.disabled -= 1
