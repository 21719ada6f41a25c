"""Messages between actors, and the mailbox each receiver has.

A message is a small frozen class with a plain-English name.  A mailbox is a queue in order of arrival, with one
receiver and any number of senders.  Each post and each receipt is a tracepoint (``actor:message_send``,
``actor:message_receive``) with the same sequence number, so a viewer can draw the arrow.  Mailboxes are bounded: a
receiver that has fallen ``MAILBOX_MAX`` messages behind is a bug of the emulation, reported as such.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .operation import Op, OpKind
from .resource import Access

if TYPE_CHECKING:
    from .actor import Actor

MAILBOX_MAX = 1_000_000


@dataclass(frozen=True, slots=True)
class Message:
    """What one actor tells another."""


class MailboxFullError(Exception):
    """A receiver has fallen `MAILBOX_MAX` messages behind."""


class Mailbox:
    """Messages for one actor, in order of arrival."""

    __slots__ = ("_queue", "_receive", "_send", "owner", "resource")

    def __init__(self, owner: Actor) -> None:
        self.owner = owner
        self._queue: deque[tuple[int, str, Message]] = deque()
        self.resource = owner.interleaver.resource(f"mailbox of {owner.name}")
        self._receive = Op(OpKind.RECEIVE, self.resource, admit=self._admit)
        self._send = Op(OpKind.SEND, self.resource)
        owner.idle_op = self._receive

    def __len__(self) -> int:
        return len(self._queue)

    def __bool__(self) -> bool:
        """Whether a message waits."""
        return bool(self._queue)

    def _admit(self, actor: Actor) -> None:
        if not self.may_receive():
            actor.block()

    def may_receive(self) -> bool:
        """Whether the receiver could take a message now."""
        return bool(self._queue)

    def post(self, message: Message) -> None:
        """Put `message` into the box, as part of the step being performed.

        Raises:
            MailboxFullError: the receiver does not keep up.
        """
        if len(self._queue) >= MAILBOX_MAX:
            raise MailboxFullError(f"{self.owner.name} has {MAILBOX_MAX} messages waiting and takes none")
        interleaver = self.owner.interleaver
        sequence = interleaver.next_message
        interleaver.next_message = sequence + 1
        if interleaver.touch is not None:
            interleaver.touch(self.resource, Access.WRITE)
        sender = interleaver.running.name
        self._queue.append((sequence, sender, message))
        fire = interleaver.tracepoints.message_send.fire
        if fire is not None:
            fire(sender, self.owner.name, type(message).__name__, sequence)
        self.arrived()

    def arrived(self) -> None:
        """Let the owner go on if it waits for a message."""
        owner = self.owner
        if owner.blocked and owner.pending is self._receive and self.may_receive():
            owner.unblock()

    async def send(self, message: Message) -> None:
        """Post `message` as a step of its own."""
        await self._send
        self.post(message)

    async def receive(self) -> Any:
        """Wait for the next message and take it."""
        await self._receive
        return self.take()

    def take(self) -> Message:
        """Take the first message, which must be there."""
        sequence, sender, message = self._queue.popleft()
        fire = self.owner.interleaver.tracepoints.message_receive.fire
        if fire is not None:
            fire(self.owner.name, sender, type(message).__name__, sequence)
        return message
