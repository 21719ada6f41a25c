"""Memory blocks and their files: what is there, what may be written, and where memory goes."""

from __future__ import annotations

from errno import EACCES, EINVAL, EISDIR, ENOENT, ENOTDIR
from typing import TYPE_CHECKING

import pytest
from slubloom.actors.zone import ZONE_MOVABLE, ZONE_NORMAL
from slubloom.kernel.files import read_file, write_file
from slubloom.kernel.memory_hotplug.device import kstrtobool

from .machines import BLOCK, FIRST, MEMORY, SECOND, TWO_BLOCKS, done, machine, shown, state, zone

if TYPE_CHECKING:
    from slubloom.kernel import Machine


def test_each_node_is_divided_into_blocks_and_what_is_left_is_one_too() -> None:
    text = TWO_BLOCKS.replace('"16M"', '"20M"').replace("offline_nodes = [1]", "offline_nodes = [1, 2]")
    hotplug = machine(f'{text}[[machine.node]]\nid = 2\nmemory = "1M"\n').memory_hotplug
    assert list(hotplug.blocks) == list(range(12))
    assert [block.range for block in hotplug.blocks_of(1)] == [(16384, 2048), (18432, 2048), (20480, 1024)]
    assert [block.range for block in hotplug.blocks_of(2)] == [(22528, 256)]


def test_the_files_of_a_block_show_what_it_is() -> None:
    told: list[object] = []

    async def look(it: Machine) -> None:
        told.append(await shown(it, "block_size_bytes"))
        told.append(await shown(it, "auto_online_blocks"))
        names = await read_file(it, MEMORY)
        assert isinstance(names, str)
        told.append(names.split()[:4])
        told.append(await read_file(it, f"{MEMORY}/memory{FIRST}/"))
        for name in ("state", "online", "valid_zones", "removable", "phys_index"):
            told.append((await shown(it, f"memory{FIRST}/{name}"), await shown(it, f"memory2/{name}")))

    done(machine(), look)
    assert told[:3] == ["800000", "offline", ["auto_online_blocks", "block_size_bytes", "memory0", "memory1"]]
    assert told[3] == "online\nphys_device\nphys_index\nremovable\nstate\nvalid_zones\n"
    assert told[4:] == [
        ("offline", "online"),
        ("0", "1"),
        ("Normal Movable", "DMA32"),
        ("1", "1"),
        ("00000008", "00000002"),
    ]


@pytest.mark.parametrize(
    ("path", "error"),
    [
        ("memory99/state", ENOENT),
        ("memory8/color", ENOENT),
        ("memory8/state/x", ENOTDIR),
        ("auto_online_blocks/x", ENOTDIR),
        ("nothing", ENOENT),
    ],
)
def test_what_is_not_there_cannot_be_read(path: str, error: int) -> None:
    answers = []

    async def look(it: Machine) -> None:
        answers.append(await shown(it, path))

    done(machine(), look)
    assert answers == [-error]


@pytest.mark.parametrize(
    ("path", "text", "error"),
    [
        ("memory99/state", "online", ENOENT),
        ("memory8/state", "on", EINVAL),
        ("memory8/state", "", EINVAL),
        ("memory8/online", "perhaps", EINVAL),
        ("memory8/valid_zones", "Normal", EACCES),
        ("memory8/color", "1", ENOENT),
        ("memory8", "online", EISDIR),
        ("", "online", EISDIR),
        ("block_size_bytes", "800000", EACCES),
        ("auto_online_blocks", "sometimes", EINVAL),
    ],
)
def test_what_makes_no_sense_is_refused_and_changes_nothing(path: str, text: str, error: int) -> None:
    answers = []

    async def write(it: Machine) -> None:
        answers.append(await write_file(it, f"{MEMORY}/{path}", text))
        answers.append(await shown(it, f"memory{FIRST}/state"))

    done(machine(), write)
    assert answers == [-error, "offline"]


def test_a_block_that_is_as_wanted_refuses_by_one_file_and_agrees_by_the_other() -> None:
    answers = []

    async def write(it: Machine) -> None:
        for file, text in (
            ("state", "online\n"),
            ("state", "online_kernel"),
            ("online", "1"),
            ("online", "0"),
            ("online", "off"),
            ("state", "offline"),
        ):
            answers.append(await write_file(it, f"{MEMORY}/memory{FIRST}/{file}", text))

    done(machine(), write)
    assert answers == [0, -EINVAL, 0, 0, 0, -EINVAL]


@pytest.mark.parametrize(
    ("text", "means"),
    [("1", True), ("Yes", True), ("on", True), ("0\n", False), ("OFF", False), ("o", None), ("", None)],
)
def test_yes_and_no_are_understood_as_in_the_kernel(text: str, means: bool | None) -> None:
    assert kstrtobool(text) is means


@pytest.mark.parametrize(
    ("wanted", "index"), [("online", ZONE_NORMAL), ("online_kernel", ZONE_NORMAL), ("online_movable", ZONE_MOVABLE)]
)
def test_memory_goes_to_the_zone_that_was_asked_for(wanted: str, index: int) -> None:
    async def write(it: Machine) -> None:
        assert await state(it, FIRST, wanted) == 0
        assert await shown(it, f"memory{FIRST}/valid_zones") == zone(it, index).name

    after = done(machine(), write)
    assert [other.managed_pages for other in after.nodes[1].zones] == [BLOCK * (i == index) for i in range(5)]
    assert zone(after, index).free_pages == BLOCK


def test_memory_between_movable_memory_is_movable_by_itself() -> None:
    told = []

    async def write(it: Machine) -> None:
        assert await state(it, FIRST, "online_movable") == 0
        assert await state(it, FIRST + 2, "online_movable") == 0
        told.append(await shown(it, f"memory{SECOND}/valid_zones"))
        assert await state(it, SECOND, "online") == 0

    after = done(machine(TWO_BLOCKS.replace('"16M"', '"24M"')), write)
    assert told == ["Movable Normal"]
    assert zone(after, ZONE_MOVABLE).managed_pages == 3 * BLOCK


def test_what_is_said_of_memory_in_general_holds_for_a_whole_node() -> None:
    async def write(it: Machine) -> None:
        assert await write_file(it, f"{MEMORY}/auto_online_blocks", "online_movable") == 0
        assert await shown(it, "auto_online_blocks") == "online_movable"
        assert await it.memory_hotplug.request(True, 1) == 0
        assert await it.memory_hotplug.request(True, 1) == -EINVAL  # nothing to do

    after = done(machine(), write)
    assert zone(after, ZONE_MOVABLE).managed_pages == 2 * BLOCK
    assert after.counters["blocks_onlined"] == 2
    assert after.counters["nodes_onlined"] == 1


def test_a_block_in_two_zones_cannot_leave() -> None:
    answers = []

    async def write(it: Machine) -> None:
        answers.append(await shown(it, "memory0/valid_zones"))
        answers.append(await state(it, 0, "offline"))
        answers.append(await shown(it, "memory0/state"))

    # Node 0 has 64 MiB in blocks of 32: the first is in ZONE_DMA as well as in ZONE_DMA32.
    done(machine(TWO_BLOCKS.replace('"8M"', '"32M"')), write)
    assert answers == ["none", -EINVAL, "online"]
