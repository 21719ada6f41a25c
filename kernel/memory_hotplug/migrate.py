"""Moving pages out of a memory block that shall leave.

Mirrors scan_movable_pages() and do_migrate_range() of mm/memory_hotplug.c, alloc_migration_target(), migrate_pages()
and putback_movable_pages() of mm/migrate.c (6.1).

A page is taken off its node's list with a reference, gets pages elsewhere (on another node that has memory, if there is
one), and is moved in one step: its process has it at the new place from then on, and the old pages go back to the
block, where nobody gets them.  One that has meanwhile been given up by its process is only let go; one that somebody
else holds as well stays where it is, and is tried again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...actors.numa import FindInUse
from ...actors.signal import Reply, ask
from ...actors.zone import ZONE_MOVABLE
from ..gfp import GFP_HIGHMEM, GFP_MOVABLE, GFP_RETRY_MAYFAIL, GFP_USER
from ..stack import kernel_name

if TYPE_CHECKING:
    from ..lru import UserPage
    from ..machine import Machine
    from .block import MemoryBlock

EXPECTED_REFERENCES = 2
"""The process's, and that of who has isolated the page."""


async def scan_movable_pages(machine: Machine, block: MemoryBlock, zone: int) -> list[int]:
    """The page frames of the block where pages start that can be moved."""
    node = machine.nodes[block.node]
    reply = Reply(machine.interleaver, f"pages of {block.name}")
    used: list[tuple[int, int]] = await ask(node.mailbox, FindInUse(reply, *block.range, zone))
    await node.read_zones
    return [pfn for pfn, _ in used if pfn in node.lru]


async def do_migrate_range(machine: Machine, node: int, zone: int, pfns: list[int]) -> None:
    """Move what is at `pfns`, as far as it is still there and can be moved now."""
    pages: list[UserPage] = []
    for pfn in pfns:
        page = await machine.lru.isolate_lru_page(node, pfn)
        if page is not None:
            pages.append(page)
    await machine.pages.states.read
    others = tuple(other for other in machine.pages.states.memory if other != node) or (node,)
    gfp = GFP_USER | GFP_MOVABLE | GFP_RETRY_MAYFAIL | (GFP_HIGHMEM if zone == ZONE_MOVABLE else 0)
    for page in pages:
        if not await migrate_page(machine, page, gfp, others):
            await machine.lru.folio_add_lru(page)  # putback_movable_pages()
        await machine.lru.put_page(page)


@kernel_name("migrate_pages")
async def migrate_page(machine: Machine, page: UserPage, gfp: int, others: tuple[int, ...]) -> bool:
    """Move one isolated page; false where it stays.  The caller's reference is kept."""
    await page.update
    if page.references == 1:
        return True  # given up meanwhile: freed when the caller lets it go
    target = await machine.pages.alloc_pages_node(page.node, gfp, page.order, others)
    if target is None:
        machine.printk("warning", f"migrating pfn {page.pfn:x} failed ret:-12")
        return False
    await page.update
    if page.references != EXPECTED_REFERENCES:
        pfn, node = target  # freed or held by somebody in between
        await machine.pages.free_pages(node, pfn, page.order)
        return page.references == 1
    old = (page.node, page.pfn)
    page.pfn, page.node = target
    machine.count("pages_migrated")
    await machine.pages.free_pages(*old, page.order)
    await machine.lru.folio_add_lru(page)
    return True
