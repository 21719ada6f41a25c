"""``spinlock_t``: exclusive, never sleeps; the holder cannot be preempted, a waiter spins on its processor.

Mirrors spin_lock(), spin_lock_irqsave() and their counterparts of include/linux/spinlock.h (6.1, not PREEMPT_RT).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ...actors import Actor, Op, OpKind
from ...actors.gate import Gate
from ..stack import kernel_name
from .base import CONTENDED_SPIN, NOTHING, TRYLOCK

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from ..machine import Machine
    from ..memory import Shadow


class Spinlock(Gate):
    """A spinlock of class `name`; ``async with lock:``, or ``async with lock.irqsave():`` with interrupts off."""

    __slots__ = ("_try", "address", "irq_saved", "machine", "name", "shadow")

    wait_type = "2:2"

    def __init__(self, machine: Machine, name: str, *, address: int = 0) -> None:
        super().__init__(machine.interleaver, name)
        self.machine = machine
        self.name = name
        self.address = address or machine.static_address(4)
        self.shadow: Shadow | None = None
        self.irq_saved = False
        self._try = Op(OpKind.ACQUIRE, name, perform=self._perform_trylock, aux=self)
        machine.lock_classes[name] = self.wait_type

    def lock(self) -> Awaitable[None]:
        """Take the lock (``spin_lock``)."""
        self.machine.running.preempt_disable()
        if (fire := self.machine.tracepoints.lock_acquire.fire) is not None:
            fire(0, self.name, self.address)
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
        self.machine.running.preempt_disable()
        await self._try
        taken = bool(self.machine.running.result)
        if not taken:
            self.machine.running.preempt_enable()
        return taken

    def _perform_trylock(self, actor: Actor) -> None:
        actor.result = self.holder is None
        if actor.result:
            self.holder = actor
            for loser in self.contenders:
                loser.block_spinning()
            self.waiters[:0] = self.contenders
            self.contenders.clear()
            if (fire := self.machine.tracepoints.lock_acquire.fire) is not None:
                fire(TRYLOCK, self.name, self.address)

    def admit(self, actor: Actor) -> None:
        """Contend, or spin."""
        if self.holder is None:
            self.contenders.append(actor)
        else:
            self.waiters.append(actor)
            if (fire := self.machine.tracepoints.contention_begin.fire) is not None:
                fire(self.address, CONTENDED_SPIN)
                actor.contended = True
            actor.block_spinning()

    @kernel_name("_raw_spin_lock")
    def take(self, actor: Actor) -> None:
        """This processor owns the lock now."""
        self.holder = actor
        contenders = self.contenders
        contenders.remove(actor)
        if contenders:
            for loser in contenders:
                loser.block_spinning()
            self.waiters[:0] = contenders
            contenders.clear()
        if actor.contended:
            actor.contended = False
            if (fire := self.machine.tracepoints.contention_end.fire) is not None:
                fire(self.address, 0)

    def give(self, actor: Actor) -> None:
        """The lock is free; its holder may be preempted again."""
        if self.holder is not actor:
            self.machine.kernel_bug(f"spin_unlock of {self.name} by a context that does not hold it")
        super().give(actor)
        actor.preempt_enable()

    def holders(self) -> list[Actor]:
        """Who has it, for the wait-for graph."""
        return [self.holder] if self.holder is not None else []

    def irqsave(self) -> IrqSaving:
        """The lock as a context manager that also disables interrupts."""
        return IrqSaving(self)

    def __aenter__(self) -> Awaitable[None]:
        return self.lock()

    def __aexit__(self, kind: type[BaseException] | None, *_: Any) -> Awaitable[Any]:
        return NOTHING if kind is not None and not issubclass(kind, Exception) else self.unlock()


class IrqSaving:
    """``spin_lock_irqsave`` … ``spin_unlock_irqrestore`` around a block."""

    __slots__ = ("_lock",)

    def __init__(self, lock: Spinlock) -> None:
        self._lock = lock

    def __aenter__(self) -> Awaitable[None]:
        return self._lock.lock_irqsave()

    def __aexit__(self, kind: type[BaseException] | None, *_: Any) -> Awaitable[Any]:
        return NOTHING if kind is not None and not issubclass(kind, Exception) else self._lock.unlock_irqrestore()
