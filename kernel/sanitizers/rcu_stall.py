"""RCU stall warnings: a grace period that does not end.

Layout: print_other_cpu_stall(), print_cpu_stall(), print_cpu_stall_info() and rcu_print_task_stall() of
kernel/rcu/tree_stall.h (6.1).  Found by a processor that is not waited for, or by the first that is, if all are.

Where nothing else can go on, a cycle of waiting threads is not reported here: that is a deadlock, and told as one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...actors.rcu_sequence import sequence_count
from ...actors.waitfor import find_cycle, wait_for_graph
from ..stack import stack_of
from .layout import HARDWARE, call_trace, join, kernel_ident

if TYPE_CHECKING:
    from ...actors import Cpu, GracePeriod, KernelThread
    from ...actors.rcu_node import RcuNode
    from ..machine import Machine
    from ..rcu.flavour import RcuFlavour

TASKS_MAX = 8
EXTENDED_NESTING = 0x4000000000000000


def report_stall(machine: Machine, flavour: RcuFlavour) -> None:
    """Report that the running grace period of `flavour` is overdue."""
    domain = flavour.domain
    interleaver = machine.interleaver
    if domain.alone and find_cycle(wait_for_graph(interleaver.stuck())):
        return
    waited = [cpu for node in domain.nodes if node.quorum is not None for cpu in node.quorum.waiting_cpus]
    online = [cpu.cpu_id for cpu in machine.online_cpus()]
    others = [cpu for cpu in online if cpu not in waited]
    ticks = (interleaver.timer_ns() - domain.begun_ns) // machine.jiffy_ns
    queued = sum(data.callbacks.length for data in flavour.data.values())
    if (fire := machine.tracepoints.rcu_stall_warning.fire) is not None:
        fire(flavour.name, "StallDetected" if others or not waited else "SelfDetected")
    if others or not waited:
        title = f"rcu: INFO: {flavour.name} detected stalls on CPUs/tasks:"
        lines = [title]
        for node in domain.nodes:
            lines += _node(machine, flavour, node)
        found_by = others[0] if others else online[0]
        lines.append(
            f"\t(detected by {found_by}, t={ticks} jiffies, g={domain.sequence}, q={queued} ncpus={len(online)})"
        )
    else:
        title = f"rcu: INFO: {flavour.name} self-detected stall on CPU"
        lines = [title, _cpu_line(machine, flavour, machine.cpus[waited[0]])]
        lines.append(f"\t(t={ticks} jiffies g={domain.sequence} q={queued} ncpus={len(online)})")
    for number in waited:
        lines += _cpu_stack(machine, machine.cpus[number])
    for task in _tasks(domain):
        lines += _task_stack(task)
    machine.violate("rcu-stall", _title(title, waited, _tasks(domain)), join(lines))


def _title(first: str, waited: list[int], tasks: list[KernelThread]) -> str:
    parts = [f"CPU {number}" for number in waited] + [f"P{task.pid}" for task in tasks]
    return f"{first.removeprefix('rcu: ').rstrip(':')}: {', '.join(parts)}"


def _tasks(domain: GracePeriod) -> list[KernelThread]:
    return [task for node in domain.nodes if node.quorum is not None for task in node.quorum.blocked_readers]


def _node(machine: Machine, flavour: RcuFlavour, node: RcuNode) -> list[str]:
    if node.quorum is None:
        return []
    lines = [_cpu_line(machine, flavour, machine.cpus[number]) for number in node.quorum.waiting_cpus]
    tasks = list(node.quorum.blocked_readers)[:TASKS_MAX]
    if tasks:
        names = "".join(f" P{task.pid}/{task.rcu_depth}:b..l" for task in tasks[::-1])
        lines.append(f"rcu: \tTasks blocked on level-0 rcu_node (CPUs {node.cpus[0]}-{node.cpus[-1]}):{names}")
    return lines


def _cpu_line(machine: Machine, flavour: RcuFlavour, cpu: Cpu) -> str:
    """``<cpu>-<OonN>: (<n> ticks this GP) idle=… softirq=… fqs=…``."""
    domain = flavour.domain
    node = domain.node_of[cpu.cpu_id]
    data = flavour.data[cpu.cpu_id]
    marks = [
        "." if cpu.online else "O",
        "." if cpu.cpu_id in node.expected else "o",
        "." if cpu.cpu_id in node.starting else "N",
        ".",
    ]
    behind = sequence_count(domain.sequence) - sequence_count(data.sequence) if cpu.qs_needed is None else 0
    ticks = (machine.interleaver.timer_ns() - domain.begun_ns) // machine.jiffy_ns
    age = f"{behind} GPs behind" if behind else f"{ticks} ticks this GP"
    watching = 0 if cpu.idle else 1
    idle = f"idle={watching:04x}/{watching}/{EXTENDED_NESTING * watching:#x}"
    counts = f"softirq={data.invoked}/{data.invoked} fqs={domain.scans}"
    return f"rcu: \t{cpu.cpu_id}-{''.join(marks)}: ({age}) {idle} {counts} "


def _cpu_stack(machine: Machine, cpu: Cpu) -> list[str]:
    thread = cpu.current
    if thread is None:
        return [f"NMI backtrace for cpu {cpu.cpu_id} skipped: idling"]
    return [
        f"NMI backtrace for cpu {cpu.cpu_id}",
        f"CPU: {cpu.cpu_id} PID: {thread.pid} Comm: {thread.comm} {kernel_ident(machine)}",
        HARDWARE,
        *call_trace(stack_of(thread)),
    ]


def _task_stack(task: KernelThread) -> list[str]:
    state = "D" if task.blocked else "R"
    line = f"task:{task.comm:<15.15} state:{state} stack:    0 pid:{task.pid:5} ppid:     2 flags:0x00004000"
    return [line, *call_trace(stack_of(task))]
