"""The decisions of a recorded run, where the recording says how they fell.

Everything else is decided the same way each time: who is enabled first goes first.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..actors.strategies import Strategy
from ..actors.worker_pool import KernelWorker

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..actors import Actor

FLUSH = "flush_cpu_slab"
AT_ONCE = -1


class RecordedChoices(Strategy):
    """Takes the order of flushes, the start of each new free list and the defragmentation coin from a recording."""

    name = "recorded"

    def __init__(self) -> None:
        self.flush_order: list[int] = []  # processors, of the operation being done
        self.starts: list[int] = []  # of the slabs it makes
        self.stay_home = False  # what the coin shows
        self.tossed = False  # whether it was looked at
        self.guessed_start = False  # a slab was made that the recording has not

    def operation(self, flush_order: list[int], starts: list[int], *, stay_home: bool) -> None:
        """The next operation begins."""
        self.flush_order = flush_order
        self.starts = starts
        self.stay_home = stay_home
        self.tossed = False

    def pick(self, enabled: Sequence[Actor]) -> int:
        """Everybody before the flushes, and these one after the other in the recorded order."""
        best, place = 0, self._place(enabled[0])
        for index in range(1, len(enabled)):
            if place == AT_ONCE:
                break
            other = self._place(enabled[index])
            if other < place:
                best, place = index, other
        return best

    def _place(self, actor: Actor) -> int:
        if not self.flush_order or not isinstance(actor, KernelWorker):
            return AT_ONCE
        if actor.item is not None and actor.item.name != FLUSH:
            return AT_ONCE
        cpu = actor.cpu_id
        return self.flush_order.index(cpu) if cpu in self.flush_order else len(self.flush_order)

    def choose(self, kind: str, n: int) -> int:
        """What the recording says, or the first possibility."""
        if kind == "freelist start":
            self.guessed_start = not self.starts
            return self.starts.pop(0) % n if self.starts else 0
        if kind == "remote node defrag coin":
            self.tossed = True
            return int(self.stay_home)
        return 0
