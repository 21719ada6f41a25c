"""The steps of online and offline: who is told what, what follows a refusal, and which locks are held."""

from __future__ import annotations

from errno import EBUSY, EINVAL, ENOENT, ENOMEM
from typing import TYPE_CHECKING, Any

import pytest
from slubloom.actors.hotplug import MemoryEvent, NotifierBlock
from slubloom.actors.strategies import RandomWalk, Timed
from slubloom.actors.zone import ZONE_MOVABLE, ZONE_NORMAL
from slubloom.kernel.files import read_file, write_file
from slubloom.kernel.gfp import GFP_KERNEL
from slubloom.kernel.slab.create import kmem_cache_create

from .machines import (
    BLOCK,
    FIRST,
    INJECT,
    SECOND,
    TWO_BLOCKS,
    done,
    events,
    free_pages,
    machine,
    pct,
    shown,
    state,
    zone,
)

if TYPE_CHECKING:
    from slubloom.kernel import Machine

INJECTING = TWO_BLOCKS + "[kernel.boot]\nmemory_notifier_error_inject = {}\n"


def test_a_node_that_gets_movable_memory_first_has_no_memory_for_the_kernel() -> None:
    it = machine()
    told = events(it)
    masks = []

    async def write(it: Machine) -> None:
        for block, wanted in (
            (FIRST, "online_movable"),
            (SECOND, "online_kernel"),
            (SECOND, "offline"),
            (FIRST, "offline"),
        ):
            assert await state(it, block, wanted) == 0
            masks.append((1 in it.pages.states.memory, 1 in it.pages.states.normal_memory, 1 in it.slab.slab_nodes))

    done(it, write)
    assert masks == [(True, False, False), (True, True, True), (True, False, False), (False, False, False)]
    assert told == [
        ("GOING_ONLINE", 1, -1),
        ("ONLINE", 1, -1),
        ("GOING_ONLINE", -1, 1),
        ("ONLINE", -1, 1),
        ("GOING_OFFLINE", -1, 1),
        ("OFFLINE", -1, 1),
        ("GOING_OFFLINE", 1, -1),
        ("OFFLINE", 1, -1),
    ]


def test_zonelists_and_zoneinfo_follow_each_block() -> None:
    lists, texts = [], []

    async def write(it: Machine) -> None:
        for block, wanted in (
            (FIRST, "online_movable"),
            (SECOND, "online_kernel"),
            (FIRST, "offline"),
            (SECOND, "offline"),
        ):
            assert await state(it, block, wanted) == 0
            lists.append(it.pages.zonelists[0])
            text = await read_file(it, "/proc/zoneinfo")
            assert isinstance(text, str)
            node = text[text.index("Node 1") :] if "Node 1" in text else ""
            texts.append([line.split()[-1] for line in node.splitlines() if line.split()[0] in ("spanned", "managed")])

    done(machine(), write)
    assert lists == [[0, 1], [0, 1], [0, 1], [0]]
    sizes = {"none": "0", "one": str(BLOCK)}
    empty, full = [sizes["none"]] * 2, [sizes["one"]] * 2
    zones = [(empty, full), (full, full), (full, empty), (empty, empty)]  # ZONE_NORMAL, ZONE_MOVABLE
    assert texts == [[*empty, *empty, *normal, *movable, *empty] for normal, movable in zones]


@pytest.mark.parametrize("priority", [100, 1, 0, -5])
def test_whoever_refuses_memory_that_comes_it_is_taken_back_and_all_are_told(priority: int) -> None:
    it = machine(INJECTING.format(priority))
    told = events(it)
    asked: list[tuple[str, str]] = []
    for name, theirs in (("first", 1000), ("last", -1000)):

        async def note(event: Any, _: Any, name: str = name) -> int:
            asked.append((name, event.name))
            return 0

        it.memory_hotplug.chain.notifiers.register(NotifierBlock(name, theirs, note))
    before = free_pages(it, 1)

    async def write(it: Machine) -> None:
        assert await write_file(it, f"{INJECT}/MEM_GOING_ONLINE/error", "-12\n") == 0
        assert await read_file(it, f"{INJECT}/MEM_GOING_ONLINE/error") == "-12\n"
        assert await state(it, FIRST, "online") == -ENOMEM
        assert await shown(it, f"memory{FIRST}/state") == "offline"
        assert (it.nodes[1].present_pages, zone(it, ZONE_NORMAL).spanned_pages) == (0, 0)
        assert 1 not in it.slab.slab_nodes
        assert await write_file(it, f"{INJECT}/MEM_GOING_ONLINE/error", "0") == 0
        assert await state(it, FIRST, "online") == 0

    done(it, write)
    assert told == [("GOING_ONLINE", 1, 1), ("CANCEL_ONLINE", 1, 1), ("GOING_ONLINE", 1, 1), ("ONLINE", 1, 1)]
    assert asked[:3] == [("first", "GOING_ONLINE"), ("first", "CANCEL_ONLINE"), ("last", "CANCEL_ONLINE")]
    assert "Injecting error (-12) to MEM_GOING_ONLINE" in it.console
    assert before == 0
    assert free_pages(it, 1) == BLOCK


