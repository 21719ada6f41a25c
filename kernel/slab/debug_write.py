"""A write through a bad pointer: what SLUB debugging and KASAN are there to find.

The kernel has no such function: it stands for the user of a cache who writes past the end of an object, before its
start, or after freeing it.  KASAN, if it is on, judges the write before it happens; then the bytes go where the
memory of a slab is kept, which is for caches under debugging only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..pages import page_frame
from ..stack import kernel_name
from .debug_object import slab_address
from .sizing import PAGE_SIZE

if TYPE_CHECKING:
    from .cache import KmemCache, Slab
    from .slub import Slub


@kernel_name("user_write")
async def stray_write(slub: Slub, cache: KmemCache, address: int, offset: int, data: bytes) -> bool:
    """Write `data` at `offset` bytes from `address`, which is or was that of an object of `cache`.

    False, and nothing happens, where that would leave the slab that `address` lies in.
    """
    slab = slub.slabs.get(page_frame(address))
    await (slab.cache if slab is not None else cache).update_freelist
    slab = slub.slabs.get(page_frame(address))
    at = _place(slab, address, offset, data)
    if at is None:
        return False
    if slub.machine.kasan is not None:
        slub.machine.kasan.check_write(cache, slab, address, offset, len(data))
    if slab is not None and slab.memory is not None:
        slab.memory.write(at, data)
    return True


def _place(slab: Slab | None, address: int, offset: int, data: bytes) -> int | None:
    """Where in its slab a write begins, if all of it lies in there; 0 where there is no slab any more."""
    if slab is None:
        return 0
    at = address + offset - slab_address(slab)
    return at if 0 <= at <= (PAGE_SIZE << slab.order) - len(data) else None
