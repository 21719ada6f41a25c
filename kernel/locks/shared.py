"""What the two kinds of reader-writer semaphores share: announcements, contention records, context managers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from .base import NOTHING

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from ...actors import Actor
    from ..machine import Machine
    from ..memory import Shadow


class SharedLock:
    """A lock of lock class `name` with a read and a write side; ``async with lock:`` is the write side."""

    __slots__ = ("address", "machine", "name", "resource", "shadow")

    wait_type: ClassVar[str] = "3:3"
    size_bytes: ClassVar[int] = 40

    def __init__(self, machine: Machine, name: str) -> None:
        self.machine = machine
        self.name = name
        self.resource = machine.interleaver.resource(name)
        self.address = machine.static_address(self.size_bytes)
        self.shadow: Shadow | None = None
        machine.lock_classes[name] = self.wait_type

    def down_read(self) -> Awaitable[None]:
        """Take the read side."""
        raise NotImplementedError

    def up_read(self) -> Awaitable[None]:
        """Leave the read side."""
        raise NotImplementedError

    def down_write(self) -> Awaitable[None]:
        """Take the write side."""
        raise NotImplementedError

    def up_write(self) -> Awaitable[None]:
        """Leave the write side."""
        raise NotImplementedError

    def announce(self, flags: int) -> None:
        """Say that the lock is about to be taken."""
        if (fire := self.machine.tracepoints.lock_acquire.fire) is not None:
            fire(flags, self.name, self.address)

    def withdraw(self) -> None:
        """Say that it is about to be left."""
        if (fire := self.machine.tracepoints.lock_release.fire) is not None:
            fire(self.name, self.address)

    def must_wait(self, actor: Actor, flags: int) -> None:
        """Say that `actor` has to wait; `flags` are those of ``lock:contention_begin``."""
        if not actor.contended and (fire := self.machine.tracepoints.contention_begin.fire) is not None:
            fire(self.address, flags)
            actor.contended = True

    def passed(self, actor: Actor) -> None:
        """Say that `actor` has the lock, if it had to wait."""
        if actor.contended:
            actor.contended = False
            if (fire := self.machine.tracepoints.contention_end.fire) is not None:
                fire(self.address, 0)

    def read(self) -> Reading:
        """The read side as a context manager."""
        return Reading(self)

    def __aenter__(self) -> Awaitable[None]:
        return self.down_write()

    def __aexit__(self, kind: type[BaseException] | None, *_: Any) -> Awaitable[Any]:
        return NOTHING if kind is not None and not issubclass(kind, Exception) else self.up_write()


class Reading:
    """``down_read`` … ``up_read`` around a block."""

    __slots__ = ("_lock",)

    def __init__(self, lock: SharedLock) -> None:
        self._lock = lock

    def __aenter__(self) -> Awaitable[None]:
        return self._lock.down_read()

    def __aexit__(self, kind: type[BaseException] | None, *_: Any) -> Awaitable[Any]:
        return NOTHING if kind is not None and not issubclass(kind, Exception) else self._lock.up_read()
