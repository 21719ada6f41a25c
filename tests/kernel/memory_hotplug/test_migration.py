"""Pages in use in a block that shall leave: moved where they can be, whatever others do meanwhile."""

from __future__ import annotations

from errno import EBUSY
from typing import TYPE_CHECKING, Any

import pytest
from slubloom.actors import BareInterleaver, Outcome
from slubloom.actors.hotplug import MemoryEvent, NotifierBlock
from slubloom.actors.signal import Signal
from slubloom.actors.strategies import Pos, RandomWalk, Strategy
from slubloom.actors.zone import ZONE_MOVABLE, ZONE_NORMAL
from slubloom.kernel import boot
from slubloom.kernel.gfp import GFP_KERNEL, GFP_NOWARN
from slubloom.kernel.lru import PAGEVEC_SIZE
from slubloom.kernel.sanitizers.footprint import audited
from slubloom.topology import loads

from slubloom.run import RunOptions, run_scenario

from ..helpers import start
from .machines import BLOCK, FIRST, INJECT, SECOND, TWO_BLOCKS, done, free_pages, machine, pct, state, zone

if TYPE_CHECKING:
    from slubloom.kernel import Machine
    from slubloom.kernel.lru import UserPage


async def user_pages(it: Machine, count: int, order: int = 0) -> list[UserPage]:
    pages = [await it.lru.alloc_user_page(1, order) for _ in range(count)]
    assert None not in pages
    return pages  # type: ignore[return-value]  # none of them is


@pytest.mark.parametrize("release", ["v5.10", "v5.12", "v5.13", "v6.1"])
def test_pages_of_processes_move_to_another_node_and_are_freed_there(release: str) -> None:
    async def write(it: Machine) -> None:
        initial = free_pages(it, 0)
        assert await state(it, FIRST, "online_movable") == 0
        pages = [*await user_pages(it, 20), *await user_pages(it, 2, order=3)]
        assert {page.node for page in pages} == {1}
        assert free_pages(it, 1) == BLOCK - 36
        assert await state(it, FIRST, "offline") == 0
        assert {page.node for page in pages} == {0}
        assert len({page.pfn for page in pages}) == 22
        assert initial - free_pages(it, 0) == 36
        for page in pages:
            await it.lru.put_page(page)
        await it.lru.lru_add_drain_all()  # the last of them are still in a batch, which keeps them
        await it.rcu.synchronize_rcu()
        assert free_pages(it, 0) == initial

    after = done(machine(release=release), write)
    assert after.counters["pages_migrated"] == 22
    assert after.nodes[0].lru == after.nodes[1].lru == {}


def test_where_no_other_node_has_memory_pages_move_within_their_own() -> None:
    # The only node: its last block, in ZONE_MOVABLE, leaves; what is in it finds room in the others.
    text = '[machine]\nmemory_block = "8M"\n[[machine.node]]\nid = 0\ncpus = "0-1"\nmemory = "32M"\n'

    async def write(it: Machine) -> None:
        assert await state(it, 3, "offline") == 0
        assert await state(it, 3, "online_movable") == 0
        pages = [await it.lru.alloc_user_page(0, 0) for _ in range(PAGEVEC_SIZE)]
        block = it.memory_hotplug.blocks[3]
        assert all(page is not None and page.pfn >= block.start_pfn for page in pages)
        assert await state(it, 3, "offline") == 0
        assert all(page is not None and page.pfn < block.start_pfn for page in pages)

    done(machine(text), write)


@pytest.mark.parametrize(("release", "answer"), [("v5.10", -EBUSY), ("v5.12", -EBUSY), ("v5.13", 0), ("v6.1", 0)])
def test_a_page_that_waits_in_a_batch_cannot_move_unless_batches_are_off(release: str, answer: int) -> None:
    async def write(it: Machine) -> None:
        assert await state(it, FIRST, "online_kernel") == 0
        pages = await user_pages(it, 1)
        assert await state(it, FIRST, "offline") == answer
        assert {page.node for page in pages} == ({1} if answer else {0})
        assert it.lru.disable_count == 0
        await it.lru.lru_add_drain_all()
        if answer:
            assert await state(it, FIRST, "offline") == 0

    done(machine(release=release), write)


@pytest.mark.parametrize("release", ["v5.10", "v6.1"])
def test_pages_in_the_batch_of_a_processor_that_goes_can_be_moved_afterwards(release: str) -> None:
    async def write(it: Machine) -> None:
        assert await state(it, FIRST, "online_kernel") == 0
        pages: list[UserPage] = []
        there = Signal(it.interleaver, "pages are there")

        async def on_the_other(it: Machine = it) -> None:
            pages.extend(await user_pages(it, 3))
            there.set()

        start(it, 1, "user", on_the_other)
        await there.wait
        assert await it.cpu_hotplug.remove_cpu(1) == 0
        assert sorted(it.nodes[1].lru) == sorted(page.pfn for page in pages)
        assert await state(it, FIRST, "offline") == 0
        assert {page.node for page in pages} == {0}

    done(machine(release=release), write)


