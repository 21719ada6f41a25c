"""What a topology must make sense of beyond the form of its parts: numbers that refer to each other."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .errors import Problem
from .machine import LOCAL_DISTANCE, PAGE_SIZE
from .shrinker_operations import check_shrinker_operation, check_shrinkers
from .slabinfo import impossibilities
from .work_checks import check_queueing, check_waiting, check_workqueues

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from .machine import Machine
    from .scenario import Scenario


def check_machine(machine: Machine) -> Iterator[Problem]:
    """Everything about the machine alone."""
    yield from _check_nodes(machine)
    numbers = [node.id for node in machine.nodes]
    if machine.distances:
        yield from _check_distances(machine, len(numbers))
    cpus = [cpu.id for cpu in machine.cpus]
    for index, node in enumerate(machine.offline_nodes):
        if node not in numbers:
            yield Problem(f"machine.offline_nodes[{index}]", f"there is no node {node}; the nodes are {_list(numbers)}")
    for cpu in machine.offline_cpus:
        if cpu not in cpus:
            yield Problem("machine.offline_cpus", f"there is no CPU {cpu}")
    if not cpus:
        yield Problem("machine.node", 'no node has a CPU; expected at least one, such as cpus = "0-3"')
    elif not any(cpu.online for cpu in machine.cpus):
        yield Problem("machine.offline_cpus", "every CPU is offline; at least one must be online at boot")
    yield from _check_slabinfo(machine)
    if numbers and not any(node.online and node.memory_bytes >= PAGE_SIZE for node in machine.nodes):
        yield Problem(
            "machine.node", 'no node has memory online at boot; expected at least one, such as memory = "512M"'
        )


def _check_slabinfo(machine: Machine) -> Iterator[Problem]:
    """Whether the recorded caches are possible, and have room; the page allocator may still find that they do not."""
    room = sum(node.memory_bytes // PAGE_SIZE for node in machine.nodes if node.online)
    wanted = 0
    for row in machine.slabinfo:
        impossible = "; ".join(impossibilities(row))
        if impossible:
            yield Problem("machine.slabinfo", f"line {row.line}, cache {row.name}: {impossible}")
            return
        wanted += row.pages
        if wanted > room:
            total = sum(row.pages for row in machine.slabinfo)
            yield Problem(
                "machine.slabinfo",
                f"line {row.line}, cache {row.name}: there is no memory left for its slabs; expected nodes with more"
                f" than {_mebibytes(total)} online for all caches of the file, not {_mebibytes(room)}",
            )
            return


def _mebibytes(pages: int) -> str:
    return f"{-(-pages * PAGE_SIZE >> 20)}M"


def _check_nodes(machine: Machine) -> Iterator[Problem]:
    if not machine.node:
        yield Problem("machine.node", 'there is no node; expected at least one [[machine.node]], or import = "FILE"')
    seen: dict[int, int] = {}
    owner: dict[int, int] = {}
    for index, section in enumerate(machine.node):
        if section.id in seen:
            yield Problem(
                f"machine.node[{index}].id", f"node {section.id} is there already, as node[{seen[section.id]}]"
            )
        seen.setdefault(section.id, index)
        for cpu in section.cpus:
            if cpu in owner:
                yield Problem(
                    f"machine.node[{index}].cpus",
                    f"CPU {cpu} is in node {owner[cpu]} already; a CPU belongs to one node",
                )
            owner.setdefault(cpu, section.id)


def _check_distances(machine: Machine, size: int) -> Iterator[Problem]:
    rows = machine.distances
    if len(rows) != size or any(len(row) != size for row in rows):
        shape = f"{len(rows)} rows of {_list(list(dict.fromkeys(len(row) for row in rows)))}"
        yield Problem("machine.distances", f"{shape} numbers; expected {size} rows of {size}, one for each node")
        return
    for index, row in enumerate(rows):
        if row[index] != LOCAL_DISTANCE:
            yield Problem(
                f"machine.distances[{index}][{index}]", f"a node is {LOCAL_DISTANCE} from itself, not {row[index]}"
            )


def check_workload(scenario: Scenario) -> Iterator[Problem]:
    """Everything that refers from the workload to the machine or to other parts."""
    machine = scenario.machine
    cpus = {cpu.id: cpu for cpu in machine.cpus}
    nodes = {node.id: node for node in machine.nodes}
    yield from _unique("lock", [lock.name for lock in scenario.locks])
    yield from _unique("cache", [cache.name for cache in scenario.caches])
    yield from _unique("workqueue", [queue.name for queue in scenario.workqueues])
    yield from check_workqueues(scenario)
    yield from _unique("task", [task.name for task in scenario.tasks])
    recorded = {row.name: row.line for row in machine.slabinfo}
    for index, cache in enumerate(scenario.caches):
        if cache.name in recorded:
            yield Problem(
                f"cache[{index}].name",
                f"{cache.name!r} is in machine.slabinfo, line {recorded[cache.name]}; expected another name, or no"
                " [[cache]] at all: tasks use recorded caches by their names",
            )
    locks = [lock.name for lock in scenario.locks]

    def check_cpu(place: str, cpu: int) -> Iterator[Problem]:
        if cpu not in cpus:
            yield from check_possible(place, cpu)
        elif not cpus[cpu].online:
            yield Problem(place, f"CPU {cpu} is offline at boot")

    def check_possible(place: str, cpu: int) -> Iterator[Problem]:
        if cpu not in cpus:
            yield Problem(place, f"there is no CPU {cpu}; the machine has {len(cpus)}")

    def check_node(place: str, node: int) -> Iterator[Problem]:
        if node not in nodes:
            yield Problem(place, f"there is no node {node}; the nodes are {_list(list(nodes))}")
        elif nodes[node].memory_bytes < PAGE_SIZE:
            yield Problem(place, f"node {node} has no memory")

    def check_program(place: str, program: Iterable[Any]) -> Iterator[Problem]:
        for index, operation in enumerate(program):
            here = f"{place}[{index}]"
            match operation.op:
                case "lock" | "unlock" if operation.lock not in locks:
                    yield Problem(
                        f"{here}.lock", f"there is no [[lock]] {operation.lock!r}; there are: {_list(locks) or 'none'}"
                    )
                case "cpu_online" | "cpu_offline":
                    yield from check_possible(f"{here}.cpu", operation.cpu)
                case "memory_online" | "memory_offline" | "wait_online":
                    yield from check_node(f"{here}.node", operation.node)
                case "kmem_cache_alloc" | "alloc_pages" if operation.node >= 0 and operation.node not in nodes:
                    yield Problem(
                        f"{here}.node", f"there is no node {operation.node}; the nodes are {_list(list(nodes))}"
                    )
                case "queue_work" | "queue_delayed_work" | "mod_delayed_work":
                    if operation.cpu is not None:
                        yield from check_cpu(f"{here}.cpu", operation.cpu)
                    yield from check_queueing(scenario, here, operation)
                    yield from check_program(f"{here}.program", operation.program)
                case "flush_work" | "cancel_work_sync" | "flush_workqueue" | "drain_workqueue":
                    yield from check_waiting(scenario, here, operation)
                case "mount" | "umount" | "lru_add" | "lru_put" | "lru_use" | "shrink_slab" | "reclaim_memcg":
                    yield from check_shrinker_operation(scenario, here, operation)
                case "repeat":
                    yield from check_program(f"{here}.program", operation.program)

    yield from check_shrinkers(scenario)
    yield from _check_cgroups(scenario)
    for index, task in enumerate(scenario.tasks):
        for cpu in task.cpu or ():
            yield from check_cpu(f"task[{index}].cpu", cpu)
        yield from check_program(f"task[{index}].program", task.program)
    yield from _unique("cpu_state", [state.name for state in scenario.cpu_states])
    for index, state in enumerate(scenario.cpu_states):
        yield from check_program(f"cpu_state[{index}].startup", state.startup)
        yield from check_program(f"cpu_state[{index}].teardown", state.teardown)
    for index, event in enumerate(scenario.events):
        if event.node is not None:
            yield from check_node(f"event[{index}].node", event.node)
        if event.cpu is not None and event.of_cpu:
            yield from check_possible(f"event[{index}].cpu", event.cpu)
        elif event.cpu is not None:
            yield from check_cpu(f"event[{index}].cpu", event.cpu)


def _check_cgroups(scenario: Scenario) -> Iterator[Problem]:
    """Whether the parent of each cgroup stands before it, and the cgroups of tasks exist."""
    seen: dict[str, int] = {}
    for index, section in enumerate(scenario.memcgs):
        path = section.path.strip("/")
        parent = path.rpartition("/")[0]
        if "{" in path:
            yield Problem(f"memcg[{index}].path", f"{path!r}: nothing is counted here; expected a path without braces")
        elif path in seen:
            yield Problem(f"memcg[{index}].path", f"{path!r} is there already, as memcg[{seen[path]}]")
        elif parent and parent not in seen:
            yield Problem(
                f"memcg[{index}].path",
                f"there is no cgroup {parent!r} to put it in; expected a [[memcg]] before this one",
            )
        seen.setdefault(path, index)
    for index, task in enumerate(scenario.tasks):
        if task.memcg is None:
            continue
        for number in range(task.instances):
            path = task.memcg.strip("/").replace("{task}", str(number))
            if path not in seen:
                yield Problem(
                    f"task[{index}].memcg", f"there is no [[memcg]] {path!r}; there are: {_list(list(seen)) or 'none'}"
                )
                break


def _unique(section: str, names: list[str]) -> Iterator[Problem]:
    for index, name in enumerate(names):
        if name in names[:index]:
            yield Problem(f"{section}[{index}].name", f"{name!r} is there already, as {section}[{names.index(name)}]")


def _list(values: list[Any]) -> str:
    return ", ".join(str(value) for value in values)
