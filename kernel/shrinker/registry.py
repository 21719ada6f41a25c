"""The shrinkers there are: the list, and the ids of those that are memcg-aware.

Mirrors ``shrinker_list`` and ``shrinker_idr`` of mm/vmscan.c (6.1).  Both change under the writers' lock, each change
is declared; how they may be looked at is up to the variant.  The list is linked as in the kernel: one that was taken
off still points to the next.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...actors import Op, OpKind
from ..stack import part_of_caller

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..fault import FailSlab
    from ..machine import Machine
    from .debugfs import ShrinkerDebugfs
    from .shrinker import Shrinker


class Registry:
    """All shrinkers of a machine."""

    def __init__(self, machine: Machine, failslab: FailSlab) -> None:
        self._machine = machine
        self.failslab = failslab
        self._list = machine.interleaver.resource("shrinker_list")
        self._idr = machine.interleaver.resource("shrinker_idr")
        self.read_list = Op(OpKind.READ, self._list)
        self.read_idr = Op(OpKind.READ, self._idr)
        self.write_list = Op(OpKind.WRITE, self._list)
        self.write_idr = Op(OpKind.WRITE, self._idr)
        self.first: Shrinker | None = None
        self.last: Shrinker | None = None
        self.idr: dict[int, Shrinker] = {}
        self.debugfs: ShrinkerDebugfs | None = None  # set by boot, where the release has it

    def adopt(self, shrinker: Shrinker) -> None:
        """A shrinker that will be found here."""
        shrinker.found_by = (self._list, self._idr)

    # --- the list

    async def list_add_tail(self, shrinker: Shrinker) -> None:
        """Put a shrinker at the end."""
        await self.write_list
        last = self._machine.rcu.loaded(self.last)
        shrinker.prev, shrinker.next = last, None
        if last is None:
            self.first = shrinker
        else:
            last.next = shrinker
        self.last = shrinker
        if self.debugfs is not None:
            self.debugfs.add(shrinker)

    async def list_del(self, shrinker: Shrinker) -> None:
        """Take a shrinker off; who stands at it still finds the next."""
        await self.write_list
        loaded = self._machine.rcu.loaded
        before, after = loaded(shrinker.prev), loaded(shrinker.next)
        if (self.first if before is None else before.next) is not shrinker:
            self._machine.kernel_bug(f"list_del corruption: shrinker {shrinker.name} is not on shrinker_list")
        if before is None:
            self.first = after
        else:
            before.next = after
        if after is None:
            self.last = before
        else:
            after.prev = before
        if self.debugfs is not None:
            self.debugfs.detach(shrinker)

    @part_of_caller
    async def debugfs_remove(self, shrinker: Shrinker) -> None:
        """Remove the directory that `list_del` has detached; without the writers' lock."""
        if self.debugfs is not None:
            await self.debugfs.remove(shrinker)

    @part_of_caller
    async def next_of(
        self, shrinker: Shrinker | None, load: Callable[[Shrinker | None], Shrinker | None]
    ) -> Shrinker | None:
        """The one behind `shrinker`, or the first, as `load` may find it."""
        await self.read_list
        return load(self.first if shrinker is None else shrinker.next)

    # --- ids

    async def idr_alloc(self, shrinker: Shrinker) -> int:
        """The smallest free id."""
        await self.write_idr
        number = 0
        while number in self.idr:
            number += 1
        self.idr[number] = shrinker
        return number

    async def idr_remove(self, number: int) -> None:
        """Free an id."""
        await self.write_idr
        del self.idr[number]

    async def idr_find(self, number: int) -> Shrinker | None:
        """Whose id it is."""
        await self.read_idr
        return self._machine.rcu.loaded(self.idr.get(number))
