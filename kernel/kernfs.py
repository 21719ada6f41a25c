"""kernfs: files that may go away while somebody uses them, and the references that keep them until nobody does.

Mirrors kernfs_get_active(), kernfs_put_active(), kernfs_drain(), __kernfs_remove(), kernfs_remove_self() of
fs/kernfs/dir.c and kernfs_fop_write_iter(), kernfs_seq_start() of fs/kernfs/file.c (6.1).

Who meets: tasks in the show or store function of a file, and who removes the file or its directory.

=========== =========================================================================================
active      each show and store holds an *active reference*; there may be any number
deactivated the file was removed: no new reference is given, those that are held stay
drained     the last one was put: only now does the remover go on, and may free what the functions use
=========== =========================================================================================

Lock order: ``sb_writers`` (who writes) → ``&of->mutex`` → ``kn->active`` → whatever the show or store function takes.
Who removes waits for ``kn->active`` under every lock that he holds, so no show or store may take one of those.  That
is no lock, so lockdep is told: a reference is a read side taken by trylock, draining is the write side.  Each
*attribute* has a lock class of its own, whatever directory the file is in; all are called ``kn->active`` (``kn->count``
up to 5.6) and told apart by numbers in the order of their first use.

Files are made when they are first used, so the others cost nothing.  The tree's own lock is not there: what the kernel
does under it is one step here.  Every open file has an ``of->mutex`` of its own, and nobody freezes sysfs, so nobody
ever waits for those two: lockdep is told, there is no step.
"""

from __future__ import annotations

from dataclasses import dataclass
from errno import ENODEV
from typing import TYPE_CHECKING

from ..actors import Access, Op, OpKind, Resource
from ..actors.resource import Maker, mix, name_code
from .locks.base import READ, TRYLOCK, WRITE
from .locks.classes import NOT_CHECKED, lock_class
from .stack import kernel_name, part_of_caller

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from ..actors import Actor
    from .machine import Machine

SB_WRITERS = "sb_writers"
OF_MUTEX = "&of->mutex"
NODE_SIZE = 128
"""Bytes of a ``struct kernfs_node``."""


@dataclass(frozen=True, slots=True)
class KernfsEra:
    """What a release's kernfs tells lockdep.

    ``active_name``: what the references' classes are called (0f605db5bdd4, by memory v5.7; recorded reports have the
    old name up to 5.3 and the new one in 5.14).  ``drains_unused``: a file that nobody uses is waited for all the same
    when it is removed, as far as lockdep knows; not since 2d7f9f8c1815 (by memory v6.1, where it was read).
    """

    active_name: str = "kn->count"
    drains_unused: bool = True


