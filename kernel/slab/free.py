"""Freeing objects.

Mirrors kmem_cache_free(), slab_free() and __slab_free() of mm/slub.c (6.1), without per-CPU partial lists: a slab
that was full goes to its node's partial list at its first free.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...actors import Access
from ..memory import free_structure
from ..pages import page_frame
from ..stack import kernel_name
from .allocate import FAST_PATH_NS
from .node import add_partial, dec_slabs_node, free_slab, remove_partial

if TYPE_CHECKING:
    from .cache import KmemCache, Slab
    from .slub import Slub


async def kmem_cache_free(slub: Slub, cache: KmemCache, address: int) -> None:
    """Give the object at `address` back to `cache`."""
    machine = slub.machine
    fire = machine.tracepoints.kmem_cache_free.fire
    if fire is not None:
        fire(0, address, cache.name)
    slab = slub.slabs.get(page_frame(address))
    if slab is None or slab.cache is not cache:
        machine.kernel_bug(f"cache_from_obj: Wrong slab cache. {cache.name} but object is from nowhere of it")
    index = (address - slab.base) // cache.size
    bit = 1 << index
    c = cache.cpu_slab.get(machine.interleaver.running.cpu_id)
    if machine.kasan is not None:
        machine.kasan.check_free(cache, slab, index, address)
    structure = slub.structures.pop(address, None) if slub.structures else None
    if structure is not None:
        free_structure(structure)
    if c is not None and c.slab is slab:
        c.freelist |= bit
        c.tid += 1
        if machine.interleaver.costed:
            machine.running.clock.ns += FAST_PATH_NS
        return
    await slab_free_slow(slub, cache, slab, bit)


@kernel_name("__slab_free")
async def slab_free_slow(slub: Slub, cache: KmemCache, slab: Slab, bit: int) -> None:
    """Free into a slab that is not this processor's."""
    await cache.update_freelist
    if slab.frozen or (slab.free_mask and slab.inuse > 1):
        # Some processor's slab, or one that is on the partial list already and stays there: no lock.
        slab.free_mask |= bit
        slab.inuse -= 1
        return
    await cache.read_node
    n = slub.get_node(cache, slab.node)
    async with n.list_lock.irqsave():
        cache.freelist_touched(Access.WRITE)
        was_full = not slab.free_mask
        slab.free_mask |= bit
        slab.inuse -= 1
        if slab.frozen:  # a processor took it meanwhile: the free goes to it
            return
        discard = not slab.inuse and n.nr_partial >= cache.min_partial
        if discard:
            if slab.on_partial:
                remove_partial(n, slab)
        elif was_full and not slab.on_partial:
            add_partial(n, slab, tail=True)
    if discard:
        await dec_slabs_node(cache, n, slab.objects)
        await free_slab(slub, cache, slab)
