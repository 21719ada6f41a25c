"""Files read and written while others allocate and free: every step declares what it touches."""

from __future__ import annotations

from typing import Any

import pytest
from slubloom.actors import BareInterleaver, Outcome, RunLimits
from slubloom.actors.strategies import Pos, RandomWalk
from slubloom.kernel.sanitizers.footprint import audited
from slubloom.kernel.slab import sysfs_counts, sysfs_writes
from slubloom.kernel.slab.sysfs import ATTRIBUTES, STATISTICS, STORES
from slubloom.topology import loads

from slubloom.explore.subject import ScenarioSubject

from ..helpers import TWO_NODES
from .reading import STATS


def busy(debug: str, *, validate: bool = True) -> str:
    """A topology in which all files are read and written while two processors allocate and free."""
    values = {"cpu_partial": "30", "min_partial": "2", "remote_node_defrag_ratio": "50", "shrink": "1"}
    values["validate"] = "1" if validate else "0"
    paths = [f"/sys/kernel/slab/shared/{name}" for name in (*ATTRIBUTES, *STATISTICS)]
    paths += ["/proc/slabinfo", "/proc/zoneinfo", "/proc/buddyinfo", "/sys/kernel/slab", "/sys/kernel/slab/shared"]
    reads = ", ".join(f'{{op = "read", path = "{path}"}}' for path in paths)
    writes = ", ".join(
        f'{{op = "write", path = "/sys/kernel/slab/shared/{name}", value = "{values.get(name, 0)}"}}'
        for name in (*STORES, *STATISTICS)
    )
    use = (
        '{op = "kmem_cache_alloc", cache = "shared", count = 60, bag = "b{task}"},'
        ' {op = "kmem_cache_free", cache = "shared", bag = "b{task}"}'
    )
    return f"""{TWO_NODES}{STATS}{debug}
[[cache]]
name = "shared"
size = 700
[[task]]
name = "user"
instances = 2
cpu = [0, 2]
program = [{{op = "repeat", count = 2, program = [{use}]}}, {{op = "kmem_cache_create", cache = "n{{task}}", size = 9}}]
[[task]]
name = "cat"
cpu = 1
program = [{{op = "repeat", count = 2, program = [{reads}]}}]
[[task]]
name = "echo"
cpu = 3
program = [{{op = "repeat", count = 2, program = [{writes}]}}]
"""


def audit(text: str, strategy: Any, **options: Any) -> list[str]:
    interleaver = BareInterleaver(strategy, limits=RunLimits(300_000))
    with audited(interleaver) as footprints:
        ScenarioSubject(loads(text, **options)).begin(interleaver)
        assert interleaver.run_bare() is Outcome.FINISHED
    return list(footprints.errors)


@pytest.mark.parametrize(
    ("release", "debug"), [("v6.1", ""), ("v5.15", ""), ("v4.5", ""), ("v6.1", '[kernel.boot]\nslub_debug = "FZPU"')]
)
def test_every_step_of_reading_and_writing_declares_what_it_touches(release: str, debug: str) -> None:
    text = busy(debug, validate=release == "v6.1")  # before that it finds fault with the cache (museum M57)
    assert audit(text, RandomWalk(1), release=release) == []
    assert audit(text, Pos(1), release=release) == []


def test_a_tunable_changed_without_declaring_it_shows(monkeypatch: pytest.MonkeyPatch) -> None:
    async def silently(*_: Any) -> None: ...

    monkeypatch.setattr(sysfs_writes, "about_to_change", silently)
    errors = audit(busy(""), RandomWalk(1))
    assert any(error.startswith("KmemCache.min_partial: ") for error in errors)


def test_processors_looked_at_without_declaring_it_show(monkeypatch: pytest.MonkeyPatch) -> None:
    async def silently(_: Any, cpus: Any, *__: Any) -> list[Any]:
        return list(cpus)

    monkeypatch.setattr(sysfs_counts, "_look_at", silently)
    errors = audit(busy(""), RandomWalk(1))
    assert any(error.startswith(("KmemCacheCpu.slab: ", "KmemCacheCpu.partial: ")) for error in errors)
