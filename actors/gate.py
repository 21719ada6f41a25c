"""A gate: one actor passes at a time, the others wait; the queue under every exclusive lock.

An actor whose pending operation is ``acquire`` is a *contender* (enabled) while the gate is free and a *waiter*
(blocked) while it is taken.  Giving the gate back wakes exactly one waiter, which becomes a contender: which one is a
decision of the strategy.  It can still lose to another contender and then waits again, first in the queue.  So every
order in which the actors could get the gate is reachable, at a constant cost per operation.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .operation import Op, OpKind

if TYPE_CHECKING:
    from .actor import Actor
    from .interleaver import Interleaver


class Gate:
    """Exclusive passage with its two operations: ``await gate.acquire`` … ``await gate.release``.

    Not reentrant, and not checked for misuse: the kernel room's locks are.
    """

    __slots__ = ("acquire", "contenders", "holder", "interleaver", "release", "resource", "waiters")

    def __init__(self, interleaver: Interleaver, name: str) -> None:
        self.interleaver = interleaver
        self.holder: Actor | None = None
        self.contenders: list[Actor] = []
        self.waiters: list[Actor] = []
        self.resource = interleaver.resource(name)
        self.acquire = Op(OpKind.ACQUIRE, self.resource, admit=self.admit, perform=self.take, aux=self)
        self.release = Op(OpKind.RELEASE, self.resource, perform=self.give, aux=self)

    def admit(self, actor: Actor) -> None:
        """The actor wants to pass: let it contend, or wait."""
        if self.holder is None:
            self.contenders.append(actor)
        else:
            self.waiters.append(actor)
            actor.block()

    def take(self, actor: Actor) -> None:
        """The actor passes; other contenders have lost."""
        self.holder = actor
        contenders = self.contenders
        contenders.remove(actor)
        if contenders:
            for loser in contenders:
                loser.block()
            self.waiters[:0] = contenders
            contenders.clear()

    def give(self, _: Actor) -> None:
        """The actor leaves; one waiter may contend."""
        self.holder = None
        if self.waiters:
            self.wake_one()

    def wake_one(self) -> None:
        """Let one waiter contend: the strategy decides which."""
        waiters = self.waiters
        n = len(waiters)
        if n == 1:
            woken = waiters.pop()
        else:
            interleaver = self.interleaver
            strategy = interleaver.strategy
            draw = strategy.draw
            answer = int(draw() * n) if draw is not None else strategy.choose("which waiter wakes", n)
            interleaver.tape.append(answer)
            woken = waiters.pop(answer)
        self.contenders.append(woken)
        woken.unblock()
