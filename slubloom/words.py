"""Words for people."""

from __future__ import annotations


def plural(number: int, noun: str) -> str:
    """``1 node``, ``2 nodes``."""
    return f"{number:,} {noun}{'s' * (number != 1)}"
