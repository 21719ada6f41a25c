"""``rcu_seq``: numbers of grace periods that also say whether one is running.

The low two bits are a state (0: idle), the rest counts grace periods.  A start adds 1, an end rounds up to the next
multiple of 4.  The kernel's numbers wrap around; these do not.
"""

from __future__ import annotations

INITIAL_SEQUENCE = -300 << 2
STATE_BITS = 2
STATE_MASK = 3


def sequence_start(sequence: int) -> int:
    """The value when the next grace period has started (``rcu_seq_start``)."""
    return sequence + 1


def sequence_end(sequence: int) -> int:
    """The value at the end of the grace period that runs (``rcu_seq_endval``)."""
    return (sequence | STATE_MASK) + 1


def sequence_snap(sequence: int) -> int:
    """The earliest value which tells that a full grace period has passed since now (``rcu_seq_snap``)."""
    return (sequence + 2 * STATE_MASK + 1) & ~STATE_MASK


def sequence_done(sequence: int, snap: int) -> bool:
    """Whether the grace period that `snap` asks for is over (``rcu_seq_done``)."""
    return sequence >= snap


def sequence_started(sequence: int, snap: int) -> bool:
    """Whether the grace period that ends with `snap` has at least started (``rcu_seq_started``)."""
    return (snap - 1) & ~STATE_MASK < sequence


def sequence_state(sequence: int) -> int:
    """What runs: 0 nothing, otherwise the phase (``rcu_seq_state``)."""
    return sequence & STATE_MASK


def sequence_count(sequence: int) -> int:
    """Which grace period (``rcu_seq_ctr``)."""
    return sequence >> STATE_BITS