def test_a_page_its_process_gives_up_while_it_is_being_moved_is_freed_once() -> None:
    moved = []
    for seed in range(30):
        it = machine(strategy=RandomWalk(seed))
        initial = free_pages(it, 0)
        pages: list[UserPage] = []
        going = Signal(it.interleaver, "the block is going")

        async def note(event: MemoryEvent, _: Any, going: Signal = going) -> int:
            if event is MemoryEvent.GOING_OFFLINE:
                going.set()
            return 0

        it.memory_hotplug.chain.notifiers.register(NotifierBlock("rig", -1000, note))

        async def write(it: Machine, pages: list[UserPage] = pages) -> None:
            assert await state(it, FIRST, "online_movable") == 0
            pages += await user_pages(it, 4, order=1)
            assert await state(it, FIRST, "offline") == 0
            await it.lru.lru_add_drain_all()

        async def user(it: Machine, pages: list[UserPage] = pages, going: Signal = going) -> None:
            await going.wait
            for page in reversed(pages):
                await it.lru.put_page(page)
            await it.lru.lru_add_drain_all()

        done(it, write, user)
        assert it.nodes[1].present_pages == 0
        assert all(page.references == 0 for page in pages)
        assert free_pages(it, 0) == initial
        moved.append(it.counters.get("pages_migrated", 0))
    assert len(dict.fromkeys(moved)) > 1  # how many were given up before they moved differs


@pytest.mark.parametrize("strategy", [*map(RandomWalk, range(8)), *map(pct, range(8))])
def test_pages_are_all_accounted_for_while_memory_comes_and_goes_under_allocations(strategy: Strategy) -> None:
    it = machine(strategy=strategy)
    initial = free_pages(it, 0)
    answers: list[int] = []

    async def hotplug(it: Machine) -> None:
        for kind in ("online_movable", "online_kernel", "online"):
            answers.append(await state(it, FIRST, kind))
            answers.append(await state(it, SECOND, "online_kernel"))
            answers.append(await state(it, FIRST, "offline"))
            answers.append(await state(it, SECOND, "offline"))
        await it.memory_hotplug.request(False, 1)

    async def user(it: Machine) -> None:
        for number in range(16):
            order = number % 4
            place = await it.pages.alloc_pages_node(1, GFP_KERNEL | GFP_NOWARN, order)
            page = await it.lru.alloc_user_page(1, order)
            assert place is not None
            assert page is not None
            if place[1] == 1:
                assert zone(it, ZONE_MOVABLE).part_of(place[0], 1) == []
            await it.pages.free_pages(place[1], place[0], order)
            await it.lru.put_page(page)
        await it.lru.lru_add_drain_all()

    done(it, hotplug, user, user)
    assert set(answers) <= {0, -EBUSY, -22}  # refused to leave while in use; then it need not come

    assert free_pages(it, 0) == initial
    for index in (ZONE_NORMAL, ZONE_MOVABLE):
        assert zone(it, index).free_pages == zone(it, index).managed_pages
    assert it.nodes[1].present_pages == BLOCK * sum(block.zone is not None for block in it.memory_hotplug.blocks_of(1))


PROGRAMS = """
[kernel.boot]
memory_notifier_error_inject = 5
[[task]]
name = "users"
instances = 2
cpu = [0, 1]
program = [{op = "repeat", count = 3, program = [
    {op = "alloc_pages", node = 1, count = 9, bag = "u{task}"},
    {op = "alloc_pages", node = 1, order = 2, movable = false, bag = "k{task}"},
    {op = "free_pages", bag = "k{task}"},
    {op = "free_pages", bag = "u{task}", count = 4},
]}, {op = "free_pages", bag = "u0"}, {op = "free_pages", bag = "u1"}]
[[task]]
name = "admin"
cpu = 0
program = [{op = "repeat", count = 2, program = [
    {op = "write", path = "/sys/devices/system/memory/memory8/state", value = "online_movable"},
    {op = "write", path = "/sys/devices/system/memory/auto_online_blocks", value = "online_kernel"},
    {op = "write", path = "/sys/devices/system/memory/memory9/state", value = "online_kernel"},
    {op = "write", path = "INJECT/MEM_GOING_OFFLINE/error", value = "-5"},
    {op = "write", path = "/sys/devices/system/memory/memory8/state", value = "offline"},
    {op = "write", path = "INJECT/MEM_GOING_OFFLINE/error", value = "0"},
    {op = "memory_offline", node = 1},
]}]
[[task]]
name = "reader"
cpu = 1
program = [{op = "repeat", count = 3, program = [
    {op = "read", path = "/sys/devices/system/memory/memory8/state"},
    {op = "read", path = "/sys/devices/system/memory/memory9/valid_zones"},
    {op = "read", path = "/sys/devices/system/memory/auto_online_blocks"},
    {op = "read", path = "/proc/zoneinfo"},
    {op = "read", path = "/proc/buddyinfo"},
]}]
"""
SCENARIO = TWO_BLOCKS + PROGRAMS.replace("INJECT", INJECT)


@pytest.mark.parametrize("release", ["v3.15", "v5.10", "v5.12", "v6.1", "v6.7"])
@pytest.mark.parametrize("strategy", [RandomWalk(1), RandomWalk(2), Pos(1)])
def test_every_step_declares_what_it_touches(release: str, strategy: Any) -> None:
    interleaver = BareInterleaver(type(strategy)(1))
    with audited(interleaver) as footprints:
        it = boot(loads(SCENARIO, release=release), interleaver).machine
        assert interleaver.run_bare() is Outcome.FINISHED
    assert list(footprints.errors) == []
    assert it.violations == []


@pytest.mark.parametrize("strategy", ["random", "pct", "timed"])
def test_the_same_seed_gives_the_same_run(strategy: str) -> None:
    runs = [run_scenario(loads(SCENARIO), RunOptions(strategy=strategy, seed=3)) for _ in range(2)]
    assert runs[0].steps == runs[1].steps
    assert runs[0].counters == runs[1].counters
    assert runs[0].violations == ()
    assert runs[0].counters["blocks_onlined"] >= 2
