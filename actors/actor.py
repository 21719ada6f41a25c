"""An actor: a trio task whose coroutine the interleaver resumes, one operation at a time.

Life: *newborn* (its trio task is being started) → *live* (detached from trio; in ``interleaver.enabled`` while its
pending operation may be performed) → *finished* (its coroutine has reattached itself and its trio task ends).  An
actor that is to stop early gets `Unwind` thrown in, at the operation it waits at, and ends the same way: as a trio
task, with its own stack, and with every ``finally`` run.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import trio

from .clock import Clock
from .operation import START, Op, OpKind
from .resource import Maker, Resource

if TYPE_CHECKING:
    from collections.abc import Callable

    from .interleaver import Interleaver

NOT_ENABLED = -1


class Death(BaseException):
    """Ends an actor that cannot go on, without failing the run; who raises it has said why."""


class Unwind(Death):
    """Thrown into an actor that must end now: the run stops.  Never catch it without raising it again."""


def _retire(actor: Actor) -> None:
    actor.interleaver.retire(actor)


def _fall_asleep(actor: Actor) -> None:
    actor.block()
    actor.interleaver.set_timer(actor.wake_at_ns, actor)


SLEEP = Op(OpKind.SLEEP, "timer", admit=_fall_asleep)
FINISHED = Op(OpKind.FINISH, "finish", admit=_retire)


class Actor:
    """Something that runs by itself and meets others only in operations and messages.

    Subclasses write `body`.  ``cpu_id`` is the processor it runs on, or -1; ``pid`` and ``comm`` are what traces show.
    A ``daemon`` may be left waiting for messages when the run ends; any other blocked actor is a deadlock.
    """

    daemon: ClassVar[bool] = False
    waits_visibly: ClassVar[bool] = False  # having to wait has an effect: it gives up its processor

    __slots__ = (
        "blocked",
        "clock",
        "comm",
        "contended",
        "contested",
        "coroutine",
        "cpu_id",
        "failure",
        "host",
        "idle_op",
        "interleaver",
        "maker",
        "name",
        "off_cpu",
        "pending",
        "pid",
        "result",
        "send",
        "serial",
        "slot",
        "stamp",
        "throw",
        "wake_at_ns",
    )

    def __init__(self, interleaver: Interleaver, name: str, *, cpu_id: int = -1, pid: int = 0) -> None:
        self.interleaver = interleaver
        self.name = name
        self.comm = name
        self.cpu_id = cpu_id
        self.pid = pid
        self.clock = Clock()
        self.maker: Maker = Maker(interleaver.running.maker.sign(name))  # knows the actor's identity, and what it makes
        self.host: Resource = Resource(name, self.maker)  # what the steps of this actor always touch: its processor
        self.pending: Op = START
        self.blocked = False  # its pending operation must wait for another actor
        self.slot = NOT_ENABLED  # index in interleaver.enabled
        self.off_cpu = False  # a thread that must first be given its processor: see `take_processor`
        self.serial = -1  # order of birth
        self.stamp = 0  # for the strategy's own use
        self.coroutine: Any = None
        self.send: Callable[[None], Op] = self._unborn
        self.throw: Callable[[BaseException], Op] | None = None
        self.failure: BaseException | None = None
        self.wake_at_ns = 0
        self.contested = False  # another actor wants what this one runs on
        self.contended = False  # its wait for a lock was announced, and its end must be
        self.result: Any = None  # what a performed operation hands back
        self.idle_op: Op | None = None  # waiting here is rest, not deadlock

    async def body(self) -> None:
        """What this actor does; every await in it leads to an `Op`."""
        raise NotImplementedError

    def _unborn(self, _: None) -> Op:
        raise RuntimeError(f"{self.name} has no trio task yet")

    # What the pending operation's owner asks of the actor.

    def block(self) -> None:
        """Take this actor out of the enabled ones until `unblock`: its pending operation cannot be performed."""
        self.blocked = True
        self.interleaver.disable(self)

    def unblock(self) -> None:
        """Its pending operation may be performed again."""
        self.blocked = False
        self.interleaver.enable(self)

    def block_spinning(self) -> None:
        """Block without giving up what this actor runs on; the same as `block` where that is nothing."""
        self.block()

    def turn(self) -> Actor:
        """Who of those that share this actor's clock is to go first, where it is ``contested`` (`Timed` asks)."""
        return self

    async def sleep(self, duration_ns: int) -> None:
        """Block this actor for `duration_ns` of virtual time, at least."""
        self.wake_at_ns = self.interleaver.timer_ns() + duration_ns
        await SLEEP

    def take_processor(self) -> None:
        """Called before a step while ``off_cpu`` is set."""

    def preempt_disable(self) -> None:
        """Interrupt contexts and machine parts cannot be preempted anyway."""

    def preempt_enable(self) -> None:
        """Undo one `preempt_disable`."""

    def in_atomic(self) -> bool:
        """Whether it must not sleep."""
        return True

    def preempt_count_inc(self) -> None:
        """The same for what is announced otherwise."""

    def preempt_count_dec(self) -> None:
        """Undo one `preempt_count_inc`."""

    def on_finished(self) -> None:
        """Called once, by the interleaver, when the body has ended."""

    # The trio task.

    async def live(self) -> None:
        """Run `body` as a trio task that is detached from trio while it is alive."""
        task = trio.lowlevel.current_task()
        self.coroutine = task.coro
        self.send = self.coroutine.send
        self.throw = self.coroutine.throw
        try:
            await trio.lowlevel.temporarily_detach_coroutine_object(_cannot_abort)
            await self.body()
        except Death:
            pass
        except BaseException as error:
            self.failure = error
            raise
        finally:
            await trio.lowlevel.reattach_detached_coroutine_object(task, FINISHED)

    def __repr__(self) -> str:
        """Name the actor and what it waits at."""
        return f"<{self.name} at {self.pending!r}>"


def _cannot_abort(_: Any) -> trio.lowlevel.Abort:
    # Cancellation reaches the interleaver, which unwinds every actor; a detached task cannot be aborted by itself.
    return trio.lowlevel.Abort.FAILED
