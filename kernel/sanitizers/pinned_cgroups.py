"""Removed cgroups, and caches of removed cgroups, that are still there when everything has come to rest.

A removed cgroup stays as long as something is charged to it.  At the end of a run in which nothing else was found, one
that stays although no object of its own caches is in use is a leak: an empty slab pins it, or a reference that nobody
will put.  From 5.3 to 5.8 the same is asked of the caches themselves, which outlive their cgroup; a cache that outlives
its root cache is always one too many: nobody finds it any more.  A slab that a processor allocates from says nothing
once the cache was shrunk: it got there by an allocation that was in progress when the cgroup went.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..memcg.memcg import NO_ID
from ..memory import shadow_of
from ..slab.placement import placement_of
from .layout import join

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ..machine import Machine
    from ..memcg import MemCgroup
    from ..memcg.params import ChildParams
    from ..slab.cache import KmemCache, Slab


def report_pinned_cgroups(machine: Machine) -> None:
    """Report each of them."""
    cgroups = machine.cgroups
    if cgroups is None or machine.violations:
        return
    slabs: dict[KmemCache, dict[Slab, None]] = {}
    for slab in machine.slab.slabs.values():  # an entry for each page
        if slab.cache.memcg_params is not None:
            slabs.setdefault(slab.cache, {})[slab] = None
    # Objects that belong to the cgroup of who added them hold it.
    supers = machine.shrinkers.supers.values() if machine.shrinkers is not None else ()
    excused: dict[MemCgroup, None] = {memcg: None for sb in supers for memcg in sb.owners.values()}
    for memcg in reversed(list(cgroups.root.memcg.descendants())):  # those below first
        if not memcg.css.dead or memcg in excused:
            continue
        used = any(_is_excused(child, slabs.get(child, {})) for child in memcg.kmem_caches)
        if used or any(below in excused for below in memcg.children):
            excused[memcg] = None
            continue
        title = f"removed memory cgroup {memcg.name} is pinned by nothing in use"
        lines = [f"  {memcg.css.references} references are left", *_slabs(memcg.kmem_caches)]
        _report(machine, title, lines)
        return
    for cache in list(machine.slab.slab_caches):
        params = cache.memcg_params
        if params is not None and not _is_in_use(cache, params) and not _is_excused(cache, slabs.get(cache, {})):
            references = params.refcnt.references if params.refcnt is not None else 0
            title = f"cache {cache.name} of a removed memory cgroup was not destroyed"
            if _root_is_gone(params):
                title = f"cache {cache.name} of a memory cgroup has outlived its root cache"
            _report(machine, title, [f"  {references} references are left", *_slabs([cache])])
            return


def _is_excused(cache: KmemCache, slabs: Iterable[Slab]) -> bool:
    """Whether an object of it is in use, or a processor allocates from it."""
    shrunk = cache.memcg_params is not None and cache.memcg_params.shrunk
    allocating = any(c.slab is not None for c in placement_of(cache).cpus.values())
    return any(slab.live for slab in slabs) or (shrunk and allocating)


def _is_in_use(cache: KmemCache, params: ChildParams) -> bool:
    """Whether a living cgroup finds its child."""
    if _root_is_gone(params):
        return False  # nobody finds what belonged to it
    root, number = params.root_cache.memcg_root, params.memcg.kmemcg_id
    array = root.memcg_caches if root is not None else None
    return array is not None and number != NO_ID and array.entries[number] is cache


def _root_is_gone(params: ChildParams) -> bool:
    shadow = shadow_of(params.root_cache)
    return shadow is not None and bool(shadow.freed_by)


def _slabs(caches: Iterable[KmemCache]) -> list[str]:
    lines = []
    for cache in caches:
        where = placement_of(cache)
        places = [(f"processor {cpu}'s list", c.partial) for cpu, c in where.cpus.items()]
        places += [(f"the partial list of node {node}", n.partial) for node, n in where.nodes.items()]
        for place, slabs in places:
            lines += [f"  empty slab 0x{slab.pfn:x} of {cache.name} on {place}" for slab in slabs if not slab.inuse]
    return lines


def _report(machine: Machine, title: str, lines: list[str]) -> None:
    machine.violate("leak", title, join([title, *lines]), bug=title)
