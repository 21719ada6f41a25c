"""The files of memory hotplug: /sys/devices/system/memory, and those of the error injection in debugfs.

Mirrors the attributes of drivers/base/memory.c, ``online`` of drivers/base/core.c and lib/notifier-error-inject.c
(6.1).  A file's text is put together in one step, from what the block and the zones of its node are in that step.
What kernfs holds around a show or store function it lets go before the system call is started again.
"""

from __future__ import annotations

from errno import EACCES, EINVAL, EISDIR, ENOENT, ENOTDIR
from functools import partial
from typing import TYPE_CHECKING

from ...actors import Access
from ..kernfs import kernfs_read, kernfs_write
from ..stack import kernel_name, part_of_caller
from .block import BlockState, MemoryBlock, OnlineType
from .chain import MAX_ERRNO
from .device import ERESTARTNOINTR, online_store, online_type_from, state_store

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from ...actors.hotplug import MemoryEvent
    from ..kernfs import KernfsNode
    from .api import MemoryHotplug
    from .chain import ErrorInjection

MEMORY_FOLDER = "/sys/devices/system/memory"
INJECTION_FOLDER = "/sys/kernel/debug/notifier-error-inject/memory/actions"
PAGE_SHIFT = 12


def _valid_zones(hotplug: MemoryHotplug, block: MemoryBlock) -> str:
    """Its zone, or those it may go to, beginning with the one it goes to by itself."""
    node = hotplug.machine.nodes[block.node]
    node.touched(Access.READ)
    if block.state is BlockState.ONLINE:
        return "none" if block.zone is None else node.zones[block.zone].name
    kinds = (OnlineType.ONLINE, OnlineType.ONLINE_KERNEL, OnlineType.ONLINE_MOVABLE)
    return " ".join(dict.fromkeys(block.zone_for(node, kind).name for kind in kinds))


SHOW: dict[str, Callable[[MemoryHotplug, MemoryBlock], str]] = {
    "online": lambda _, block: "0" if block.state is BlockState.OFFLINE else "1",
    "phys_device": lambda _, block: "0",
    "phys_index": lambda _, block: f"{block.number:08x}",
    "removable": lambda _, block: "1",  # always: nobody knows before it is tried
    "state": lambda _, block: block.state.value,
    "valid_zones": _valid_zones,
}
STORE: dict[str, Callable[[MemoryHotplug, MemoryBlock, str], Awaitable[int]]] = {
    "online": online_store,
    "state": state_store,
}
POLICY, BLOCK_SIZE = "auto_online_blocks", "block_size_bytes"


def is_of_memory(path: str) -> bool:
    """Whether a path is in one of the folders, or is one."""
    return f"{path}/".startswith((f"{MEMORY_FOLDER}/", f"{INJECTION_FOLDER}/"))


@part_of_caller
async def read_memory_file(hotplug: MemoryHotplug, path: str) -> str | int:
    """The text of a file, or what is in a directory; a negative errno where there is neither."""
    if path.startswith(INJECTION_FOLDER):
        return await _read_injection(hotplug, path.removeprefix(INJECTION_FOLDER).strip("/"))
    name, _, attribute = path.removeprefix(MEMORY_FOLDER).strip("/").partition("/")
    if not name:
        return _listed([BLOCK_SIZE, POLICY, *(f"memory{number}" for number in hotplug.blocks)])
    if name in (BLOCK_SIZE, POLICY):
        if attribute:
            return -ENOTDIR
        await hotplug.read_policy
        return f"{hotplug.pages_per_block << PAGE_SHIFT:x}\n" if name == BLOCK_SIZE else f"{hotplug.policy.value}\n"
    block = _find(hotplug, name)
    if block is None:
        return -ENOENT
    if not attribute:
        return _listed([*SHOW])
    if attribute not in SHOW:
        return -ENOTDIR if attribute.partition("/")[0] in SHOW else -ENOENT

    @kernel_name("dev_attr_show")
    async def show() -> str | int:
        await block.read
        return f"{SHOW[attribute](hotplug, block)}\n"

    return await kernfs_read(_file(hotplug, block, attribute), show)


