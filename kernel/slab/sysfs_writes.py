"""Files of /sys/kernel/slab/<cache>/ that take something: tunables, and writes that are a request.

Mirrors min_partial_store(), cpu_partial_store(), remote_node_defrag_ratio_store(), shrink_store(), validate_store() and
the stores of the statistics of mm/slub.c (6.1).  No lock is held: allocations and frees that go on meanwhile see the
old value or the new one, and a processor keeps what it has until it is flushed.
"""

from __future__ import annotations

import re
from errno import EINVAL, ERANGE
from typing import TYPE_CHECKING

from ...actors import Access, Op, OpKind
from ..stack import kernel_name
from .shrink import kmem_cache_shrink
from .sysfs_counts import clear_stat

if TYPE_CHECKING:
    from .cache import KmemCache
    from .slub import Slub
    from .statistics import StatItem

ULONG_MAX = (1 << 64) - 1
UINT_MAX = (1 << 32) - 1
RATIO_MAX = 100
RATIO_UNIT = 10
"""What is written is a percentage; what is kept is compared with 1024."""

_UNSIGNED = re.compile(r"\+?[0-9]+\n?", re.ASCII)


def parse_unsigned(text: str, most: int) -> int:
    """A decimal number as ``kstrtoul`` reads it, a newline behind it allowed: the number, or a negative errno."""
    if not _UNSIGNED.fullmatch(text):
        return -EINVAL
    value = int(text)
    return value if value <= most else -ERANGE


async def about_to_change(cache: KmemCache, attribute: str) -> None:
    """Declare that a tunable changes in this step: allocators and frees on all processors go by it."""
    interleaver = cache.interleaver
    await Op(OpKind.WRITE, interleaver.resource(f"{cache.name}.{attribute}"))
    touch = interleaver.touch
    if touch is not None:
        for resource in (cache.counters, cache.freelists, cache.read_node.resource):
            touch(resource, Access.WRITE)


@kernel_name("min_partial_store")
async def store_min_partial(slub: Slub, cache: KmemCache, text: str) -> int:
    """Partial slabs that a node keeps even if they are empty: any number, whatever the limits at creation were."""
    slabs = parse_unsigned(text, ULONG_MAX)
    if slabs < 0:
        return slabs
    await about_to_change(cache, "min_partial")
    cache.min_partial = slabs
    return 0


@kernel_name("cpu_partial_store")
async def store_cpu_partial(slub: Slub, cache: KmemCache, text: str) -> int:
    """Objects a processor may keep on partial slabs; then every processor is flushed.  None under debugging."""
    objects = parse_unsigned(text, UINT_MAX)
    if objects < 0:
        return objects
    if objects and cache.debug:
        return -EINVAL
    await about_to_change(cache, "cpu_partial")
    cache.cpu_partial = objects
    cache.cpu_partial_slabs = slub.variants.sizing.cpu_partial_slabs(objects, cache.geometry.objects)
    await slub.cpu_flush.flush_all(cache)
    return 0


@kernel_name("remote_node_defrag_ratio_store")
async def store_remote_node_defrag_ratio(slub: Slub, cache: KmemCache, text: str) -> int:
    """How often, in percent, a search that finds no partial slab at home looks at other nodes."""
    ratio = parse_unsigned(text, UINT_MAX)
    if ratio < 0:
        return ratio
    if ratio > RATIO_MAX:
        return -ERANGE
    await about_to_change(cache, "remote_node_defrag_ratio")
    cache.remote_node_defrag_ratio = ratio * RATIO_UNIT
    return 0


@kernel_name("shrink_store")
async def store_shrink(slub: Slub, cache: KmemCache, text: str) -> int:
    """Shrink the cache."""
    if not text.startswith("1"):
        return -EINVAL
    await kmem_cache_shrink(slub, cache)
    return 0


@kernel_name("validate_store")
async def store_validate(slub: Slub, cache: KmemCache, text: str) -> int:
    """Check every listed slab of a cache."""
    if not text.startswith("1"):
        return -EINVAL
    return min(0, await slub.variants.validation.validate(slub, cache))


async def store_stat(slub: Slub, cache: KmemCache, item: StatItem, text: str) -> int:
    """Begin to count an item anew."""
    if not text.startswith("0"):
        return -EINVAL
    await clear_stat(slub, cache, item)
    return 0
