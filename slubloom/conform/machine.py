"""The emulated machine for a recording, and a thread on it that does what was recorded.

The header says which nodes the processors belong to and in which order a node asks the others for memory; all nodes
that are in such an order have memory.  What differs from the recorded machine without a consequence for SLUB is left
as it is: amounts of memory, devices, other tasks.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

import trio

from ..actors import Interleaver, Outcome
from ..actors.strategies import RandomWalk
from ..kernel import Machine, boot
from ..kernel.boot import BootError
from ..kernel.machine import FunctionThread
from ..kernel.releases import ReleaseError
from ..topology import TopologyError, from_document
from .cmdline import parse_cmdline
from .vectors import VectorError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from ..topology import Scenario
    from .vectors import Header

LOCAL_DISTANCE, FIRST_DISTANCE, LAST_DISTANCE = 10, 20, 255
NODE_MEMORY = 512 << 20

T = TypeVar("T")


def scenario_of(
    source: str, header: Header, *, kmalloc: bool = False, plugged: Mapping[int, int] | None = None, **boot_changes: Any
) -> Scenario:
    """The topology of the machine that `header` describes; `boot_changes` replace boot parameters.

    `plugged` has the bytes of memory that were plugged into nodes, and are offline.

    Raises:
        VectorError: there is no emulated machine like that.
    """
    options = parse_cmdline(header.cmdline)
    parameters = {
        "slab_nomerge": options.slab_nomerge,
        "slub_debug": options.slub_debug,
        "slub_min_order": options.slub_min_order,
        "slub_max_order": options.slub_max_order,
        "slub_min_objects": options.slub_min_objects,
    }
    document = {
        "machine": _machine(header, plugged or {}),
        "kernel": {
            "release": _release(source, header),
            "kmem_accounting": options.kmem_accounting,
            "kmalloc": kmalloc,
            "sanitizers": [],
            "boot": {key: value for key, value in (parameters | boot_changes).items() if value is not None},
        },
    }
    try:
        return from_document(document, source)
    except TopologyError as error:
        raise VectorError(source, f"no such machine can be emulated: {error}", line=1) from error


def machine_of(source: str, header: Header, interleaver: Interleaver | None = None, **changes: Any) -> Machine:
    """The machine that `header` describes, booted on `interleaver` or one of its own; `changes` as in `scenario_of`.

    Raises:
        VectorError: there is no emulated machine like that.
    """
    scenario = scenario_of(source, header, **changes)
    try:
        machine = boot(scenario, interleaver or Interleaver(RandomWalk(0))).machine
    except (BootError, ReleaseError) as error:
        raise VectorError(source, f"no such machine can be emulated: {error}", line=1) from error
    slub = machine.slab
    nr_cpus = slub.variants.sizing.nr_cpus(
        possible=header.nr_cpu_ids, present=header.cpus_present, online=header.cpus_online
    )
    if nr_cpus != slub.tunables.nr_cpus:  # a topology has no processors that are plugged in but never started
        slub.tunables = replace(slub.tunables, nr_cpus=nr_cpus)
    return machine


def run_on(machine: Machine, work: Callable[[], Awaitable[T]]) -> T:
    """Run `work` as the only thread of `machine`, to its end; what it returned.

    Raises:
        RuntimeError: it did not come to its end, as a violation was found: a mistake of the emulation.
    """
    results: list[T] = []
    failures: list[VectorError] = []

    async def guarded() -> None:
        try:
            results.append(await work())
        except VectorError as error:  # the recording's fault, not the thread's
            failures.append(error)

    machine.spawn(FunctionThread(machine, machine.online_cpus()[0], "conform", guarded))
    outcome = trio.run(machine.interleaver.run)
    if failures:
        raise failures[0]
    if outcome is not Outcome.FINISHED or machine.violations or not results:
        found = "; ".join(violation.title for violation in machine.violations)
        raise RuntimeError(f"the emulated machine ended early: {outcome.value}; {found}")
    return results[0]


def _machine(header: Header, plugged: Mapping[int, int]) -> dict[str, Any]:
    with_memory = {node for row in header.fallback for node in row}
    nodes = [
        {
            "id": node,
            "cpus": [cpu for cpu, its in enumerate(header.cpu_node) if its == node],
            "memory": NODE_MEMORY if node in with_memory else plugged.get(node, 0),
        }
        for node in range(header.nr_node_ids)
    ]
    return {
        "node": nodes,
        "offline_nodes": [node for node in plugged if node not in with_memory],
        "offline_cpus": list(range(header.cpus_online, len(header.cpu_node))),
        "distances": _distances(header),
    }


def _distances(header: Header) -> list[list[int]]:
    """Distances by which each node asks the others in the recorded order."""
    rows = []
    for node, order in enumerate(header.fallback):
        row = [LAST_DISTANCE] * header.nr_node_ids
        for rank, other in enumerate(order):
            row[other] = min(FIRST_DISTANCE + rank, LAST_DISTANCE)
        row[node] = LOCAL_DISTANCE
        rows.append(row)
    return rows


def _release(source: str, header: Header) -> str:
    match = re.match(r"(\d{1,2})\.(\d{1,3})", header.release)
    if match is None:
        raise VectorError(source, f"{header.release!r} is no kernel release", line=1, field="release")
    return f"v{match[1]}.{match[2]}"
