"""Charges and limits, and the files that show and set them."""

from __future__ import annotations

from errno import EINVAL, ENOENT, ENOTDIR
from typing import TYPE_CHECKING, Any

import pytest
from slubloom.kernel.files import read_file, write_file
from slubloom.kernel.gfp import GFP_NOFAIL
from slubloom.kernel.pages import GFP_ATOMIC, GFP_KERNEL
from slubloom.kernel.slab.allocate import kmem_cache_alloc
from slubloom.kernel.slab.flags import SLAB_RECLAIM_ACCOUNT
from slubloom.kernel.slab.free import kmem_cache_free

from .story import EVERY_ERA, OBJECTS, accounted, memcg_of, told, with_child

if TYPE_CHECKING:
    from slubloom.kernel import Machine

G = "/sys/fs/cgroup/g"
BIG = 32_000  # one object is a slab of 8 pages, also with a free pointer; 7.8 pages and a bit where bytes are charged


@pytest.mark.parametrize("release", EVERY_ERA)
def test_where_the_limit_is_reached_allocations_fail_and_nothing_stays_charged(release: str) -> None:
    results = []

    async def body(machine: Machine) -> None:
        slub = machine.slab
        cache = await accounted(machine, "x", BIG)
        await write_file(machine, f"{G}/memory.max", "80K")
        await machine.cgroups.attach("g")  # type: ignore[union-attr]
        first = await with_child(machine, cache)
        await kmem_cache_free(slub, cache, first)
        got = [await kmem_cache_alloc(slub, cache) for _ in range(4)]
        results.extend(address is not None for address in got)
        g = memcg_of(machine, "g")
        assert g.memory.usage == 16
        results.append(await kmem_cache_alloc(slub, cache, GFP_ATOMIC) is not None)
        forced = await kmem_cache_alloc(slub, cache, GFP_KERNEL | GFP_NOFAIL)
        assert g.memory.usage == 24
        for address in (*[address for address in got if address], forced or 0):
            await kmem_cache_free(slub, cache, address)

    machine = told(body, release=release)
    assert machine.violations == []
    assert results == [True, True, False, False, False]
    assert machine.counters["charge_failures"] >= 3


@pytest.mark.parametrize("release", ["v4.14", "v5.4", "v6.1"])
def test_the_limit_of_a_cgroup_above_counts_too_and_what_was_charged_below_it_is_taken_back(release: str) -> None:
    async def body(machine: Machine) -> None:
        groups: Any = machine.cgroups
        await groups.mkdir("g/a")
        await write_file(machine, f"{G}/memory.max", "4096")
        cache = await accounted(machine, "x", BIG)
        await groups.attach("g/a")
        if release == "v6.1":
            assert await kmem_cache_alloc(machine.slab, cache) is None
        else:
            await with_child(machine, cache)
            assert await kmem_cache_alloc(machine.slab, cache) is None
        assert (memcg_of(machine, "g/a").memory.usage, memcg_of(machine, "g").memory.usage) == (0, 0)
        assert memcg_of(machine, "g").memory.failcnt > 0

    assert told(body, release=release).violations == []


@pytest.mark.parametrize("release", ["v4.14", "v6.1"])
def test_who_may_wait_has_the_cgroup_reclaimed_and_tries_again(release: str) -> None:
    asked = []

    async def body(machine: Machine) -> None:
        slub = machine.slab
        kmem: Any = slub.memcg
        cache = await accounted(machine, "x", BIG)
        await machine.cgroups.attach("g")  # type: ignore[union-attr]
        root_object = await with_child(machine, cache)
        await kmem_cache_free(slub, cache, root_object)
        await kmem.drain_all_stock(memcg_of(machine, "g"))
        await write_file(machine, f"{G}/memory.max", "32K")
        held = [await kmem_cache_alloc(slub, cache) or 0]

        async def reclaim(counter: object, gfp: int, pages: int) -> int:
            asked.append((counter is memcg_of(machine, "g").memory, pages))
            await kmem_cache_free(slub, cache, held.pop())
            kept = memcg_of(machine, "g").kmem_caches
            for child in list(kept):
                await slub.cpu_flush.flush_all(child)
                child.min_partial = 0
                from slubloom.kernel.slab.shrink import do_shrink

                await do_shrink(slub, child)
            await kmem.drain_all_stock(memcg_of(machine, "g"))
            return pages

        kmem.charging.reclaim = reclaim
        assert await kmem_cache_alloc(slub, cache) is not None

    told(body, release=release)
    assert asked == [(True, 8)]


@pytest.mark.parametrize("release", EVERY_ERA)
def test_the_files_of_a_cgroup(release: str) -> None:
    seen: dict[str, str | int] = {}

    async def body(machine: Machine) -> None:
        groups: Any = machine.cgroups
        slub = machine.slab
        await groups.mkdir("g/a")
        x = await accounted(machine, "x", BIG)
        y = await accounted(machine, "y", BIG, SLAB_RECLAIM_ACCOUNT)
        await groups.attach("g/a")
        for cache in (x, y):
            await kmem_cache_free(slub, cache, await with_child(machine, cache))
        await kmem_cache_alloc(slub, x)
        await kmem_cache_alloc(slub, y)
        await kmem_cache_alloc(slub, y)
        for name in ("memory.current", "memory.max", "memory.kmem.usage_in_bytes", "memory.stat", "", "nix"):
            seen[name] = await read_file(machine, f"{G}/{name}")
        seen["root"] = await read_file(machine, "/sys/fs/cgroup")
        seen["root current"] = await read_file(machine, "/sys/fs/cgroup/memory.current")
        seen["file/file"] = await read_file(machine, f"{G}/memory.max/x")
        seen["written"] = await write_file(machine, f"{G}/memory.max", "10G")
        seen["max"] = await read_file(machine, f"{G}/memory.max")
        seen["nonsense"] = await write_file(machine, f"{G}/memory.max", "many")
        seen["read-only"] = await write_file(machine, f"{G}/memory.current", "0")
        seen["nowhere"] = await write_file(machine, "/sys/fs/cgroup/x/memory.max", "0")

    told(body, release=release)
    if release in OBJECTS:  # 32,008 bytes and a pointer each: 2 x 8 pages, and the rest fits into those
        assert seen["memory.stat"] == "slab_reclaimable 64032\nslab_unreclaimable 32016\nslab 96048\n"
        assert seen["memory.current"] == seen["memory.kmem.usage_in_bytes"] == f"{24 * 4096}\n"
    else:
        assert seen["memory.stat"] == "slab_reclaimable 65536\nslab_unreclaimable 32768\nslab 98304\n"
        assert seen["memory.current"] == seen["memory.kmem.usage_in_bytes"] == "98304\n"
    assert seen["memory.max"] == "max\n"
    assert seen[""] == "a\nmemory.current\nmemory.kmem.usage_in_bytes\nmemory.max\nmemory.stat\n"
    assert seen["root"] == "g\nmemory.stat\n"
    assert (seen["nix"], seen["root current"], seen["file/file"]) == (-ENOENT, -ENOENT, -ENOTDIR)
    assert (seen["written"], seen["max"]) == (0, f"{10 << 30}\n")
    assert (seen["nonsense"], seen["read-only"], seen["nowhere"]) == (-EINVAL, -EINVAL, -ENOENT)