@pytest.mark.parametrize("priority", [100, 1, -5])
def test_whoever_refuses_memory_that_leaves_it_stays_and_may_be_used(priority: int) -> None:
    it = machine(INJECTING.format(priority))
    told = events(it)

    async def write(it: Machine) -> None:
        assert await it.memory_hotplug.request(True, 1) == 0
        counts = zone(it, ZONE_NORMAL).buddy.counts()
        assert await write_file(it, f"{INJECT}/MEM_GOING_OFFLINE/error", "-99999") == 0  # clamped to -4095
        assert await state(it, FIRST, "offline") == -4095
        assert await shown(it, f"memory{FIRST}/state") == "online"
        assert zone(it, ZONE_NORMAL).buddy.counts() == counts
        assert await it.pages.alloc_pages_node(1, GFP_KERNEL, 0) is not None

    done(it, write)
    assert told[-2:] == [("GOING_OFFLINE", -1, -1), ("CANCEL_OFFLINE", -1, -1)]
    assert free_pages(it, 1) == 2 * BLOCK - 1


def test_errors_are_injected_only_where_the_module_is_loaded_and_only_for_its_events() -> None:
    answers = []

    async def write(it: Machine) -> None:
        answers.append(await write_file(it, f"{INJECT}/MEM_GOING_ONLINE/error", "-1"))
        answers.append(await read_file(it, INJECT))

    done(machine(), write)
    done(machine(INJECTING.format(0)), write)

    async def wrong(it: Machine) -> None:
        answers.append(await write_file(it, f"{INJECT}/MEM_ONLINE/error", "-1"))
        answers.append(await write_file(it, f"{INJECT}/MEM_GOING_ONLINE/error", "much"))
        answers.append(await read_file(it, f"{INJECT}/MEM_GOING_ONLINE"))

    done(machine(INJECTING.format(0)), wrong)
    assert answers == [
        *(-ENOENT, -ENOENT),
        *(0, "MEM_GOING_OFFLINE\nMEM_GOING_ONLINE\n"),
        *(-ENOENT, -EINVAL, "error\n"),
    ]


def test_a_node_does_not_come_where_there_is_no_memory_for_its_structures() -> None:
    it = machine(TWO_BLOCKS.replace('"64M"', '"8M"') + "[kernel.boot]\nslab_nomerge = true\n")
    told = events(it)

    async def write(it: Machine) -> None:
        for number in range(100):  # as many structures are needed: more than what is free in slabs of theirs
            await kmem_cache_create(it.slab, f"c{number}", 64)
        while await it.pages.alloc_pages_node(0, GFP_KERNEL, 0) is not None:
            pass
        assert await state(it, 1, "online") == -ENOMEM  # node 0 is one block, number 0
        assert await shown(it, "memory1/online") == "0"

    done(it, write)
    assert told == [("GOING_ONLINE", 1, 1), ("CANCEL_ONLINE", 1, 1)]
    assert 1 not in it.slab.slab_nodes


def test_a_block_with_a_page_of_the_kernels_is_refused_before_anybody_is_told() -> None:
    it = machine()
    told = events(it)
    got: list[Any] = []

    async def write(it: Machine) -> None:
        assert await it.memory_hotplug.request(True, 1) == 0
        got.append(await it.pages.alloc_pages_node(1, GFP_KERNEL, 0))
        told.clear()
        block = it.memory_hotplug.blocks[FIRST if got[0][0] < it.memory_hotplug.blocks[SECOND].start_pfn else SECOND]
        assert await state(it, block.number, "offline") == -EBUSY
        assert await shown(it, f"memory{block.number}/state") == "online"
        assert told == []
        assert free_pages(it, 1) == 2 * BLOCK - 1
        await it.pages.free_pages(got[0][1], got[0][0], 0)
        assert await state(it, block.number, "offline") == 0

    done(it, write)
    assert f"page dumped because: unmovable page, pfn:{got[0][0]:#x}" in it.console


def test_slabs_keep_a_block_of_the_kernels_and_never_come_into_a_movable_one() -> None:
    it = machine()
    answers = []

    async def write(it: Machine) -> None:
        assert await state(it, FIRST, "online_movable") == 0
        assert await it.pages.alloc_pages_node(1, GFP_KERNEL, 0) is not None  # from node 0
        assert free_pages(it, 1) == BLOCK
        assert await state(it, SECOND, "online_kernel") == 0
        await kmem_cache_create(it.slab, "late", 64)  # has its structure for node 1 on node 1
        answers.append(await state(it, SECOND, "offline"))
        answers.append(await state(it, FIRST, "offline"))

    done(it, write)
    assert answers == [-EBUSY, 0]
    assert zone(it, ZONE_MOVABLE).managed_pages == 0


