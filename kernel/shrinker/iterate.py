"""Walking the hierarchy of cgroups, one with a reference at a time.

Mirrors mem_cgroup_iter() of mm/memcontrol.c (6.1) without its shared position: parents before children, each found
under RCU and held by ``css_tryget`` while the caller uses it; those without references left are passed over.  The
start of a walk is the caller's, who knows that it stays.

That reference is what keeps the maps of a cgroup, and so the unit that shrink_slab_memcg() uses outside of RCU.  The
seam ``cgroup_walk`` says how reclaim walks: `mem_cgroup_iter`, or, to see what it is good for, `without_reference`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..stack import kernel_name

if TYPE_CHECKING:
    from ..memcg import Cgroups, MemCgroup


async def _next_pre_order(position: MemCgroup, root: MemCgroup) -> MemCgroup | None:
    """``css_next_descendant_pre``; under RCU.

    A `position` that was passed over may have left its parent's children since: the next is the next in order of birth.
    """
    await position.read_children
    for child in position.children:
        return child
    while position is not root:
        parent = position.parent
        assert parent is not None  # only the root has none
        await parent.read_children
        following = parent.child_after(position.serial)
        if following < len(parent.children):
            return parent.children[following]
        position = parent
    return None


@kernel_name("mem_cgroup_iter")
async def without_reference(cgroups: Cgroups, root: MemCgroup | None, previous: MemCgroup | None) -> MemCgroup | None:
    """Never sent: the same without references.  RCU says that the next cgroup is there, not that it stays."""
    root = root or cgroups.root.memcg
    if previous is None:
        return root
    async with cgroups.machine.rcu.reader():
        return await _next_pre_order(previous, root)


@kernel_name("mem_cgroup_iter")
async def mem_cgroup_iter(cgroups: Cgroups, root: MemCgroup | None, previous: MemCgroup | None) -> MemCgroup | None:
    """The cgroup after `previous`, whose reference is put, with a reference; None behind the last one."""
    root = root or cgroups.root.memcg
    if previous is None:
        return root
    position: MemCgroup | None = previous
    async with cgroups.machine.rcu.reader():
        while position is not None:
            position = await _next_pre_order(position, root)
            if position is not None and await position.css.hold():
                break
    if previous is not root:
        await previous.css.let_go()
    return position


async def mem_cgroup_iter_break(cgroups: Cgroups, root: MemCgroup | None, previous: MemCgroup) -> None:
    """Leave a walk early, and put the reference it has."""
    if previous is not (root or cgroups.root.memcg):
        await previous.css.let_go()
