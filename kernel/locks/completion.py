"""``struct completion``: one side waits until the other says that something is done.

Mirrors wait_for_completion(), complete() and complete_all() of kernel/sched/completion.c (6.1): each `complete` lets
one waiter go, the longest waiting first, and is remembered where nobody waits yet.

What happens to a completion is told in ``completion:*`` records: a sanitizer can see from them who depends on whom.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...actors import Access, Actor, Op, OpKind
from .base import might_sleep

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from ...traces import Tracepoint
    from ..machine import Machine

COMPLETE_ALL = 1 << 31
SIZE_BYTES = 32


class Completion:
    """A completion; ``done`` counts the calls of `complete` that no waiter has used up.

    Those of one `lock_class` are alike for lockdep; by default `name` says which are.
    """

    __slots__ = ("_complete", "_wait", "address", "done", "lock_class", "machine", "name", "resource", "waiters")

    def __init__(self, machine: Machine, name: str, *, lock_class: str = "") -> None:
        self.machine = machine
        self.name = name
        self.lock_class = lock_class or name
        self.done = 0
        self.waiters: list[Actor] = []
        self.resource = machine.interleaver.resource(name)
        self.address = machine.stack_address(SIZE_BYTES)
        # Waiting uses a `complete` up.
        self._wait = Op(
            OpKind.WAIT,
            self.resource,
            access=Access.WRITE,
            admission=Access.WRITE,
            admit=self._admit,
            perform=self._pass,
            aux=self,
        )
        self._complete = Op(OpKind.SIGNAL, self.resource, perform=self._one)
        self.init()

    def init(self) -> None:
        """Nothing is done yet, as part of the step being performed; nobody may be waiting (``init_completion``)."""
        if self.done:
            self._touch()
            self.done = 0
        self._tell(self.machine.tracepoints.completion_init)

    def wait(self) -> Awaitable[None]:
        """Sleep until a `complete` is there to be used up (``wait_for_completion``)."""
        might_sleep(self.machine, "wait_for_completion")
        self._tell(self.machine.tracepoints.completion_wait)
        return self._wait

    def complete(self) -> Awaitable[None]:
        """Let one waiter go (``complete``)."""
        return self._complete

    def complete_now(self) -> None:
        """`complete` as part of the step being performed, where the caller may not wait."""
        self._touch()
        self._one(self.machine.running)

    def complete_all(self) -> None:
        """Let every waiter go, now and later, as part of the step being performed."""
        self._touch()
        self._tell(self.machine.tracepoints.completion_complete)
        self.done = COMPLETE_ALL
        waiters, self.waiters = self.waiters, []
        for actor in waiters:
            actor.unblock()

    def _touch(self) -> None:
        interleaver = self.machine.interleaver
        if interleaver.touch is not None:
            interleaver.touch(self.resource, Access.WRITE)

    def _tell(self, point: Tracepoint) -> None:
        if (fire := point.fire) is not None:
            fire(self.lock_class, self.address)

    def _admit(self, actor: Actor) -> None:
        if not self.done:
            self.waiters.append(actor)
            actor.block()
        elif self.done < COMPLETE_ALL:
            self.done -= 1  # used up by this waiter, which is sure to pass

    def _pass(self, _: Actor) -> None:
        """A woken waiter has had its `complete` set aside by `_one`."""
        self._tell(self.machine.tracepoints.completion_done)

    def _one(self, _: Actor) -> None:
        self._tell(self.machine.tracepoints.completion_complete)
        if self.waiters:
            self.waiters.pop(0).unblock()
        elif self.done < COMPLETE_ALL:
            self.done += 1
