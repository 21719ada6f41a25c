"""Every step of shrinkers, lists and reclaim declares what it touches; one that does not shows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from slubloom.actors import BareInterleaver, Op, OpKind, Outcome, RunLimits
from slubloom.actors.strategies import Pos, RandomWalk
from slubloom.kernel.sanitizers.footprint import audited
from slubloom.kernel.shrinker.info import ShrinkerInfoUnit
from slubloom.kernel.shrinker.list_lru import ListLru
from slubloom.kernel.shrinker.registry import Registry
from slubloom.kernel.shrinker.superblock import Superblock
from slubloom.topology import loads

from slubloom.explore.subject import ScenarioSubject

from .story import GROUPS, TWO_NODES, VARIANTS, shrinker

if TYPE_CHECKING:
    from collections.abc import Sequence

    from slubloom.actors.strategies import Strategy

MIXED = (
    TWO_NODES
    + GROUPS
    + shrinker("fs", size="2000")
    + shrinker("pool", charge='"task"', flags='["SHRINKER_MEMCG_AWARE", "SHRINKER_NONSLAB"]')
    + shrinker("tmp", mounted="false", batch="2")
    + """
[[task]]
name = "user"
cpu = 0
memcg = "top/g"
program = [
    {op = "lru_add", at = "fs", count = 3, node = 1},
    {op = "lru_add", at = "pool", count = 2},
    {op = "lru_use", at = "fs", count = 2},
    {op = "lru_add", at = "fs", hold = true},
    {op = "cgroup_attach", path = "/"},
    {op = "lru_put", at = "fs"},
    {op = "cgroup_rmdir", path = "top/g"},
]
[[task]]
name = "mounter"
cpu = 2
program = [
    {op = "mount", shrinker = "tmp", at = "m"},
    {op = "cgroup_mkdir", path = "top/h"},
    {op = "cgroup_attach", path = "top/h"},
    {op = "lru_add", at = "m", count = 2},
    {op = "cgroup_attach", path = "/"},
    {op = "umount", at = "m"},
    {op = "cgroup_rmdir", path = "top/h"},
]
[[task]]
name = "reclaimer"
cpu = 1
program = [
    {op = "shrink_slab", memcg = "top/g"},
    {op = "shrink_slab", node = 1, priority = 1},
    {op = "write", path = "/proc/sys/vm/drop_caches", value = "2"},
]
[[task]]
name = "harder"
cpu = 0
program = [{op = "reclaim_memcg", memcg = "top"}]
"""
)


def audit(release: str, strategy: Strategy, apply: Sequence[str] = ()) -> list[str]:
    """What the audit of one run has to say."""
    interleaver = BareInterleaver(strategy, limits=RunLimits(100_000))
    with audited(interleaver) as footprints:
        ScenarioSubject(loads(MIXED, release=release, apply=apply)).begin(interleaver)
        outcome = interleaver.run_bare()
    assert outcome in {Outcome.FINISHED, Outcome.STOPPED}
    return list(footprints.errors)


@pytest.mark.parametrize(("release", "apply"), [("v5.3", []), ("v5.9", []), *VARIANTS, ("v6.8", [])])
def test_every_step_declares_what_it_touches(release: str, apply: list[str]) -> None:
    assert audit(release, RandomWalk(1), apply) == []
    assert audit(release, Pos(1), apply) == []


def silent(name: str) -> Any:
    """An operation that is about nothing that others see."""
    return property(lambda _: Op(OpKind.LOCAL, name))


def undeclared(*_: Any) -> None:
    """In the place of a declaration."""


def registry_without(name: str) -> Any:
    make = Registry.__init__

    def init(self: Registry, *arguments: Any) -> None:
        make(self, *arguments)
        setattr(self, name, Op(OpKind.LOCAL, "nobody's"))

    return init


async def unseen_set_bit(self: ShrinkerInfoUnit, offset: int) -> None:
    await Op(OpKind.LOCAL, "nobody's")
    self.map |= 1 << offset


@pytest.mark.parametrize(
    ("owner", "declaration", "instead", "field"),
    [
        (ListLru, "declare_change", undeclared, "ListLruOne.nr_items"),
        (Superblock, "step", silent("nobody's"), "Superblock.objects"),
        (ShrinkerInfoUnit, "set_bit", unseen_set_bit, "ShrinkerInfoUnit.map"),
        (Registry, "__init__", registry_without("read_idr"), "Registry.idr"),
    ],
)
def test_a_declaration_that_is_missing_shows(
    monkeypatch: pytest.MonkeyPatch, owner: type, declaration: str, instead: Any, field: str
) -> None:
    monkeypatch.setattr(owner, declaration, instead)
    errors = (error for seed in range(8) for error in audit("v6.12", RandomWalk(seed)))
    assert any(error.startswith(f"{field}: ") for error in errors)
