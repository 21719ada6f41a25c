"""How a lock class has been used: in interrupts, and with interrupts enabled.

Mirrors the usage bits of kernel/locking/lockdep_internals.h and exclusive_mask(), original_mask() and
find_exclusive_match() of kernel/locking/lockdep.c (6.1).

A usage is one bit of a class's mask.  Its number says three things:

| part of the number | 0                    | 1                                   |
|--------------------|----------------------|-------------------------------------|
| bit 2, the state   | hard interrupts      | soft interrupts                     |
| bit 1, direction   | taken in one of them | held while they were enabled        |
| bit 0, mode        | exclusively          | for reading                         |

A lock that is taken in an interrupt must not be held while that interrupt may come: the two directions of one state
exclude each other, unless both are readers of the same class.
"""

from __future__ import annotations

USED_READ_MODE = 1
ENABLED = 2
SOFTIRQ_STATE = 4
USAGES = 8
"""Numbers of usages that exclude others."""

USED_IN_ALL = 0b0011_0011
ENABLED_ALL = 0b1100_1100
EXCLUSIVE_ALL = 0b0101_0101
READ_ALL = 0b1010_1010

NAMES = (
    "IN-HARDIRQ-W",
    "IN-HARDIRQ-R",
    "HARDIRQ-ON-W",
    "HARDIRQ-ON-R",
    "IN-SOFTIRQ-W",
    "IN-SOFTIRQ-R",
    "SOFTIRQ-ON-W",
    "SOFTIRQ-ON-R",
    "INITIAL USE",
    "INITIAL READ USE",
)
"""By number; the last two say that a class was used at all."""
FIRST_USE = 8
FIRST_READ_USE = 9
REMEMBERED = 10
"""Usages whose first stack a class remembers."""


def usage_bit(*, softirq: bool, enabled: bool, read: bool) -> int:
    """The number of a usage."""
    return softirq * SOFTIRQ_STATE + enabled * ENABLED + read * USED_READ_MODE


def characters(mask: int) -> str:
    """The ``+.+.`` of the reports: hard and soft interrupts, each for writing and reading."""
    shown = []
    for state in (0, SOFTIRQ_STATE):
        for mode in (0, USED_READ_MODE):
            inside = mask >> (state + mode) & 1
            enabled = mask >> (state + mode + ENABLED) & 1
            shown.append("?" if inside and enabled else "-" if inside else "+" if enabled else ".")
    return "".join(shown)


def irq_name(bit: int) -> str:
    """The state of a usage, as reports name it: ``HARDIRQ``, ``SOFTIRQ-READ``."""
    return ("SOFTIRQ" if bit & SOFTIRQ_STATE else "HARDIRQ") + ("-READ" if bit & USED_READ_MODE else "")


def excluded_by(bit: int) -> int:
    """The number of the usage in the other direction, exclusively."""
    return bit & SOFTIRQ_STATE | (bit & ENABLED) ^ ENABLED


def excluded_mask(mask: int) -> int:
    """All usages, in either mode, that some usage of `mask` excludes in another class."""
    inverted = (mask & ENABLED_ALL) >> 2 | (mask & USED_IN_ALL) << 2
    return inverted | (inverted & READ_ALL) >> 1 | (inverted & EXCLUSIVE_ALL) << 1


def first_conflict(used_in: int, enabled: int) -> tuple[int, int] | None:
    """The first usage of mask `used_in`, and the one of mask `enabled` that it excludes."""
    for bit in range(USAGES):
        if used_in >> bit & 1:
            other = excluded_by(bit)
            for candidate in (other, other | USED_READ_MODE):
                if enabled >> candidate & 1:
                    return bit, candidate
    return None
