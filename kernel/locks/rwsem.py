"""``struct rw_semaphore``: sleeping, many readers or one writer; readers queue behind a waiting writer.

Mirrors down_read(), down_write() and their counterparts of kernel/locking/rwsem.c (6.1).  When the semaphore becomes
free the strategy decides which waiter is woken; if that is a reader, all waiting readers are, as the kernel does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...actors import Actor, Op, OpKind
from .base import CONTENDED_READ, CONTENDED_WRITE, READ, TRYLOCK, WRITE, after_others
from .classes import subclass
from .shared import SharedLock

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from ..machine import Machine


class RwSemaphore(SharedLock):
    """A reader-writer semaphore of lock class `name`."""

    __slots__ = (
        "_down_read",
        "_down_write",
        "_try_read",
        "_try_write",
        "_up_read",
        "_up_write",
        "contenders",
        "readers",
        "waiters",
        "writer",
    )

    def __init__(self, machine: Machine, name: str) -> None:
        super().__init__(machine, name)
        self.readers: list[Actor] = []
        self.writer: Actor | None = None
        self.contenders: list[Actor] = []  # enabled; what each wants is its pending operation
        self.waiters: list[Actor] = []
        self._down_read = Op(OpKind.ACQUIRE, self.resource, admit=self._admit, perform=self._take_read, aux=self)
        self._down_write = Op(OpKind.ACQUIRE, self.resource, admit=self._admit, perform=self._take_write, aux=self)
        self._try_read = Op(OpKind.ACQUIRE, self.resource, perform=self._perform_try_read, aux=self)
        self._try_write = Op(OpKind.ACQUIRE, self.resource, perform=self._perform_try_write, aux=self)
        self._up_read = Op(OpKind.RELEASE, self.resource, perform=self._give_read, aux=self)
        self._up_write = Op(OpKind.RELEASE, self.resource, perform=self._give_write, aux=self)

    def down_read(self) -> Awaitable[None]:
        """Take the read side; may sleep."""
        if self.machine.voluntary and self.machine.this_cpu.queue:
            return after_others(self._announce_down_read)
        return self._announce_down_read()

    def _announce_down_read(self) -> Awaitable[None]:
        self.announce(READ)
        return self._down_read

    def down_write(self) -> Awaitable[None]:
        """Take the write side; may sleep."""
        if self.machine.voluntary and self.machine.this_cpu.queue:
            return after_others(self._announce_down_write)
        return self._announce_down_write()

    def _announce_down_write(self) -> Awaitable[None]:
        self.announce(WRITE)
        return self._down_write

    def down_read_nested(self, number: int) -> Awaitable[None]:
        """`down_read` while another one of its class is held, in an order that is safe."""
        return self._down_as(READ, number, self._down_read)

    def down_write_nested(self, number: int) -> Awaitable[None]:
        """`down_write` while another one of its class is held, in an order that is safe."""
        return self._down_as(WRITE, number, self._down_write)

    def _down_as(self, flags: int, number: int, op: Op) -> Awaitable[None]:
        def announce() -> Awaitable[None]:
            if (fire := self.machine.tracepoints.lock_acquire.fire) is not None:
                fire(flags, subclass(self.name, number), self.address)
            return op

        if self.machine.voluntary and self.machine.this_cpu.queue:
            return after_others(announce)
        return announce()

    def up_read(self) -> Awaitable[None]:
        """Leave the read side."""
        self.withdraw()
        return self._up_read

    def up_write(self) -> Awaitable[None]:
        """Leave the write side."""
        self.withdraw()
        return self._up_write

    async def down_read_trylock(self) -> bool:
        """Take the read side if there is no writer, holding or waiting; whether it was taken."""
        await self._try_read
        return bool(self.machine.running.result)

    async def down_write_trylock(self) -> bool:
        """Take the write side if the semaphore is free; whether it was."""
        await self._try_write
        return bool(self.machine.running.result)

    @property
    def is_contended(self) -> bool:
        """Whether somebody waits (``rwsem_is_contended``)."""
        return bool(self.waiters)

    def holders(self) -> list[Actor]:
        """Who has it, for the wait-for graph."""
        return [self.writer] if self.writer is not None else list(self.readers)

    def _may(self, actor: Actor) -> bool:
        if self.writer is not None:
            return False
        if actor.pending is self._down_write:
            return not self.readers
        return not any(waiter.pending is self._down_write for waiter in self.waiters)

    def _admit(self, actor: Actor) -> None:
        if self._may(actor):
            self.contenders.append(actor)
        else:
            self.waiters.append(actor)
            self.must_wait(actor, CONTENDED_WRITE if actor.pending is self._down_write else CONTENDED_READ)
            actor.block_spinning()

    def _take_read(self, actor: Actor) -> None:
        self.readers.append(actor)
        self.contenders.remove(actor)
        self._send_back([other for other in self.contenders if other.pending is self._down_write])
        self.passed(actor)

    def _take_write(self, actor: Actor) -> None:
        self.writer = actor
        self.contenders.remove(actor)
        self._send_back(list(self.contenders))
        self.passed(actor)

    def _send_back(self, losers: list[Actor]) -> None:
        for loser in losers:
            self.contenders.remove(loser)
            loser.block_spinning()
        self.waiters[:0] = losers

    def _perform_try_read(self, actor: Actor) -> None:
        actor.result = self.writer is None and not any(w.pending is self._down_write for w in self.waiters)
        if actor.result:
            self.readers.append(actor)
            self._send_back([other for other in self.contenders if other.pending is self._down_write])
            self.announce(READ | TRYLOCK)

    def _perform_try_write(self, actor: Actor) -> None:
        actor.result = self.writer is None and not self.readers
        if actor.result:
            self.writer = actor
            self._send_back(list(self.contenders))
            self.announce(WRITE | TRYLOCK)

    def _give_read(self, actor: Actor) -> None:
        if actor not in self.readers:
            self.machine.kernel_bug(f"up_read of {self.name} by a thread that does not hold it")
        self.readers.remove(actor)
        if not self.readers:
            self._wake()

    def _give_write(self, actor: Actor) -> None:
        if self.writer is not actor:
            self.machine.kernel_bug(f"up_write of {self.name} by a thread that does not hold it")
        self.writer = None
        self._wake()

    def _wake(self) -> None:
        waiters = self.waiters
        if not waiters:
            return
        chosen = waiters[self.machine.interleaver.choose_actor("which waiter wakes", len(waiters))]
        readers = [waiter for waiter in waiters if waiter.pending is self._down_read]
        for actor in [chosen] if chosen.pending is self._down_write else readers:
            waiters.remove(actor)
            self.contenders.append(actor)
            actor.unblock()
