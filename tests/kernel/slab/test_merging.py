"""Merging on lists of invented caches: who is found, what becomes of it, what it is called in sysfs."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from slubloom.kernel.slab.flags import (
    SLAB_ACCOUNT,
    SLAB_CACHE_DMA,
    SLAB_CACHE_DMA32,
    SLAB_CONSISTENCY_CHECKS,
    SLAB_HWCACHE_ALIGN,
    SLAB_NOLEAKTRACE,
    SLAB_PANIC,
    SLAB_POISON,
    SLAB_RECLAIM_ACCOUNT,
    SLAB_RED_ZONE,
    SLAB_STORE_USER,
    SLAB_TRACE,
    SLAB_TYPESAFE_BY_RCU,
)
from slubloom.kernel.slab.merging import add_alias, find_mergeable, is_unmergeable, sysfs_directory, unique_id
from slubloom.kernel.slab.sizing import Tunables
from slubloom.kernel.slab.slub_debug import parse_slub_debug

PLAIN = Tunables(2)


@dataclass
class Cache:
    name: str
    size: int
    flags: int = 0
    object_size: int = 0
    inuse: int = 0
    refcount: int = 1
    usersize: int = 0
    ctor: object = None


def found(
    caches: list[Cache],
    size: int,
    flags: int = 0,
    *,
    align: int = 0,
    ctor: bool = False,
    name: str = "new",
    tunables: Tunables = PLAIN,
) -> str | None:
    cache = find_mergeable(caches, name, size, align, flags, ctor=ctor, tunables=tunables)
    return None if cache is None else cache.name


def test_the_oldest_that_fits_is_found() -> None:
    caches = [Cache("a", 128), Cache("b", 64), Cache("c", 64)]
    assert found(caches, 64) == "b"
    assert found(caches, 57) == "b"


def test_less_than_a_word_may_be_wasted() -> None:
    assert found([Cache("a", 72)], 65) == "a"
    assert found([Cache("a", 72)], 64) is None  # 8 bytes too many
    assert found([Cache("a", 64)], 65) is None  # too small


def test_the_size_counts_as_the_new_cache_would_align_it() -> None:
    assert found([Cache("a", 72), Cache("b", 128)], 65, SLAB_HWCACHE_ALIGN) == "b"
    assert found([Cache("a", 72), Cache("b", 96)], 65, align=32) == "b"


def test_the_size_must_be_a_multiple_of_the_alignment() -> None:
    # 8 → 24 is not enough for 40: 40 & ~23 is 40, a multiple as the mask has it; 32 & ~23 is not.
    assert found([Cache("a", 40)], 40, align=24) == "a"
    assert found([Cache("a", 36)], 32, align=16) is None


@pytest.mark.parametrize("flag", [SLAB_RECLAIM_ACCOUNT, SLAB_CACHE_DMA, SLAB_CACHE_DMA32, SLAB_ACCOUNT])
def test_the_kind_of_memory_must_be_the_same(flag: int) -> None:
    assert found([Cache("a", 64)], 64, flag) is None
    assert found([Cache("a", 64, flag)], 64) is None
    assert found([Cache("a", 64, flag)], 64, flag) == "a"


@pytest.mark.parametrize("flag", [SLAB_HWCACHE_ALIGN, SLAB_PANIC, SLAB_CONSISTENCY_CHECKS])
def test_other_flags_do_not_matter(flag: int) -> None:
    assert found([Cache("a", 64)], 64, flag) == "a"
    assert found([Cache("a", 64, flag)], 64) == "a"


NEVER = [
    SLAB_RED_ZONE,
    SLAB_POISON,
    SLAB_STORE_USER,
    SLAB_TRACE,
    SLAB_TYPESAFE_BY_RCU,
    SLAB_NOLEAKTRACE,
]


@pytest.mark.parametrize("flag", NEVER)
def test_some_flags_forbid_merging_on_either_side(flag: int) -> None:
    assert found([Cache("a", 64)], 64, flag) is None
    assert found([Cache("a", 64, flag)], 64) is None


def test_constructors_user_copies_and_kmalloc_forbid_it_too() -> None:
    assert found([Cache("a", 64)], 64, ctor=True) is None
    for cache in (Cache("a", 64, ctor=print), Cache("a", 64, usersize=8), Cache("a", 64, refcount=-1)):
        assert is_unmergeable(cache, PLAIN)
        assert found([cache], 64) is None


def test_slab_nomerge() -> None:
    nomerge = Tunables(2, slab_nomerge=True)
    assert found([Cache("a", 64)], 64, tunables=nomerge) is None
    assert is_unmergeable(Cache("a", 64), nomerge)


def test_flags_of_slub_debug_count() -> None:
    debug = Tunables(2, debug=parse_slub_debug("Z,new*"))
    assert found([Cache("a", 64)], 64, name="new1", tunables=debug) is None
    assert found([Cache("a", 64)], 64, name="old", tunables=debug) == "a"


def test_an_alias_raises_what_is_in_use_and_never_lowers_it() -> None:
    cache = Cache("a", 64, object_size=57, inuse=64)
    add_alias(cache, 61)
    assert (cache.refcount, cache.object_size, cache.inuse) == (2, 61, 64)
    add_alias(cache, 58)
    assert (cache.refcount, cache.object_size, cache.inuse) == (3, 61, 64)
    padded = Cache("b", 64, object_size=40, inuse=40)
    add_alias(padded, 50)
    assert (padded.object_size, padded.inuse) == (50, 56)


def test_unique_ids() -> None:
    assert unique_id(Cache("a", 64)) == ":0000064"
    assert unique_id(Cache("a", 192, SLAB_ACCOUNT | SLAB_HWCACHE_ALIGN)) == ":A-0000192"
    every = SLAB_CACHE_DMA | SLAB_CACHE_DMA32 | SLAB_RECLAIM_ACCOUNT | SLAB_CONSISTENCY_CHECKS | SLAB_ACCOUNT
    assert unique_id(Cache("a", 12345678, every)) == ":dDaFA-12345678"


def test_a_cache_of_its_own_goes_by_its_name_in_sysfs() -> None:
    assert sysfs_directory(Cache("a", 64), PLAIN) == ":0000064"
    assert sysfs_directory(Cache("a", 64, SLAB_POISON), PLAIN) == "a"
    assert sysfs_directory(Cache("a", 64), Tunables(2, slab_nomerge=True)) == "a"
    assert sysfs_directory(Cache("a", 64), Tunables(2, debug=parse_slub_debug("PO"))) == "a"
    assert sysfs_directory(Cache("a", 64), Tunables(2, debug=parse_slub_debug("FO"))) == ":0000064"
