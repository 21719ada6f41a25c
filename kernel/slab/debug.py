"""SLUB's own debugging: red zones, poison, tracks and consistency checks, with their reports."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .cache import KmemCache, Slab
    from .slub import Slub


def setup_slab_debug(slub: Slub, cache: KmemCache, slab: Slab) -> None:
    """Fill the memory of a new slab (``setup_slab_debug``, ``setup_object_debug``)."""


def alloc_debug_processing(slub: Slub, cache: KmemCache, slab: Slab, index: int) -> bool:
    """Check an object that is about to be handed out, and mark it in use; false where it must not be used."""
    return True


def set_alloc_track(slub: Slub, cache: KmemCache, slab: Slab, index: int) -> None:
    """Remember who allocates an object."""


def free_checks(slub: Slub, cache: KmemCache, slab: Slab, head: int, tail: int, count: int) -> bool:
    """Check `count` objects linked from `head` to `tail` that are about to be freed, and mark them free; under list_lock."""
    return True


def object_not_freed(slub: Slub, cache: KmemCache, slab: Slab, head: int) -> None:
    """Say that an object did not pass the checks of freeing."""


def check_slab_before_free(slub: Slub, cache: KmemCache, slab: Slab) -> None:
    """Check a slab whose pages are about to go back: padding, and every object."""
