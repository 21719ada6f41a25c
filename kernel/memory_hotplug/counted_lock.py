"""The memory-hotplug lock of 3.16 to 4.12: a count of readers, and a mutex the writer keeps.

Mirrors get_online_mems(), put_online_mems() and mem_hotplug_begin() of mm/memory_hotplug.c (bfc8c90139eb, from
memory).  A reader takes the mutex only to count itself; the writer takes it, looks at the count, and where that is not
0 lets the mutex go and sleeps.  So, unlike a percpu rwsem, readers do not queue behind a writer that still waits.  The
writer may say ``get_online_mems()`` itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...actors import Actor, Op, OpKind
from ..locks.base import CONTENDED_READ, CONTENDED_WRITE, READ, RECURSIVE, WRITE
from ..locks.shared import SharedLock
from ..stack import kernel_name

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from ..machine import Machine


LOOK = Op(OpKind.LOCAL, "active_writer")
"""That the running thread is the writer only it can change."""


class CountedLock(SharedLock):
    """Readers, or one writer that waits until they have all gone."""

    __slots__ = ("_down_read", "_down_write", "_up_read", "_up_write", "contenders", "readers", "waiters", "writer")

    def __init__(self, machine: Machine, name: str) -> None:
        super().__init__(machine, name)
        self.readers: list[Actor] = []
        self.writer: Actor | None = None  # ``active_writer``
        self.contenders: list[Actor] = []  # enabled, on their way in
        self.waiters: list[Actor] = []
        self._down_read = Op(OpKind.ACQUIRE, self.resource, admit=self._admit_reader, perform=self._enter, aux=self)
        self._down_write = Op(OpKind.ACQUIRE, self.resource, admit=self._admit_writer, perform=self._begin, aux=self)
        self._up_read = Op(OpKind.RELEASE, self.resource, perform=self._leave, aux=self)
        self._up_write = Op(OpKind.RELEASE, self.resource, perform=self._done, aux=self)

    @kernel_name("get_online_mems")
    def down_read(self) -> Awaitable[None]:
        """Keep memory hotplug out (``get_online_mems``); may be nested, and is nothing for the writer itself."""
        if self.writer is self.machine.running:
            return LOOK
        self.announce(READ | RECURSIVE)
        return self._down_read

    @kernel_name("put_online_mems")
    def up_read(self) -> Awaitable[None]:
        """Let it in again (``put_online_mems``)."""
        if self.writer is self.machine.running:
            return LOOK
        self.withdraw()
        return self._up_read

    @kernel_name("mem_hotplug_begin")
    def down_write(self) -> Awaitable[None]:
        """Begin a memory-hotplug operation (``mem_hotplug_begin``)."""
        self.announce(WRITE)
        return self._down_write

    @kernel_name("mem_hotplug_done")
    def up_write(self) -> Awaitable[None]:
        """End it (``mem_hotplug_done``)."""
        self.withdraw()
        return self._up_write

    def holders(self) -> list[Actor]:
        """Who has it."""
        return [*self.readers, *([self.writer] if self.writer is not None else [])]

    def _must_sleep(self, actor: Actor, flags: int) -> None:
        self.waiters.append(actor)
        self.must_wait(actor, flags)
        actor.block()

    def _admit_reader(self, actor: Actor) -> None:
        if self.writer is None:
            self.contenders.append(actor)
        else:
            self._must_sleep(actor, CONTENDED_READ)

    def _admit_writer(self, actor: Actor) -> None:
        if self.writer is None and not self.readers:
            self.contenders.append(actor)
        else:
            self._must_sleep(actor, CONTENDED_WRITE)

    def _enter(self, actor: Actor) -> None:
        self.contenders.remove(actor)
        self.readers.append(actor)
        self.passed(actor)
        self._send_back(self._down_write)

    def _begin(self, actor: Actor) -> None:
        self.contenders.remove(actor)
        self.writer = actor
        self.passed(actor)
        self._send_back(self._down_read)
        self._send_back(self._down_write)

    def _send_back(self, wanted: Op) -> None:
        """Those on their way to `wanted` have come too late."""
        for loser in [actor for actor in self.contenders if actor.pending is wanted]:
            self.contenders.remove(loser)
            self._must_sleep(loser, CONTENDED_READ if wanted is self._down_read else CONTENDED_WRITE)

    def _leave(self, actor: Actor) -> None:
        if actor not in self.readers:
            self.machine.kernel_bug(f"put_online_mems of {self.name} by a thread that does not hold it")
        self.readers.remove(actor)
        if not self.readers:
            self._wake()

    def _done(self, actor: Actor) -> None:
        if self.writer is not actor:
            self.machine.kernel_bug(f"mem_hotplug_done of {self.name} by a thread that does not hold it")
        self.writer = None
        self._wake()

    def _wake(self) -> None:
        """Everybody looks again: who comes first is the strategy's decision."""
        woken, self.waiters = self.waiters, []
        for actor in woken:
            self.contenders.append(actor)
            actor.unblock()
