"""What is left in a cache that is destroyed, and how that is told."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from slubloom.kernel.pages import GFP_KERNEL
from slubloom.kernel.slab.allocate import kmem_cache_alloc_bulk
from slubloom.kernel.slab.debug_report import page_flags
from slubloom.kernel.slab.destroy import kmem_cache_destroy
from slubloom.kernel.slab.free import kmem_cache_free

from .debugging import DESTROY, Ran, alloc, free, plain, run_program, run_story

if TYPE_CHECKING:
    from collections.abc import Iterator

    from slubloom.kernel.slab import Slub
    from slubloom.kernel.slab.cache import KmemCache

RECORDED = Path(__file__).parents[3].parent / "shared" / "real-kernel" / "rcu" / "destroy-with-live-objects.dmesg.txt"


def test_objects_that_remain_are_listed_with_those_who_allocated_them() -> None:
    ran = run_program("FU", alloc(3), free(1), DESTROY)
    assert ran.kinds == ["objects-remaining"]
    p = ran.address() - 128  # 64 + two tracks of 32
    lines = plain(ran.violations[0].report).splitlines()
    assert lines[1] == "BUG t (Not tainted): Objects remaining in t on __kmem_cache_shutdown()"
    start = lines.index(f"Object 0x{p + 128:016x} @offset=128")
    assert lines[start : start + 6] == [
        f"Object 0x{p + 128:016x} @offset=128",
        "Allocated in user mode age=0 cpu=0 pid=2",
        " kmem_cache_alloc",
        f"Object 0x{p + 256:016x} @offset=256",
        "Allocated in user mode age=0 cpu=0 pid=2",
        " kmem_cache_alloc",
    ]


def lines_of(report: str) -> Iterator[str]:
    """The lines of a report about the same thing on any machine, with what differs taken out.

    Left out are registers, code and modules, the frames below the function called, and what lockdep says of taint.
    """
    skipped = ("Code:", "RSP:", "R0", "R1", "RAX", "RDX", "RBP", "FS:", "CS:", "CR2", "PKRU", "Modules", "Disabling")
    told = ("dump_stack_lvl", "slab_err", "__kmem_cache_shutdown", "kmem_cache_destroy")
    for line in report.splitlines():
        text = re.sub(r"\+0x[0-9a-f]+/0x[0-9a-f]+|\.cold| \[slubrig\]|:\d+(?= kmem)", "", line)
        text = re.sub(r"Tainted: .{19}|Not tainted", "TAINT", text)
        text = re.sub(r"(?<=Object 0x)\w{16}|(?<=Slab 0x)\w{16}|(?<=fp=0x)\w{16}", "#", text)
        text = re.sub(r"PID: \d+|Comm: \w+|(?<=TAINT) .*#1.*|(?<=name: ).*|(?<=called from ).*", "#", text)
        text = re.sub(r"0x[0-9a-f]+(?=\(slab)|zone=\d", "#", text)
        if text.startswith(" ") and text.strip() not in (*told, "<TASK>", "</TASK>"):
            continue
        if text.startswith("RIP: 0033") or text.startswith(skipped):
            continue
        yield text


def remaining_as_recorded() -> Ran:
    """Five of sixteen objects remain, at the places where they did in the recording."""

    async def story(slub: Slub, cache: KmemCache) -> None:
        objects = await kmem_cache_alloc_bulk(slub, cache, GFP_KERNEL, 16)
        for index, address in enumerate(objects):
            if index not in (2, 7, 10, 13, 15):
                await kmem_cache_free(slub, cache, address)
        await kmem_cache_destroy(slub, cache)

    return run_story("", story, size=512)


@pytest.mark.skipif(not RECORDED.exists(), reason="needs the recording of a real kernel")
def test_objects_remaining_are_reported_line_by_line_as_a_real_kernel_does() -> None:
    ran = remaining_as_recorded()
    recorded = RECORDED.read_text().replace("rigburst-0", "t")
    mine = [line for line in lines_of(ran.violations[0].report) if line.strip() != "list_slab_objects"]
    assert mine == list(lines_of(recorded))


@pytest.mark.skipif(not RECORDED.exists(), reason="needs the recording of a real kernel")
def test_page_flags_are_laid_out_as_in_a_real_kernel() -> None:
    # A slab of two pages in ZONE_DMA32 of node 0.
    ran = remaining_as_recorded()
    machine = ran.machine
    slab = next(slab for slab in machine.slab.slabs.values() if slab.cache.name == "t")
    zone = next(zone for zone in machine.nodes[0].zones if zone.part_of(slab.pfn, 1))
    zone.index = 1
    assert page_flags(machine, slab) in RECORDED.read_text()