@pytest.mark.parametrize(("release", "stays"), [("v5.11", False), ("v5.12", True), ("v6.1", True)])
def test_structures_of_a_node_go_with_the_kernels_last_memory_up_to_5_11(release: str, stays: bool) -> None:
    seen: list[tuple[bool, ...]] = []

    async def write(it: Machine) -> None:
        cache = await kmem_cache_create(it.slab, "c", 64)
        assert cache is not None
        for block, wanted in ((FIRST, "online_movable"), (SECOND, "online_kernel"), (SECOND, "offline")):
            assert await state(it, block, wanted) == 0
            seen.append((1 in cache.node, 1 in it.pages.states.memory))

    done(machine(release=release), write)
    assert seen == [(False, True), (True, True), (stays, True)]


def test_a_block_shows_that_it_is_going_while_its_subscribers_are_asked() -> None:
    it = machine()
    seen = []

    async def look(event: MemoryEvent, _: Any) -> int:
        if event in (MemoryEvent.GOING_OFFLINE, MemoryEvent.OFFLINE):
            block = it.memory_hotplug.blocks[FIRST]
            await block.read
            seen.append((event.name, block.state.value, zone(it, ZONE_NORMAL).buddy.free_pages))
        return 0

    it.memory_hotplug.chain.notifiers.register(NotifierBlock("rig", 0, look))

    async def write(it: Machine) -> None:
        assert await it.memory_hotplug.request(True, 1) == 0
        assert await state(it, FIRST, "offline") == 0

    done(it, write)
    assert seen == [("GOING_OFFLINE", "going-offline", BLOCK), ("OFFLINE", "going-offline", BLOCK)]


HELD = {
    "v3.15": ["mem_hotplug_mutex"],
    "v3.16": ["mem_hotplug.lock"],
    "v4.11": ["memory_add_remove_lock", "mem_hotplug.lock"],
    "v4.13": ["cpu_hotplug_lock", "mem_hotplug_lock"],
    "v5.10": ["cpu_hotplug_lock", "mem_hotplug_lock"],
    "v5.11": ["cpu_hotplug_lock", "mem_hotplug_lock", "pcp_batch_high_lock"],
    "v6.1": ["cpu_hotplug_lock", "mem_hotplug_lock", "pcp_batch_high_lock"],
    "v6.7": ["cpu_hotplug_lock", "mem_hotplug_lock", "pcp_batch_high_lock"],
}


@pytest.mark.parametrize("release", HELD)
def test_the_locks_of_offlining_are_those_of_the_release_in_their_order(release: str) -> None:
    it = machine(release=release)
    held: list[str] = []
    seen: list[list[str]] = []
    it.tracepoints.lock_acquire.attach(lambda record: held.append(record[6]) if it.running.comm == "task0" else None)
    it.tracepoints.lock_release.attach(lambda record: held.remove(record[5]) if it.running.comm == "task0" else None)
    it.tracepoints.memory_notify.attach(lambda record: seen.append(list(held)))

    async def write(it: Machine) -> None:
        assert await state(it, FIRST, "online") == 0
        assert await state(it, FIRST, "offline") == 0

    done(it, write)
    of_the_file, going = seen[2][:3], seen[2][3:]
    assert of_the_file[:2] == ["sb_writers", "&of->mutex"]
    assert of_the_file[2].startswith(("kn->count", "kn->active"))
    assert going == ["device_hotplug_lock", "&dev->mutex", *HELD[release], "(memory_chain).rwsem"]
    coming = [name for name in seen[0] if name in going]
    assert coming == [name for name in going if name != "pcp_batch_high_lock"]
    assert held == []


@pytest.mark.parametrize("strategy", [*map(RandomWalk, range(6)), *map(pct, range(6))])
def test_of_two_who_want_the_same_one_gets_it_and_the_other_is_refused(strategy: Any) -> None:
    answers = []

    async def write(it: Machine) -> None:
        answers.append(await state(it, FIRST, "online"))

    after = done(machine(strategy=strategy), write, write)
    assert sorted(answers) == [-EINVAL, 0]
    assert after.nodes[1].present_pages == BLOCK


def test_who_finds_the_device_lock_held_starts_again_after_five_milliseconds() -> None:
    it = machine(strategy=Timed())

    async def holder(it: Machine) -> None:
        async with it.memory_hotplug.device_hotplug_lock:
            await it.current.sleep(12_000_000)

    async def writer(it: Machine) -> None:
        await it.current.sleep(1_000_000)
        assert await state(it, FIRST, "online") == 0
        assert it.interleaver.now_ns > 16_000_000  # tried at 1, 6, 11 and 16 ms

    done(it, holder, writer)
