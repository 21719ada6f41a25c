"""``struct percpu_rw_semaphore``: readers nearly free, writers expensive; a waiting writer blocks new readers.

Mirrors percpu_down_read(), percpu_down_write() of kernel/locking/percpu-rwsem.c (6.1).  A writer first switches
readers to the slow path, which takes a grace period (``rcu_sync_enter``), then blocks new ones, then waits for those
inside.  Because new readers block as soon as a writer waits, a thread that takes the read side twice can deadlock
with it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from ...actors import Actor, Op, OpKind
from .base import CONTENDED_PERCPU, CONTENDED_READ, CONTENDED_WRITE, READ, TRYLOCK, WRITE, after_others, might_sleep
from .shared import SharedLock

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from ..machine import Machine


class PercpuRwsem(SharedLock):
    """A per-CPU rwsem of lock class `name`; `grace_period` is what a writer waits for first, if anything."""

    __slots__ = (
        "_block_readers",
        "_drain",
        "_read",
        "_try_read",
        "_unread",
        "_unwrite",
        "contenders",
        "drainer",
        "grace_period",
        "readers",
        "waiting_readers",
        "waiting_writers",
        "writer",
    )

    wait_type: ClassVar[str] = "0:0"
    size_bytes: ClassVar[int] = 96

    def __init__(self, machine: Machine, name: str, grace_period: Callable[[], Awaitable[None]] | None = None) -> None:
        super().__init__(machine, name)
        self.grace_period = grace_period
        self.readers: list[Actor] = []
        self.writer: Actor | None = None  # has blocked new readers; may still wait for old ones
        self.drainer: Actor | None = None  # the writer while it waits for the readers inside
        self.contenders: list[Actor] = []  # enabled readers and writers that have not passed yet
        self.waiting_readers: list[Actor] = []
        self.waiting_writers: list[Actor] = []
        self._read = Op(OpKind.ACQUIRE, self.resource, admit=self._admit_reader, perform=self._enter, aux=self)
        self._try_read = Op(OpKind.ACQUIRE, self.resource, perform=self._try_enter, aux=self)
        self._unread = Op(OpKind.RELEASE, self.resource, perform=self._leave, aux=self)
        self._block_readers = Op(OpKind.ACQUIRE, self.resource, admit=self._admit_writer, perform=self._shut, aux=self)
        self._drain = Op(OpKind.ACQUIRE, self.resource, admit=self._admit_drain, perform=self.passed, aux=self)
        self._unwrite = Op(OpKind.RELEASE, self.resource, perform=self._open, aux=self)

    def down_read(self) -> Awaitable[None]:
        """Take the read side; waits while a writer holds it or waits (``percpu_down_read``)."""
        if self.machine.voluntary and self.machine.this_cpu.queue:
            return after_others(self._announce_down_read)
        return self._announce_down_read()

    def _announce_down_read(self) -> Awaitable[None]:
        might_sleep(self.machine, "percpu_down_read")
        self.announce(READ)
        return self._read

    def up_read(self) -> Awaitable[None]:
        """Leave the read side."""
        self.withdraw()
        return self._unread

    async def down_read_trylock(self) -> bool:
        """Take the read side unless a writer holds it or waits; whether it was taken."""
        await self._try_read
        return bool(self.machine.running.result)

    async def down_write(self) -> None:
        """Take the write side: a grace period, then no new readers, then no readers (``percpu_down_write``)."""
        might_sleep(self.machine, "percpu_down_write")
        self.announce(WRITE)
        if self.grace_period is not None:
            await self.grace_period()
        await self._block_readers
        await self._drain

    def up_write(self) -> Awaitable[None]:
        """Let readers in again."""
        self.withdraw()
        return self._unwrite

    def holders(self) -> list[Actor]:
        """Who has it: the readers inside, and the writer that keeps others out."""
        return [*self.readers, *([self.writer] if self.writer is not None else [])]

    def _admit_reader(self, actor: Actor) -> None:
        if self.writer is None:
            self.contenders.append(actor)
        else:
            self.waiting_readers.append(actor)
            self.must_wait(actor, CONTENDED_PERCPU | CONTENDED_READ)
            actor.block()

    def _enter(self, actor: Actor) -> None:
        self.contenders.remove(actor)
        self.readers.append(actor)
        self.passed(actor)

    def _try_enter(self, actor: Actor) -> None:
        actor.result = self.writer is None
        if actor.result:
            self.readers.append(actor)
            self.announce(READ | TRYLOCK)

    def _leave(self, actor: Actor) -> None:
        if actor not in self.readers:
            self.machine.kernel_bug(f"percpu_up_read of {self.name} by a thread that does not hold it")
        self.readers.remove(actor)
        if not self.readers and self.drainer is not None:
            drainer, self.drainer = self.drainer, None
            drainer.unblock()

    def _admit_writer(self, actor: Actor) -> None:
        if self.writer is None:
            self.contenders.append(actor)
        else:
            self.waiting_writers.append(actor)
            self.must_wait(actor, CONTENDED_PERCPU | CONTENDED_WRITE)
            actor.block()

    def _shut(self, actor: Actor) -> None:
        self.writer = actor
        self.contenders.remove(actor)
        losers, self.contenders = self.contenders, []
        for loser in losers:
            (self.waiting_writers if loser.pending is self._block_readers else self.waiting_readers).append(loser)
            loser.block()

    def _admit_drain(self, actor: Actor) -> None:
        if self.readers:
            self.drainer = actor
            self.must_wait(actor, CONTENDED_PERCPU | CONTENDED_WRITE)
            actor.block()

    def _open(self, actor: Actor) -> None:
        if self.writer is not actor:
            self.machine.kernel_bug(f"percpu_up_write of {self.name} by a thread that does not hold it")
        self.writer = None
        if self.waiting_writers:
            # A writer that waited is woken before the readers are, who may still be overtaken by none of their kind.
            chosen = self.machine.interleaver.choose_actor("which waiter wakes", len(self.waiting_writers))
            woken = [self.waiting_writers.pop(chosen)]
        else:
            woken, self.waiting_readers = self.waiting_readers, []
        for actor_woken in woken:
            self.contenders.append(actor_woken)
            actor_woken.unblock()
