"""Tasks: the programs of a topology file, run as kernel threads that call into the kernel like user tasks do.

Between two operations a task is in user mode: for RCU that is a quiescent state.  What a task allocates goes into its
bags, queues of addresses by name; a bag is named after its cache unless the program says otherwise.  A bag is shared
by all tasks: one may free what another has allocated.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..actors import Op, OpKind
from . import cpu_operations, operations
from .bag import Bag
from .machine import FunctionThread
from .work_operations import make_named_works

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..topology import Scenario
    from .machine import Machine


def _leave_kernel(thread: Any) -> None:
    if thread.rcu_depth or thread.preempt_count:
        return  # a program that holds such a thing between two operations stands for one long call into the kernel
    if (fire := thread.machine.tracepoints.sys_exit.fire) is not None and not _holds_own_lock(thread):
        fire(0)
    cpu = thread.cpu
    cpu.in_user_mode = True
    if cpu.qs_needed is not None:
        thread.machine.rcu.quiescent.user_mode(cpu)


def _holds_own_lock(thread: Any) -> bool:
    """Whether the program holds one of its own locks between two operations: that stands for one long call too."""
    return isinstance(thread, Task) and any(thread in lock.holders() for lock in thread.workload.locks.values())


def _enter_kernel(thread: Any) -> None:
    thread.cpu.in_user_mode = False


USER_MODE = Op(OpKind.LOCAL, "user mode", admit=_leave_kernel, perform=_enter_kernel)


class Task(FunctionThread):
    """A task of the workload; `variables` are what {i} and {task} stand for in its strings.

    One that is `pinned` to a processor loses that when the processor goes, and does not get it back.
    """

    __slots__ = ("_program", "pinned", "variables", "workload")

    def __init__(self, workload: Workload, cpu: int, name: str, program: Sequence[Any], number: int) -> None:
        super().__init__(workload.machine, workload.machine.cpus[cpu], name, self._run_program)
        self.workload = workload
        self.variables: dict[str, int] = {"i": 0, "task": number}
        self._program = program
        self.pinned = False

    def find_processor(self) -> None:
        """The processor is going or gone: go on elsewhere, and if that was not to be, say so."""
        before = self.cpu
        super().find_processor()
        if self.pinned and self.cpu is not before:
            self.pinned = False
            self.machine.printk("info", f"process {self.pid} ({self.comm}) no longer affine to cpu{before.cpu_id}")

    async def _run_program(self) -> None:
        await self.workload.run_program(self, self._program)
        if self.cgroup is not None and self.machine.cgroups is not None:
            await self.machine.cgroups.leave(self)
        await USER_MODE


class Workload:
    """All tasks of a scenario, and what they share: locks and bags."""

    def __init__(self, machine: Machine, scenario: Scenario, locks: dict[str, Any]) -> None:
        self.machine = machine
        self.scenario = scenario
        self.locks = locks
        self._bags: dict[str, Bag[Any]] = {}
        self.files_read: dict[str, str] = {}  # the last text read of each file
        self._next_cpu = 0
        bags = machine.interleaver.resource("objects of the workload")
        self.touch_object = Op(OpKind.UPDATE, bags)
        self.works = make_named_works(self, scenario)

    def bag(self, name: str) -> Bag[Any]:
        """The bag called `name`; made on first use."""
        bag = self._bags.get(name)
        if bag is None:
            bag = self._bags[name] = Bag(self.machine.interleaver, f"bag {name}")
        return bag

    def start(self) -> None:
        """Make the tasks; those without a processor are dealt to the online ones in turn."""
        cpu_operations.register_cpu_states(self, self.scenario)
        for spec in self.scenario.tasks:
            for number in range(spec.instances):
                name = f"{spec.name}/{number}" if spec.instances > 1 else spec.name
                cpu = spec.cpu_of(number)
                task = Task(self, self._any_cpu() if cpu is None else cpu, name, spec.program, number)
                task.pinned = cpu is not None
                if spec.memcg is not None and self.machine.cgroups is not None:
                    self.machine.cgroups.born_in(task, spec.memcg.replace("{task}", str(number)))
                self.machine.spawn(task)

    async def run_program(self, task: Task, program: Sequence[Any]) -> None:
        """Run the operations of `program` in order, as `task` or, within an operation, as somebody else."""
        calls_from_user_mode = self.machine.running is task
        for operation in program:
            if calls_from_user_mode:
                await USER_MODE
            self.machine.count("operations")
            await operations.PERFORM[operation.op](task, operation)

    async def perform(self, task: Any, operation: Any) -> None:
        """Do one operation of a program inside of another."""
        await operations.PERFORM[operation.op](task, operation)

    def _any_cpu(self) -> int:
        online = self.machine.online_cpus()
        self._next_cpu += 1
        return online[(self._next_cpu - 1) % len(online)].cpu_id


def start_event(workload: Workload, event: Any) -> None:
    """A hotplug event of the topology as a task of its own: competing from the start, or waiting for its time."""
    machine = workload.machine

    async def run_event() -> None:
        if event.at_ns:
            await machine.current.sleep(event.at_ns)
        await USER_MODE
        if event.of_cpu:
            await cpu_operations.request(machine, event.cpu, online=event.kind == "cpu_online", who=name)
        else:
            await machine.memory_hotplug.request(event.kind == "memory_online", event.node)

    online = machine.online_cpus()
    verb = event.kind.rpartition("_")[2]
    if event.of_cpu:
        cpu, name = next((cpu for cpu in online if cpu.cpu_id != event.cpu), online[0]), f"{verb}-cpu{event.cpu}"
    else:
        cpu = machine.cpus[event.cpu] if event.cpu is not None else online[-1]
        name = f"{verb}-node{event.node}"
    machine.spawn(FunctionThread(machine, cpu, name, run_event))
