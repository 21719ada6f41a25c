"""Published vulnerabilities, each cut down to the few accesses that make it: memory used after it was freed, freed
twice, or reached through a pointer that another thread has cleared.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..world import dereference
from .common import add, run_threads

if TYPE_CHECKING:
    from ..world import Block, Variable, World
    from . import Program


async def cve_2009_3547(world: World) -> None:
    """A pipe is opened through its inode without a look at whether the inode still has one."""
    lock = world.mutex("inode lock")
    pipe: Variable[Block | None] = world.variable("pipe", world.block("pipe info", readers=0))

    async def open_pipe() -> None:
        async with lock:
            info = await dereference(world, pipe)
            await info.set("readers", await info.get("readers") + 1)

    async def release_pipe() -> None:
        async with lock:
            await pipe.write(None)

    await run_threads(world, open_pipe, release_pipe)


class ListNode:
    """A memory slot of the scanner below: its places in a list of all slots and in a hash bucket."""

    def __init__(self, world: World, name: str) -> None:
        self.next: Variable[ListNode] = world.variable(f"{name}.next", self)
        self.previous: Variable[ListNode] = world.variable(f"{name}.previous", self)
        self.bucket: Variable[Variable[ListNode | None] | None] = world.variable(f"{name}.bucket", None)
        self.owner: Variable[str | None] = world.variable(f"{name}.owner", None)

    async def remove(self, world: World) -> None:
        """Take it out of the bucket and of the list."""
        bucket = await self.bucket.read()
        if bucket is None:
            world.fail("null pointer dereference: the head of the list is in no bucket")
            return
        await bucket.write(None)
        await self.bucket.write(None)
        before, after = await self.previous.read(), await self.next.read()
        await after.previous.write(before)
        await before.next.write(after)
        await self.next.write(self)
        await self.previous.write(self)


async def cve_2011_2183(world: World) -> None:
    """The scanner finds the list not empty before it takes the lock, and then takes its head for a slot."""
    lock = world.mutex("list lock")
    head = ListNode(world, "head")
    slot = ListNode(world, "slot")
    bucket: Variable[ListNode | None] = world.variable("bucket", slot)
    cursor = world.variable("cursor", head)
    for one, other in ((head, slot), (slot, head)):
        one.next.value = one.previous.value = other
    slot.bucket.value = bucket
    slot.owner.value = "mm"

    async def scan() -> None:
        if await head.next.read() is head:
            return
        current = await cursor.read()
        if current is head:
            async with lock:
                current = await head.next.read()
                await cursor.write(current)
        await current.owner.read()
        async with lock:
            await cursor.write(await current.next.read())
            await current.remove(world)
        await cursor.read()

    async def leave() -> None:
        async with lock:
            found = await bucket.read()
            if found is not None and await found.owner.read() == "mm" and await cursor.read() is not found:
                await found.remove(world)

    await run_threads(world, scan, leave)


async def cve_2013_1792(world: World) -> None:
    """Two keyrings are installed one after the other, and who sees the first takes the second for installed."""
    lock = world.mutex("keyring lock")
    user_keyring: Variable[Block | None] = world.variable("user keyring", None)
    session_keyring: Variable[Block | None] = world.variable("session keyring", None)

    async def install() -> None:
        if await user_keyring.read() is not None:
            return
        async with lock:
            if await user_keyring.read() is None:
                await user_keyring.write(world.block("user key", usage=0))
                await session_keyring.write(world.block("session key", usage=0))

    async def look_up() -> None:
        if await session_keyring.read() is None:
            await install()
        key = await dereference(world, session_keyring)
        await key.set("usage", await key.get("usage") + 1)

    await run_threads(world, look_up, install)


async def cve_2015_7550(world: World) -> None:
    """A key is found valid before the lock is taken, and has no contents any more when it is read under the lock."""
    lock = world.mutex("key lock")
    flags = world.variable("flags", 0)
    contents: Variable[Block | None] = world.variable("contents", world.block("array", leaves=1))

    async def read() -> None:
        if await flags.read() == 0:
            async with lock:
                await (await dereference(world, contents)).get("leaves")

    async def revoke() -> None:
        async with lock:
            await flags.write(2)
            await contents.write(None)

    await run_threads(world, read, revoke)


async def cve_2016_1972(world: World) -> None:
    """Who finds nobody waiting frees the lock, though another thread may be about to count itself as waiting."""
    mutex = world.mutex("critical section")
    section: Variable[Block | None] = world.variable("section", world.block("section memory", entered=0))
    waiting = world.variable("waiting", 0)
    done = world.variable("done", False)

    async def once() -> None:
        if await done.read():
            return
        await add(waiting, 1)
        await (await dereference(world, section)).set("entered", 1)
        await mutex.lock()
        if not await done.read():
            await done.write(True)
        await dereference(world, section)
        await mutex.unlock()
        if await add(waiting, -1) == 0:
            memory = await section.read()
            if memory is not None:
                await memory.free()
            await section.write(None)

    await run_threads(world, once, once)


async def cve_2016_1973(world: World) -> None:
    """Who loses the race to make the one instance uses the winner's without being counted among its users."""
    users = world.variable("users", 0)
    instance: Variable[Block | None] = world.variable("instance", None)

    async def count(change: int) -> int:
        return await users.update(lambda number: number + change) + change

    async def get(name: str) -> Block | None:
        if await users.update(lambda number: number) == 0:
            create = True
        else:
            create = await count(1) == 1
            if create:
                await count(-1)
        if create:
            made = world.block(name, size=0)
            if await count(1) == 1:
                await instance.update(lambda _: made)
            else:
                await count(-1)
                await made.free()
        return await instance.read()

    async def use(database: Block | None) -> None:
        if database is None:
            world.fail("null pointer dereference")
            return
        await database.get("size")

    async def use_and_return() -> None:
        await use(await get("database of the first"))
        if await count(-1) == 0:
            last = await instance.update(lambda _: None)
            if last is not None:
                await last.free()

    async def use_only() -> None:
        await use(await get("database of the second"))

    await run_threads(world, use_only, use_and_return)


