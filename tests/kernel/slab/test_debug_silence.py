"""SLUB debugging has nothing to say where all is well, and costs nothing where it is off."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from slubloom.actors import BareInterleaver, RunLimits
from slubloom.actors.strategies import Pos, RandomWalk
from slubloom.kernel import boot
from slubloom.kernel.sanitizers.footprint import audited
from slubloom.topology import loads

from .debugging import VALIDATE, alloc, run_program, run_text, task, topology

if TYPE_CHECKING:
    from slubloom.actors.strategies import Strategy


COMBINATIONS = ["F", "Z", "P", "U", "FZP", "FZPU", "ZPU", "FU", "T"]

PROGRAM = """
[[task]]
name = "busy"
cpu = "0-3"
instances = 4
program = [
  {op = "repeat", count = 3, program = [
    {op = "kmem_cache_alloc", cache = "t", count = 7, bag = "shared"},
    {op = "kmem_cache_alloc", cache = "t", count = 3, bag = "own{task}", node = 1},
    {op = "kmem_cache_free", cache = "t", count = 4, bag = "shared"},
    {op = "kmem_cache_alloc_bulk", cache = "t", count = 9, bag = "own{task}"},
    {op = "kmem_cache_free_bulk", cache = "t", count = 5, bag = "own{task}"},
    {op = "write_memory", cache = "t", bag = "own{task}", offset = 0, bytes = "aa55", times = 20},
    {op = "kmem_cache_free", cache = "t", bag = "own{task}"},
  ]},
  {op = "kmem_cache_free", cache = "t", bag = "shared"},
]
[[task]]
name = "looking"
cpu = 1
program = [
  {op = "repeat", count = 4, program = [
    {op = "write", path = "/sys/kernel/slab/t/validate", value = "1"},
    {op = "kmem_cache_shrink", cache = "t"},
  ]},
]
"""


@pytest.mark.parametrize("flags", COMBINATIONS)
@pytest.mark.parametrize(
    "options", [{}, {"ctor": True}, {"align": 64}, {"rcu": True}], ids=["plain", "ctor", "align", "rcu"]
)
def test_nothing_is_reported_of_caches_that_are_used_well(flags: str, options: dict[str, bool]) -> None:
    flags += "R" if options.get("rcu") else ""
    given = {name: value for name, value in options.items() if name != "rcu"}
    for seed in range(3):
        sanitizers = "sanitizers = ['kasan', 'lockdep', 'slab-invariants']" if seed else "sanitizers = []"
        ran = run_text(topology(flags, sanitizers=sanitizers, **given) + PROGRAM, strategy=RandomWalk(seed))
        assert [violation.report for violation in ran.violations] == []
        assert ran.errors == 0
        assert not any(ran.workload.bag(name) for name in ("shared", "own0", "own1", "own2", "own3"))


@pytest.mark.parametrize("seed", range(4))
def test_nothing_is_reported_where_all_caches_are_under_debugging(seed: int) -> None:
    text = topology("", sanitizers="boot = {slub_debug = 'FZPU'}") + PROGRAM
    ran = run_text(text + task("last", 0, VALIDATE), strategy=RandomWalk(seed))
    assert [violation.report for violation in ran.violations] == []
    assert all(slab.memory is not None for slab in ran.machine.slab.slabs.values())


@pytest.mark.parametrize("strategy", [RandomWalk(1), RandomWalk(2), Pos(1)])
def test_every_step_declares_what_it_touches(strategy: Strategy) -> None:
    interleaver = BareInterleaver(strategy, limits=RunLimits(200_000))
    text = topology("FZPU").replace("sanitizers = []", "") + PROGRAM.replace("count = 3, program", "count = 1, program")
    with audited(interleaver) as footprints:
        boot(loads(text), interleaver)
        interleaver.run_bare()
    assert list(footprints.errors) == []


def test_caches_without_debug_flags_have_no_memory_to_look_at() -> None:
    ran = run_program("", alloc(100))
    slabs = ran.machine.slab.slabs.values()
    assert all(slab.memory is None for slab in slabs)
    refused = run_program("", alloc(), VALIDATE)
    assert refused.machine.console[-1].startswith("user: cannot write /sys/kernel/slab/t/validate")
