"""Seeds 000 and 002: the races are there before the patch and not after it, and come out of the protocol."""

from __future__ import annotations

from typing import Any

import pytest
import trio
from slubloom.actors import Interleaver
from slubloom.actors.strategies import RandomWalk
from slubloom.kernel import boot
from slubloom.topology import gallery_path, load

from slubloom.run import RunOptions, run_scenario

SEEDS = 200


def kinds(name: str, release: str, seeds: int = SEEDS, **options: Any) -> dict[tuple[str, ...], int]:
    scenario = load(gallery_path(name), release=release, **options)
    found: dict[tuple[str, ...], int] = {}
    for seed in range(seeds):
        result = run_scenario(scenario, RunOptions(strategy="random", seed=seed))
        found[result.kinds()] = found.get(result.kinds(), 0) + 1
    return found


def test_missed_node_is_a_null_dereference_before_3_16() -> None:
    found = kinds("missed-node", "v3.15")
    assert set(found) <= {(), ("null-deref",)}
    assert found[("null-deref",)] > 0


@pytest.mark.parametrize("release", ["v5.11", "v5.12", "v5.15"])
def test_missed_node_is_clean_with_the_locks_and_with_the_mask(release: str) -> None:
    assert kinds("missed-node", release) == {(): SEEDS}


def test_node_offline_is_a_use_after_free_up_to_5_11() -> None:
    found = kinds("node-offline-uaf", "v5.11")
    assert set(found) <= {(), ("use-after-free",)}
    assert found[("use-after-free",)] > 0


@pytest.mark.parametrize("release", ["v5.12", "v6.1"])
def test_node_offline_is_clean_when_the_structures_stay(release: str) -> None:
    assert kinds("node-offline-uaf", release) == {(): SEEDS}


def test_reverting_the_one_patch_brings_the_one_race_back() -> None:
    assert set(kinds("node-offline-uaf", "v5.12", 60, revert=["666716fd267d"])) == {(), ("use-after-free",)}
    assert kinds("node-offline-uaf", "v5.11", 60, apply=["keep-cache-nodes"]) == {(): 60}


def records_of(name: str, release: str, seed: int) -> tuple[list[tuple[Any, ...]], list[str]]:
    interleaver = Interleaver(RandomWalk(seed))
    records: list[tuple[Any, ...]] = []
    interleaver.tracepoints.attach("*", records.append)
    machine = boot(load(gallery_path(name), release=release), interleaver).machine
    trio.run(interleaver.run)
    names = {point.id: point.spec.name for point in interleaver.tracepoints}
    return [(names[record[0]], *record[5:]) for record in records], [v.kind for v in machine.violations]


def test_the_missed_node_happens_in_the_order_of_the_catalogue() -> None:
    """Walk, creation that does not see the node, N_NORMAL_MEMORY, slab from the node, null pointer."""
    for seed in range(SEEDS):
        records, found = records_of("missed-node", "v3.15", seed)
        if found == ["null-deref"]:
            break
    walked = records.index(("notifier_call", "slab_memory_callback", 1, "GOING_ONLINE", 0))
    online = records.index(("node_state", "N_NORMAL_MEMORY", 1, 1))
    new_slabs = [i for i, record in enumerate(records) if record[0] == "slab_new" and record[5] == 1]
    victim = records[new_slabs[-1]][1]
    with_node_1 = [record[1] for record in records if record[0] == "kmem_cache_node_alloc" and record[2] == 1]
    created = next(i for i, record in enumerate(records) if record[:2] == ("kmem_cache_create", victim))
    assert victim not in with_node_1
    assert walked < online < new_slabs[-1]
    assert created < new_slabs[-1]


def test_memory_comes_online_in_the_order_of_mm_memory_hotplug_c() -> None:
    records, _ = records_of("missed-node", "v5.12", 0)
    story = [record[:3] for record in records if record[0] in ("memory_notify", "node_state") and record[2] == 1]
    assert story == [
        ("memory_notify", "GOING_ONLINE", 1),
        ("node_state", "N_NORMAL_MEMORY", 1),
        ("node_state", "N_MEMORY", 1),
        ("memory_notify", "ONLINE", 1),
    ]


BUSY = """
[machine]
offline_nodes = [1]
[[machine.node]]
id = 0
cpus = "0-1"
memory = "64M"
[[machine.node]]
id = 1
memory = "64M"
[[task]]
name = "t"
cpu = 0
program = [
    {op = "memory_online", node = 1},
    {op = "kmem_cache_create", cache = "x", size = 512},
    {op = "kmem_cache_alloc", cache = "x", node = 1},
    {op = "memory_offline", node = 1},
    {op = "kmem_cache_free", cache = "x"},
    {op = "kmem_cache_destroy", cache = "x"},
]
"""


def test_a_node_with_objects_on_it_does_not_go_offline() -> None:
    from slubloom.topology import loads

    result = run_scenario(loads(BUSY), RunOptions(strategy="random", seed=1))
    assert result.violations == ()
    assert "nodes_offlined" not in result.counters
    assert result.counters["caches_destroyed"] == 1
