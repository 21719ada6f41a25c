"""``struct shrinker``: what a cache registers to be asked by reclaim.

Mirrors struct shrinker and struct shrink_control of include/linux/shrinker.h (6.1, and 6.8 for ``refcount`` and
``done``).  The callbacks may sleep.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...actors import Access, Op, OpKind
from ..locks import Completion
from ..memory import Structure, allocated
from ..refcount import Refcount
from ..stack import kernel_name, part_of_caller
from .arithmetic import DEFAULT_SEEKS

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from ...actors import Resource
    from ..existence import KeptBy
    from ..machine import Machine
    from ..memcg import MemCgroup
    from .debugfs import DebugfsEntry

SHRINKER_REGISTERED = 1 << 0
SHRINKER_NUMA_AWARE = 1 << 1
SHRINKER_MEMCG_AWARE = 1 << 2
SHRINKER_NONSLAB = 1 << 3
FLAGS = {
    "SHRINKER_NUMA_AWARE": SHRINKER_NUMA_AWARE,
    "SHRINKER_MEMCG_AWARE": SHRINKER_MEMCG_AWARE,
    "SHRINKER_NONSLAB": SHRINKER_NONSLAB,
}
"""What a cache may say of its shrinker, with the values of 6.1."""

NO_ID = -1
STRUCT_SIZE = 192


class ShrinkControl:
    """``struct shrink_control``: one request.  ``memcg`` is None where there are no cgroups."""

    __slots__ = ("gfp_mask", "memcg", "nid", "nr_scanned", "nr_to_scan")

    def __init__(self, gfp_mask: int, nid: int, memcg: MemCgroup | None) -> None:
        self.gfp_mask = gfp_mask
        self.nid = nid
        self.memcg = memcg
        self.nr_to_scan = 0
        self.nr_scanned = 0


class Shrinker(Structure):
    """One shrinker; ``private_data`` is the owner's, ``kept_by`` the protocol's promise."""

    __slots__ = (
        "_machine",
        "address",
        "batch",
        "count_objects",
        "debugfs_entry",
        "done",
        "flags",
        "found_by",
        "id",
        "name",
        "next",
        "nr_deferred",
        "prev",
        "private_data",
        "refcount",
        "scan_address",
        "scan_objects",
        "seeks",
        "state",
    )

    embedded = ("refcount",)
    emulated = ("_machine", "address", "debugfs_entry", "found_by", "name", "read_state", "scan_address", "state")

    def __init__(
        self,
        machine: Machine,
        name: str,
        count_objects: Callable[[Shrinker, ShrinkControl], Awaitable[int]],
        scan_objects: Callable[[Shrinker, ShrinkControl], Awaitable[int]],
        *,
        flags: int = 0,
        seeks: int = DEFAULT_SEEKS,
        batch: int = 0,
        private_data: object = None,
        kept_by: KeptBy | None = None,
    ) -> None:
        self.shadow = None
        # Constant.
        self._machine = machine
        self.name = name
        self.count_objects = count_objects
        self.scan_objects = scan_objects
        self.seeks = seeks
        self.batch = batch
        self.private_data = private_data
        self.address = machine.static_address(STRUCT_SIZE)
        self.scan_address = machine.static_address(16)  # stands for the function in traces
        # The writers' lock; looked at under whatever a walk is protected by.
        resource = machine.interleaver.resource
        self.state = resource(f"shrinker {name}")
        self.flags = flags
        self.id = NO_ID
        self.next: Shrinker | None = None
        self.prev: Shrinker | None = None
        self.debugfs_entry: DebugfsEntry | None = None
        self.found_by: tuple[Resource, ...] = ()  # what those declare who find it
        # Atomic.
        self.refcount = Refcount(machine, f"shrinker->refcount {name}")
        self.nr_deferred: dict[int, int] = {}  # by node; unused where the counts are in the maps of cgroups
        self.done = Completion(machine, f"shrinker->done {name}", lock_class="&shrinker->done")
        allocated(machine, self, "struct shrinker", "kmalloc-192", self.address, STRUCT_SIZE, kept_by=kept_by)

    def resources(self) -> tuple[Resource, ...]:
        """What those declare who use it."""
        return (self.state, *self.found_by)

    @property
    def read_state(self) -> Op:
        """A look at the flags."""
        return Op(OpKind.READ, self.state)

    @part_of_caller
    def changes(self) -> None:
        """Declare, under the writers' lock, that the flags change in the step being made."""
        touch = self._machine.interleaver.touch
        if touch is not None:
            touch(self.state, Access.WRITE)

    # --- deferred counts of its own

    def _deferred(self) -> Op:
        return Op(OpKind.UPDATE, self.state)

    @part_of_caller
    async def xchg_nr_deferred(self, nid: int) -> int:
        """Take what was deferred on a node."""
        await self._deferred()
        nr = self.nr_deferred.get(nid, 0)
        self.nr_deferred[nid] = 0
        return nr

    @part_of_caller
    async def add_nr_deferred(self, nr: int, nid: int) -> int:
        """Put back what was not done; what there is now."""
        await self._deferred()
        self.nr_deferred[nid] = total = self.nr_deferred.get(nid, 0) + nr
        return total

    # --- references (from 6.7)

    async def refcount_set(self, value: int) -> None:
        """``refcount_set``: a plain store, in a step of its own."""
        await Op(OpKind.WRITE, self.state)
        self.refcount.set(value)

    @kernel_name("shrinker_try_get")
    async def try_get(self) -> bool:
        """Take a reference unless there is none (``shrinker_try_get``)."""
        return await self.refcount.inc_not_zero()

    @kernel_name("shrinker_put")
    async def put(self) -> None:
        """Give a reference back; with the last one whoever frees the shrinker goes on (``shrinker_put``)."""
        if await self.refcount.dec_and_test():
            await self.done.complete()
