"""Freeing objects.

Mirrors kmem_cache_free(), do_slab_free(), __slab_free(), free_debug_processing(), build_detached_freelist() and
kmem_cache_free_bulk() of mm/slub.c (6.1).
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from ...actors import Access
from ..machine import DIRECT_MAP_BASE, PAGE_SHIFT
from ..memory import free_structure
from ..pages import page_frame
from ..sanitizers.oops import wrong_cache
from ..stack import kernel_name
from .allocate import FAST_PATH_NS
from .cache import NIL
from .cpu_slab import this_cpu_slab
from .debug import free_checks, free_invalid_pointer, object_not_freed
from .node import add_partial, dec_slabs_node, discard_slab, free_slab, remove_full, remove_partial
from .statistics import StatItem, stat

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .cache import KmemCache, Slab
    from .slub import Slub

LOOKAHEAD = 3
"""Objects of other slabs that a search for more of the same slab passes over."""


async def kmem_cache_free(slub: Slub, cache: KmemCache, address: int) -> None:
    """Give the object at `address` back to `cache`."""
    fire = slub.trace_free.fire
    if fire is not None:
        fire(0, address, cache.name)
    slab = slub.slabs.get((address - DIRECT_MAP_BASE) >> PAGE_SHIFT)
    if slab is None or slab.cache is not cache:
        slab, cache = cache_from_obj(slub, cache, slab)
    index = (address - slab.base) // cache.size
    kept = slub.kasan is not None and slub.kasan.check_free(cache, slab, index, address)
    if slab.objcgs is not None and slub.memcg is not None:
        await slub.memcg.free_hook(slab, index)
    if cache.holds_structures:
        free_structure(slub.structures.pop(address))
    if kept and slub.quarantine is not None and await slub.quarantine.put(cache, slab, index):
        return
    interleaver = slub.interleaver
    c = cache.cpu_slab.get(interleaver.running.cpu_id)
    if c is not None and c.slab is slab:
        if index == c.freelist:
            slub.machine.kernel_bug(f"double free of {address:#x}, the first free object of {cache.name}")
        slab.live &= ~(1 << index)
        slab.links[index] = c.freelist
        c.freelist = index
        c.tid += 1
        if interleaver.costed:
            interleaver.running.clock.ns += FAST_PATH_NS
        if c.stat is not None:
            c.stat[StatItem.FREE_FASTPATH] += 1
        return
    if cache.debug and ((address - slab.base) % cache.size or not 0 <= index < slab.objects):
        await free_invalid_pointer(slub, cache, slab, address)
        return
    slab.live &= ~(1 << index)
    await slab_free_slow(slub, cache, slab, index, index, 1)


@kernel_name("___cache_free")
async def free_for_good(slub: Slub, slab: Slab, address: int) -> None:
    """Free an object that has been in quarantine: everything but the checks and hooks, which it has passed."""
    cache = slab.cache
    index = (address - slab.base) // cache.size
    c = this_cpu_slab(slub, cache)
    if c.slab is not slab:
        await slab_free_slow(slub, cache, slab, index, index, 1)
        return
    slab.links[index] = c.freelist
    c.freelist = index
    c.tid += 1
    stat(c, StatItem.FREE_FASTPATH)


@kernel_name("__slab_free")
async def slab_free_slow(slub: Slub, cache: KmemCache, slab: Slab, head: int, tail: int, count: int) -> None:
    """Free `count` objects, linked from `head` to `tail`, into a slab that is not this processor's."""
    c = this_cpu_slab(slub, cache)
    stat(c, StatItem.FREE_SLOWPATH)
    if cache.debug:
        await free_debug_processing(slub, cache, slab, head, tail, count)
        return
    while True:
        await cache.update_freelist
        prior, inuse, frozen = slab.freelist, slab.inuse - count, slab.frozen
        slub.machine.bug_on(prior == head, f"double free of object {head} of a slab of {cache.name}")
        if frozen or (inuse and prior != NIL):
            # Some processor's slab, or one that is on a partial list already and stays there.
            _push(slab, head, tail, count)
            if frozen:
                stat(c, StatItem.FREE_FROZEN)
            return
        if prior == NIL:
            # It was full and on no list: it is frozen and becomes this processor's, without any lock.
            _push(slab, head, tail, count)
            slab.frozen = True
            await slub.variants.cpu_partial.put(slub, cache, slab)
            stat(c, StatItem.CPU_PARTIAL_FREE)
            return
        # Its last object: it may have to leave the partial list, so the lock comes first.
        await cache.read_node
        n = slub.get_node(cache, slab.node)
        async with n.list_lock.irqsave():
            cache.freelist_touched(Access.WRITE)
            if (slab.freelist, slab.inuse - count, slab.frozen) != (prior, inuse, frozen):
                continue  # others were faster; look again
            _push(slab, head, tail, count)
            if n.nr_partial < cache.min_partial:
                return
            remove_partial(n, slab)
            stat(c, StatItem.FREE_REMOVE_PARTIAL)
        stat(c, StatItem.FREE_SLAB)
        await discard_slab(slub, cache, slab)
        return


