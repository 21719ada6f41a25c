"""Resources: what operations are about, and when two operations do not commute.

A resource is anything that more than one actor can see or change: a lock, a mailbox, a field that is read without a
lock, a processor.  Two steps of different actors are *dependent* where they touch one resource and at least one of the
two changes it; only the order of dependent steps matters.  The reductions of exhaustive search, the fingerprints of
behaviours and the redraws of POS all rest on that, so a step must declare what it touches: in its operation, and with
`Interleaver.touch` for what is known only while it runs.  The footprint audit (`kernel/sanitizers/footprint.py`)
checks that it does.

Relation used (exploration.md 3.7): reads commute with reads, atomic additions whose result nobody looks at
(``COMMUTE``) with each other, and nothing else.

A resource's identity is symbolic: its name, who made it, and how many of that name the maker had made before.  It does
not depend on what unrelated actors did meanwhile, so it is the same in all schedules that reach it.
"""

from __future__ import annotations

from enum import IntEnum
from functools import lru_cache
from zlib import crc32

MASK = (1 << 64) - 1
_MIX = 0x9E3779B97F4A7C15


class Access(IntEnum):
    """What a step does to a resource."""

    NONE = 0
    READ = 1
    COMMUTE = 2
    WRITE = 3


def mix(a: int, b: int) -> int:
    """A 64-bit number in which every bit of both has a part; not symmetric.  The same in every process and Python."""
    a = (a ^ b) * _MIX & MASK
    return (a ^ a >> 29) + (b << 1) & MASK


def name_code(name: str) -> int:
    """A number for a name."""
    return crc32(name.encode())


@lru_cache(maxsize=4096)
def identity_of(maker: int, name: str, ordinal: int) -> int:
    """The identity of a thing, by its maker's.  Remembered, for booting makes the same things in every schedule."""
    return mix(mix(maker, name_code(name)), ordinal)


class Maker:
    """Who makes resources and actors: gives each a number that depends on the maker's own history only."""

    __slots__ = ("made", "signature")

    def __init__(self, signature: int) -> None:
        self.signature = signature
        self.made: dict[str, int] = {}

    def sign(self, name: str) -> int:
        """The identity of the next thing called `name` that this maker makes."""
        ordinal = self.made.get(name, 0)
        self.made[name] = ordinal + 1
        return identity_of(self.signature, name, ordinal)


class Resource:
    """Something that steps touch.

    ``identity`` is 0 for one that belongs to nobody: those are never shared.  The other fields are the state of the
    running fingerprint: hashes of the history of the last write, of the reads and of the additions since.
    """

    __slots__ = ("added", "identity", "name", "read", "written")

    def __init__(self, name: str, maker: Maker | None = None) -> None:
        self.name = name
        self.identity = maker.sign(name) if maker is not None else 0
        self.written = self.identity
        self.read = 0
        self.added = 0

    def __repr__(self) -> str:
        return f"<{self.name}>"


def conflict(first: Access, second: Access) -> bool:
    """Whether the order of two accesses to one resource can matter."""
    return bool(first and second) and (first is not second or first is Access.WRITE)
