"""``struct mutex``: sleeping, exclusive, released by who took it.

Mirrors mutex_lock()/mutex_unlock() of kernel/locking/mutex.c (6.1): a waiter spins on its processor while nobody else
wants that (optimistic spinning), and sleeps otherwise.  Which waiter is woken is the strategy's decision; a woken
waiter may lose to a thread that comes just then, as in the kernel before a handoff.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ...actors import Actor, Op, OpKind
from ...actors.gate import Gate
from .base import CONTENDED_MUTEX, NOTHING, TRYLOCK

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from ..machine import Machine
    from ..memory import Shadow


class Mutex(Gate):
    """A mutex of lock class `name`; use ``async with mutex:`` or ``await mutex.lock()`` … ``await mutex.unlock()``."""

    __slots__ = (
        "_acquire_point",
        "_begin_point",
        "_end_point",
        "_release_point",
        "_try",
        "address",
        "machine",
        "name",
        "shadow",
    )

    wait_type = "3:3"

    def __init__(self, machine: Machine, name: str) -> None:
        super().__init__(machine.interleaver, name)
        self.machine = machine
        self.name = name
        self.address = machine.static_address(32)
        self.shadow: Shadow | None = None
        points = machine.tracepoints
        self._acquire_point = points.lock_acquire
        self._release_point = points.lock_release
        self._begin_point = points.contention_begin
        self._end_point = points.contention_end
        self._try = Op(OpKind.ACQUIRE, name, perform=self._perform_trylock, aux=self)
        machine.lock_classes[name] = self.wait_type

    def lock(self) -> Awaitable[None]:
        """Take the mutex; may sleep (``mutex_lock``)."""
        fire = self._acquire_point.fire
        if fire is not None:
            fire(0, self.name, self.address)
        return self.acquire

    def unlock(self) -> Awaitable[None]:
        """Give the mutex back (``mutex_unlock``)."""
        fire = self._release_point.fire
        if fire is not None:
            fire(self.name, self.address)
        return self.release

    async def trylock(self) -> bool:
        """Take the mutex if it is free; whether it was (``mutex_trylock``)."""
        await self._try
        return bool(self.machine.running.result)

    def _perform_trylock(self, actor: Actor) -> None:
        actor.result = self.holder is None
        if actor.result:
            self.contenders.append(actor)
            super().take(actor)
            if (fire := self._acquire_point.fire) is not None:
                fire(TRYLOCK, self.name, self.address)

    def admit(self, actor: Actor) -> None:
        """Contend, or wait on the processor if possible."""
        if self.holder is None:
            self.contenders.append(actor)
        else:
            self.waiters.append(actor)
            if (fire := self._begin_point.fire) is not None:
                fire(self.address, CONTENDED_MUTEX)
                actor.contended = True
            actor.block_spinning()

    def take(self, actor: Actor) -> None:
        """The thread owns the mutex now."""
        self.holder = actor
        contenders = self.contenders
        if len(contenders) == 1:
            contenders.clear()
        else:
            contenders.remove(actor)
            for loser in contenders:
                loser.block_spinning()
            self.waiters[:0] = contenders
            contenders.clear()
        if actor.contended:
            actor.contended = False
            if (fire := self._end_point.fire) is not None:
                fire(self.address, 0)

    def give(self, actor: Actor) -> None:
        """The thread owns it no more.  Unlocking what another thread holds is a bug of the kernel code."""
        if self.holder is not actor:
            self.machine.kernel_bug(f"mutex_unlock of {self.name} by a thread that does not hold it")
        self.holder = None
        if self.waiters:
            self.wake_one()

    def holders(self) -> list[Actor]:
        """Who has it, for the wait-for graph."""
        return [self.holder] if self.holder is not None else []

    @property
    def is_locked(self) -> bool:
        """Whether somebody holds it (``mutex_is_locked``)."""
        return self.holder is not None

    def __aenter__(self) -> Awaitable[None]:
        return self.lock()

    def __aexit__(self, kind: type[BaseException] | None, *_: Any) -> Awaitable[Any]:
        # A thread that is unwound or dies in an oops releases nothing (both are BaseExceptions only).
        return NOTHING if kind is not None and not issubclass(kind, Exception) else self.unlock()
