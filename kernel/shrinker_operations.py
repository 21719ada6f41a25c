"""The operations of a program that concern shrinkers: mounting, using, reclaiming.

What is mounted may have gone when it is used, as a cgroup may that is to be reclaimed from: that is said and counted,
not fatal, for programs may race.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .files import error_name
from .gfp import GFP_KERNEL
from .shrinker.shrinker import FLAGS
from .shrinker.shrinkers import Kind
from .stack import kernel_name

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from ..topology import Scenario
    from .machine import Machine
    from .memcg import MemCgroup
    from .shrinker.superblock import Superblock


def kind_of(section: Any) -> Kind:
    """What a ``[[shrinker]]`` describes."""
    return Kind(
        object_size=section.size,
        flags=sum(FLAGS[flag] for flag in section.flags),
        seeks=section.seeks,
        batch=section.batch,
        scan_ns=section.scan_ns,
        by_task=section.charge == "task",
        late_ns=section.register_after_ns,
    )


async def mount_all(machine: Machine, scenario: Scenario) -> str | None:
    """Mount what is there from the start; the name of one that could not be."""
    assert machine.shrinkers is not None  # the scenario has some
    for section in scenario.shrinkers:
        for place in section.places:
            if await machine.shrinkers.mount(place, kind_of(section)):
                return place
    return None


def _text(task: Any, text: str) -> str:
    return text.format(**task.variables) if "{" in text else text


def _failed(task: Any, what: str, error: int) -> None:
    if error:
        task.machine.printk("warning", f"{task.name}: cannot {what}: {error_name(error)}")
        task.machine.count("failed_mounts")


async def mount(task: Any, operation: Any) -> None:
    """Mount something."""
    at = _text(task, operation.at)
    section = next(each for each in task.workload.scenario.shrinkers if each.name == operation.shrinker)
    _failed(task, f"mount {at}", await task.machine.shrinkers.mount(at, kind_of(section)))


async def umount(task: Any, operation: Any) -> None:
    """Unmount it."""
    at = _text(task, operation.at)
    _failed(task, f"umount {at}", await task.machine.shrinkers.umount(at))


async def _super(task: Any, operation: Any) -> Superblock | None:
    at = _text(task, operation.at)
    sb: Superblock | None = await task.machine.shrinkers.get_super(at)
    if sb is None:
        task.machine.printk("warning", f"{task.name}: nothing is mounted at {at}")
        task.machine.count("operations_without_mount")
    return sb


@kernel_name("vfs_create")
async def lru_add(task: Any, operation: Any) -> None:
    """Add objects."""
    sb = await _super(task, operation)
    if sb is None:
        return
    for _ in range(operation.count):
        address = await sb.add_object(operation.node)
        if address is None:
            task.machine.count("failed_allocations")
            break
        if operation.hold:
            await task.machine.shrinkers.get_super(sb.name)
            await task.workload.touch_object
            task.workload.bag(f"held at {sb.name}").put([address])
        else:
            await sb.put_object(address)
    await task.machine.shrinkers.put_super(sb)


@kernel_name("__fput")
async def lru_put(task: Any, operation: Any) -> None:
    """Use held objects no more."""
    sb = await _super(task, operation)
    if sb is None:
        return
    done = 0
    while operation.count is None or done < operation.count:
        await task.workload.touch_object
        address = task.workload.bag(f"held at {sb.name}").take()
        if address is None:
            break
        await sb.put_object(address)
        await task.machine.shrinkers.put_super(sb)
        done += 1
    await task.machine.shrinkers.put_super(sb)


@kernel_name("vfs_open")
async def lru_use(task: Any, operation: Any) -> None:
    """Use objects."""
    sb = await _super(task, operation)
    if sb is None:
        return
    for number in range(operation.count):
        address = await sb.get_object(number)
        if address is not None:
            await sb.put_object(address)
    await task.machine.shrinkers.put_super(sb)


async def _memcg(task: Any, path: str) -> MemCgroup | None:
    """The cgroup at a path, with a reference; None where there is none."""
    path = _text(task, path)
    async with task.machine.rcu.reader():
        cgroup = await task.machine.cgroups.look_up(path)
        if cgroup is not None and await cgroup.memcg.css.hold():
            memcg: MemCgroup = cgroup.memcg
            return memcg
    task.machine.printk("warning", f"{task.name}: no cgroup {path}")
    task.machine.count("failed_cgroup_operations")
    return None


async def shrink_slab(task: Any, operation: Any) -> None:
    """Ask once."""
    protocol = task.machine.shrinkers.protocol
    if task.machine.cgroups is None:
        await protocol.shrink_slab(GFP_KERNEL, operation.node, None, operation.priority)
        return
    memcg = await _memcg(task, operation.memcg)
    if memcg is not None:
        await protocol.shrink_slab(GFP_KERNEL, operation.node, memcg, operation.priority)
        await memcg.css.let_go()


async def reclaim_memcg(task: Any, operation: Any) -> None:
    """Reclaim from a cgroup."""
    memcg = await _memcg(task, operation.memcg)
    if memcg is not None:
        await task.machine.reclaim.try_to_free_mem_cgroup_pages(memcg, operation.pages, GFP_KERNEL)
        await memcg.css.let_go()


SHRINKER_OPERATIONS: dict[str, Callable[[Any, Any], Awaitable[None]]] = {
    function.__name__: function for function in (mount, umount, lru_add, lru_put, lru_use, shrink_slab, reclaim_memcg)
}
"""By the name a program uses."""