def cache_from_obj(slub: Slub, cache: KmemCache, slab: Slab | None) -> tuple[Slab, KmemCache]:
    """The slab and cache of an object that is not of `cache`: said, and put right.  No slab at all is an oops.

    Checked for every object, as with CONFIG_SLAB_FREELIST_HARDENED.
    """
    if slab is None:
        slub.machine.kernel_bug(f"an object that lies in no slab is freed to {cache.name}")
    params = slab.cache.memcg_params
    if params is None or params.root_cache is not cache:  # a cgroup's objects are freed through the root cache
        wrong_cache(slub.machine, cache.name, slab.cache.name)
    return slab, slab.cache


def _push(slab: Slab, head: int, tail: int, count: int) -> None:
    slab.links[tail] = slab.freelist
    slab.freelist = head
    slab.inuse -= count


async def free_debug_processing(slub: Slub, cache: KmemCache, slab: Slab, head: int, tail: int, count: int) -> None:
    """Free into a slab of a cache under debugging: checked first, and all of it under ``list_lock``."""
    c = this_cpu_slab(slub, cache)
    await cache.read_node
    n = slub.get_node(cache, slab.node)
    async with n.list_lock.irqsave():
        cache.freelist_touched(Access.WRITE)
        refused = free_checks(slub, cache, slab, head, tail, count)
        discard = False
        if refused == NIL:
            prior = slab.freelist
            _push(slab, head, tail, count)
            discard = not slab.inuse and n.nr_partial >= cache.min_partial
            if prior == NIL:
                remove_full(n, slab)
                if not discard:
                    add_partial(n, slab, tail=True)
                    stat(c, StatItem.FREE_ADD_PARTIAL)
            elif discard:
                remove_partial(n, slab)
                stat(c, StatItem.FREE_REMOVE_PARTIAL)
        if discard:
            await dec_slabs_node(cache, n, slab.objects)
    if refused != NIL:
        object_not_freed(slub, cache, slab, refused)
    if discard:
        stat(c, StatItem.FREE_SLAB)
        await free_slab(slub, cache, slab)


async def kmem_cache_free_bulk(slub: Slub, cache: KmemCache, addresses: Sequence[int]) -> None:
    """Give objects back, the last first; neighbours of one slab in one go, unless each goes into quarantine."""
    machine = slub.machine
    if slub.quarantine is not None:
        for address in reversed(addresses):
            await kmem_cache_free(slub, cache, address)
        return
    waiting = list(addresses)
    while waiting:
        slab, chain = _detached_freelist(slub, cache, waiting)
        of = slab.cache
        for index in chain:
            if machine.kasan is not None:
                machine.kasan.check_free(of, slab, index, slab.base + index * of.size)
            if slab.objcgs is not None and slub.memcg is not None:
                await slub.memcg.free_hook(slab, index)
            slab.live &= ~(1 << index)
        head, tail, count = chain[0], chain[-1], len(chain)
        for index, following in pairwise(chain):
            slab.links[index] = following
        c = of.cpu_slab.get(machine.interleaver.running.cpu_id)
        if c is not None and c.slab is slab:
            slab.links[tail] = c.freelist
            c.freelist = head
            c.tid += 1
            stat(c, StatItem.FREE_FASTPATH)
        else:
            await slab_free_slow(slub, of, slab, head, tail, count)


def _detached_freelist(slub: Slub, cache: KmemCache, waiting: list[int]) -> tuple[Slab, list[int]]:
    """Take objects of one slab out of `waiting`, from its end; the slab, and their numbers in the order of the chain.

    The kernel links each object before the one found last, and slab_free_freelist_hook() turns the chain round again.
    """
    address = waiting.pop()
    slab = slub.slabs.get(page_frame(address))
    if slab is None or slab.cache is not cache:
        slab, cache = cache_from_obj(slub, cache, slab)
    chain = [(address - slab.base) // cache.size]
    passed_over = 0
    position = len(waiting)
    same = position  # everything from here on has been taken
    while position:
        position -= 1
        other = waiting[position]
        if slub.slabs.get(page_frame(other)) is slab:
            chain.append((other - slab.base) // cache.size)
            same -= 1
            waiting[position], waiting[same] = waiting[same], waiting[position]
            continue
        passed_over += 1
        if passed_over == LOOKAHEAD:
            break
    del waiting[same:]
    return slab, chain
