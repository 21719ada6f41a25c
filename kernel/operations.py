"""What the operations of a program do: one function each, called with the task and the operation's parameters."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..actors import COND_RESCHED
from .bag import Bag
from .cpu_operations import CPU_OPERATIONS
from .files import error_name, read_file, write_file
from .gfp import GFP_ACCOUNT
from .locks.base import might_sleep
from .memory_operations import MEMORY_OPERATIONS
from .pages import GFP_ATOMIC, GFP_KERNEL, page_frame
from .rcu import RcuHead
from .shrinker_operations import SHRINKER_OPERATIONS
from .slab import generic
from .slab.allocate import kmem_cache_alloc_bulk as alloc_bulk
from .slab.allocate import kmem_cache_alloc_node
from .slab.create import kmem_cache_create as create
from .slab.debug_write import stray_write
from .slab.destroy import kmem_cache_destroy as destroy
from .slab.flags import FLAGS
from .slab.free import kmem_cache_free as free
from .slab.free import kmem_cache_free_bulk as free_bulk
from .slab.shrink import kmem_cache_shrink as shrink
from .stack import kernel_name
from .work_operations import WORK_OPERATIONS

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from .machine import Machine
    from .slab.cache import KmemCache


def constructor(machine: Machine) -> Callable[[int], None]:
    """What a topology's ``ctor = true`` stands for: every construction of an object is counted."""

    def init_once(_: int) -> None:
        machine.count("objects_constructed")

    return init_once


def _text(task: Any, text: str) -> str:
    """A string of the program with its counters put in."""
    return text.format(**task.variables) if "{" in text else text


async def _cache(task: Any, name: str) -> KmemCache | None:
    """The cache a program names; a missing one is said, not fatal: the program may race with its destruction."""
    name = _text(task, name)
    cache: KmemCache | None = await task.machine.slab.look_up(name)
    if cache is None:
        task.machine.printk("warning", f"{task.name}: no cache {name}")
        task.machine.count("operations_without_cache")
    return cache


def _bag(task: Any, name: str) -> Bag[int]:
    bag: Bag[int] = task.workload.bag(_text(task, name))
    return bag


async def kmem_cache_create(task: Any, operation: Any) -> None:
    """Create a cache."""
    flags = sum(FLAGS[flag] for flag in operation.flags)
    name = _text(task, operation.cache)
    ctor = constructor(task.machine) if operation.ctor else None
    await create(task.machine.slab, name, operation.size, operation.align, flags, ctor=ctor)


async def kmem_cache_destroy(task: Any, operation: Any) -> None:
    """Destroy a cache."""
    cache = await _cache(task, operation.cache)
    if cache is not None:
        await destroy(task.machine.slab, cache)


async def kmem_cache_alloc(task: Any, operation: Any) -> None:
    """Allocate objects into a bag."""
    cache = await _cache(task, operation.cache)
    if cache is None:
        return
    bag = _bag(task, operation.bag or operation.cache)
    for _ in range(operation.count):
        address = await kmem_cache_alloc_node(task.machine.slab, cache, GFP_KERNEL, operation.node)
        if address is None:
            task.machine.count("failed_allocations")
            return
        bag.put([address])


async def kmem_cache_free(task: Any, operation: Any) -> None:
    """Free objects of a bag, the first allocated first."""
    cache = await _cache(task, operation.cache)
    if cache is None:
        return
    bag = _bag(task, operation.bag or operation.cache)
    if operation.keep:
        for address in bag.look(operation.count):
            await free(task.machine.slab, cache, address)
        return
    for _ in range(len(bag) if operation.count is None else operation.count):
        taken = bag.take()
        if taken is None:
            return
        await free(task.machine.slab, cache, taken)


async def kmem_cache_alloc_bulk(task: Any, operation: Any) -> None:
    """Allocate objects into a bag, all at once."""
    cache = await _cache(task, operation.cache)
    if cache is None:
        return
    addresses = await alloc_bulk(task.machine.slab, cache, GFP_KERNEL, operation.count)
    if not addresses:
        task.machine.count("failed_allocations")
    _bag(task, operation.bag or operation.cache).put(addresses)


async def kmem_cache_free_bulk(task: Any, operation: Any) -> None:
    """Free objects of a bag at once."""
    cache = await _cache(task, operation.cache)
    if cache is not None:
        addresses = _bag(task, operation.bag or operation.cache).take_many(operation.count)
        await free_bulk(task.machine.slab, cache, addresses)


