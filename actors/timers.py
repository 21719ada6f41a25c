"""The timers of a machine, and the actor that lets them expire."""

from __future__ import annotations

from heapq import heapify, heappop, heappush
from typing import TYPE_CHECKING, Protocol

from .actor import Actor
from .clock import Clock
from .operation import Op, OpKind
from .resource import Access

if TYPE_CHECKING:
    from .interleaver import Interleaver


class Sleeper(Protocol):
    """What a timer is set for: an actor, or anything else that is told in the same way."""

    def unblock(self) -> None:
        """Its time has come."""


class TimerDevice(Actor):
    """The timers of the machine: wakes sleepers when virtual time reaches them.

    Under a costed clock it is an actor like others, whose clock shows the next expiry.  Otherwise time does not pass
    while anything is enabled, and jumps to the next timer when nothing is.
    """

    daemon = True

    __slots__ = ("_expire", "_heap", "_sequence", "reached_ns", "resource")

    def __init__(self, interleaver: Interleaver) -> None:
        super().__init__(interleaver, "timers")
        self.reached_ns = 0  # where time does not pass by steps: when the last timers expired
        self.resource = interleaver.resource("timers")
        self._heap: list[tuple[int, int, Sleeper]] = []
        self._sequence = 0
        self._expire = Op(OpKind.TIMER, self.resource, admit=self._admit, perform=self._perform)
        self.idle_op = self._expire

    async def body(self) -> None:
        """Let timers expire for ever."""
        while True:
            await self._expire

    def set(self, due_ns: int, actor: Sleeper) -> None:
        """Unblock `actor` when time reaches `due_ns`."""
        touch = self.interleaver.touch
        if touch is not None:
            touch(self.resource, Access.WRITE)
        self.add(due_ns, actor)

    def add(self, due_ns: int, sleeper: Sleeper) -> None:
        """Put a timer among the others, where that is no visible change."""
        self._sequence += 1
        heappush(self._heap, (due_ns, self._sequence, sleeper))
        self._rearm()

    def cancel(self, sleeper: Sleeper) -> None:
        """Forget the timers set for `sleeper`."""
        touch = self.interleaver.touch
        if touch is not None:
            touch(self.resource, Access.WRITE)
        self.remove(sleeper)

    def remove(self, sleeper: Sleeper) -> None:
        """Take the timers of `sleeper` out, where that is no visible change."""
        self._heap = [entry for entry in self._heap if entry[2] is not sleeper]
        heapify(self._heap)
        if self._heap:
            self._rearm()
        elif self.interleaver.costed and self.pending is self._expire:
            self.block()

    @property
    def armed(self) -> bool:
        """Whether any timer is set."""
        return bool(self._heap)

    def _admit(self, actor: Actor) -> None:
        self.block()
        self._rearm()

    def _rearm(self) -> None:
        """Follow the earliest timer, which may have changed."""
        if self._heap and self.interleaver.costed and self.pending is self._expire:
            # Leave the enabled ones, to come back with another time.
            self.interleaver.disable(self)
            self.clock = Clock(self._heap[0][0])
            self.unblock()

    def fire_when_idle(self) -> bool:
        """Expire the next timers now, under a clock without costs; false where none is set."""
        if not self._heap:
            return False
        interleaver = self.interleaver
        # Steps take no time here.  Time stamps count them, so they run ahead of the timers' own time.
        due_ns = self._heap[0][0]
        interleaver.now_ns += due_ns - self.reached_ns
        self.reached_ns = due_ns
        interleaver.running = self
        self._perform(self)
        return True

    def _perform(self, _: Actor) -> None:
        """Wake all sleepers that are due, in an order the strategy decides."""
        interleaver = self.interleaver
        for told in interleaver.on_time:
            told()
            if interleaver.outcome is not None:
                return  # who watches has ended the run: what the others would see is its consequence
        now_ns = interleaver.timer_ns()
        due: list[Sleeper] = []
        while self._heap and self._heap[0][0] <= now_ns:
            due.append(heappop(self._heap)[2])
        while due:
            due.pop(interleaver.choose_actor("which timer fires first", len(due))).unblock()
