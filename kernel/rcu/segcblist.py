"""``rcu_segcblist``: the callbacks of one processor, in four segments by how far their grace period is.

Mirrors kernel/rcu/rcu_segcblist.c (6.1).  The kernel has one list with four tail pointers; here the segments are four
queues, one behind the other:

    DONE  the grace period is over: to be invoked
    WAIT  waits for the grace period that ends with ``gp_seq[WAIT]``
    NEXT_READY  waits for the one that ends with ``gp_seq[NEXT_READY]``
    NEXT  no grace period has been assigned yet

Callbacks move only towards DONE and keep their order.  WAIT is filled before NEXT_READY: after `advance` there is no
gap.  ``length`` is conservative: callbacks that are being invoked count until `invoked`.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .head import RcuHead

DONE, WAIT, NEXT_READY, NEXT = range(4)


class SegmentedCallbacks:
    """The list; `enabled` until its processor is dead."""

    __slots__ = ("enabled", "gp_seq", "length", "segments")

    def __init__(self) -> None:
        self.enabled = True
        self.length = 0
        self.segments: tuple[deque[RcuHead], ...] = (deque(), deque(), deque(), deque())
        self.gp_seq = [0, 0, 0, 0]

    def __iter__(self) -> Iterator[RcuHead]:
        for segment in self.segments:
            yield from segment

    @property
    def empty(self) -> bool:
        """Whether there is no callback in any segment."""
        return not any(self.segments)

    @property
    def ready(self) -> bool:
        """Whether callbacks can be invoked."""
        return bool(self.segments[DONE])

    @property
    def pending(self) -> bool:
        """Whether callbacks wait for a grace period."""
        return any(self.segments[WAIT:])

    def behind(self, segment: int) -> bool:
        """Whether there is a callback further back than `segment` (not ``rcu_segcblist_restempty``)."""
        return any(self.segments[segment + 1 :])

    def enqueue(self, head: RcuHead) -> None:
        """Add a callback at the end."""
        self.length += 1
        self.segments[NEXT].append(head)

    def entrain(self, head: RcuHead) -> bool:
        """Add a callback behind all others, without a grace period of its own; false where there are none."""
        if not self.length:
            return False
        self.length += 1
        last = NEXT
        while last > DONE and not self.segments[last]:
            last -= 1
        self.segments[last].append(head)
        return True

    def accelerate(self, sequence: int) -> bool:
        """Callbacks that need not wait longer than for `sequence` shall wait for just that; whether there are any."""
        if not self.pending:
            return False
        # The last segment that keeps its own, earlier number.
        keep = NEXT_READY
        while keep > DONE and not (self.segments[keep] and self.gp_seq[keep] < sequence):
            keep -= 1
        into = keep + 1
        if not self.behind(keep) or into >= NEXT:
            return False
        for segment in range(into + 1, NEXT + 1):
            self._move(segment, into)
        for segment in range(into, NEXT):
            self.gp_seq[segment] = sequence
        return True

    def advance(self, sequence: int) -> None:
        """A grace period has ended with `sequence`: what waited for it, or an earlier one, is done."""
        if not self.pending:
            return
        moved = WAIT
        while moved < NEXT and self.gp_seq[moved] <= sequence:
            self._move(moved, DONE)
            moved += 1
        if moved == WAIT:
            return
        into = WAIT
        while moved < NEXT:  # close the gap
            if not self.behind(into - 1):
                break
            self._move(moved, into)
            self.gp_seq[into] = self.gp_seq[moved]
            into, moved = into + 1, moved + 1

    def _move(self, source: int, into: int) -> None:
        self.segments[into].extend(self.segments[source])
        self.segments[source].clear()

    def extract_done(self) -> deque[RcuHead]:
        """Take out what can be invoked; it still counts."""
        done = deque(self.segments[DONE])
        self.segments[DONE].clear()
        return done

    def insert_done(self, heads: deque[RcuHead]) -> None:
        """Put back, in front, what was taken out and not invoked; it has been counted all the time."""
        self.segments[DONE].extendleft(reversed(heads))

    def invoked(self, count: int) -> None:
        """That many of those taken out have been invoked."""
        self.length -= count

    def merge(self, source: SegmentedCallbacks) -> None:
        """Take over all of `source`: its done ones in front, the others have to start over."""
        self.length += source.length
        source.length = 0
        self.insert_done(source.extract_done())
        for segment in source.segments[WAIT:]:
            self.segments[NEXT].extend(segment)
            segment.clear()
