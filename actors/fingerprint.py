"""The fingerprint of a behaviour: two runs have the same one if they differ only in the order of independent steps.

Each step gets a hash of what it is and of the hashes of the steps it depends on: the one before it on its processor,
and on each resource it touches the last write, and the reads and additions since if it changes it; and how choices
made in the step were answered, other than who goes on.  The hashes with which the processors end tell the whole partial
order of the run (its Mazurkiewicz class), the answers, and nothing else, so their sum counts distinct behaviours
(exploration.md 3.0, ``hb_digest``).
"""

from __future__ import annotations

from builtins import hash as combine  # of tuples of integers: the same in every process, unlike that of texts
from typing import TYPE_CHECKING

from .resource import MASK, Access, Resource

if TYPE_CHECKING:
    from .actor import Actor
    from .interleaver import Interleaver
    from .operation import Op

READ = Access.READ
WRITE = Access.WRITE
"""On the hot path: in Python 3.11 asking an enumeration for a member takes five times as long as asking a module."""


class Fingerprint:
    """Observes one run; `digest` when it is over.  The state is in the resources: one fingerprint a run."""

    __slots__ = ("_host", "_interleaver")

    def __init__(self, interleaver: Interleaver) -> None:
        self._interleaver = interleaver
        self._host = next(iter(interleaver.hosts))
        interleaver.on_choice = self.chose

    def before_step(self, actor: Actor, op: Op) -> None:
        """Hash the step about to be made.  On the hot path: one call, one tuple."""
        self._host = host = actor.host
        access = op.access
        if access:
            resource = op.resource
            if access is READ:
                h = combine((host.written, host.read, op.code, resource.written, resource.added))
                resource.read = resource.read + h & MASK
            elif access is WRITE:
                h = combine((host.written, host.read, op.code, resource.written, resource.read, resource.added))
                resource.written = h
                resource.read = resource.added = 0
            else:
                h = combine((host.written, host.read, op.code, resource.written, resource.read))
                resource.added = resource.added + h & MASK
        else:
            h = combine((host.written, host.read, op.code))
        host.written = h
        host.read = 0

    def touch(self, resource: Resource, access: Access) -> None:
        """The step being made touches `resource` too."""
        host = self._host
        if resource is host:
            return
        if access is READ:
            h = combine((host.written, resource.written, resource.added))
            resource.read = resource.read + h & MASK
        else:
            h = combine((host.written, resource.written, resource.read, resource.added))
            resource.written = h
            resource.read = resource.added = 0
        host.written = h

    def chose(self, answer: int) -> None:
        """A choice of the step being made was answered."""
        host = self._host
        host.written = combine((host.written, answer + 1))

    def digest(self) -> int:
        """The behaviour so far, as a 64-bit number."""
        total = 0
        for host in self._interleaver.hosts:
            total += host.written
        return total & MASK
