"""Merging: one cache for all who want objects of the same kind.

Mirrors slab_unmergeable() and find_mergeable() of mm/slab_common.c, what __kmem_cache_alias() of mm/slub.c does to the
cache it finds, and the names in /sys/kernel/slab: create_unique_id(), sysfs_slab_add() (6.1).  slab_mutex protects all
that is looked at here; the caller holds it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, TypeVar

from .flags import (
    DEBUG_METADATA_FLAGS,
    SLAB_ACCOUNT,
    SLAB_CACHE_DMA,
    SLAB_CACHE_DMA32,
    SLAB_CONSISTENCY_CHECKS,
    SLAB_MERGE_SAME,
    SLAB_NEVER_MERGE,
    SLAB_RECLAIM_ACCOUNT,
)
from .geometry import calculate_alignment
from .sizing import WORD, align_up

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .sizing import Tunables

ID_LETTERS = (
    (SLAB_CACHE_DMA, "d"),
    (SLAB_CACHE_DMA32, "D"),
    (SLAB_RECLAIM_ACCOUNT, "a"),
    (SLAB_CONSISTENCY_CHECKS, "F"),
    (SLAB_ACCOUNT, "A"),
)


class Mergeable(Protocol):
    """What merging looks at in a cache."""

    name: str
    refcount: int
    object_size: int
    inuse: int

    @property
    def size(self) -> int:
        """Bytes an object takes."""

    @property
    def flags(self) -> int:
        """All of them, with those of ``slub_debug``."""

    @property
    def usersize(self) -> int:
        """Bytes of an object that may be copied to user space."""

    @property
    def ctor(self) -> object:
        """A constructor, or something false."""


M = TypeVar("M", bound=Mergeable)


def is_unmergeable(cache: Mergeable, tunables: Tunables) -> bool:
    """Whether `cache` is for its maker alone (``slab_unmergeable``); a negative count of references says so too."""
    return (
        tunables.slab_nomerge
        or bool(cache.flags & SLAB_NEVER_MERGE)
        or bool(cache.ctor)
        or bool(cache.usersize)
        or cache.refcount < 0
    )


def find_mergeable(
    oldest_first: Iterable[M], name: str, size: int, align: int, flags: int, *, ctor: bool, tunables: Tunables
) -> M | None:
    """The oldest cache that serves a request as well as one of its own would, if any.

    `oldest_first` is ``slab_caches`` from its tail; `flags` are those of the request, without ``slub_debug``.
    """
    if tunables.slab_nomerge or ctor:
        return None
    align = calculate_alignment(flags, align, align_up(size, WORD))
    size = padded_size(size, align, flags)
    flags = tunables.debug.cache_flags(name, flags)
    if flags & SLAB_NEVER_MERGE:
        return None
    same = flags & SLAB_MERGE_SAME
    for cache in oldest_first:
        theirs = cache.size
        if (
            size <= theirs < size + WORD
            and cache.flags & SLAB_MERGE_SAME == same
            and theirs & ~(align - 1) == theirs
            and not is_unmergeable(cache, tunables)
        ):
            return cache
    return None


def padded_size(size: int, align: int, flags: int) -> int:
    """The bytes that an object of a mergeable cache takes, which has no debugging: those of all it may merge with."""
    return align_up(align_up(size, WORD), calculate_alignment(flags, align, align_up(size, WORD)))


def add_alias(cache: Mergeable, size: int) -> None:
    """Let `cache` serve one more request, of objects of `size` bytes: the whole object is cleared and checked."""
    cache.refcount += 1
    cache.object_size = max(cache.object_size, size)
    cache.inuse = max(cache.inuse, align_up(size, WORD))


def unique_id(cache: Mergeable) -> str:
    """The name of the directory that the links of a mergeable cache point to, such as ``:A-0000064``."""
    letters = "".join(letter for flag, letter in ID_LETTERS if cache.flags & flag)
    return f":{letters}-{cache.size:07}" if letters else f":{cache.size:07}"


def sysfs_directory(cache: Mergeable, tunables: Tunables) -> str:
    """The directory of `cache` in /sys/kernel/slab: its name, or where others may share it the unique id.

    With ``slub_debug=O`` two caches with the same id need not have the same flags, so all go by their names then.
    """
    debug = tunables.debug
    if is_unmergeable(cache, tunables) or (debug.disable_higher_order_debug and debug.flags & DEBUG_METADATA_FLAGS):
        return cache.name
    return unique_id(cache)
