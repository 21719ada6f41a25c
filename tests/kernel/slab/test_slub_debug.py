"""slub_debug=: blocks, letters, names, as Documentation/mm/slub.rst describes them and the kernel reads them."""

from __future__ import annotations

import pytest
from slubloom.kernel.slab.flags import (
    DEBUG_DEFAULT_FLAGS,
    SLAB_CONSISTENCY_CHECKS,
    SLAB_HWCACHE_ALIGN,
    SLAB_NO_USER_FLAGS,
    SLAB_NOLEAKTRACE,
    SLAB_POISON,
    SLAB_RED_ZONE,
    SLAB_STORE_USER,
    SLAB_TRACE,
)
from slubloom.kernel.slab.slub_debug import NO_DEBUG, parse_slub_debug

F, Z, P, U, T = SLAB_CONSISTENCY_CHECKS, SLAB_RED_ZONE, SLAB_POISON, SLAB_STORE_USER, SLAB_TRACE


@pytest.mark.parametrize(
    ("value", "flags"),
    [
        ("", DEBUG_DEFAULT_FLAGS),
        ("-", 0),
        ("FZ", F | Z),
        ("fzput", F | Z | P | U | T),
        ("Z-", 0),
        ("-Z", Z),
        ("A", 0),  # FAILSLAB is not configured
        ("O", 0),
        ("F;Z", Z),  # the last block for all counts
        (";", 0),
        ("P;", P),
    ],
)
def test_without_names_all_caches_get_the_flags(value: str, flags: int) -> None:
    assert parse_slub_debug(value).cache_flags("dentry", 0) == flags


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (",dentry", {"dentry": DEBUG_DEFAULT_FLAGS, "inode": 0, "dentry2": 0, "dent": 0}),
        ("Z,dentry", {"dentry": Z, "inode": 0}),
        ("Z,dentry,inode", {"dentry": Z, "inode": Z, "filp": 0}),
        ("P,kmalloc-*", {"kmalloc-64": P, "kmalloc-cg-64": P, "dma-kmalloc-64": 0}),
        ("P,*", {"anything": P}),
        ("FZ;U,dentry", {"dentry": U, "inode": F | Z}),  # instead of what is for all
        ("F,dentry;U,dentry", {"dentry": F}),  # the first that matches
        ("-,dentry;U", {"dentry": 0, "inode": U}),
        ("Z,zs_handle;P,dentry", {"zs_handle": Z, "dentry": P}),
        ("F,", {"dentry": 0}),
    ],
)
def test_names_choose_caches(value: str, expected: dict[str, int]) -> None:
    debug = parse_slub_debug(value)
    assert {name: debug.cache_flags(name, 0) for name in expected} == expected


def test_a_semicolon_at_the_end_spoils_the_name_before_it_as_in_the_kernel() -> None:
    assert parse_slub_debug("Z,inode,dentry;").cache_flags("dentry", 0) == 0
    assert parse_slub_debug("Z,inode,dentry;").cache_flags("inode", 0) == Z
    assert parse_slub_debug("Z,dentry;;P").cache_flags("dentry", 0) == P
    assert parse_slub_debug("Z,dentry*;").cache_flags("dentry", 0) == Z


def test_flags_that_were_asked_for_stay() -> None:
    assert parse_slub_debug("Z").cache_flags("dentry", SLAB_HWCACHE_ALIGN | F) == SLAB_HWCACHE_ALIGN | F | Z


def test_caches_for_tests_are_left_alone_even_by_name() -> None:
    assert parse_slub_debug("Z,test*;P").cache_flags("test", SLAB_NO_USER_FLAGS) == SLAB_NO_USER_FLAGS


def test_leak_detection_has_no_user_tracking_unless_named() -> None:
    debug = parse_slub_debug("ZU;U,kmemleak_object")
    assert debug.cache_flags("kmemleak_scan", SLAB_NOLEAKTRACE) == SLAB_NOLEAKTRACE | Z
    assert debug.cache_flags("kmemleak_object", SLAB_NOLEAKTRACE) == SLAB_NOLEAKTRACE | U


@pytest.mark.parametrize("value", ["O", "FZO", "F,dentry;oZ", "o,dentry"])
def test_the_letter_o_is_about_all(value: str) -> None:
    assert parse_slub_debug(value).disable_higher_order_debug


def test_a_second_parameter_adds_to_the_first() -> None:
    both = parse_slub_debug("P,dentry", parse_slub_debug("FO"))
    assert (both.cache_flags("dentry", 0), both.cache_flags("inode", 0)) == (P, F)
    assert both.disable_higher_order_debug
    named_first = parse_slub_debug("F", parse_slub_debug("P,dentry"))
    assert (named_first.cache_flags("dentry", 0), named_first.cache_flags("inode", 0)) == (P, F)


@pytest.mark.parametrize("value", ["X", "F Z", "FZ;Q,dentry", "FZ=P"])
def test_an_unknown_letter_is_refused(value: str) -> None:
    with pytest.raises(ValueError, match=r"there is no option .*; there are: F Z P U T A O and -"):
        parse_slub_debug(value)


def test_no_parameter_is_no_debugging() -> None:
    assert NO_DEBUG.cache_flags("dentry", SLAB_HWCACHE_ALIGN) == SLAB_HWCACHE_ALIGN
    assert not NO_DEBUG.disable_higher_order_debug
