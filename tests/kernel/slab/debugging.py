"""Programs over caches under debugging, for the tests of what SLUB finds in them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import trio
from slubloom.actors import Interleaver
from slubloom.actors.strategies import RandomWalk
from slubloom.kernel import boot
from slubloom.kernel.machine import FunctionThread
from slubloom.topology import loads

from ..helpers import TWO_NODES

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from slubloom.actors.strategies import Strategy
    from slubloom.kernel import Machine, Violation
    from slubloom.kernel.slab import Slub
    from slubloom.kernel.slab.cache import KmemCache
    from slubloom.kernel.workload import Workload

FLAGS = {
    "F": "SLAB_CONSISTENCY_CHECKS",
    "Z": "SLAB_RED_ZONE",
    "P": "SLAB_POISON",
    "U": "SLAB_STORE_USER",
    "T": "SLAB_TRACE",
    "R": "SLAB_TYPESAFE_BY_RCU",
}

CACHE = """
[kernel]
SANITIZERS
[[cache]]
name = "t"
size = SIZE
align = ALIGN
ctor = CTOR
flags = [FLAGS]
"""


@dataclass
class Ran:
    """A machine after its run."""

    machine: Machine
    workload: Workload

    @property
    def violations(self) -> list[Violation]:
        return self.machine.violations

    @property
    def kinds(self) -> list[str]:
        return [violation.kind for violation in self.machine.violations]

    @property
    def titles(self) -> list[str]:
        return [violation.title for violation in self.machine.violations]

    @property
    def errors(self) -> int:
        """Reports and fixes, as KUnit counts them."""
        return self.machine.counters.get("slab_errors", 0)

    @property
    def fixes(self) -> list[str]:
        return [line for line in self.machine.console if line.startswith("FIX")]

    def address(self, index: int = 0, bag: str = "t") -> int:
        """An object of a bag."""
        return self.workload.bag(bag).look()[index]


def topology(
    flags: str, *, size: int = 64, align: int = 0, ctor: bool = False, sanitizers: str = "sanitizers = []"
) -> str:
    """A machine of four processors with a cache ``t``."""
    named = ", ".join(f'"{FLAGS[letter]}"' for letter in flags)
    text = CACHE.replace("SIZE", str(size)).replace("ALIGN", str(align)).replace("CTOR", str(ctor).lower())
    return TWO_NODES + text.replace("FLAGS", named).replace("SANITIZERS", sanitizers)


def task(name: str, cpu: int, *operations: str) -> str:
    """A task of the topology; its operations as TOML tables without the braces."""
    return f'[[task]]\nname = "{name}"\ncpu = {cpu}\nprogram = [{", ".join("{" + text + "}" for text in operations)}]\n'


def run_text(text: str, *, stop: bool = False, strategy: Strategy | None = None) -> Ran:
    """Run a topology to its end; by default violations do not stop it."""
    interleaver = Interleaver(RandomWalk(0) if strategy is None else strategy)
    booted = boot(loads(text), interleaver, stop_at_violation=stop)
    trio.run(interleaver.run)
    return Ran(booted.machine, booted.workload)


def run_program(flags: str, *operations: str, stop: bool = False, **options: object) -> Ran:
    """Run one task, called ``user``, on processor 0 of a machine with a cache ``t``."""
    return run_text(topology(flags, **options) + task("user", 0, *operations), stop=stop)  # type: ignore[arg-type]


def run_story(flags: str, story: Callable[[Slub, KmemCache], Awaitable[object]], **options: object) -> Ran:
    """Run kernel code as the only thread, on processor 0 of a machine with a cache ``t``."""
    booted = boot(loads(topology(flags, **options)), Interleaver(RandomWalk(0)), stop_at_violation=False)  # type: ignore[arg-type]
    machine = booted.machine

    async def body() -> None:
        await story(machine.slab, machine.slab.names["t"])

    machine.spawn(FunctionThread(machine, machine.cpus[0], "user", body))
    trio.run(machine.interleaver.run)
    return Ran(machine, booted.workload)


def plain(report: str) -> str:
    """A report without what does not matter: the number of the task, and which function of the interface it called."""
    report = re.sub(r"\bPID: \d+|\bpid=\d+", lambda found: found[0].rstrip("0123456789") + "2", report)
    return re.sub(r"( kmem_cache_alloc(_node)?\n)+", " kmem_cache_alloc\n", report)


def alloc(count: int = 1) -> str:
    return f'op="kmem_cache_alloc", cache="t", count={count}'


def free(count: int | None = None, *, keep: bool = False) -> str:
    """Free the first objects of the bag, or all; with `keep` it still has them."""
    some = "" if count is None else f", count={count}"
    return f'op="kmem_cache_free", cache="t", keep={str(keep).lower()}{some}'


def write(offset: int, data: str, index: int = 0) -> str:
    return f'op="write_memory", cache="t", object={index}, offset={offset}, bytes="{data}"'


VALIDATE = 'op="write", path="/sys/kernel/slab/t/validate", value="1"'
DESTROY = 'op="kmem_cache_destroy", cache="t"'
SHRINK = 'op="kmem_cache_shrink", cache="t"'