async def kmalloc(task: Any, operation: Any) -> None:
    """Allocate pieces of memory into a bag."""
    bag = _bag(task, operation.bag)
    for _ in range(operation.count):
        gfp = (GFP_ATOMIC if operation.atomic else GFP_KERNEL) | (GFP_ACCOUNT if operation.account else 0)
        address = await generic.kmalloc(task.machine.slab, operation.size, gfp, operation.node)
        if address is None:
            task.machine.count("failed_allocations")
            return
        bag.put([address])


async def kfree(task: Any, operation: Any) -> None:
    """Free pieces of memory of a bag, the first allocated first."""
    bag = _bag(task, operation.bag)
    for _ in range(len(bag) if operation.count is None else operation.count):
        address = bag.take()
        if address is None:
            return
        await generic.kfree(task.machine.slab, address)


async def kmem_cache_shrink(task: Any, operation: Any) -> None:
    """Shrink a cache."""
    cache = await _cache(task, operation.cache)
    if cache is not None:
        await shrink(task.machine.slab, cache)


@kernel_name("user_access")
async def access(task: Any, operation: Any) -> None:
    """Touch the first object of a bag."""
    cache = await _cache(task, operation.cache)
    first = _bag(task, operation.bag or operation.cache).look(1)
    if cache is None or not first:
        return
    (address,) = first
    await task.workload.touch_object
    if task.machine.kasan is not None:
        slab = task.machine.slab.slabs.get(page_frame(address))
        task.machine.kasan.check_access(cache, slab, address, write=operation.write)


async def write_memory(task: Any, operation: Any) -> None:
    """Write into or beside an object of a bag, or where one was."""
    cache = await _cache(task, operation.cache)
    objects = _bag(task, operation.bag or operation.cache).look()
    if cache is None or operation.object >= len(objects):
        return
    data = bytes.fromhex(operation.bytes) * operation.times
    if not await stray_write(task.machine.slab, cache, objects[operation.object], operation.offset, data):
        task.machine.printk(
            "error",
            f"{task.name}: write_memory: {len(data)} bytes at offset {operation.offset} of object {operation.object} "
            f"of {cache.name} are not all in the slab of that object; nothing was written",
        )
        task.machine.count("operations_out_of_bounds")


@kernel_name("vfs_read")
async def read(task: Any, operation: Any) -> None:
    """Read a file of /sys or /proc; its text is kept as the last one read."""
    path = _text(task, operation.path)
    text = await read_file(task.machine, path)
    if isinstance(text, str):
        task.workload.files_read[path] = text
    else:
        task.machine.printk("warning", f"{task.name}: cannot read {path}: {error_name(text)}")


@kernel_name("vfs_write")
async def write(task: Any, operation: Any) -> None:
    """Write to a file of /sys."""
    path, value = _text(task, operation.path), _text(task, operation.value)
    error = await write_file(task.machine, path, value)
    if error:
        task.machine.printk("warning", f"{task.name}: cannot write {path}: {error_name(error)}")


@kernel_name("task_lock")
async def lock(task: Any, operation: Any) -> None:
    """Take a lock of the workload's own."""
    wanted = task.workload.locks[operation.lock]
    if hasattr(wanted, "down_read"):
        await (wanted.down_read() if operation.mode == "read" else wanted.down_write())
    else:
        await wanted.lock()


@kernel_name("task_unlock")
async def unlock(task: Any, operation: Any) -> None:
    """Leave a lock of the workload's own."""
    held = task.workload.locks[operation.lock]
    if hasattr(held, "up_read"):
        await (held.up_read() if operation.mode == "read" else held.up_write())
    else:
        await held.unlock()


async def rcu_read_lock(task: Any, _: Any) -> None:
    """Enter a reader."""
    await task.machine.rcu.read_lock()


async def rcu_read_unlock(task: Any, _: Any) -> None:
    """Leave it."""
    await task.machine.rcu.read_unlock()


async def synchronize_rcu(task: Any, _: Any) -> None:
    """Wait for a grace period."""
    await task.machine.rcu.synchronize_rcu()


async def rcu_barrier(task: Any, _: Any) -> None:
    """Wait for all callbacks queued so far."""
    await task.machine.rcu.rcu_barrier()


async def call_rcu(task: Any, operation: Any) -> None:
    """Free the objects of a bag after a grace period."""
    cache = await _cache(task, operation.cache)
    if cache is None:
        return
    objects = _bag(task, operation.bag or operation.cache).take_many(None)
    slub = task.machine.slab

    async def free_objects() -> None:
        for address in objects:
            await free(slub, cache, address)

    await task.machine.rcu.call_rcu(RcuHead(free_objects, objects[0] if objects else 0))


async def synchronize_rcu_expedited(task: Any, _: Any) -> None:
    """Wait for a grace period, and interrupt the processors for it."""
    await task.machine.rcu.synchronize_rcu_expedited()


