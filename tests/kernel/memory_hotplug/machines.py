"""A machine whose node 1 has two memory blocks that are offline, and a task on it that does what a test says."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from slubloom.actors import BareInterleaver, Outcome
from slubloom.actors.profile import Profile
from slubloom.actors.strategies import Pct, RandomWalk
from slubloom.kernel import Machine, boot
from slubloom.kernel.files import read_file, write_file
from slubloom.topology import loads

from ..helpers import start

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from slubloom.actors.strategies import Strategy

MEMORY = "/sys/devices/system/memory"
INJECT = "/sys/kernel/debug/notifier-error-inject/memory/actions"
BLOCK = 2048
"""Pages of a block."""

TWO_BLOCKS = """
[machine]
memory_block = "8M"
offline_nodes = [1]
[[machine.node]]
id = 0
cpus = "0-1"
memory = "64M"
[[machine.node]]
id = 1
memory = "16M"
"""
FIRST, SECOND = 8, 9
"""Numbers of node 1's blocks: node 0 has eight."""


def pct(seed: int, decisions: int = 400) -> Pct:
    """The strategy, for a run of about so many decisions."""
    profile = Profile(BareInterleaver(RandomWalk(0)))
    profile.decisions = decisions
    return Pct(seed, profile)


def machine(text: str = TWO_BLOCKS, strategy: Strategy | None = None, **options: Any) -> Machine:
    """Booted, not running yet."""
    return boot(loads(text, **options), BareInterleaver(strategy or RandomWalk(0))).machine


def done(machine: Machine, *bodies: Callable[[Machine], Awaitable[None]]) -> Machine:
    """`machine` after tasks have done `bodies`, each on a processor of its own in turn, without a violation."""
    for number, body in enumerate(bodies):
        start(machine, number % 2, f"task{number}", lambda body=body: body(machine))
    outcome = machine.interleaver.run_bare()
    assert machine.violations == [], machine.violations[0].report
    assert outcome is Outcome.FINISHED
    return machine


async def state(machine: Machine, block: int, wanted: str) -> int:
    """Write to a block's ``state``."""
    return await write_file(machine, f"{MEMORY}/memory{block}/state", wanted)


async def shown(machine: Machine, path: str) -> str | int:
    """A file below the memory folder."""
    text = await read_file(machine, f"{MEMORY}/{path}")
    return text.rstrip("\n") if isinstance(text, str) else text


def events(machine: Machine) -> list[tuple[Any, ...]]:
    """Filled with (action, node whose first or last memory it is, the same of the kernel's memory)."""
    told: list[tuple[Any, ...]] = []
    machine.tracepoints.memory_notify.attach(lambda record: told.append(tuple(record[5:8])))
    return told


def free_pages(machine: Machine, node: int) -> int:
    """Pages of a node that are free to take."""
    return machine.nodes[node].free_pages


def zone(machine: Machine, index: int) -> Any:
    """A zone of node 1."""
    return machine.nodes[1].zones[index]
