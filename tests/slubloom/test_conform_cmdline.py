"""What SLUB reads on a kernel's command line."""

from __future__ import annotations

import pytest

from slubloom.conform.cmdline import SlubOptions, get_option, parse_cmdline


@pytest.mark.parametrize(
    ("text", "number"),
    [
        *(("3", 3), ("010", 8), ("0x1F", 31), ("0X1f", 31), ("0", 0), ("", 0), ("many", 0)),
        *(("7seven", 7), ("09", 0), ("0x", 0), ("-1", 0xFFFF_FFFF)),
    ],
)
def test_numbers_are_read_as_far_as_they_go(text: str, number: int) -> None:
    assert get_option(text) == number


def test_words_of_others_are_left_alone() -> None:
    assert parse_cmdline("console=ttyS0 panic=-1 quiet loglevel=4 slab_max_order=1") == SlubOptions()


def test_all_that_slub_knows() -> None:
    text = (
        "slab_nomerge slub_min_order=1 slub_max_order=2 slub_min_objects=24 slub_debug=FZ,dentry;P cgroup.memory=nokmem"
    )
    assert parse_cmdline(text) == SlubOptions(
        slab_nomerge=True,
        slub_debug="FZ,dentry;P",
        slub_min_order=1,
        slub_max_order=2,
        slub_min_objects=24,
        kmem_accounting=False,
    )


@pytest.mark.parametrize(
    ("text", "nomerge"),
    [("slub_nomerge", True), ("slab-nomerge", True), ("slab_nomerge slab_merge", False), ("-- slab_nomerge", False)],
)
def test_merging_is_said_in_several_ways_and_the_last_counts(text: str, nomerge: bool) -> None:
    assert parse_cmdline(text).slab_nomerge is nomerge


def test_the_bare_word_is_full_debugging() -> None:
    assert parse_cmdline("slub_debug").slub_debug == parse_cmdline("slub_debug=").slub_debug == ""


def test_orders_end_below_that_of_the_page_allocator() -> None:
    assert parse_cmdline("slub_max_order=99").slub_max_order == 10
    assert parse_cmdline("slub_max_order=-1").slub_max_order == 10
