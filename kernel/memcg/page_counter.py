"""``page_counter``: how many pages a cgroup and all below it use, and may use.

Mirrors page_counter_try_charge(), page_counter_uncharge() and page_counter_set_max() of mm/page_counter.c (6.1).

A charge goes up the hierarchy, one atomic addition a level, and comes back down to where it started from if a level
has no room; meanwhile others see it.  No lock: a limit is written by whoever writes it, and read with each addition.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...actors import Access, Op, OpKind
from ..memory import Structure

if TYPE_CHECKING:
    from ...actors import Resource
    from ..machine import Machine

PAGE_COUNTER_MAX = (1 << 63) // 4096 - 1
"""No limit: ``max`` in the files."""


class PageCounter(Structure):
    """Pages in use, the limit, and the counter of the parent, which counts these pages too."""

    __slots__ = ("_machine", "_resource", "failcnt", "max", "parent", "usage")

    def __init__(self, machine: Machine, name: str, parent: PageCounter | None) -> None:
        self.shadow = None
        self._machine = machine
        self._resource = machine.interleaver.resource(name)
        self.parent = parent
        self.usage = 0
        self.max = PAGE_COUNTER_MAX
        self.failcnt = 0

    def resources(self) -> tuple[Resource, ...]:
        """What those declare who charge."""
        return (self._resource,)

    async def try_charge(self, pages: int) -> PageCounter | None:
        """Charge this counter and all above it; the one that is full, where one is, and then nothing is charged."""
        level: PageCounter | None = self
        while level is not None:
            await Op(OpKind.UPDATE, level._resource)
            level.usage += pages
            if level.usage > level.max:
                level.usage -= pages
                level.failcnt += 1
                await self._cancel(pages, level)
                return level
            level = level.parent
        return None

    async def charge(self, pages: int) -> None:
        """Charge whatever the limits (``__GFP_NOFAIL``)."""
        level: PageCounter | None = self
        while level is not None:
            await Op(OpKind.COMMUTE, level._resource)
            level.usage += pages
            level = level.parent

    async def uncharge(self, pages: int) -> None:
        """Take a charge back, here and above."""
        await self._cancel(pages, None)

    async def _cancel(self, pages: int, end: PageCounter | None) -> None:
        level: PageCounter | None = self
        while level is not end and level is not None:
            await Op(OpKind.COMMUTE, level._resource)
            level.usage -= pages
            self._machine.bug_on(level.usage < 0, "page_counter underflow")
            level = level.parent

    def add(self, pages: int) -> None:
        """Charge or uncharge here and above, whatever the limits, as part of the step being made."""
        touch = self._machine.interleaver.touch
        level: PageCounter | None = self
        while level is not None:
            if touch is not None:
                touch(level._resource, Access.COMMUTE)
            level.usage += pages
            level = level.parent

    async def read(self) -> int:
        """Pages in use."""
        await Op(OpKind.READ, self._resource)
        return self.usage

    async def read_max(self) -> int:
        """The limit, in pages."""
        await Op(OpKind.READ, self._resource)
        return self.max

    async def set_max(self, pages: int) -> bool:
        """Set the limit; false, and nothing set, while more than that is in use."""
        await Op(OpKind.UPDATE, self._resource)
        if self.usage > pages:
            return False
        self.max = pages
        return True

    async def force_max(self, pages: int) -> int:
        """Set the limit whatever is in use (``xchg``); the pages in use above it."""
        await Op(OpKind.UPDATE, self._resource)
        self.max = pages
        return max(0, self.usage - pages)
