"""``spinlock_t``: exclusive, never sleeps; the holder cannot be preempted, a waiter spins on its processor.

Mirrors spin_lock(), spin_lock_irqsave() and their counterparts of include/linux/spinlock.h (6.1, not PREEMPT_RT).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from ..stack import renamed
from .base import CONTENDED_SPIN, NOTHING, TRYLOCK
from .classes import subclass
from .exclusive import ExclusiveLock

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from ...actors import Actor


class Spinlock(ExclusiveLock):
    """A spinlock of class `name`; ``async with lock:``, or ``async with lock.irqsave():`` with interrupts off."""

    __slots__ = ()

    wait_type: ClassVar[str] = "2:2"
    contended_flag: ClassVar[int] = CONTENDED_SPIN
    size_bytes: ClassVar[int] = 4

    take = renamed(ExclusiveLock.take, "_raw_spin_lock")

    def lock(self) -> Awaitable[None]:
        """Take the lock (``spin_lock``)."""
        machine = self.machine
        machine.running.preempt_count_inc()
        if (fire := machine.tracepoints.lock_acquire.fire) is not None:
            fire(0, self.name, self.address)
        return self.acquire

    def lock_nested(self, number: int) -> Awaitable[None]:
        """`lock` while another lock of its class is held, in an order that is safe (``spin_lock_nested``)."""
        machine = self.machine
        machine.running.preempt_count_inc()
        if (fire := machine.tracepoints.lock_acquire.fire) is not None:
            fire(0, subclass(self.name, number), self.address)
        return self.acquire

    def unlock(self) -> Awaitable[None]:
        """Give it back (``spin_unlock``)."""
        if (fire := self.machine.tracepoints.lock_release.fire) is not None:
            fire(self.name, self.address)
        return self.release

    def lock_irqsave(self) -> Awaitable[None]:
        """Disable interrupts of this processor, then take the lock (``spin_lock_irqsave``)."""
        self.machine.local_irq_disable()
        return self.lock()

    async def unlock_irqrestore(self) -> None:
        """Give the lock back, then enable interrupts again (``spin_unlock_irqrestore``)."""
        await self.unlock()
        self.machine.local_irq_enable()

    async def trylock(self) -> bool:
        """Take the lock if it is free; whether it was (``spin_trylock``)."""
        running = self.machine.running
        running.preempt_count_inc()
        await self.attempt
        taken = bool(running.result)
        if not taken:
            running.preempt_count_dec()
        return taken

    def perform_trylock(self, actor: Actor) -> None:
        """Take the lock if it is free."""
        actor.result = self.holder is None
        if actor.result:
            self.holder = actor
            self.send_back()
            if (fire := self.machine.tracepoints.lock_acquire.fire) is not None:
                fire(TRYLOCK, self.name, self.address)

    def give(self, actor: Actor) -> None:
        """The lock is free; its holder may be preempted again."""
        if self.holder is not actor:
            self.machine.kernel_bug(f"spin_unlock of {self.name} by a context that does not hold it")
        super().give(actor)
        actor.preempt_count_dec()

    def irqsave(self) -> IrqSaving:
        """The lock as a context manager that also disables interrupts."""
        return IrqSaving(self)


class IrqSaving:
    """``spin_lock_irqsave`` … ``spin_unlock_irqrestore`` around a block."""

    __slots__ = ("_lock",)

    def __init__(self, lock: Spinlock) -> None:
        self._lock = lock

    def __aenter__(self) -> Awaitable[None]:
        return self._lock.lock_irqsave()

    def __aexit__(self, kind: type[BaseException] | None, *_: Any) -> Awaitable[Any]:
        return NOTHING if kind is not None and not issubclass(kind, Exception) else self._lock.unlock_irqrestore()
