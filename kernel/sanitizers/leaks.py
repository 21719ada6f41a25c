"""kmemleak, for the structures of SLUB: what is allocated when everything has come to rest, and nobody knows any more.

A ``kmem_cache`` is known by the list of caches, a ``kmem_cache_node`` by its cache.  Looked at once, at the end of a
run in which nothing else was found; the layout is that of mm/kmemleak.c (6.1).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .layout import join

if TYPE_CHECKING:
    from ..machine import Machine
    from ..memory import Shadow

SITE_FRAMES = 4


def report_leaks(machine: Machine) -> None:
    """Report what of SLUB's own structures nothing points to."""
    if machine.booting or machine.violations:
        return  # whoever died of it may have held something
    slub = machine.slab
    look = object.__getattribute__  # not as the kernel looks: it may be freed
    known: dict[int, None] = {}
    for cache in slub.slab_caches:
        known[look(cache, "address")] = None
        for n in look(cache, "node").values():
            known[look(look(n, "list_lock"), "address")] = None
    for address, structure in list(slub.structures.items()):
        shadow = look(structure, "shadow")
        if address not in known and shadow is not None:
            _report(machine, shadow)


def _report(machine: Machine, shadow: Shadow) -> None:
    comm, _, pid = shadow.allocated_by.rpartition("/")
    title = f"unreferenced object 0x{shadow.address:016x} (size {shadow.size}): {shadow.type_name}"
    report = join(
        [
            f"unreferenced object 0x{shadow.address:016x} (size {shadow.size}):",
            f'  comm "{comm}", pid {pid}',
            f"  {shadow.type_name} of the cache {shadow.cache_name}",
            "  backtrace:",
            *(f"    {function}" for function in shadow.allocated_at),
        ]
    )
    machine.violate("leak", title, report, bug=" ".join([shadow.type_name, *shadow.allocated_at[:SITE_FRAMES]]))
