"""What kmalloc() was asked for, and what a cache under debugging makes of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio
from slubloom.actors import Interleaver
from slubloom.actors.strategies import RandomWalk
from slubloom.kernel import boot
from slubloom.kernel.slab.debug_object import get_orig_size
from slubloom.topology import loads

if TYPE_CHECKING:
    from slubloom.kernel import Machine

TEXT = """
[[machine.node]]
id = 0
cpus = "0"
memory = "64M"
[kernel]
release = "RELEASE"
sanitizers = ["lockdep", "leak"]
[kernel.boot]
slub_debug = "DEBUG"
[[task]]
name = "t"
program = [{op = "kmalloc", size = 40}PROGRAM]
"""
FREE = ', {op = "kfree"}'


def after(program: str, release: str = "v6.2", debug: str = "FZPU") -> Machine:
    text = TEXT.replace("RELEASE", release).replace("DEBUG", debug).replace("PROGRAM", program)
    machine = boot(loads(text), Interleaver(RandomWalk(0))).machine
    trio.run(machine.interleaver.run)
    return machine


def write(offset: int) -> str:
    return f', {{op = "write_memory", cache = "kmalloc-64", bag = "kmalloc", offset = {offset}, bytes = "41"}}'


def kept(machine: Machine) -> list[int]:
    """The sizes kept with the objects of kmalloc-64 that are in use."""
    slub = machine.slab
    slabs = [slab for slab in dict.fromkeys(slub.slabs.values()) if slab.cache.name == "kmalloc-64"]
    return [
        get_orig_size(slub, slab.cache, slab, index)
        for slab in slabs
        for index in range(slab.objects)
        if slab.live >> index & 1
    ]


def test_from_6_1_the_requested_size_is_kept_with_tracks_only() -> None:
    assert 40 in kept(after("", "v6.1"))
    assert 40 not in kept(after("", "v6.1", "FZP"))
    assert 40 not in kept(after("", "v6.0"))


@pytest.mark.parametrize("offset", [40, 47, 63])
def test_from_6_2_what_was_not_asked_for_is_red_zone(offset: int) -> None:
    violation = after(write(offset) + FREE).violations[0]
    assert "kmalloc Redzone overwritten" in violation.report
    assert "First byte 0x41 instead of 0xcc" in violation.report


@pytest.mark.parametrize(
    ("offset", "release", "debug"),
    [(39, "v6.2", "FZPU"), (0, "v6.2", "FZPU"), (40, "v6.1", "FZPU"), (40, "v6.2", "FPU"), (40, "v6.2", "FZP")],
)
def test_elsewhere_one_may_write(offset: int, release: str, debug: str) -> None:
    assert after(write(offset) + FREE, release, debug).violations == []


def test_behind_the_object_it_is_the_right_red_zone_as_before() -> None:
    assert "Right Redzone overwritten" in after(write(64) + FREE).violations[0].report


@pytest.mark.parametrize(("release", "outside"), [("v6.1", False), ("v6.2", True)])
def test_the_free_pointer_makes_way_for_it(release: str, outside: bool) -> None:
    machine = after("", release, "FU")
    cache = next(cache for cache in machine.slab.slab_caches if cache.name == "kmalloc-64")
    assert (cache.geometry.offset >= cache.inuse) is outside


def test_what_comes_and_goes_in_order_is_silent() -> None:
    program = FREE + ', {op = "kmalloc", size = 64, count = 70}, {op = "kmalloc", size = 33, count = 9}' + FREE
    for release in ("v6.1", "v6.2", "v6.12"):
        assert after(program, release).violations == []