async def cve_2016_7911(world: World) -> None:
    """A pointer is read once to see that it is not null, and again, without the lock, to be followed."""
    lock = world.mutex("task lock")
    context: Variable[Block | None] = world.variable("context", world.block("io context", priority=1, tasks=1))

    async def get_priority() -> None:
        if await context.read() is not None:
            await (await dereference(world, context)).get("priority")

    async def leave() -> None:
        async with lock:
            left = await dereference(world, context)
            await context.write(None)
        await left.set("tasks", await left.get("tasks") - 1)

    await run_threads(world, get_priority, leave)


async def cve_2016_9806(world: World) -> None:
    """Each of two dumps leaves its buffer in a place they share, and frees what it finds there after the lock."""
    lock = world.mutex("dump lock")
    size = world.variable("size", 1)
    shared: Variable[Block | None] = world.variable("shared buffer", None)

    async def dump() -> None:
        async with lock:
            buffer = world.block(f"buffer of {await size.read()}", socket=None)
            await size.write(await size.read() * 4)
            await buffer.set("socket", "sk")
            await shared.write(buffer)
        await (await dereference(world, shared)).free()

    await run_threads(world, dump, dump)


async def cve_2017_15265(world: World) -> None:
    """A new port can be found and deleted by others while who has made it still fills it in."""
    ports_mutex = world.mutex("ports mutex")
    ports_lock = world.mutex("ports lock")
    number_of_ports = world.variable("number of ports", 1)
    head = world.block("list head", next=None, previous=None)
    old = world.block("old port", number=0, next=head, previous=head)
    await head.set("next", old)
    await head.set("previous", old)
    new = world.block("new port", number=-1, next=None, previous=None, type=0)
    use_lock = world.mutex("use lock of the new port")

    async def create() -> None:
        async with ports_mutex, ports_lock:
            after = await head.get("next")
            while after is not head and await after.get("number") <= 1:
                after = await after.get("next")
            before = await after.get("previous")
            await after.set("previous", new)
            await new.set("next", after)
            await new.set("previous", before)
            await before.set("next", new)
            await add(number_of_ports, 1)
            await new.set("number", 1)
        await new.set("type", 1)
        await new.get("number")

    async def delete() -> None:
        async with ports_mutex, ports_lock:
            found = await head.get("next")
            while found is not head and await found.get("number") != 1:
                found = await found.get("next")
            if found is not head:
                before, after = await found.get("previous"), await found.get("next")
                await after.set("previous", before)
                await before.set("next", after)
                await add(number_of_ports, -1)
        if found is not head:
            await use_lock.lock()
            await found.free()

    await run_threads(world, create, delete)


async def cve_2017_6346(world: World) -> None:
    """Two threads set up and tear down the same pointer, and no lock covers either."""
    lock = world.mutex("fanout lock")
    rollover: Variable[Block | None] = world.variable("rollover", None)

    async def fan_out(name: str) -> None:
        await rollover.write(world.block(name, number=0))
        if await rollover.read() is None:
            return
        await (await dereference(world, rollover)).set("number", 0)
        async with lock:
            pass
        memory = await rollover.read()
        if memory is not None:
            await memory.free()
        await rollover.write(None)

    async def first() -> None:
        await fan_out("rollover of the first")

    async def second() -> None:
        await fan_out("rollover of the second")

    await run_threads(world, first, second)


PROGRAMS: dict[str, Program] = {
    "ConVul/CVE-2009-3547": cve_2009_3547,
    "ConVul/CVE-2011-2183": cve_2011_2183,
    "ConVul/CVE-2013-1792": cve_2013_1792,
    "ConVul/CVE-2015-7550": cve_2015_7550,
    "ConVul/CVE-2016-1972": cve_2016_1972,
    "ConVul/CVE-2016-1973": cve_2016_1973,
    "ConVul/CVE-2016-7911": cve_2016_7911,
    "ConVul/CVE-2016-9806": cve_2016_9806,
    "ConVul/CVE-2017-15265": cve_2017_15265,
    "ConVul/CVE-2017-6346": cve_2017_6346,
}
