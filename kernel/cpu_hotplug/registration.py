"""Registering what is to be called when processors come and go.

Mirrors cpuhp_setup_state(), cpuhp_setup_state_nocalls(), cpuhp_setup_state_multi(), cpuhp_state_add_instance(),
cpuhp_remove_state() and their helpers of kernel/cpu.c (6.1).

The form that calls runs the startup callback at once for every processor that has passed the state, on the processor
itself where the state is one of the ONLINE section; the ``nocalls`` form only notes the callbacks.  Lock order:
``cpu_hotplug_lock`` (read) → ``cpuhp_state_mutex``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..locks import Mutex
from ..stack import kernel_name
from .states import DYNAMIC, EINVAL, CpuhpState, Step, is_ap_state

if TYPE_CHECKING:
    from ..machine import Machine
    from .api import CpuHotplug
    from .states import Callback, InstanceCallback


class Registration:
    """Changes of one machine's table of states."""

    def __init__(self, machine: Machine, hotplug: CpuHotplug) -> None:
        self._machine = machine
        self._hotplug = hotplug
        self._table = hotplug.table
        self.mutex = Mutex(machine, "cpuhp_state_mutex")

    @kernel_name("__cpuhp_setup_state")
    async def setup_state(
        self, state: int, name: str, startup: Callback | None = None, teardown: Callback | None = None
    ) -> int:
        """Register callbacks, and start all processors that are beyond `state` already.

        Returns the number of the state for a dynamic one, 0 for others; -EBUSY where the state has callbacks, -ENOSPC
        where no dynamic one is left, -EINVAL for OFFLINE and ONLINE, or the errno of a startup that failed: then the
        processors started before have been torn down again, and nothing is registered.
        """
        return await self._setup(state, Step(name, startup, teardown), invoke=True)

    @kernel_name("__cpuhp_setup_state")
    async def setup_state_nocalls(
        self, state: int, name: str, startup: Callback | None = None, teardown: Callback | None = None
    ) -> int:
        """The same, without calling any."""
        return await self._setup(state, Step(name, startup, teardown), invoke=False)

    @kernel_name("__cpuhp_setup_state")
    async def setup_state_multi(
        self, state: int, name: str, startup: InstanceCallback | None = None, teardown: InstanceCallback | None = None
    ) -> int:
        """Register callbacks that are called for each instance of the state; instances are added later."""
        step = Step(name)
        step.instances = []
        step.startup_instance = startup
        step.teardown_instance = teardown
        return await self._setup(state, step, invoke=False)

    async def _setup(self, wanted: int, step: Step, *, invoke: bool) -> int:
        if not CpuhpState.OFFLINE < wanted < CpuhpState.ONLINE or not step.name:
            return -EINVAL
        if self._machine.booting and not invoke:
            return self._store(wanted, step)  # nobody else is there: the locks can wait
        async with self._hotplug.cpus_read_lock(), self.mutex:
            self._hotplug.changes()
            state = self._store(wanted, step)
            if state >= 0 and invoke and step.startup is not None:
                number = state or wanted
                if error := await self._start_all(number):
                    self._table.clear(number)
                    return error
            return state

    def _store(self, wanted: int, step: Step) -> int:
        state = self._table.reserve(wanted)
        error = state if state < 0 else self._table.store(state, step)
        return error or (state if wanted in DYNAMIC else 0)

    async def _start_all(self, state: int, instance: object | None = None) -> int:
        """Start each processor that has passed the state; after a failure, tear those down that were started."""
        started: list[int] = []
        for number, cpu in self._machine.cpus.items():
            if self._hotplug.state_of(cpu).state < state:
                continue
            error = await self.cpuhp_issue_call(number, state, bringup=True, instance=instance)
            if error:
                for other in started:
                    await self.cpuhp_issue_call(other, state, bringup=False, instance=instance)
                return error
            started.append(number)
        return 0

    async def cpuhp_issue_call(self, cpu: int, state: int, *, bringup: bool, instance: object | None = None) -> int:
        """Make one call for one processor, there or here."""
        if self._table.steps[state].empty(bringup=bringup):
            return 0
        st = self._hotplug.state_of(self._machine.cpus[cpu])
        walk = self._hotplug.walk
        if not is_ap_state(state):
            return await walk.cpuhp_invoke_callback(st, state, bringup=bringup, instance=instance)
        if not self._machine.cpus[cpu].online:
            return 0
        for one in (walk.down_map, walk.up_map):
            one.acquire()
            one.release()
        self._hotplug.changes()
        st.rollback = False
        st.rolled_back_from = None
        st.instance = instance
        st.bringup = bringup
        st.cb_state = state
        st.single = True
        await walk.kick(st)
        self._hotplug.changes()
        error, st.result = st.result, 0
        st.instance = None
        st.single = False
        return error

    @kernel_name("__cpuhp_remove_state")
    async def remove_state(self, state: int) -> None:
        """Tear down all processors that are beyond `state`, then forget its callbacks."""
        await self._remove(state, invoke=True)

    @kernel_name("__cpuhp_remove_state")
    async def remove_state_nocalls(self, state: int) -> None:
        """Forget the callbacks of a state, without calling any."""
        await self._remove(state, invoke=False)

    async def _remove(self, state: int, *, invoke: bool) -> None:
        async with self._hotplug.cpus_read_lock(), self.mutex:
            self._hotplug.changes()
            step = self._table.steps.get(state)
            if step is None:
                return
            if step.instances:
                self._machine.printk("warning", f"Error: Removing state {state} which has instances left.")
            elif invoke:
                await self._tear_all(state)
            self._table.clear(state)

    async def _tear_all(self, state: int, instance: object | None = None) -> None:
        for number, cpu in self._machine.cpus.items():
            if self._hotplug.state_of(cpu).state >= state:
                error = await self.cpuhp_issue_call(number, state, bringup=False, instance=instance)
                self._machine.bug_on(bool(error), f"teardown of cpuhp state {state} failed on CPU {number}")

    # --- instances

    @kernel_name("__cpuhp_state_add_instance")
    async def add_instance(self, state: int, instance: object) -> int:
        """Start `instance` on all processors beyond `state`, then call for it when others come and go; or an errno."""
        return await self._add(state, instance, invoke=True)

    @kernel_name("__cpuhp_state_add_instance")
    async def add_instance_nocalls(self, state: int, instance: object) -> int:
        """The same, without calling now."""
        return await self._add(state, instance, invoke=False)

    async def _add(self, state: int, instance: object, *, invoke: bool) -> int:
        async with self._hotplug.cpus_read_lock():
            step = self._table.steps.get(state)
            if step is None or step.instances is None:
                return -EINVAL
            async with self.mutex:
                self._hotplug.changes()
                if invoke and step.startup_instance is not None and (error := await self._start_all(state, instance)):
                    return error
                step.instances.insert(0, instance)
                return 0

    @kernel_name("__cpuhp_state_remove_instance")
    async def remove_instance(self, state: int, instance: object) -> int:
        """Tear `instance` down on all processors beyond `state`, and forget it; 0 or -EINVAL."""
        return await self._take_away(state, instance, invoke=True)

    @kernel_name("__cpuhp_state_remove_instance")
    async def remove_instance_nocalls(self, state: int, instance: object) -> int:
        """Forget an instance, without calling."""
        return await self._take_away(state, instance, invoke=False)

    async def _take_away(self, state: int, instance: object, *, invoke: bool) -> int:
        step = self._table.steps.get(state)
        if step is None or step.instances is None or instance not in step.instances:
            return -EINVAL
        async with self._hotplug.cpus_read_lock(), self.mutex:
            self._hotplug.changes()
            if invoke and step.teardown_instance is not None:
                await self._tear_all(state, instance)
            step.instances.remove(instance)
            return 0
