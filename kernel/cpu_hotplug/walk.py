"""Walking a processor through its states: calling back, and undoing what was done when a callback fails.

Mirrors cpuhp_invoke_callback(), cpuhp_invoke_callback_range(), cpuhp_up_callbacks(), cpuhp_down_callbacks(),
cpuhp_set_state(), cpuhp_reset_state(), cpuhp_kick_ap() and cpuhp_thread_fun() of kernel/cpu.c (6.1).

The walk itself is the same on the control thread and on ``cpuhp/N``; the latter makes one call, then looks again at
what it is asked for, so that each callback is in a section of lockdep's of its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..locks.base import ON_BEHALF, WRITE
from ..stack import kernel_name, part_of_caller
from .states import CpuhpState, is_atomic_state

if TYPE_CHECKING:
    from ..machine import Machine
    from .api import CpuHotplug
    from .cpu_state import CpuhpCpuState

EAGAIN = 11


class LockMap:
    """A class for lockdep that is no lock (``struct lockdep_map``)."""

    __slots__ = ("_machine", "address", "name")

    def __init__(self, machine: Machine, name: str) -> None:
        self._machine = machine
        self.name = name
        self.address = machine.static_address(16)
        machine.lock_classes[name] = "0:0"

    @part_of_caller
    def acquire(self) -> None:
        """``lock_map_acquire``."""
        if (fire := self._machine.tracepoints.lock_acquire.fire) is not None:
            fire(WRITE, self.name, self.address)

    @part_of_caller
    def release(self) -> None:
        """``lock_map_release``."""
        if (fire := self._machine.tracepoints.lock_release.fire) is not None:
            fire(self.name, self.address)


class Walk:
    """The walks of one machine's processors."""

    def __init__(self, machine: Machine, hotplug: CpuHotplug) -> None:
        self._machine = machine
        self._hotplug = hotplug
        self._table = hotplug.table
        self.up_map = LockMap(machine, "cpuhp_state-up")
        self.down_map = LockMap(machine, "cpuhp_state-down")

    def _map(self, bringup: bool) -> LockMap:
        return self.up_map if bringup else self.down_map

    # --- which way, and how far

    def set_state(self, st: CpuhpCpuState, target: int) -> int:
        """Turn a processor towards `target`; where it was."""
        self._hotplug.changes()
        st.rollback = False
        st.rolled_back_from = None
        st.target = target
        st.single = False
        self._turn(st, bringup=st.state < target)
        return st.state

    def reset_state(self, st: CpuhpCpuState, before: int) -> None:
        """A callback has failed: turn round, towards the state where the processor was `before`."""
        self._hotplug.changes()
        st.target = before
        if st.rollback:
            return  # turned round already
        st.rollback = True
        # The state that failed has undone itself, unless instances of it remain to be undone.
        if st.rolled_back_from is None:
            st.state += -1 if st.bringup else 1
        self._turn(st, bringup=not st.bringup)

    def _turn(self, st: CpuhpCpuState, *, bringup: bool) -> None:
        st.bringup = bringup
        if st.cpu.dying == bringup:
            st.cpu.masks_change()
            st.cpu.dying = not bringup

    def next_state(self, st: CpuhpCpuState, target: int, *, bringup: bool) -> int | None:
        """The next state with something to call, which the processor counts as having passed; None at the end."""
        self._hotplug.changes()
        state = self._table.next_state(st.state, target, bringup=bringup)
        if state is None:
            st.state = max(st.state, target) if bringup else min(st.state, target)
        else:
            st.state = state if bringup else state - 1
        return state

    # --- calling back

    async def cpuhp_invoke_callback(self, st: CpuhpCpuState, state: int, *, bringup: bool, instance: Any = None) -> int:
        """Call what a state has in one direction, for one `instance` or all of them; 0 or a negative errno."""
        self._hotplug.changes()
        if st.fail == state:
            st.fail = CpuhpState.INVALID
            return -EAGAIN
        step = self._table.steps[state]
        if step.instances is not None:
            return await self._invoke_instances(st, state, bringup=bringup, instance=instance)
        callback = step.startup if bringup else step.teardown
        if callback is None:
            return 0
        cpu = st.cpu.cpu_id
        points = self._machine.tracepoints
        if (fire := points.cpuhp_enter.fire) is not None:
            fire(cpu, st.target, state, 0)
        result = await callback(cpu) or 0
        if (fire := points.cpuhp_exit.fire) is not None:
            fire(cpu, st.state, state, result)
        return result

    async def _invoke_instances(self, st: CpuhpCpuState, state: int, *, bringup: bool, instance: Any) -> int:
        step = self._table.steps[state]
        if instance is not None:
            return await self._invoke_instance(st, state, instance, bringup=bringup)
        for one in list(step.instances or ()):
            if one is st.rolled_back_from:
                break  # this one failed, and nothing behind it was called
            result = await self._invoke_instance(st, state, one, bringup=bringup)
            if result:
                st.rolled_back_from = one
                return result
        st.rolled_back_from = None
        return 0

    async def _invoke_instance(self, st: CpuhpCpuState, state: int, instance: Any, *, bringup: bool) -> int:
        step = self._table.steps[state]
        callback = step.startup_instance if bringup else step.teardown_instance
        if callback is None:
            return 0
        cpu = st.cpu.cpu_id
        points = self._machine.tracepoints
        if (fire := points.cpuhp_multi_enter.fire) is not None:
            fire(cpu, st.target, state, 0)
        result = await callback(cpu, instance) or 0
        if (fire := points.cpuhp_exit.fire) is not None:
            fire(cpu, st.state, state, result)
        return result

    async def cpuhp_invoke_callback_range(self, st: CpuhpCpuState, target: int, *, bringup: bool) -> int:
        """Pass all states up to `target`; 0, or the errno of the first that failed."""
        while (state := self.next_state(st, target, bringup=bringup)) is not None:
            error = await self.cpuhp_invoke_callback(st, state, bringup=bringup)
            if not error:
                continue
            if not is_atomic_state(state):
                return error
            self._warn(st, state, error)  # STARTING and DYING must not fail: go on
        return 0

    def _warn(self, st: CpuhpCpuState, state: int, error: int) -> None:
        name = self._table.steps[state].name
        self._machine.printk(
            "warning", f"WARNING: CPU {st.cpu.cpu_id} {name} ({state}) failed ({error}), where nothing may fail"
        )

    async def cpuhp_up_callbacks(self, st: CpuhpCpuState, target: int) -> int:
        """Go up on the control thread; after a failure, down to where the processor was."""
        before = st.state
        error = await self.cpuhp_invoke_callback_range(st, target, bringup=True)
        if error:
            self.reset_state(st, before)
            if failed := await self.cpuhp_invoke_callback_range(st, before, bringup=False):
                self._warn(st, st.state + 1, failed)
        return error

    async def cpuhp_down_callbacks(self, st: CpuhpCpuState, target: int) -> int:
        """Go down on the control thread; after a failure, up to where the processor was when this began."""
        before = st.state
        error = await self.cpuhp_invoke_callback_range(st, target, bringup=False)
        if error:
            self.reset_state(st, before)
            if st.state < before and (failed := await self.cpuhp_invoke_callback_range(st, before, bringup=True)):
                self._warn(st, st.state, failed)
        return error

    # --- cpuhp/N

    @kernel_name("smpboot_thread_fn")
    async def cpuhp_thread(self, st: CpuhpCpuState) -> None:
        """The body of ``cpuhp/N``."""
        while True:
            thread = st.thread
            self._hotplug.changes()
            if thread is not None and thread.should_park:
                await thread.parkme()
            elif st.should_run:
                await self.cpuhp_thread_fun(st)
                if not st.should_run:
                    milestones = st.milestones
                    await (milestones.done_up if st.bringup else milestones.done_down).complete()
            elif thread is not None:
                await thread.schedule

    async def cpuhp_thread_fun(self, st: CpuhpCpuState) -> None:
        """Call one state back, on the processor itself; clears ``should_run`` when that was all, or on failure."""
        bringup = st.bringup
        lock = self._hotplug.lock
        # The control thread holds cpu_hotplug_lock on behalf of this one.
        lock.announce(WRITE | ON_BEHALF)
        self._map(bringup).acquire()
        state: int | None
        if st.single:
            state = st.cb_state
            st.should_run = False
        else:
            state = self.next_state(st, st.target, bringup=bringup)
            st.should_run = state is not None
        if state is not None:
            atomic = is_atomic_state(state)
            if atomic:
                self._machine.local_irq_disable()
            st.result = await self.cpuhp_invoke_callback(st, state, bringup=bringup, instance=st.instance)
            self._hotplug.changes()
            if atomic:
                self._machine.local_irq_enable()
            if st.result:
                if st.rollback:
                    self._warn(st, state, st.result)  # no way forward, no way back
                st.should_run = False
        self._map(bringup).release()
        lock.withdraw()

    @kernel_name("__cpuhp_kick_ap")
    async def kick(self, st: CpuhpCpuState) -> None:
        """Have ``cpuhp/N`` do what the state asks for, and sleep until it has."""
        self._hotplug.changes()
        if not st.single and st.state == st.target:
            return
        st.result = 0
        st.should_run = True
        machine = self._machine
        if machine.booting:
            self._hotplug.run_while_booting(st.cpu, f"cpuhp/{st.cpu.cpu_id}", self._while_asked(st))
            return
        thread = st.thread or st.make_thread(lambda: self.cpuhp_thread(st))
        milestones = st.milestones
        done = milestones.done_up if st.bringup else milestones.done_down
        await thread.wake_up()
        await done.wait()

    async def _while_asked(self, st: CpuhpCpuState) -> None:
        while st.should_run:
            await self.cpuhp_thread_fun(st)

    async def cpuhp_kick_ap(self, st: CpuhpCpuState, target: int) -> int:
        """Have ``cpuhp/N`` go to `target`, and back after a failure; 0 or the errno of that."""
        before = self.set_state(st, target)
        await self.kick(st)
        error = st.result
        if error:
            self.reset_state(st, before)
            await self.kick(st)
        return error

    async def cpuhp_kick_ap_work(self, st: CpuhpCpuState) -> int:
        """The same, for a processor whose state is in the ONLINE section already."""
        before = st.state
        for one in (self.down_map, self.up_map):
            one.acquire()
            one.release()
        cpu = st.cpu.cpu_id
        points = self._machine.tracepoints
        if (fire := points.cpuhp_enter.fire) is not None:
            fire(cpu, st.target, before, 0)
        error = await self.cpuhp_kick_ap(st, st.target)
        if (fire := points.cpuhp_exit.fire) is not None:
            fire(cpu, st.state, before, error)
        return error
