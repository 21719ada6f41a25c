"""Merging recorded on a running system: which cache came back, and what became of it."""

from __future__ import annotations

import json
import lzma
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from slubloom.kernel.slab.flags import FLAGS
from slubloom.kernel.slab.geometry import calculate_sizes
from slubloom.kernel.slab.merging import add_alias, find_mergeable, sysfs_directory
from slubloom.kernel.slab.sizing import SIZING_6_1

from .recordings import files, read, tunables_of

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(eq=False)
class Cache:
    name: str
    size: int
    flags: int
    object_size: int
    inuse: int
    refcount: int
    usersize: int
    ctor: object


def system(path: Path) -> list[Cache]:
    """The caches of the recorded system, oldest first."""
    return [
        Cache(
            record["name"],
            geom["size"],
            int(geom["flags_hex"], 16),
            geom["object_size"],
            geom["inuse"],
            geom["refcount"],
            geom["usersize"],
            geom["ctor"],
        )
        for record in read(path)[1][::-1]
        for geom in [record["geom"]]
    ]


@pytest.mark.parametrize("path", files("boot/*/merge.jsonl.xz"))
def test_the_same_caches_are_merged(path: Path) -> None:
    header, records = read(path)
    tunables = tunables_of(header)
    caches = system(path.with_name("slab_caches.jsonl.xz"))
    made: dict[str, Cache] = {}
    for record in records:
        name = record["name"]
        if record["op"] == "destroy":
            cache = made.pop(name)
            assert cache.refcount == record["refcount_before"]
            cache.refcount -= 1
            if not cache.refcount:
                caches.remove(cache)
            continue
        request: dict[str, Any] = record["req"]
        size, align, usersize, ctor = request["size"], request["align"], request["usersize"], bool(request["ctor"])
        flags = sum(FLAGS[f"SLAB_{flag}"] for flag in request["flags"])
        found = None
        if not usersize:
            found = find_mergeable(caches, name, size, align, flags, ctor=ctor, tunables=tunables)
        if found is None:
            geometry = calculate_sizes(size, align, flags, ctor=ctor, tunables=tunables, sizing=SIZING_6_1)
            cache = Cache(name, geometry.size, geometry.flags, size, geometry.inuse, 1, usersize, ctor)
            caches.append(cache)
        else:
            cache = found
            add_alias(cache, size)
        made[name] = cache
        geom = record["geom"]
        assert (cache.name, int(found is not None)) == (record["same_as"], record["merged"]), name
        assert (cache.size, cache.object_size, cache.inuse, cache.refcount) == (
            geom["size"],
            geom["object_size"],
            geom["inuse"],
            geom["refcount"],
        ), name


@pytest.mark.parametrize("path", files("boot/*/slab_caches.jsonl.xz"))
def test_directories_in_sysfs_have_the_same_names(path: Path) -> None:
    tunables = tunables_of(read(path)[0])
    with lzma.open(path.with_name("sys-kernel-slab.json.xz"), "rt") as file:
        sysfs = json.load(file)
    ours = sorted(sysfs_directory(cache, tunables) for cache in system(path))
    assert ours == sorted(sysfs["caches"])
