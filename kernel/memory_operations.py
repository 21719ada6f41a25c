"""The operations of a program that are about pages and about memory that comes and goes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .bag import Bag
from .gfp import GFP_KERNEL
from .lru import UserPage

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


async def memory_online(task: Any, operation: Any) -> None:
    """Bring a node's memory online."""
    await task.machine.memory_hotplug.request(True, operation.node)


async def memory_offline(task: Any, operation: Any) -> None:
    """Take a node's memory offline."""
    await task.machine.memory_hotplug.request(False, operation.node)


async def wait_online(task: Any, operation: Any) -> None:
    """Wait until a node's memory is online."""
    await task.machine.memory_hotplug.watch.wait(operation.node)


async def alloc_pages(task: Any, operation: Any) -> None:
    """Allocate pages into a bag; what cannot be had is counted, and ends the operation."""
    machine = task.machine
    bag = _bag(task, operation.bag)
    for _ in range(operation.count):
        if operation.movable:
            got = await machine.lru.alloc_user_page(operation.node, operation.order)
        else:
            got = await machine.pages.alloc_pages_node(operation.node, GFP_KERNEL, operation.order)
            got = got and (*got, operation.order)
        if got is None:
            machine.count("failed_allocations")
            return
        bag.put([got])


async def free_pages(task: Any, operation: Any) -> None:
    """Free pages of a bag, the first allocated first."""
    machine = task.machine
    bag = _bag(task, operation.bag)
    for _ in range(len(bag) if operation.count is None else operation.count):
        page = bag.take()
        if page is None:
            return
        if isinstance(page, UserPage):
            await machine.lru.put_page(page)
        else:
            pfn, node, order = page
            await machine.pages.free_pages(node, pfn, order)


def _bag(task: Any, name: str) -> Bag[Any]:
    bag: Bag[Any] = task.workload.bag(f"pages {name.format(**task.variables) if '{' in name else name}")
    return bag


MEMORY_OPERATIONS: dict[str, Callable[[Any, Any], Awaitable[None]]] = {
    function.__name__: function for function in (memory_online, memory_offline, wait_online, alloc_pages, free_pages)
}
"""By the name a program uses."""
