"""Free-running mode: the same actors, but trio decides who runs.

Truly nondeterministic: trio's scheduler is, on purpose.  Nothing is recorded that could be replayed, and virtual time
only counts steps; the operations, their order rules and the end of the run are the same as under the interleaver.
"""

from __future__ import annotations

import inspect
from contextlib import suppress
from typing import TYPE_CHECKING

import trio

from .actor import Actor, Death, Unwind
from .interleaver import UNWIND_MAX, Interleaver, RunLimits
from .strategies.base import Strategy

if TYPE_CHECKING:
    from .operation import Op


class _Unordered(Strategy):
    """Answers what is not a matter of scheduling: first come, first served."""

    def choose(self, kind: str, n: int) -> int:
        return 0


class FreeRunner(Interleaver):
    """Runs each actor in a trio task of its own, resumed whenever trio likes."""

    def __init__(self, limits: RunLimits | None = None) -> None:
        super().__init__(_Unordered(), limits=limits)
        self.watch = self._wake
        self._enabled_events: dict[Actor, trio.Event] = {}
        self._quiet = trio.Event()

    def _wake(self, actor: Actor) -> None:
        """The actor was enabled: let trio resume it."""
        event = self._enabled_events.get(actor)
        if event is not None:
            event.set()

    async def _drive(self) -> None:
        while self.outcome is None:
            self._start_newborn()
            self._quiet = trio.Event()
            if not self.enabled and not self._newborn and not self._timer_device.fire_when_idle():
                self._rest()
                break
            with trio.move_on_after(0.01):  # only to let on_pause functions be called now and then
                await self._quiet.wait()
            for pause in self.on_pause:
                pause()
        for event in self._enabled_events.values():
            event.set()

    def _start_newborn(self) -> None:
        nursery = self._nursery
        if nursery is None:
            raise AssertionError("no run yet")
        newborn, self._newborn = self._newborn, []
        for actor in newborn:
            self.actors[actor] = None
            self._enabled_events[actor] = trio.Event()
            actor.unblock()
            nursery.start_soon(self._live, actor, name=actor.name)

    async def _live(self, actor: Actor) -> None:
        body = actor.body()
        actor.coroutine, actor.send, actor.throw = body, body.send, body.throw
        try:
            while self.outcome is None:
                if actor.slot < 0:
                    event = self._enabled_events[actor] = trio.Event()
                    if not self.enabled:
                        self._quiet.set()
                    await event.wait()
                await trio.lowlevel.checkpoint()
                if actor.slot >= 0 and self.outcome is None:
                    self._step(actor)
        except StopIteration:
            pass
        except Death:
            pass
        except BaseException as error:
            actor.failure = error
            raise
        finally:
            if inspect.getcoroutinestate(body) != inspect.CORO_CLOSED:  # it has not ended by itself
                self._unwind_body(actor)
            self.retire(actor)
            self._enabled_events.pop(actor, None)
            self._quiet.set()

    def _step(self, actor: Actor) -> None:
        self.running = actor
        self.steps += 1
        self.now_ns += 1
        if actor.off_cpu:
            actor.take_processor()
        perform = actor.pending.perform
        try:
            if perform is not None:
                perform(actor)
        except BaseException as error:
            op: Op = self._throw(actor, error)
        else:
            op = actor.send(None)
        actor.pending = op
        if op.admit is not None:
            op.admit(actor)
        if self._newborn:
            self._quiet.set()

    def _unwind(self) -> None:
        """Each task unwinds its own body."""

    def _unwind_body(self, actor: Actor) -> None:
        self.running = actor
        with suppress(Death, StopIteration):
            for _ in range(UNWIND_MAX):
                self._throw(actor, Unwind())