class KernfsNode:
    """A file: who has it open in a show or store function, and whether it has been removed."""

    __slots__ = (
        "_drain",
        "_get",
        "_put",
        "_wait_for_remover",
        "active",
        "address",
        "attribute",
        "deactivated",
        "drainers",
        "kernfs",
        "losers",
        "of_mutex",
        "path",
        "remover",
        "resource",
        "self_removed",
    )

    def __init__(self, kernfs: Kernfs, path: str, attribute: str, maker: Maker) -> None:
        self.kernfs = kernfs
        self.path = path
        self.attribute = attribute
        self.address = kernfs.machine.static_address(NODE_SIZE)
        self.of_mutex = kernfs.machine.static_address(NODE_SIZE)
        self.active: list[Actor] = []  # who holds references
        self.deactivated = False
        self.drainers: list[Actor] = []
        # Removal by the file's own store function: who may do it, whether he has, who tried as well.
        self.remover: Actor | None = None
        self.self_removed = False
        self.losers: list[Actor] = []
        self.resource = Resource(f"kn->active of {path}", maker)
        self._get = Op(OpKind.ACQUIRE, self.resource, perform=self._take, aux=self)
        self._put = Op(OpKind.RELEASE, self.resource, perform=self._leave, aux=self)
        self._drain = Op(OpKind.WAIT, self.resource, admit=self._admit_drain, aux=self)
        self._wait_for_remover = Op(OpKind.WAIT, self.resource, admit=self._admit_loser, aux=self)
        self._changes()

    @part_of_caller
    async def get_active(self) -> bool:
        """Take a reference; false where the file has been removed (``kernfs_get_active``)."""
        await self._get
        taken = not self.deactivated  # as `_take` has seen it, in this step
        if taken:
            self.kernfs.announce(READ | TRYLOCK, self.kernfs.class_of(self.attribute), self.address)
        return taken

    def put_active(self) -> Awaitable[None]:
        """Give the reference back (``kernfs_put_active``)."""
        self.kernfs.withdraw(self.kernfs.class_of(self.attribute), self.address)
        return self._put

    def deactivate(self) -> None:
        """Give no references from now on, as part of the step being made."""
        self._changes()
        self.deactivated = True

    @kernel_name("kernfs_drain")
    async def drain(self) -> None:
        """Wait until nobody holds a reference.

        The kernel looks first, from 6.1, and tells lockdep of those that it waits for only.
        """
        if self.kernfs.era.drains_unused or self.active:
            name = self.kernfs.class_of(self.attribute)
            self.kernfs.announce(WRITE, name, self.address)
            await self._drain
            self.kernfs.withdraw(name, self.address)
        else:
            await self._drain

    @kernel_name("kernfs_remove_self")
    async def remove_self(self) -> bool:
        """Remove the file from its own store function; whether this was the one that did it.

        The caller's reference does not count meanwhile, and is back when this returns.  Others that try as well wait
        until the winner's store function is done.
        """
        await self.put_active()
        running = self.kernfs.machine.running
        won = self.remover is None
        if won:
            self.remover = running
            self.deactivate()
            await self.drain()
            self.self_removed = True
        else:
            await self._wait_for_remover
        self._changes()
        self.active.append(running)
        self.kernfs.announce(TRYLOCK, self.kernfs.class_of(self.attribute), self.address)
        return won

    @property
    def name(self) -> str:
        """Its lock class."""
        return self.kernfs.class_of(self.attribute)

    def holders(self) -> list[Actor]:
        """Who holds references, for the wait-for graph."""
        return list(self.active)

    def _changes(self) -> None:
        touch = self.kernfs.machine.interleaver.touch
        if touch is not None:
            touch(self.resource, Access.WRITE)

    def _take(self, actor: Actor) -> None:
        if not self.deactivated:
            self.active.append(actor)

    def _leave(self, actor: Actor) -> None:
        self.active.remove(actor)
        if self.active or not self.deactivated:
            return
        waiting, self.drainers = self.drainers, []
        if self.self_removed:
            waiting, self.losers = [*waiting, *self.losers], []
        for waiter in waiting:
            waiter.unblock()

    def _admit_drain(self, actor: Actor) -> None:
        if self.active:
            self.drainers.append(actor)
            actor.block()

    def _admit_loser(self, actor: Actor) -> None:
        if self.active or not self.self_removed:
            self.losers.append(actor)
            actor.block()


class KernfsDirectory:
    """A directory that may be removed, and the files in it that anybody has used.

    ``attributes`` are all that are in it.  Who looks a file up has found the directory in the same step, by means that
    `remove` undoes in the step in which it deactivates the files.
    """

    __slots__ = ("_maker", "kernfs", "nodes", "path", "removed", "write")

    def __init__(self, kernfs: Kernfs, path: str, maker: Maker) -> None:
        self.kernfs = kernfs
        self.path = path
        self.nodes: dict[str, KernfsNode] = {}
        self.removed = False
        self._maker = maker
        self.write = Op(OpKind.WRITE, Resource(path, maker))
        touch = kernfs.machine.interleaver.touch
        if touch is not None:
            touch(self.write.resource, Access.WRITE)

    def file(self, attribute: str) -> KernfsNode | None:
        """The file of an attribute, as part of the step being made; None where the directory has gone."""
        touch = self.kernfs.machine.interleaver.touch
        if touch is not None:
            touch(self.write.resource, Access.READ)
        if self.removed:
            return None
        node = self.nodes.get(attribute)
        if node is not None and touch is not None:
            touch(node.resource, Access.READ)
        if node is None:
            node = self.nodes[attribute] = KernfsNode(self.kernfs, f"{self.path}/{attribute}", attribute, self._maker)
        return node

    def deactivate(self) -> None:
        """Let nobody begin to use a file of it, as part of the step being made, which has awaited `write`."""
        self.removed = True
        for node in self.nodes.values():
            node.deactivate()

    @part_of_caller
    async def drain(self) -> None:
        """Wait until nobody uses a file of it, one after the other."""
        for attribute in sorted(self.nodes):
            await self.nodes[attribute].drain()


