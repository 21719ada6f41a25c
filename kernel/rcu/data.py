"""``rcu_data``: what one processor has for one flavour of RCU."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .segcblist import SegmentedCallbacks

if TYPE_CHECKING:
    from ...actors import Cpu
    from ...actors.signal import Signal

BLIMIT = 10
"""Callbacks invoked in one soft interrupt before others get a turn (``blimit``)."""
BLIMIT_MAX = 10_000
"""The same while they pile up (``DEFAULT_MAX_RCU_BLIMIT``)."""
QHIMARK = 10_000
QLOWMARK = 100
"""At so many more callbacks a grace period is hurried; at so few the usual limit is back."""


class RcuData:
    """The callbacks of one processor and how they are invoked.

    Changed in steps of that processor; by others under ``barrier_lock`` only while it is offline.
    """

    __slots__ = (
        "barrier_call",
        "barrier_snap",
        "blimit",
        "callbacks",
        "cpu",
        "invoked",
        "length_at_force",
        "sequence",
    )

    def __init__(self, cpu: Cpu, sequence: int, barrier_sequence: int) -> None:
        self.cpu = cpu
        self.callbacks = SegmentedCallbacks()
        self.sequence = sequence  # of the latest grace period this processor knows of
        self.blimit = BLIMIT
        self.length_at_force = 0  # ``qlen_last_fqs_check``
        self.invoked = 0  # ``n_cbs_invoked``
        self.barrier_snap = barrier_sequence  # the latest barrier that has been dealt with here
        self.barrier_call: Signal | None = None  # the interrupt of a barrier that is under way to here