async def get_state_synchronize_rcu(task: Any, _: Any) -> None:
    """Note which grace periods have passed."""
    task.variables["rcu_state"] = task.machine.rcu.get_state_synchronize_rcu()


async def cond_synchronize_rcu(task: Any, _: Any) -> None:
    """Wait for a grace period, unless one has passed since."""
    rcu = task.machine.rcu
    cookie = task.variables.get("rcu_state")
    await rcu.cond_synchronize_rcu(rcu.get_state_synchronize_rcu() if cookie is None else cookie)


async def kfree_rcu(task: Any, operation: Any) -> None:
    """Free pieces of memory of a bag after a grace period."""
    for address in _bag(task, operation.bag).take_many(operation.count):
        await task.machine.rcu.kvfree.kvfree_call_rcu(address)


async def kvfree_rcu_barrier(task: Any, _: Any) -> None:
    """Wait until they are freed."""
    await task.machine.rcu.kvfree.kvfree_rcu_barrier()


async def srcu_read_lock(task: Any, operation: Any) -> None:
    """Enter a reader of an SRCU domain."""
    await task.machine.rcu.srcu_struct(_text(task, operation.srcu)).read_lock()


async def srcu_read_unlock(task: Any, operation: Any) -> None:
    """Leave the latest one."""
    await task.machine.rcu.srcu_struct(_text(task, operation.srcu)).read_unlock()


async def synchronize_srcu(task: Any, operation: Any) -> None:
    """Wait for a grace period of an SRCU domain."""
    await task.machine.rcu.srcu_struct(_text(task, operation.srcu)).synchronize()


async def sleep(task: Any, operation: Any) -> None:
    """Sleep for virtual time."""
    might_sleep(task.machine, "msleep")
    await task.machine.current.sleep(operation.ns)


async def compute(task: Any, operation: Any) -> None:
    """Use the processor for virtual time, in user mode."""
    if task.machine.interleaver.costed:
        task.machine.running.clock.ns += operation.ns
        task.machine.workqueues.pools.user_time(task.machine.running.cpu_id, operation.ns)


async def cond_resched(task: Any, _: Any) -> None:
    """Let another thread have the processor."""
    await COND_RESCHED


async def cgroup_mkdir(task: Any, operation: Any) -> None:
    """Make a cgroup."""
    path = _text(task, operation.path)
    if not _failed(task, f"make cgroup {path}", await task.machine.cgroups.mkdir(path)) and operation.limit is not None:
        await task.machine.cgroups.set_limit(path, operation.limit)


async def cgroup_rmdir(task: Any, operation: Any) -> None:
    """Remove a cgroup."""
    path = _text(task, operation.path)
    _failed(task, f"remove cgroup {path}", await task.machine.cgroups.rmdir(path))


async def cgroup_attach(task: Any, operation: Any) -> None:
    """Move to a cgroup."""
    path = _text(task, operation.path)
    _failed(task, f"move to cgroup {path}", await task.machine.cgroups.attach(path))


def _failed(task: Any, what: str, error: int) -> bool:
    """Say that an operation on a cgroup failed: the program may race with others that make and remove them."""
    if error:
        task.machine.printk("warning", f"{task.name}: cannot {what}: {error_name(error)}")
        task.machine.count("failed_cgroup_operations")
    return error != 0


async def repeat(task: Any, operation: Any) -> None:
    """Run operations several times; {i} counts."""
    outer = task.variables["i"]
    for number in range(operation.count):
        task.variables["i"] = number
        await task.workload.run_program(task, operation.program)
    task.variables["i"] = outer


PERFORM: dict[str, Callable[[Any, Any], Awaitable[None]]] = (
    {
        function.__name__: function
        for function in (
            kmem_cache_create,
            kmem_cache_destroy,
            kmem_cache_alloc,
            kmem_cache_free,
            kmem_cache_alloc_bulk,
            kmem_cache_free_bulk,
            kmalloc,
            kfree,
            kmem_cache_shrink,
            access,
            write_memory,
            read,
            write,
            lock,
            unlock,
            rcu_read_lock,
            rcu_read_unlock,
            synchronize_rcu,
            rcu_barrier,
            call_rcu,
            synchronize_rcu_expedited,
            get_state_synchronize_rcu,
            cond_synchronize_rcu,
            kfree_rcu,
            kvfree_rcu_barrier,
            srcu_read_lock,
            srcu_read_unlock,
            synchronize_srcu,
            sleep,
            compute,
            cond_resched,
            cgroup_mkdir,
            cgroup_rmdir,
            cgroup_attach,
            repeat,
        )
    }
    | CPU_OPERATIONS
    | MEMORY_OPERATIONS
    | WORK_OPERATIONS
    | SHRINKER_OPERATIONS
)
"""By the name a program uses."""