class Kernfs:
    """The kernfs of one machine: lock classes, and the files that never go."""

    def __init__(self, machine: Machine, era: KernfsEra) -> None:
        self.machine = machine
        self.era = era
        self.sb_writers = machine.static_address(NODE_SIZE)
        self._maker = Maker(mix(name_code("kernfs"), 0))
        self._files: dict[str, KernfsNode] = {}
        self._classes: dict[str, str] = {}
        self._drained: dict[tuple[str, ...], None] = {}
        lock_class(machine, OF_MUTEX, "3:3")
        lock_class(machine, SB_WRITERS, NOT_CHECKED)

    def file(self, path: str, attribute: str) -> KernfsNode:
        """The file at `path`, which is never removed; all of one `attribute` have one lock class."""
        node = self._files.get(path)
        if node is not None and self.machine.interleaver.touch is not None:
            self.machine.interleaver.touch(node.resource, Access.READ)
        if node is None:
            node = self._files[path] = KernfsNode(self, path, attribute, self._maker)
            if (touch := self.machine.interleaver.touch) is not None:
                touch(node.resource, Access.WRITE)
        elif (touch := self.machine.interleaver.touch) is not None:
            touch(node.resource, Access.READ)
        return node

    def directory(self, path: str, of: Resource) -> KernfsDirectory:
        """A directory with files about something that has the resource `of`."""
        return KernfsDirectory(self, path, Maker(mix(of.identity, name_code("kernfs"))))

    def class_of(self, attribute: str) -> str:
        """The lock class of an attribute's references: the first is called ``kn->active``, the second has a #2."""
        name = self._classes.get(attribute)
        if name is None:
            name = lock_class(self.machine, self.era.active_name, NOT_CHECKED, key=attribute)
            self._classes[attribute] = name
        return name

    @kernel_name("kernfs_drain")
    def drain_unused(self, attributes: tuple[str, ...]) -> None:
        """Tell lockdep, once, that who removes a directory waits for each file in it, also those that nobody uses.

        It learns nothing from the second time, as long as those who remove such directories hold the same locks.
        """
        if not self.era.drains_unused or attributes in self._drained:
            return
        self._drained[attributes] = None
        for attribute in attributes:
            name = self.class_of(attribute)
            self.announce(WRITE, name, 0)
            self.withdraw(name, 0)

    @part_of_caller
    def announce(self, flags: int, name: str, address: int) -> None:
        """Say that what lockdep takes for a lock is about to be taken."""
        if (fire := self.machine.tracepoints.lock_acquire.fire) is not None:
            fire(flags, name, address)

    @part_of_caller
    def withdraw(self, name: str, address: int) -> None:
        """Say that it is about to be left."""
        if (fire := self.machine.tracepoints.lock_release.fire) is not None:
            fire(name, address)


async def kernfs_remove(directory: KernfsDirectory, unlinked: Callable[[], None]) -> None:
    """Remove a directory: nobody finds it any more, and nobody is in a function of a file of it when this returns.

    `unlinked` is called in the step in which that begins.  May sleep.
    """
    await directory.write
    directory.deactivate()
    unlinked()
    await directory.drain()


@kernel_name("seq_read_iter")
async def kernfs_read(node: KernfsNode, show: Callable[[], Awaitable[str | int]]) -> str | int:
    """Read a file by its `show` function: the text, or a negative errno (ENODEV where the file has been removed)."""
    if not await _kernfs_seq_start(node):
        return -ENODEV
    text = await show()
    await node.put_active()
    node.kernfs.withdraw(OF_MUTEX, node.of_mutex)
    return text


@kernel_name("kernfs_seq_start")
async def _kernfs_seq_start(node: KernfsNode) -> bool:
    node.kernfs.announce(0, OF_MUTEX, node.of_mutex)
    if await node.get_active():
        return True
    node.kernfs.withdraw(OF_MUTEX, node.of_mutex)
    return False


@part_of_caller
async def kernfs_write(node: KernfsNode, store: Callable[[], Awaitable[int]]) -> int:
    """Write to a file by its `store` function; 0 or a negative errno (ENODEV where the file has been removed)."""
    kernfs = node.kernfs
    kernfs.announce(READ, SB_WRITERS, kernfs.sb_writers)
    error = await _kernfs_fop_write_iter(node, store)
    kernfs.withdraw(SB_WRITERS, kernfs.sb_writers)
    return error


@kernel_name("kernfs_fop_write_iter")
async def _kernfs_fop_write_iter(node: KernfsNode, store: Callable[[], Awaitable[int]]) -> int:
    node.kernfs.announce(0, OF_MUTEX, node.of_mutex)
    error = await store() if (found := await node.get_active()) else -ENODEV
    if found:
        await node.put_active()
    node.kernfs.withdraw(OF_MUTEX, node.of_mutex)
    return error
