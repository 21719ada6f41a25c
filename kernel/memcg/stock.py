"""A processor's stock of charged bytes, from which objects are charged (from 5.9).

Mirrors struct memcg_stock_pcp, consume_obj_stock(), drain_obj_stock() and refill_obj_stock() of mm/memcontrol.c (6.1).

Pages are charged, objects take bytes.  What is left of a page stays with the processor, together with a reference to
the `ObjCgroup` it is charged to; another one drives it out: whole pages are uncharged, the rest is left in the
`ObjCgroup`.

A stock is its processor's alone: sections under ``local_lock_irqsave(&memcg_stock.stock_lock)`` contain no operation,
so no other context of the processor comes in between.  Only whether it is worth draining is looked at from elsewhere.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..slab.sizing import PAGE_SHIFT, PAGE_SIZE

if TYPE_CHECKING:
    from .objcg import ObjCgroup


class ObjStock:
    """Of one processor; ``flushing`` is set while an item that drains it is on its way."""

    __slots__ = ("cached_objcg", "flushing", "nr_bytes")

    def __init__(self) -> None:
        self.cached_objcg: ObjCgroup | None = None
        self.nr_bytes = 0
        self.flushing = False

    def consume(self, objcg: ObjCgroup, number: int) -> bool:
        """Take bytes for an object; false where there are not enough, or others'."""
        if self.cached_objcg is not objcg or self.nr_bytes < number:
            return False
        self.nr_bytes -= number
        return True

    def drain(self) -> tuple[ObjCgroup | None, int]:
        """Empty the stock: whose it was, a reference to be put, and the whole pages to be uncharged."""
        old, pages = self.cached_objcg, self.nr_bytes >> PAGE_SHIFT
        if old is not None:
            if self.nr_bytes & PAGE_SIZE - 1:
                old.add_bytes(self.nr_bytes & PAGE_SIZE - 1)
            self.nr_bytes = 0
            self.cached_objcg = None
        return old, pages

    def refill(self, objcg: ObjCgroup, number: int, *, uncharge: bool) -> tuple[ObjCgroup | None, int, int]:
        """Put bytes in, driving others' out: whose they were, their whole pages, and whole pages of `objcg` itself.

        Unless `uncharge` the stock may have more than a page: who has just charged one need not give one back.
        """
        old, pages = None, 0
        if self.cached_objcg is not objcg:
            old, pages = self.drain()
            objcg.refcnt.get()
            self.cached_objcg = objcg
            self.nr_bytes = objcg.take_bytes()
            uncharge = True
        self.nr_bytes += number
        own = 0
        if uncharge and self.nr_bytes > PAGE_SIZE:
            own = self.nr_bytes >> PAGE_SHIFT
            self.nr_bytes &= PAGE_SIZE - 1
        return old, pages, own
