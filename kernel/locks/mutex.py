"""``struct mutex``: sleeping, exclusive, released by who took it.

Mirrors mutex_lock()/mutex_unlock() of kernel/locking/mutex.c (6.1): a waiter spins on its processor while nobody else
wants that (optimistic spinning), and sleeps otherwise.  Which waiter is woken is the strategy's decision; a woken
waiter may lose to a thread that comes just then, as in the kernel before a handoff.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from .base import CONTENDED_MUTEX, NESTED, TRYLOCK, after_others
from .classes import subclass
from .exclusive import ExclusiveLock

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from ...actors import Actor
    from ..machine import Machine


class Mutex(ExclusiveLock):
    """A mutex of lock class `name`; use ``async with mutex:`` or ``await mutex.lock()`` … ``await mutex.unlock()``."""

    __slots__ = ("_acquire_point", "_release_point")

    contended_flag: ClassVar[int] = CONTENDED_MUTEX

    def __init__(self, machine: Machine, name: str) -> None:
        super().__init__(machine, name)
        self._acquire_point = machine.tracepoints.lock_acquire
        self._release_point = machine.tracepoints.lock_release

    def lock(self) -> Awaitable[None]:
        """Take the mutex; may sleep (``mutex_lock``)."""
        if self.machine.voluntary and self.machine.this_cpu.queue:
            return after_others(self._announce_and_acquire)
        return self._announce_and_acquire()

    def lock_nested(self, number: int) -> Awaitable[None]:
        """`lock` while another lock of its class is held, in an order that is safe (``mutex_lock_nested``)."""
        return self._lock_as(0, subclass(self.name, number))

    def lock_nest_lock(self, nest: Mutex) -> Awaitable[None]:
        """`lock` while others of its class may be held, in any order: `nest` is held (``mutex_lock_nest_lock``)."""
        return self._lock_as(NESTED, self.name, nest)

    def _lock_as(self, flags: int, name: str, nest: Mutex | None = None) -> Awaitable[None]:
        def announce() -> Awaitable[None]:
            if nest is not None and (tell := self.machine.tracepoints.lock_nest.fire) is not None:
                tell(nest.name, nest.address)
            if (fire := self._acquire_point.fire) is not None:
                fire(flags, name, self.address)
            return self.acquire

        if self.machine.voluntary and self.machine.this_cpu.queue:
            return after_others(announce)
        return announce()

    def _announce_and_acquire(self) -> Awaitable[None]:
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
        await self.attempt
        return bool(self.machine.running.result)

    def perform_trylock(self, actor: Actor) -> None:
        """Take the mutex if it is free."""
        actor.result = self.holder is None
        if actor.result:
            self.holder = actor
            self.send_back()
            if (fire := self._acquire_point.fire) is not None:
                fire(TRYLOCK, self.name, self.address)

    def give(self, actor: Actor) -> None:
        """The thread owns it no more.  Unlocking what another thread holds is a bug of the kernel code."""
        if self.holder is not actor:
            self.machine.kernel_bug(f"mutex_unlock of {self.name} by a thread that does not hold it")
        self.holder = None
        if self.waiters:
            self.wake_one()
