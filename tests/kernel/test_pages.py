"""The page allocator: zonelists, zones, who is asked for pages, and many at once."""

from __future__ import annotations

import json
import lzma
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from slubloom.actors import BareInterleaver, Cpu, Interleaver, NumaNode, Outcome
from slubloom.actors.strategies import Pos, RandomWalk
from slubloom.actors.zone import ZONE_DMA, ZONE_DMA32, ZONE_MOVABLE, ZONE_NORMAL, setup_per_zone_wmarks
from slubloom.kernel import boot
from slubloom.kernel.gfp import (
    GFP_DMA,
    GFP_DMA32,
    GFP_HIGHMEM,
    GFP_HIGHUSER_MOVABLE,
    GFP_KERNEL,
    GFP_MOVABLE,
    GFP_NOWARN,
    GFP_THISNODE,
    gfp_names,
    gfp_zone,
)
from slubloom.kernel.machine import Machine
from slubloom.kernel.pages import GFP_ATOMIC, NUMA_NO_NODE, PageAllocator, fallback_orders
from slubloom.kernel.proc_pages import (
    buddyinfo_text,
    zoneinfo_text,
)
from slubloom.kernel.sanitizers.footprint import audited
from slubloom.topology import loads

from .helpers import booted, run, start

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from slubloom.actors.strategies import Strategy

RECORDED = Path(__file__).parents[2].parent / "shared" / "real-kernel"
GIB4 = 1 << 20
MIB = 256  # pages


def machine_of(
    *nodes: tuple[int, int],
    cpus: tuple[int, ...] = (0,),
    distances: list[list[int]] | None = None,
    interleaver: Interleaver | None = None,
) -> Machine:
    """Processors on the nodes `cpus` names, and nodes with page frames (first, number), and nothing else."""
    interleaver = interleaver or Interleaver(RandomWalk(0))
    machine = Machine(interleaver, release="v6.1")
    for number, home in enumerate(cpus):
        cpu = Cpu(interleaver, number, home, preempt_model="full", tick_ns=4_000_000)
        cpu.online = True
        machine.cpus[number] = cpu
        interleaver.spawn(cpu)
    table = distances or [[10 if one == other else 20 for other in range(len(nodes))] for one in range(len(nodes))]
    machine.nodes = {n: NumaNode(interleaver, n, dict(enumerate(table[n]))) for n in range(len(nodes))}
    machine.pages = PageAllocator(machine)
    states = machine.pages.states
    for number, (first, pages) in enumerate(nodes):
        states.possible.set(number)
        states.online.set(number)
        if pages:
            machine.nodes[number].boot_memory(first, pages)
            states.set_memory(number)
    machine.pages.build_all_zonelists()
    machine.booting = False
    for node in machine.nodes.values():
        interleaver.spawn(node)
    return machine


def told(machine: Machine, *bodies: Callable[[Machine], Coroutine[Any, Any, None]]) -> Machine:
    """Run each body as a thread on a processor of its own, to the end."""
    for number, body in enumerate(bodies):
        start(machine, number, f"task{number}", lambda body=body: body(machine))  # type: ignore[misc]
    assert run(machine) is Outcome.FINISHED
    return machine


def use_up(machine: Machine, node: int, left: int) -> list[int]:
    """Take single pages from the zones of `node`, from the lowest up, until `left` are free in the highest."""
    zones = [zone for zone in machine.nodes[node].zones if zone.managed_pages]
    taken = []
    for zone in zones:
        while zone.free_pages > (left if zone is zones[-1] else 0):
            pfn = zone.buddy.allocate(0)
            assert pfn is not None
            taken.append(pfn)
    return taken


def recorded(name: str) -> str:
    path = RECORDED / name
    if not path.exists():
        pytest.skip(f"no recording of a real kernel: {path} is not there")
    with lzma.open(path, "rt") as file:
        return file.read()


# --- zonelists