@part_of_caller
async def write_memory_file(hotplug: MemoryHotplug, path: str, text: str) -> int:
    """Write to a file; 0 or a negative errno."""
    if path.startswith(INJECTION_FOLDER):
        return await _write_injection(hotplug, path.removeprefix(INJECTION_FOLDER).strip("/"), text)
    name, _, attribute = path.removeprefix(MEMORY_FOLDER).strip("/").partition("/")
    if name == POLICY and not attribute:
        return await auto_online_blocks_store(hotplug, text)
    if name == BLOCK_SIZE and not attribute:
        return -EACCES
    block = _find(hotplug, name)
    if block is None:
        return -ENOENT if name else -EISDIR
    if attribute not in STORE:
        return -EACCES if attribute in SHOW else -ENOENT if attribute else -EISDIR
    return await _write_attribute(hotplug, block, attribute, text)


@part_of_caller
async def write_state(hotplug: MemoryHotplug, block: MemoryBlock, text: str) -> int:
    """Write to the ``state`` file of a block; 0 or a negative errno."""
    return await _write_attribute(hotplug, block, "state", text)


@part_of_caller
async def _write_attribute(hotplug: MemoryHotplug, block: MemoryBlock, attribute: str, text: str) -> int:
    """One system call, started again where it says so (``restart_syscall``)."""
    while True:
        error = await kernfs_write(
            _file(hotplug, block, attribute), partial(dev_attr_store, hotplug, block, attribute, text)
        )
        if error != -ERESTARTNOINTR:
            return error


async def dev_attr_store(hotplug: MemoryHotplug, block: MemoryBlock, attribute: str, text: str) -> int:
    """Hand what was written to the attribute; ERESTARTNOINTR asks for the whole write to be made again."""
    return await STORE[attribute](hotplug, block, text)


def _file(hotplug: MemoryHotplug, block: MemoryBlock, attribute: str) -> KernfsNode:
    """The file of an attribute; those of all blocks have one lock class."""
    path = f"{MEMORY_FOLDER}/{block.name}/{attribute}"
    return hotplug.machine.kernfs.file(path, f"memory/{attribute}")


async def auto_online_blocks_store(hotplug: MemoryHotplug, text: str) -> int:
    """What shall become of memory that nobody has said anything about."""
    policy = online_type_from(text)
    if policy is None:
        return -EINVAL
    await hotplug.write_policy
    hotplug.policy = policy
    return 0


def _find(hotplug: MemoryHotplug, name: str) -> MemoryBlock | None:
    number = name.removeprefix("memory")
    return hotplug.blocks.get(int(number)) if number.isdecimal() and name == f"memory{int(number)}" else None


def _listed(names: list[str]) -> str:
    return "".join(f"{name}\n" for name in sorted(names))


# --- error injection


@part_of_caller
async def _read_injection(hotplug: MemoryHotplug, rest: str) -> str | int:
    injection = hotplug.injection
    if injection is None:
        return -ENOENT
    names = [f"MEM_{event.name}" for event in injection.EVENTS]
    if not rest:
        return _listed(names)
    if rest in names:
        return "error\n"
    event = _event_of(injection, rest)
    if event is None:
        return -ENOENT
    await injection.read
    return f"{injection.errors[event]}\n"


@part_of_caller
async def _write_injection(hotplug: MemoryHotplug, rest: str, text: str) -> int:
    """Numbers outside of -4095 … 0 become the nearer of the two, as in the kernel."""
    injection = hotplug.injection
    event = None if injection is None else _event_of(injection, rest)
    if injection is None or event is None:
        return -ENOENT
    try:
        number = int(text.strip(), 0)
    except ValueError:
        return -EINVAL
    await injection.write
    injection.errors[event] = max(-MAX_ERRNO, min(number, 0))
    return 0


def _event_of(injection: ErrorInjection, rest: str) -> MemoryEvent | None:
    return next((event for event in injection.EVENTS if rest == f"MEM_{event.name}/error"), None)
