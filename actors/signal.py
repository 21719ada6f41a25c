"""A signal: actors wait until it is set; and a request's reply, which is a signal with a value.

Waiting is one operation that is disabled until the signal is set, so an explorer sees no spinning.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .mailbox import Mailbox, Message
from .operation import Op, OpKind
from .resource import Access

if TYPE_CHECKING:
    from .actor import Actor
    from .interleaver import Interleaver


class Signal:
    """Set once; every actor that waits, or will wait, goes on."""

    __slots__ = ("interleaver", "is_set", "resource", "wait", "waiters")

    def __init__(self, interleaver: Interleaver, name: str) -> None:
        self.interleaver = interleaver
        self.is_set = False
        self.waiters: list[Actor] = []
        self.resource = interleaver.resource(name)
        self.wait = Op(OpKind.WAIT, self.resource, admit=self._admit, aux=self)

    def _admit(self, actor: Actor) -> None:
        if not self.is_set:
            self.waiters.append(actor)
            # An actor that must not sleep keeps its processor while it waits: see KernelThread.block.
            actor.block()

    def set(self) -> None:
        """Let everyone go on."""
        if self.interleaver.touch is not None:
            self.interleaver.touch(self.resource, Access.WRITE)
        self.is_set = True
        waiters, self.waiters = self.waiters, []
        for actor in waiters:
            actor.unblock()


class Reply(Signal):
    """The answer to a request: ``value`` is meaningful once the signal is set."""

    __slots__ = ("value",)

    def __init__(self, interleaver: Interleaver, name: str) -> None:
        super().__init__(interleaver, name)
        self.value: Any = None

    def answer(self, value: Any) -> None:
        """Give the answer and wake who asked."""
        self.value = value
        self.set()


@dataclass(frozen=True, slots=True)
class Request(Message):
    """A message that is answered."""

    reply: Reply


async def ask(mailbox: Mailbox, request: Request) -> Any:
    """Send `request` and wait for its answer."""
    await mailbox.send(request)
    await request.reply.wait
    return request.reply.value
