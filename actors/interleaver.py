"""The interleaver: resumes one actor at a time, and takes every decision about which.

All actors are trio tasks of one nursery.  A live one is detached from trio, and `Interleaver` resumes its coroutine
with ``send``; between two operations of an actor nothing else runs.  The interleaver itself is the task that called
`run`: every ``BURST`` steps it awaits a trio checkpoint, so streams, signals and other trio tasks live.

The state of a run that decisions depend on is here: the enabled actors, the timers, virtual time, the tape.
Invariants:

* I1  ``enabled[actor.slot] is actor`` for each enabled actor, and ``slot`` is -1 for every other.
* I2  An actor's pending operation is performed only while the actor is enabled.
* I3  The order of ``enabled`` depends only on earlier decisions (swap-remove, append): never on addresses or hashes.

A run ends when nothing is enabled and no timer is set, when it is stopped (`stop`), at its limits, when an actor
fails, or when trio cancels it.  In each case every actor is unwound and ends as a trio task before `run` returns.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any

import trio

from ..traces import Tracepoints
from .actor import NOT_ENABLED, Actor, Unwind
from .alarm import Alarm
from .garbage import rare_garbage_collection
from .operation import Op, OpKind
from .resource import Access, Maker, Resource
from .strategies.base import TapeError
from .timers import TimerDevice

if TYPE_CHECKING:
    from collections.abc import Callable

    from .observer import Observer
    from .strategies import Strategy
    from .timers import Sleeper

BURST = 4096
"""Steps between two trio checkpoints."""

UNWIND_MAX = 100
"""Operations an actor may still await while it is unwound, before it is given up as ill-behaved."""


class Outcome(Enum):
    """Why a run ended; the values are the sentences shown to the user."""

    FINISHED = "every task finished"
    STOPPED = "stopped at a violation"
    DEADLOCK = "nothing can go on"
    STEP_LIMIT = "the step limit was reached"
    INTERRUPTED = "interrupted"
    FAILED = "an actor failed"
    PRUNED = "what lies beyond is known"


@dataclass(frozen=True, slots=True)
class RunLimits:
    """Where a run is cut off: ``steps_max`` operations performed."""

    steps_max: int = 100_000_000


class _Nobody:
    """Who runs before the first step."""

    name = "boot"
    cpu_id = 0
    pid = 0
    comm = "swapper/0"

    def __init__(self) -> None:
        self.maker: Maker = Maker(1)


class Interleaver:
    """Runs actors one step at a time, in the order a strategy decides.

    ``on_pause`` functions are called at every trio checkpoint, with no argument; ``on_step`` (None by default) after
    each step: for invariant checkers.  Not reusable: one interleaver, one run.
    """

    def __init__(self, strategy: Strategy, *, limits: RunLimits | None = None) -> None:
        self.strategy = strategy
        self.limits = limits or RunLimits()
        self.now_ns = 0
        self.steps = 0
        self.tape: list[int] = []
        self.enabled: list[Actor] = []
        self.actors: dict[Actor, None] = {}  # all live ones, in order of birth
        self.running: Actor = _Nobody()  # type: ignore[assignment]  # satisfies all that is read of it
        self.next_message = 1
        self.tracepoints = Tracepoints(self)
        self.on_pause: list[Callable[[], object]] = []
        self.on_step: Callable[[], object] | None = None
        self.outcome: Outcome | None = None
        self.costed = strategy.costed
        self._burst_end = 0  # steps at which the burst ends; 0 ends it after this step
        self.on_deadlock: Callable[[list[Actor]], object] = len  # told who waits for ever, before they are unwound
        self.on_finished: list[Callable[[], object]] = []  # called when nobody has anything left to do
        self.on_time: list[Callable[[], object]] = []  # called when timers expire: time may have passed unseen
        self.before_step: Callable[[Actor, Op], object] | None = strategy.on_step if strategy.watches_steps else None
        # For what a step touches beyond its operation.
        self.touch: Callable[[Resource, Access], object] | None = strategy.touch if strategy.watches_touches else None
        self.on_failure: Callable[[BaseException], bool] | None = None  # may take an actor's exception upon itself
        self.on_choice: Callable[[int], object] | None = None  # told of answers that are not who goes on
        self.hosts: dict[Resource, None] = {}  # of all actors ever born
        self._births = 0
        self.on_spawn: Callable[[int, Actor], object] | None = strategy.on_spawn if strategy.watches_steps else None
        self._newborn: list[Actor] = []
        self._failed: Actor | None = None
        self._timer_device = TimerDevice(self)
        self._nursery: trio.Nursery | None = None
        self.watch = strategy.on_enabled if strategy.watches_enabled else None
        self.spawn(self._timer_device)

    def observe(self, observer: Observer) -> None:
        """Have `observer` told of every step of the run, behind those that are told already."""
        self.before_step = _both(self.before_step, observer.before_step)
        self.touch = _both(self.touch, observer.touch)

    # --- what actors and the owners of operations call, inside a step

    def resource(self, name: str) -> Resource:
        """Something new that steps touch, made by the running actor."""
        return Resource(name, self.running.maker)

    def enable(self, actor: Actor) -> None:
        """Put `actor` among those whose pending operation may be performed."""
        if actor.slot < 0:
            enabled = self.enabled
            actor.slot = len(enabled)
            enabled.append(actor)
            if self.costed or self.watch is not None:
                self.announce(actor)

    def announce(self, actor: Actor) -> None:
        """The rest of enabling: time has passed for the actor too, and the strategy may want to know."""
        clock = actor.clock
        clock.ns = max(clock.ns, self.now_ns)
        if self.watch is not None:
            self.watch(actor)

    def disable(self, actor: Actor) -> None:
        """Take `actor` out of the enabled ones."""
        slot = actor.slot
        if slot >= 0:
            last = self.enabled.pop()
            if last is not actor:
                self.enabled[slot] = last
                last.slot = slot
            actor.slot = NOT_ENABLED

    def choose(self, kind: str, n: int) -> int:
        """Decide something other than who steps next: an index below `n`; nothing is recorded where `n` is 1."""
        answer = self.choose_actor(kind, n)
        if n > 1 and self.on_choice is not None:
            self.on_choice(answer)
        return answer

    def choose_actor(self, kind: str, n: int) -> int:
        """`choose` one of `n` actors to go on: an answer that shows in the order of steps, and nowhere else."""
        if n == 1:
            return 0
        answer = self.strategy.choose(kind, n)
        self.tape.append(answer)
        return answer

    def spawn(self, actor: Actor) -> None:
        """Bring `actor` to life: it takes part from the next step on."""
        actor.serial = self._births
        self._births += 1
        self.hosts[actor.host] = None
        if self.on_spawn is not None:
            self.on_spawn(self.running.maker.signature, actor)
        self._newborn.append(actor)
        self._burst_end = 0

    def set_timer(self, due_ns: int, actor: Sleeper) -> None:
        """Unblock `actor`, which is blocked in a sleep, when virtual time reaches `due_ns`."""
        self._timer_device.set(due_ns, actor)

    def cancel_timer(self, sleeper: Sleeper) -> None:
        """Undo `set_timer`."""
        self._timer_device.cancel(sleeper)

    def timer_ns(self) -> int:
        """The time that timers are set from: under a clock without costs it does not depend on how many steps passed.

        Otherwise the order of two steps that have nothing to do with a sleeper would decide when it wakes.
        """
        return self.now_ns if self.costed else self._timer_device.reached_ns

    def alarm(self, ring: Callable[[], object]) -> Alarm:
        """A timer that calls `ring` when it expires."""
        return Alarm(self._timer_device, ring)

    def anything_but(self, actor: Actor) -> bool:
        """Whether another actor than `actor` can go on, now or when a timer expires."""
        mine = (actor.slot >= 0) + (self._timer_device.slot >= 0)
        return len(self.enabled) > mine or self._timer_device.armed or bool(self._newborn)

    def stop(self, outcome: Outcome) -> None:
        """End the run after the step being performed; the first reason given is kept."""
        if self.outcome is None:
            self.outcome = outcome
        self._burst_end = 0

    def prune(self) -> None:
        """End the run after this step: an exhaustive search has seen what would follow."""
        self.stop(Outcome.PRUNED)

    def retire(self, actor: Actor) -> None:
        """Forget an actor whose body has ended."""
        self.disable(actor)
        self.actors.pop(actor, None)
        if actor.failure is not None and not (self.on_failure is not None and self.on_failure(actor.failure)):
            self._failed = actor
            self.stop(Outcome.FAILED)
        fire = self.tracepoints.actor_end.fire
        if fire is not None:
            fire(actor.name)
        actor.on_finished()

    # --- the run

    async def run(self) -> Outcome:
        """Run until the end and return why it ended; every actor has ended as a trio task by then.

        Raises:
            ExceptionGroup: an actor failed; its own exception is inside, with its own stack.
        """
        broken: BaseException | None = None  # not an actor's: raised as it is, when the actors have ended
        try:
            # Records to be written are many objects, and never part of a cycle: 8 % more lock pairs with a trace.
            with rare_garbage_collection(200_000, 20, 20):
                async with trio.open_nursery() as nursery:
                    self._nursery = nursery
                    try:
                        await self._drive()
                    except trio.Cancelled:
                        raise
                    except BaseException as error:
                        broken = error
                    finally:
                        self._unwind()
        except BaseExceptionGroup:
            # A tape that does not fit may show in the middle of an actor's step, and is none of its doing.
            if self._failed is None or not isinstance(self._failed.failure, TapeError):
                raise
            broken = self._failed.failure
        if broken is not None:
            raise broken
        if self.outcome is None:
            raise AssertionError("the run ended without a reason")
        return self.outcome

    async def _drive(self) -> None:
        await self._admit_newborn()
        self.strategy.begin(self)
        while self.outcome is None:
            self._burst(min(BURST, self.limits.steps_max - self.steps))
            for pause in self.on_pause:
                pause()
            if self.outcome is None and self.steps >= self.limits.steps_max:
                self.stop(Outcome.STEP_LIMIT)
            await trio.lowlevel.checkpoint()
            if self._newborn:
                await self._admit_newborn()

    async def _admit_newborn(self) -> None:
        """Start the trio tasks of the newborn and enable them in order of birth, whatever order trio starts them in."""
        nursery = self._nursery
        if nursery is None:
            raise AssertionError("no run yet")
        newborn, self._newborn = self._newborn, []
        for actor in newborn:
            self.actors[actor] = None
            nursery.start_soon(actor.live, name=actor.name)
        # Shielded: a task that was started must get as far as detaching itself, or nobody could unwind it.
        while any(actor.coroutine is None for actor in newborn):
            await trio.lowlevel.cancel_shielded_checkpoint()
        for actor in newborn:
            self.born(actor)

    def born(self, actor: Actor) -> None:
        """Make a new actor's first step possible.

        A daemon that needs no processor goes to its first operation at once: what it does before is seen by nobody, and
        on a machine with hundreds of processors these steps would crowd out the decisions that matter.
        """
        fire = self.tracepoints.actor_start.fire
        if fire is not None:
            fire(actor.name)
        if not actor.daemon or actor.off_cpu:
            actor.unblock()
            return
        actor.blocked = False
        self.running = actor
        actor.pending = op = actor.send(None)
        self.enable(actor)
        if op.admit is not None:
            op.admit(actor)

    def _burst(self, budget: int) -> None:
        """Perform up to `budget` steps.

        The hottest loop of the product: local names, no object per step, the time model inline.
        """
        enabled = self.enabled
        pick = self.strategy.pick
        draw = self.strategy.draw
        record = self.tape.append
        costed = self.costed
        on_step = self.on_step
        before_step = self.before_step
        touch = self.touch
        self._burst_end = 0 if self._newborn or self.outcome else self.steps + budget
        while self.steps < self._burst_end:
            n = len(enabled)
            if n > 1:
                index = int(draw() * n) if draw is not None else pick(enabled)
                record(index)
                actor = enabled[index]
            elif n:
                actor = enabled[0]
            elif not self._timer_device.fire_when_idle():
                self._rest()
                return
            else:
                continue
            self.running = actor
            self.steps += 1
            op = actor.pending
            if before_step is not None:
                before_step(actor, op)
            if costed:
                clock = actor.clock
                self.now_ns = clock.ns
                clock.ns += op.cost_ns
            else:
                self.now_ns += 1
            if actor.off_cpu:
                actor.take_processor()
            perform = op.perform
            if perform is None:
                op = actor.send(None)
            else:
                try:
                    perform(actor)
                except BaseException as error:  # it is the actor's, and surfaces with its stack
                    op = self._throw(actor, error)
                else:
                    op = actor.send(None)
            actor.pending = op
            try:
                admit = op.admit
            except AttributeError:
                op = self._throw(actor, _not_an_operation(actor, op))
                actor.pending = op
                admit = op.admit
            if admit is not None:
                admit(actor)
                if touch is not None and actor.waits_visibly:
                    touch(op.resource, op.admission)
            if on_step is not None:
                on_step()

    def _throw(self, actor: Actor, error: BaseException) -> Op:
        if actor.throw is None:
            raise error
        return actor.throw(error)

    def _rest(self) -> None:
        """Nothing is enabled and no timer is set: the end, or a deadlock."""
        stuck = self.stuck()
        if stuck:
            self.on_deadlock(stuck)
        else:
            for finished in self.on_finished:
                finished()
        self.stop(Outcome.DEADLOCK if stuck else Outcome.FINISHED)

    def stuck(self) -> list[Actor]:
        """The live actors that wait for something nobody will do; daemons may wait for messages."""
        return [
            actor
            for actor in self.actors
            if actor is not self._timer_device and not (actor.daemon and actor.pending is actor.idle_op)
        ]

    # --- the end

    def _unwind(self) -> None:
        """Throw `Unwind` into every live actor, in order of birth; each reattaches itself and ends as a trio task."""
        for actor in list(self.actors):
            self.running = actor
            for _ in range(UNWIND_MAX):
                if actor not in self.actors or actor.throw is None:
                    break
                op = actor.throw(Unwind())
                if op.kind is OpKind.FINISH:
                    self.retire(actor)


def _both(
    first: Callable[[Any, Any], object] | None, second: Callable[[Any, Any], object]
) -> Callable[[Any, Any], object]:
    if first is None:
        return second

    def both(a: Any, b: Any) -> None:
        first(a, b)
        second(a, b)

    return both


def _not_an_operation(actor: Actor, thing: object) -> TypeError:
    return TypeError(
        f"{actor.name} awaited {thing!r}, which is no operation of the interleaver: actors await operations, "
        "messages and kernel functions, never trio itself"
    )