@pytest.mark.parametrize("shape", ["1c1n", "4c2n", "8c4n"])
def test_zonelists_are_those_of_a_recorded_machine(shape: str) -> None:
    header = json.loads(recorded(f"boot/{shape}/slab_caches.jsonl.xz").partition("\n")[0])
    count = header["nr_node_ids"]
    machine = machine_of(*((number * 64 * MIB, 64 * MIB) for number in range(count)), cpus=tuple(header["cpu_node"]))
    assert [machine.pages.zonelists[node] for node in range(count)] == header["fallback"]


def test_a_node_without_memory_has_the_zonelist_of_a_recorded_machine() -> None:
    header = json.loads(recorded("memory-hotplug/mem-a.jsonl.xz").partition("\n")[0])
    machine = machine_of((0, 64 * MIB), (64 * MIB, 0), cpus=tuple(header["cpu_node"]))
    assert [machine.pages.zonelists[node] for node in (0, 1)] == header["fallback"]


def orders(table: list[list[int]], with_cpus: tuple[int, ...] | None = None) -> list[list[int]]:
    nodes = list(range(len(table)))
    return list(
        fallback_orders(
            {node: dict(enumerate(row)) for node, row in enumerate(table)},
            nodes,
            nodes if with_cpus is None else with_cpus,
        ).values()
    )


def test_nearer_nodes_come_first() -> None:
    assert orders([[10, 40, 20], [40, 10, 30], [20, 30, 10]]) == [[0, 2, 1], [1, 2, 0], [2, 0, 1]]


