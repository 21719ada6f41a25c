"""``percpu_ref``: references that cost nothing while they cannot reach zero.

Mirrors percpu_ref_get(), percpu_ref_tryget(), percpu_ref_tryget_live(), percpu_ref_put() and percpu_ref_kill() of
lib/percpu-refcount.c (6.1).

Three states, and no way back: *live* → `kill` → *dead* → after a grace period → *atomic*.  Until it is atomic every
processor counts for itself: that an addition comes or goes nobody can see, so it is no operation of its own.  The
switch adds everything up and drops the reference the counter was made with; from then on each reference put may be the
last one, and whoever puts that, in whatever context, calls ``release``.  So a release comes at least one grace period
after the kill, and a reader under RCU that finds the counter alive always gets a reference.

Most references lie in some structure, got by one context and put by another.  A context that keeps one to itself, from
`hold` to `let_go`, is told of: it is what keeps the thing counted for that context (see `existence`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...actors import Access, Op, OpKind
from ..memory import Structure

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from ...actors import Resource
    from ..machine import Machine
    from .deferred import Deferred


class PercpuRef(Structure):
    """A counter that begins with one reference; ``release`` is called when the last one is put."""

    __slots__ = ("_count", "_machine", "_mode", "atomic", "dead", "references", "release")

    def __init__(self, machine: Machine, name: str, release: Callable[[], Awaitable[None]]) -> None:
        self.shadow = None
        self._machine = machine
        self.release = release
        self._mode = machine.interleaver.resource(f"{name}.mode")
        self._count = machine.interleaver.resource(name)
        self.references = 1
        self.dead = False
        self.atomic = False

    def resources(self) -> tuple[Resource, ...]:
        """What those declare who use it."""
        return self._mode, self._count

    def _declare(self) -> None:
        touch = self._machine.interleaver.touch
        if touch is not None:
            touch(self._mode, Access.READ)
            touch(self._count, Access.COMMUTE)

    def get(self, number: int = 1) -> None:
        """Take references, as part of the step being made; the caller has one already."""
        self._declare()
        self.references += number

    async def hold(self) -> bool:
        """`tryget` for the running context itself, until it calls `let_go`."""
        got = await self.tryget()
        if got and self.shadow is not None and (fire := self._machine.tracepoints.reference_get.fire) is not None:
            fire(self.shadow.address, self.references)
        return got

    async def let_go(self) -> None:
        """`put` what the running context has held."""
        if self.shadow is not None and (fire := self._machine.tracepoints.reference_put.fire) is not None:
            fire(self.shadow.address, self.references - 1)
        await self.put()

    async def tryget(self) -> bool:
        """Take a reference unless there is none left; the caller knows, by RCU, that the counter is still there."""
        await Op(OpKind.READ, self._mode)
        if not self.atomic:
            self.get()
            return True
        await Op(OpKind.UPDATE, self._count)
        if not self.references:
            return False
        self.references += 1
        return True

    async def tryget_live(self) -> bool:
        """Take a reference unless the counter was killed."""
        await Op(OpKind.READ, self._mode)
        if self.dead:
            return False
        self.get()
        return True

    async def put(self, number: int = 1) -> None:
        """Give references back, and with the last one the thing counted; any context."""
        self._declare()
        if not self.atomic:
            self.references -= number
            return
        await Op(OpKind.UPDATE, self._count)
        self.references -= number
        self._machine.bug_on(self.references < 0, f"{self._count.name} has dropped below zero")
        if not self.references:
            await self.release()

    async def kill(self, deferred: Deferred, confirm: Callable[[], Awaitable[None]] | None = None) -> None:
        """No `tryget_live` succeeds from here on; a grace period later comes `confirm`, and the first reference is put.

        Both happen in the soft interrupt that runs RCU callbacks.
        """
        await Op(OpKind.WRITE, self._mode)
        self._machine.bug_on(self.dead, f"{self._count.name} is killed twice")
        self.dead = True

        async def percpu_ref_switch_to_atomic_rcu() -> None:
            touch = self._machine.interleaver.touch
            if touch is not None:
                touch(self._mode, Access.WRITE)
            self.atomic = True
            if confirm is not None:
                await confirm()
            await self.put()

        await deferred.call_rcu_sched(percpu_ref_switch_to_atomic_rcu)
