"""Every cache recorded on a real 6.1 kernel: the numbers that follow from the request, and from nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from slubloom.kernel.slab.flags import CMPXCHG_DOUBLE, FLAGS, OBJECT_POISON
from slubloom.kernel.slab.geometry import Geometry, calculate_sizes
from slubloom.kernel.slab.kmalloc import kmalloc_caches_wanted
from slubloom.kernel.slab.sizing import SIZING_6_1, Tunables

from .recordings import as_dict, files, read, recorded, tunables_of

if TYPE_CHECKING:
    from pathlib import Path

SYSTEM_CACHES = [*files("geometry/*.system-caches.jsonl.xz"), *files("boot/*/slab_caches.jsonl.xz")]


def made(name: str, size: int, align: int, flags: int, ctor: int, tunables: Tunables) -> Geometry | None:
    flags = tunables.debug.cache_flags(name, flags)
    try:
        return calculate_sizes(size, align, flags, ctor=bool(ctor), tunables=tunables, sizing=SIZING_6_1)
    except ValueError:
        return None


@pytest.mark.parametrize("path", files("geometry/*.jsonl.xz", without="system-caches"))
def test_requested_caches(path: Path) -> None:
    header, records = read(path)
    tunables = tunables_of(header)
    for record in records:
        request = record["req"]
        flags = sum(FLAGS[f"SLAB_{flag}"] for flag in request["flags"])
        geometry = made(record["name"], request["size"], request["align"], flags, request["ctor"], tunables)
        expected = recorded(record["geom"]) if record["ok"] else None
        assert (None if geometry is None else as_dict(geometry)) == expected, record["name"]


@pytest.mark.parametrize("path", SYSTEM_CACHES)
def test_caches_of_the_system(path: Path) -> None:
    header, records = read(path)
    tunables = tunables_of(header)
    for record in records:
        geom = record["geom"]
        flags = int(geom["flags_hex"], 16) & ~(CMPXCHG_DOUBLE | OBJECT_POISON)
        geometry = made(record["name"], geom["object_size"], geom["align"], flags, geom["ctor"], tunables)
        assert geometry is not None
        expected, got = recorded(geom), as_dict(geometry)
        if geom["refcount"] > 1:  # the free pointer is where the first request had its middle
            assert expected.pop("offset") <= got.pop("offset")
        assert got == expected, record["name"]


@pytest.mark.parametrize("path", SYSTEM_CACHES)
def test_kmalloc_caches_come_first_and_in_their_order(path: Path) -> None:
    header, records = read(path)
    tunables = tunables_of(header)
    oldest_first = records[::-1]
    assert [record["name"] for record in oldest_first[:2]] == ["kmem_cache", "kmem_cache_node"]
    for wanted, record in zip(kmalloc_caches_wanted(), oldest_first[2:], strict=False):
        geometry = made(wanted.name, wanted.size, wanted.align, wanted.flags, 0, tunables)
        assert geometry is not None
        geom = record["geom"]
        assert as_dict(geometry) == recorded(geom)
        assert (wanted.name, wanted.refcount, 0, wanted.usersize) == (
            record["name"],
            geom["refcount"],
            geom["useroffset"],
            geom["usersize"],
        )