def test_equally_far_nodes_take_turns_in_being_the_first_fallback() -> None:
    # Two packages of two nodes.  From node 0 the other package begins with 2, which then has more to bear than 3: from
    # node 1 it begins with 3.  From node 2 both are behind it in number and 0 is as good as 1: 0; from node 3 then 1.
    near, far = 11, 21
    table = [[10 if a == b else near if a // 2 == b // 2 else far for b in range(4)] for a in range(4)]
    assert orders(table) == [[0, 1, 2, 3], [1, 0, 3, 2], [2, 3, 0, 1], [3, 2, 1, 0]]


def test_a_node_without_processors_comes_before_its_equals() -> None:
    table = [[10 if a == b else 20 for b in range(3)] for a in range(3)]
    # Seen from 0 both others are equally far, and node 2 has nobody of its own.  Seen from 2, where numbers below its
    # own cost as much as a processor, 0 and 1 are alike, but 1 was nobody's first fallback so far.
    assert orders(table, with_cpus=(0, 1)) == [[0, 2, 1], [1, 2, 0], [2, 0, 1]]


def test_a_node_that_comes_online_is_found_by_everybody_and_one_that_leaves_by_nobody() -> None:
    machine = booted(text=OFFLINE_NODE)
    seen = []

    async def hotplug() -> None:
        seen.append(dict(machine.pages.zonelists))
        assert await machine.memory_hotplug.request(True, 1) == 0
        seen.append(dict(machine.pages.zonelists))
        assert await machine.memory_hotplug.request(False, 1) == 0
        seen.append(dict(machine.pages.zonelists))

    start(machine, 0, "hotplug", hotplug)
    assert run(machine) is Outcome.FINISHED
    assert seen == [{0: [0], 1: [0]}, {0: [0, 1], 1: [1, 0]}, {0: [0], 1: [0]}]


OFFLINE_NODE = """
[machine]
offline_nodes = [1]
[[machine.node]]
id = 0
cpus = "0-1"
memory = "64M"
[[machine.node]]
id = 1
cpus = ""
memory = "64M"
"""


def test_watermarks_are_divided_anew_when_memory_comes_and_goes() -> None:
    machine = booted(text=OFFLINE_NODE)
    seen = []

    def marks() -> tuple[Any, ...]:
        zones = [zone for node in machine.nodes.values() for zone in node.zones if zone.managed_pages]
        return machine.pages.min_free_kbytes, [(zone.name, zone.watermarks) for zone in zones]

    async def hotplug() -> None:
        seen.append(marks())
        assert await machine.memory_hotplug.request(True, 1) == 0
        seen.append(marks())
        assert await machine.memory_hotplug.request(False, 1) == 0
        seen.append(marks())

    start(machine, 0, "hotplug", hotplug)
    assert run(machine) is Outcome.FINISHED
    # 64 MiB: the root of 65536 * 16 is 1024 kB, 256 pages, of which ZONE_DMA has a quarter.
    assert seen[0] == (1024, [("DMA", (64, 80, 96)), ("DMA32", (192, 240, 288))])
    # 128 MiB, less the 96 + 288 pages above: 129536 kB give 1439 kB, 359 pages.
    assert seen[1] == (1439, [("DMA", (44, 55, 66)), ("DMA32", (134, 167, 200)), ("Normal", (179, 223, 267))])
    # 64 MiB, less the 66 + 200 pages above: 64472 kB give 1015 kB, 253 pages.
    assert seen[2] == (1015, [("DMA", (63, 78, 93)), ("DMA32", (189, 236, 283))])


# --- who is asked


def test_pages_come_from_the_wanted_node_and_from_the_processors_own_where_none_is_wanted() -> None:
    got: list[Any] = []

    async def body(machine: Machine) -> None:
        for node in (NUMA_NO_NODE, 0, 1):
            got.append(await machine.pages.alloc_pages_node(node, GFP_KERNEL, 0))

    told(machine_of((0, 64 * MIB), (64 * MIB, 64 * MIB), cpus=(1,)), body)
    assert [place[1] for place in got] == [1, 0, 1]
    assert [place[0] // (64 * MIB) for place in got] == [1, 0, 1]


def test_one_message_is_sent_for_each_node_that_is_tried() -> None:
    machine = machine_of(*((number * 64 * MIB, 64 * MIB) for number in range(3)))
    for node in (0, 1):
        use_up(machine, node, 0)
    sent: list[Any] = []
    machine.tracepoints.message_send.attach(sent.append)

    async def body(machine: Machine) -> None:
        assert await machine.pages.alloc_pages_node(2, GFP_KERNEL, 0)
        assert len(sent) == 1
        got = await machine.pages.alloc_pages_node(0, GFP_KERNEL, 0)
        assert got is not None
        assert got[1] == 2
        assert [record[6] for record in sent] == ["node/2", "node/0", "node/1", "node/2"]

    told(machine, body)


def test_a_page_at_hand_costs_its_caller_three_steps_and_the_node_one() -> None:
    machine = machine_of((0, 64 * MIB))
    steps = []

    async def body(machine: Machine) -> None:
        for _ in range(2):
            before = machine.interleaver.steps
            assert await machine.pages.alloc_pages_node(0, GFP_KERNEL, 0)
            steps.append(machine.interleaver.steps - before)

    told(machine, body)
    assert steps == [4, 4]  # look at the zonelist, send, [the node receives], go on with the reply


def test_a_node_without_enough_leaves_it_to_the_next_unless_only_it_will_do() -> None:
    machine = machine_of((0, 64 * MIB), (64 * MIB, 64 * MIB))
    use_up(machine, 0, 0)
    got: list[Any] = []

    async def body(machine: Machine) -> None:
        got.append(await machine.pages.alloc_pages_node(0, GFP_KERNEL, 0))
        got.append(await machine.pages.alloc_pages_node(0, GFP_KERNEL | GFP_THISNODE | GFP_NOWARN, 0))

    told(machine, body)
    assert got[0][1] == 1
    assert got[1] is None


def test_only_the_wanted_node_is_asked_where_nothing_else_will_do_and_nobody_where_it_has_no_memory() -> None:
    machine = machine_of((0, 64 * MIB), (64 * MIB, 0))
    sent: list[Any] = []
    machine.tracepoints.message_send.attach(sent.append)

    async def body(machine: Machine) -> None:
        assert await machine.pages.alloc_pages_node(1, GFP_KERNEL | GFP_THISNODE | GFP_NOWARN, 0) is None
        assert sent == []
        assert await machine.pages.alloc_pages_node(1, GFP_KERNEL, 0) == (4096, 0)

    told(machine, body)


@pytest.mark.parametrize(
    ("gfp", "zone"),
    [
        (GFP_KERNEL, ZONE_NORMAL),
        (GFP_KERNEL | GFP_HIGHMEM, ZONE_NORMAL),
        (GFP_KERNEL | GFP_MOVABLE, ZONE_NORMAL),
        (GFP_HIGHUSER_MOVABLE, ZONE_MOVABLE),
        (GFP_KERNEL | GFP_DMA32, ZONE_DMA32),
        (GFP_KERNEL | GFP_DMA32 | GFP_MOVABLE, ZONE_DMA32),
        (GFP_ATOMIC | GFP_DMA, ZONE_DMA),
        (GFP_DMA | GFP_DMA32, None),
        (GFP_DMA | GFP_HIGHMEM, None),
    ],
)
def test_zone_modifiers_name_the_highest_zone(gfp: int, zone: int | None) -> None:
    assert gfp_zone(gfp) == zone


def test_pages_for_old_devices_come_from_a_node_that_has_them_low_enough() -> None:
    # Node 0 has the first 6 GiB, node 1 what follows: only node 0 has anything below 4 GiB.
    machine = machine_of((0, 6 << 18), (6 << 18, 2 << 18), cpus=(1,))
    got: list[Any] = []
    sent: list[Any] = []
    machine.tracepoints.message_send.attach(sent.append)

    async def body(machine: Machine) -> None:
        for modifier in (0, GFP_DMA32, GFP_DMA):
            got.append(await machine.pages.alloc_pages_node(1, GFP_KERNEL | modifier, 0))

    told(machine, body)
    assert got == [(6 << 18, 1), (4096, 0), (0, 0)]
    assert [record[6] for record in sent] == ["node/1", "node/0", "node/0"]


def test_zone_modifiers_that_exclude_each_other_are_a_bug() -> None:
    machine = machine_of((0, 64 * MIB))

    async def body() -> None:
        await machine.pages.alloc_pages_node(0, GFP_KERNEL | GFP_DMA | GFP_DMA32, 0)

    start(machine, 0, "driver", body)
    run(machine)
    assert [violation.kind for violation in machine.violations] == ["kernel-bug"]
    assert "0xcc5" in machine.violations[0].report


def test_no_order_is_served_that_no_free_list_has() -> None:
    async def body(machine: Machine) -> None:
        assert await machine.pages.alloc_pages_node(0, GFP_KERNEL, 11) is None
        assert await machine.pages.alloc_pages_node(0, GFP_KERNEL, 10) is not None

    assert told(machine_of((0, 64 * MIB)), body).console == ["WARNING: __alloc_pages: order 11 is not below 11"]


@pytest.mark.parametrize(
    ("gfp", "names"),
    [
        (0xCC0, "GFP_KERNEL"),
        (0xA20, "GFP_ATOMIC"),
        (0x404000, "__GFP_RETRY_MAYFAIL|__GFP_ACCOUNT"),
        (0x194DC2, "GFP_HIGHUSER|__GFP_RETRY_MAYFAIL|__GFP_NORETRY|__GFP_ZERO|__GFP_NOMEMALLOC"),
        (0xCC1, "GFP_KERNEL|GFP_DMA"),
        (0xC04, "GFP_NOIO|GFP_DMA32"),
        (0x800, "GFP_NOWAIT"),
        (0x1C20CA, "GFP_TRANSHUGE_LIGHT"),
        (0x1000CC0, "GFP_KERNEL|0x1000000"),
        (0, ""),
    ],
)
def test_flags_are_named_as_the_kernel_names_them(gfp: int, names: str) -> None:
    assert gfp_names(gfp) == names


# --- everybody at once


def audit_of_use(strategy: Strategy) -> tuple[list[str], Machine]:
    """What the audit says of two tasks that use up memory and give it back, while another one reads the files."""
    interleaver = BareInterleaver(strategy)
    with audited(interleaver) as footprints:
        machine = machine_of((GIB4, 3 * MIB), (GIB4 + 3 * MIB, 3 * MIB), cpus=(0, 1, 1), interleaver=interleaver)
        setup_per_zone_wmarks([zone for node in machine.nodes.values() for zone in node.zones], 1000)

        async def user() -> None:
            for round_number in range(3):
                got = []
                while (place := await machine.pages.alloc_pages_node(round_number % 2, GFP_KERNEL, 6)) is not None:
                    got.append(place)
                for pfn, node in got:
                    await machine.pages.free_pages(node, pfn, 6)

        async def reader() -> None:
            for _ in range(3):
                await buddyinfo_text(machine)
                await zoneinfo_text(machine)

        start(machine, 0, "one", user)
        start(machine, 1, "other", user)
        start(machine, 2, "reader", reader)
        assert interleaver.run_bare() is Outcome.FINISHED
    return list(footprints.errors), machine


@pytest.mark.parametrize("strategy", [RandomWalk(1), RandomWalk(2), Pos(1)])
def test_every_step_of_allocating_freeing_and_reading_declares_what_it_touches(strategy: Strategy) -> None:
    errors, machine = audit_of_use(strategy)
    assert errors == []
    assert machine.counters["page_allocation_failures"] >= 6
    assert sum(node.free_pages for node in machine.nodes.values()) == 6 * MIB


def test_zones_that_are_changed_without_declaring_it_show(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(NumaNode, "touched", lambda *_: None)
    errors, _ = audit_of_use(RandomWalk(1))
    assert errors
    assert all(error.startswith("Buddy.") for error in errors)


@pytest.mark.parametrize("strategy", [RandomWalk(1), RandomWalk(2), Pos(1), Pos(2)])
def test_every_step_declares_what_it_touches_while_memory_comes_and_goes(strategy: Strategy) -> None:
    interleaver = BareInterleaver(strategy)
    with audited(interleaver) as footprints:
        machine = boot(loads(OFFLINE_NODE), interleaver).machine

        async def hotplug() -> None:
            for online in (True, False, True):
                await machine.memory_hotplug.request(online, 1)

        async def user() -> None:
            for number in range(12):
                place = await machine.pages.alloc_pages_node(1, GFP_KERNEL | GFP_DMA32 * (number % 2), number % 11)
                if place is not None:
                    await machine.pages.free_pages(place[1], place[0], number % 11)

        async def reader() -> None:
            for _ in range(4):
                await buddyinfo_text(machine)
                await zoneinfo_text(machine)

        for name, function in (("hotplug", hotplug), ("user", user), ("reader", reader)):
            start(machine, name == "user", name, function)
        assert interleaver.run_bare() is Outcome.FINISHED
    assert footprints.errors == {}
    assert machine.violations == []


@pytest.mark.parametrize("seed", range(20))
def test_pages_of_competing_tasks_never_overlap_and_all_come_back(seed: int) -> None:
    machine = machine_of((0, 20 * MIB), (20 * MIB, 4 * MIB), cpus=(0, 1), interleaver=Interleaver(RandomWalk(seed)))
    held: dict[int, int] = {}
    initial = [zone.buddy.counts() for node in machine.nodes.values() for zone in node.zones]

    async def user(machine: Machine) -> None:
        got = []
        for number in range(60):
            order = (0, 3, 1, 9, 2)[number % 5]
            place = await machine.pages.alloc_pages_node(number % 2, GFP_KERNEL | GFP_NOWARN, order)
            if place is None:
                continue
            for pfn in range(place[0], place[0] + (1 << order)):
                assert pfn not in held
                held[pfn] = place[1]
            got.append((*place, order))
        for pfn, node, order in got:
            for page in range(pfn, pfn + (1 << order)):
                assert held.pop(page) == node
            await machine.pages.free_pages(node, pfn, order)

    told(machine, user, user)
    assert [zone.buddy.counts() for node in machine.nodes.values() for zone in node.zones] == initial
