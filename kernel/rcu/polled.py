"""Cookies for grace periods: asking whether one has passed since, without waiting.

Mirrors ``rcu_poll_gp_seq_start()``, ``rcu_poll_gp_seq_end()`` and ``gp_seq_polled`` of kernel/rcu/tree.c (6.1): one
number that normal and expedited grace periods advance together.  Each kind starts the number if nothing runs, and
ends it only if nobody has done so since: so a full grace period of either kind is behind every end.
"""

from __future__ import annotations

from ...actors.rcu_sequence import sequence_done, sequence_end, sequence_snap, sequence_start, sequence_state


class PolledSequence:
    """The number."""

    __slots__ = ("sequence",)

    def __init__(self, sequence: int) -> None:
        self.sequence = sequence

    def start(self) -> int:
        """A grace period starts; what to give to `end`."""
        if not sequence_state(self.sequence):
            self.sequence = sequence_start(self.sequence)
        return self.sequence

    def end(self, started: int) -> None:
        """That one ends."""
        if started == self.sequence and sequence_state(started):
            self.sequence = sequence_end(started)

    def get_state(self) -> int:
        """A cookie: a grace period that begins later than now must end (``get_state_synchronize_rcu``)."""
        return sequence_snap(self.sequence)

    def poll_state(self, cookie: int) -> bool:
        """Whether it has (``poll_state_synchronize_rcu``)."""
        return sequence_done(self.sequence, cookie)
