"""Small machines with something to shrink, and schedules that hold a thread back at one place."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import trio
from slubloom.actors import Interleaver, Outcome
from slubloom.actors.strategies import RandomWalk
from slubloom.actors.strategies.base import SeededStrategy
from slubloom.kernel import boot
from slubloom.kernel.kthread import kthread_run
from slubloom.topology import loads

from slubloom.run import RunOptions, run_scenario

from ..helpers import start

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Sequence

    from slubloom.actors import Actor
    from slubloom.actors.strategies import Strategy
    from slubloom.kernel import Machine
    from slubloom.kernel.memcg import MemCgroup
    from slubloom.kernel.shrinker import Shrinkers
    from slubloom.kernel.shrinker.superblock import Superblock

RWSEM = ("v5.9", "v6.1", "v6.6")
REFCOUNTED = ("v6.7", "v6.12")
SRCU = ["srcu-memcg-shrink-rc"]
VARIANTS: list[tuple[str, list[str]]] = [
    ("v6.1", []),
    ("v6.3", ["srcu-global-shrink-rc"]),
    ("v6.3", SRCU),
    ("v6.7", []),
    ("v6.12", ["put-skipped-shrinker", "serialised-shrinker-info-teardown"]),
]
"""Every protocol."""

ONE_NODE = """
[[machine.node]]
id = 0
cpus = "0-2"
memory = "64M"
"""
TWO_NODES = (
    ONE_NODE
    + """
[[machine.node]]
id = 1
cpus = ""
memory = "64M"
"""
)
GROUPS = """
[[memcg]]
path = "top"
[[memcg]]
path = "top/g"
"""
SANITIZERS = """
[kernel]
sanitizers = ["kasan", "leak", "workqueue", "slab-invariants"]
"""


def shrinker(name: str, **keys: str) -> str:
    """A ``[[shrinker]]``."""
    return f'[[shrinker]]\nname = "{name}"\n' + "".join(f"{key} = {value}\n" for key, value in keys.items())


def machine_of(
    text: str, *, release: str, apply: Sequence[str] = (), strategy: Strategy | None = None, **options: Any
) -> Machine:
    """A booted machine, not running yet."""
    scenario = loads(text, release=release, apply=apply)
    return boot(scenario, Interleaver(strategy or RandomWalk(0)), **options).machine


def told(text: str, body: Callable[[Machine, Shrinkers], Awaitable[None]], *, release: str, **options: Any) -> Machine:
    """The machine after `body` ran on processor 0."""
    machine = machine_of(text, release=release, **options)
    assert machine.shrinkers is not None
    shrinkers = machine.shrinkers
    start(machine, 0, "story", lambda: body(machine, shrinkers))
    trio.run(machine.interleaver.run)
    return machine


def in_schedules(
    text: str, body: Callable[[Machine, Shrinkers], Awaitable[None]], count: int, *, release: str, apply: Sequence[str]
) -> None:
    """Run `body` in random schedules; nothing may be found, and all must end."""
    for seed in range(count):
        machine = told(text, body, release=release, apply=apply, strategy=RandomWalk(seed))
        assert [violation.title for violation in machine.violations] == []
        assert machine.interleaver.outcome is Outcome.FINISHED


async def together(machine: Machine, *functions: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run functions at the same time, each on a processor of its own beside that of the caller."""
    threads = [
        kthread_run(machine, function, cpu=1 + number % 2, name=f"{function.__name__}{number}")
        for number, function in enumerate(functions)
    ]
    for thread in threads:
        await thread.join()


def kinds(
    text: str, *, release: str, seeds: int, apply: Sequence[str] = (), strategy: str = "random"
) -> dict[str, int]:
    """What was found in how many schedules."""
    found: dict[str, int] = {}
    for seed in range(seeds):
        scenario = loads(text, release=release, apply=apply)
        for violation in run_scenario(scenario, RunOptions(strategy=strategy, seed=seed)).violations:
            found[violation.kind] = found.get(violation.kind, 0) + 1
    return found


def simulated(
    text: str, strategy: Callable[[Callable[[], Machine]], Strategy], *, release: str, apply: Sequence[str] = ()
) -> Machine:
    """The machine after the tasks of `text` ran under a strategy that may look at it."""
    machines: list[Machine] = []
    machines.append(machine_of(text, release=release, apply=apply, strategy=strategy(lambda: machines[0])))
    trio.run(machines[0].interleaver.run)
    return machines[0]


def memcg_of(machine: Machine, path: str) -> MemCgroup:
    """The memory controller's half of the cgroup at `path`, which exists."""
    assert machine.cgroups is not None
    return machine.cgroups.paths[path].memcg


async def enter(machine: Machine, path: str) -> None:
    """Move the running task to a cgroup."""
    assert machine.cgroups is not None
    assert await machine.cgroups.attach(path) == 0


async def remove(machine: Machine, path: str, number: int = 1) -> None:
    """Remove a cgroup, and wait until `number` have ended so far."""
    assert machine.cgroups is not None
    assert await machine.cgroups.rmdir(path) == 0
    while machine.counters.get("memcgs_freed", 0) < number:
        await machine.current.sleep(1000)


async def add(sb: Superblock, count: int, node: int = -1) -> list[int]:
    """Unused objects on the LRU of `sb`, of the running task's cgroup."""
    addresses = []
    for _ in range(count):
        address = await sb.add_object(node)
        assert address is not None
        addresses.append(address)
    for address in addresses:
        await sb.put_object(address)
    return addresses


async def deferred(shrinkers: Shrinkers, memcg: MemCgroup, number: int = 0, *, add: int | None = None) -> int:
    """Take what was deferred for a cgroup on node 0, or `add` to it, as a walk does."""
    maps = shrinkers.maps
    assert maps is not None
    srcu = getattr(shrinkers.protocol, "srcu", None)
    index = await srcu.read_lock() if srcu is not None else None
    async with shrinkers.protocol.reparenting(), shrinkers.machine.rcu.reader():
        if add is None:
            count = await maps.xchg_nr_deferred(memcg, 0, number)
        else:
            count = await maps.add_nr_deferred(add, memcg, 0, number)
    if srcu is not None:
        await srcu.read_unlock(index)
    return count


def bit(shrinkers: Shrinkers, memcg: MemCgroup, number: int, nid: int = 0) -> bool:
    """Whether the bit of a shrinker is set for a cgroup."""
    info = memcg.nodeinfo[nid].shrinker_info
    assert info is not None
    return bool(info.units[number // 64].map >> number % 64 & 1)


class HoldBack(SeededStrategy):
    """A random walk that lets the thread `name` wait while `until` is false and anybody else can run."""

    def __init__(self, seed: int, name: str, since: Callable[[Actor], bool], until: Callable[[], bool]) -> None:
        super().__init__(seed)
        self._name = name
        self._since = since
        self._until = until
        self._armed = False

    def pick(self, enabled: Sequence[Actor]) -> int:
        """Anybody, but the thread while it is held back."""
        for actor in enabled:
            if actor.name == self._name and self._since(actor):
                self._armed = True
        others = [
            index
            for index, actor in enumerate(enabled)
            if not (self._armed and not self._until() and actor.name == self._name)
        ]
        chosen = others or list(range(len(enabled)))
        return chosen[self.choose("held back", len(chosen)) if len(chosen) > 1 else 0]
