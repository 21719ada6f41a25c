"""What must be true of shrinkers when everything has come to rest: looked at once, at the end of a run.

- S1  A list of a cgroup that is online, with objects on it, has the shrinker's bit set in the cgroup's map: without it
  no reclaim for the cgroup, nor drop_caches, finds them (M28, M38).
- S2  Nobody asks a shrinker any more, so a registered one that counts references has just its first (M36).
- S3  Every ``shrinker_info`` that was not freed, and is not about to be, belongs to a cgroup (M37).

Only looked at where nothing else was found: whoever died of it may have held something.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..memory import shadow_of
from ..shrinker.info import BITS_PER_LONG
from ..shrinker.shrinker import SHRINKER_REGISTERED
from .layout import join

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..machine import Machine
    from ..memcg import MemCgroup
    from ..shrinker import Shrinkers
    from ..shrinker.list_lru import ListLru


def report_shrinkers(machine: Machine) -> None:
    """Report what is not so."""
    shrinkers = machine.shrinkers
    if shrinkers is None or machine.booting or machine.violations:
        return
    memcgs = [] if machine.cgroups is None else [machine.cgroups.root.memcg, *machine.cgroups.root.memcg.descendants()]
    for finding in (_lost_objects, _references, _lost_infos):
        for kind, title, lines in finding(shrinkers, memcgs):
            machine.violate(kind, title, join([title, *lines]), bug=finding.__name__)
            return


Finding = tuple[str, str, list[str]]


def _lost_objects(shrinkers: Shrinkers, memcgs: list[MemCgroup]) -> Iterator[Finding]:
    if not shrinkers.protocol.uses_maps:
        return
    for lru in shrinkers.list_lrus:
        shrinker = shrinkers.registry.idr.get(lru.shrinker_id)
        if shrinker is None or not shrinker.flags & SHRINKER_REGISTERED:
            continue
        for memcg in memcgs[1:]:
            if not memcg.online or memcg.kmemcg_id < 0:
                continue
            for nid in lru.node:
                count = _unreachable(lru, memcg, nid)
                if count:
                    title = f"{count} objects of cgroup {memcg.name} are on an LRU list that no reclaim will look at"
                    yield (
                        "invariant",
                        title,
                        [
                            f"  shrinker {shrinker.name}, id {lru.shrinker_id}, node {nid}:",
                            "  its bit in the cgroup's shrinker_info is clear",
                        ],
                    )


def _unreachable(lru: ListLru, memcg: MemCgroup, nid: int) -> int:
    """How many objects a cgroup has on a node, if the bit is clear."""
    lists = lru.xa.get(memcg.kmemcg_id)
    info = memcg.nodeinfo[nid].shrinker_info
    if lists is None or info is None or lru.shrinker_id >= info.map_nr_max:
        return 0
    bit = info.units[lru.shrinker_id // BITS_PER_LONG].map >> lru.shrinker_id % BITS_PER_LONG & 1
    return 0 if bit else len(lists.node[nid].items)


def _references(shrinkers: Shrinkers, _: list[MemCgroup]) -> Iterator[Finding]:
    shrinker = shrinkers.registry.first
    while shrinker is not None:
        if shrinker.flags & SHRINKER_REGISTERED and shrinker.refcount.value > 1:
            title = f"shrinker {shrinker.name}: {shrinker.refcount.value - 1} references are left that nobody will put"
            yield "leak", title, ["  shrinker_free() would wait for ever"]
        shrinker = shrinker.next


def _lost_infos(shrinkers: Shrinkers, memcgs: list[MemCgroup]) -> Iterator[Finding]:
    maps = shrinkers.maps
    if maps is None:
        return
    known = [node.shrinker_info for memcg in memcgs for node in memcg.nodeinfo.values()]
    addresses = [info.address for info in known if info is not None]
    for address, info in maps.infos.items():
        shadow = shadow_of(info)
        if address not in addresses and shadow is not None:
            title = f"unreferenced object 0x{address:016x} (size {shadow.size}): {shadow.type_name}"
            yield "leak", title, [f"  allocated by {shadow.allocated_by}", *(f"    {f}" for f in shadow.allocated_at)]
