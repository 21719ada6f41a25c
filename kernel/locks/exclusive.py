"""What mutexes and spinlocks share: one holder, waiters that keep their processor, contention records."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from ...actors import Actor, Op, OpKind
from ...actors.gate import Gate
from .base import NOTHING

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from ..machine import Machine
    from ..memory import Shadow


class ExclusiveLock(Gate):
    """A lock of lock class `name` at `address` (0: somewhere in the kernel's data).

    Subclasses say how it is announced (`lock`, `unlock`) and what taking and giving it back do to the holder.
    """

    __slots__ = ("address", "machine", "name", "shadow")

    wait_type: ClassVar[str] = "3:3"
    contended_flag: ClassVar[int] = 0
    size_bytes: ClassVar[int] = 32

    def __init__(self, machine: Machine, name: str, *, address: int = 0) -> None:
        super().__init__(machine.interleaver, name)
        self.machine = machine
        self.name = name
        self.address = address or machine.static_address(self.size_bytes)
        self.shadow: Shadow | None = None
        machine.lock_classes[name] = self.wait_type

    def lock(self) -> Awaitable[None]:
        """Announce the attempt, and the operation to await."""
        raise NotImplementedError

    def unlock(self) -> Awaitable[None]:
        """Announce the release, and the operation to await."""
        raise NotImplementedError

    @property
    def attempt(self) -> Op:
        """The operation of trying: made when wanted, for there are many locks and few that are ever tried."""
        return Op(OpKind.ACQUIRE, self.resource, perform=self.perform_trylock, aux=self)

    def perform_trylock(self, actor: Actor) -> None:
        """Take the lock if it is free; ``actor.result`` says whether it was."""
        raise NotImplementedError

    def admit(self, actor: Actor) -> None:
        """Contend, or wait on the processor."""
        if self.holder is None:
            self.contenders.append(actor)
        else:
            self.waiters.append(actor)
            if (fire := self.machine.tracepoints.contention_begin.fire) is not None:
                fire(self.address, self.contended_flag)
                actor.contended = True
            actor.block_spinning()

    def take(self, actor: Actor) -> None:
        """The actor holds the lock now; other contenders have lost and wait again, first in the queue."""
        self.holder = actor
        contenders = self.contenders
        if len(contenders) == 1:
            contenders.clear()
        else:
            contenders.remove(actor)
            self.send_back()
        if actor.contended:
            actor.contended = False
            if (fire := self.machine.tracepoints.contention_end.fire) is not None:
                fire(self.address, 0)

    def send_back(self) -> None:
        """Make waiters of all contenders."""
        contenders = self.contenders
        for loser in contenders:
            loser.block_spinning()
        self.waiters[:0] = contenders
        contenders.clear()

    def holders(self) -> list[Actor]:
        """Who has it, for the wait-for graph."""
        return [self.holder] if self.holder is not None else []

    @property
    def is_locked(self) -> bool:
        """Whether somebody holds it."""
        return self.holder is not None

    def __aenter__(self) -> Awaitable[None]:
        return self.lock()

    def __aexit__(self, kind: type[BaseException] | None, *_: Any) -> Awaitable[Any]:
        # A thread that is unwound or dies in an oops releases nothing (both are BaseExceptions only).
        return NOTHING if kind is not None and not issubclass(kind, Exception) else self.unlock()
