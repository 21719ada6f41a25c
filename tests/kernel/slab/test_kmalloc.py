"""The kmalloc array (catalogue 2.4)."""

from __future__ import annotations

import pytest
from slubloom.kernel.slab.flags import SLAB_ACCOUNT, SLAB_CACHE_DMA, SLAB_KMALLOC, SLAB_RECLAIM_ACCOUNT
from slubloom.kernel.slab.kmalloc import (
    SIZES,
    KmallocType,
    kmalloc_caches_wanted,
    kmalloc_index,
    kmalloc_size_roundup,
    kmalloc_type,
)

GFP_KERNEL, GFP_DMA, GFP_RECLAIMABLE, GFP_ACCOUNT = 0xCC0, 0x1, 0x10, 0x40_0000
IN_ORDER = [8, 16, 32, 64, 96, 128, 192, 256, 512, 1024, 2048, 4096, 8192]


def test_four_rows_of_thirteen_in_the_order_of_creation() -> None:
    wanted = list(kmalloc_caches_wanted())
    assert [cache.size for cache in wanted] == IN_ORDER * 4
    assert [cache.type.name for cache in wanted[::13]] == ["NORMAL", "CGROUP", "RECLAIM", "DMA"]
    assert [cache.name for cache in wanted[9::13]] == [
        "kmalloc-1k",
        "kmalloc-cg-1k",
        "kmalloc-rcl-1k",
        "dma-kmalloc-1k",
    ]
    assert [cache.name for cache in wanted[4::13]] == [
        "kmalloc-96",
        "kmalloc-cg-96",
        "kmalloc-rcl-96",
        "dma-kmalloc-96",
    ]


def test_what_each_is_made_with() -> None:
    by_name = {cache.name: cache for cache in kmalloc_caches_wanted()}
    assert by_name["kmalloc-64"].flags == SLAB_KMALLOC
    assert by_name["kmalloc-cg-64"].flags == SLAB_KMALLOC | SLAB_ACCOUNT
    assert by_name["kmalloc-rcl-64"].flags == SLAB_KMALLOC | SLAB_RECLAIM_ACCOUNT
    assert by_name["dma-kmalloc-64"].flags == SLAB_KMALLOC | SLAB_CACHE_DMA
    assert [by_name[name].align for name in ("kmalloc-8", "kmalloc-96", "kmalloc-192", "kmalloc-8k")] == [8, 8, 8, 8192]
    assert {cache.refcount for cache in by_name.values() if cache.type is KmallocType.NORMAL} == {-1}
    assert {cache.refcount for cache in by_name.values() if cache.type is not KmallocType.NORMAL} == {1}
    assert all(cache.usersize == cache.size for cache in by_name.values())


def test_without_accounting_there_is_no_row_for_it() -> None:
    rows = dict.fromkeys(cache.type for cache in kmalloc_caches_wanted(accounting=False))
    assert list(rows) == [KmallocType.NORMAL, KmallocType.RECLAIM, KmallocType.DMA]


@pytest.mark.parametrize(
    ("size", "served_by"),
    [
        *((1, 8), (8, 8), (9, 16), (17, 32), (33, 64), (64, 64), (65, 96), (96, 96), (97, 128), (128, 128), (129, 192)),
        *((192, 192), (193, 256), (256, 256), (257, 512), (1025, 2048), (4097, 8192), (8192, 8192)),
    ],
)
def test_the_smallest_that_is_large_enough_serves(size: int, served_by: int) -> None:
    index = kmalloc_index(size)
    assert index is not None
    assert SIZES[index] == kmalloc_size_roundup(size) == served_by


def test_nothing_and_more_than_two_pages_have_no_cache() -> None:
    assert kmalloc_index(0) is None
    assert kmalloc_index(8193) is None
    assert [kmalloc_size_roundup(size) for size in (0, 8193, 16385)] == [0, 16384, 32768]


def test_dma_before_reclaimable_before_accounted() -> None:
    assert kmalloc_type(GFP_KERNEL) is KmallocType.NORMAL
    assert kmalloc_type(GFP_KERNEL | GFP_ACCOUNT) is KmallocType.CGROUP
    assert kmalloc_type(GFP_KERNEL | GFP_ACCOUNT | GFP_RECLAIMABLE) is KmallocType.RECLAIM
    assert kmalloc_type(GFP_KERNEL | GFP_ACCOUNT | GFP_RECLAIMABLE | GFP_DMA) is KmallocType.DMA
    assert kmalloc_type(GFP_KERNEL | GFP_ACCOUNT, accounting=False) is KmallocType.NORMAL
