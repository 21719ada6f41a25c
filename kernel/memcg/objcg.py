"""``struct obj_cgroup``: what objects are charged to, in the place of a cgroup that may go (from 5.9).

Mirrors struct obj_cgroup of include/linux/memcontrol.h (6.1).  Every object holds it, and so does a processor's stock.
Who it belongs to changes once for each cgroup that goes, under ``objcg_lock``, and is looked at under RCU; bytes that
are charged but belong to no object and no stock are added atomically.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...actors import Access, Op, OpKind
from ..memory import Structure
from .percpu_ref import PercpuRef

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from ...actors import Resource
    from ..machine import Machine
    from .memcg import MemCgroup

STRUCT_SIZE = 64


class ObjCgroup(Structure):
    """One for each cgroup's life online; ``release`` is called when nothing is charged to it any more."""

    __slots__ = ("_bytes", "_machine", "_owner", "memcg", "nr_charged_bytes", "refcnt")

    embedded = ("refcnt",)

    def __init__(self, machine: Machine, memcg: MemCgroup, release: Callable[[ObjCgroup], Awaitable[None]]) -> None:
        self.shadow = None
        self._machine = machine
        self.refcnt = PercpuRef(machine, "objcg.refcnt", lambda: release(self))
        self._owner = machine.interleaver.resource("objcg->memcg")
        self._bytes = machine.interleaver.resource("objcg->nr_charged_bytes")
        # objcg_lock:
        self.memcg = memcg
        # Atomic:
        self.nr_charged_bytes = 0

    def resources(self) -> tuple[Resource, ...]:
        """What those declare who use it."""
        return (self._owner, self._bytes, *self.refcnt.resources())

    @property
    def read_owner(self) -> Op:
        """A look at who it belongs to, under RCU."""
        return Op(OpKind.READ, self._owner)

    def belongs_to(self, memcg: MemCgroup) -> None:
        """Give it to another cgroup, under ``objcg_lock``."""
        touch = self._machine.interleaver.touch
        if touch is not None:
            touch(self._owner, Access.WRITE)
        self.memcg = memcg

    def add_bytes(self, number: int) -> None:
        """Leave charged bytes here for whoever comes next, as part of the step being made."""
        touch = self._machine.interleaver.touch
        if touch is not None:
            touch(self._bytes, Access.COMMUTE)
        self.nr_charged_bytes += number

    def take_bytes(self) -> int:
        """Take what was left, as part of the step being made (``atomic_xchg``)."""
        touch = self._machine.interleaver.touch
        if touch is not None:
            touch(self._bytes, Access.WRITE)
        taken, self.nr_charged_bytes = self.nr_charged_bytes, 0
        return taken
