"""/sys/kernel/debug/shrinker: counting, scanning, and going away under somebody's eyes."""

from __future__ import annotations

from errno import EACCES, EINVAL, EISDIR, ENOENT, ENOTDIR
from typing import TYPE_CHECKING

import pytest
from slubloom.actors import BareInterleaver, Op, OpKind, Outcome, RunLimits
from slubloom.actors.strategies import RandomWalk
from slubloom.kernel.files import read_file, write_file
from slubloom.kernel.sanitizers.footprint import audited
from slubloom.topology import loads

from slubloom.explore.subject import ScenarioSubject
from slubloom.run import RunOptions, run_scenario

from .story import GROUPS, ONE_NODE, SANITIZERS, TWO_NODES, add, enter, shrinker, together, told

if TYPE_CHECKING:
    from slubloom.kernel import Machine
    from slubloom.kernel.shrinker import Shrinkers
    from slubloom.kernel.shrinker.shrinker import ShrinkControl, Shrinker

FOLDER = "/sys/kernel/debug/shrinker"
FS = f"{FOLDER}/sb-fs-0"
TEXT = TWO_NODES + SANITIZERS + GROUPS + shrinker("fs")
READ = f'{{op = "read", path = "{FS}/count"}}'
LIST = f'{{op = "read", path = "{FOLDER}"}}'
SCAN = f'{{op = "write", path = "{FS}/scan", value = "0 0 1"}}'
RACE = (
    ONE_NODE
    + '[kernel]\nsanitizers = ["kasan", "lockdep", "leak", "existence"]\n'
    + shrinker("fs")
    + f"""
[[task]]
name = "user"
cpu = 0
program = [{{op = "lru_add", at = "fs", count = 2}}, {{op = "umount", at = "fs"}}]
[[task]]
name = "reader"
cpu = 1
program = [{", ".join([READ, SCAN] * 5)}]
[[task]]
name = "other"
cpu = 2
program = [{", ".join([READ, LIST] * 5)}]
"""
)
FIXED = ("put-skipped-shrinker", "serialised-shrinker-info-teardown")
RACES: list[tuple[str, tuple[str, ...]]] = [("v6.1", ()), ("v6.7", ()), ("v6.12", FIXED)]


@pytest.mark.parametrize("release", ["v6.0", "v6.7"])
def test_count_shows_what_is_on_the_lists_and_scan_frees_it(release: str) -> None:
    async def body(machine: Machine, shrinkers: Shrinkers) -> None:
        sb = shrinkers.supers["fs"]
        assert await read_file(machine, FOLDER) == "sb-fs-0\n"
        assert await read_file(machine, FS) == "count\nscan\n"
        assert await read_file(machine, f"{FS}/count") == ""
        await add(sb, 3, node=1)
        await enter(machine, "top/g")
        await add(sb, 2, node=0)
        assert await read_file(machine, f"{FS}/count") == "1 0 3\n3 2 0\n"
        assert await write_file(machine, f"{FS}/scan", "3 0 1\n") == 0
        assert await read_file(machine, f"{FS}/count") == "1 0 3\n3 1 0\n"
        assert await write_file(machine, f"{FS}/scan", "1 1 3") == 0
        assert await read_file(machine, f"{FS}/count") == "3 1 0\n"
        assert len(sb.objects) == 1

    assert told(TEXT, body, release=release).violations == []


def test_what_is_refused() -> None:
    async def body(machine: Machine, _: Shrinkers) -> None:
        for text in ("", "x", "1 0", "1 -1 1", "1 2 1", "-1 0 1"):
            assert await write_file(machine, f"{FS}/scan", text) == -EINVAL
        assert await write_file(machine, f"{FS}/scan", "99 0 1") == -ENOENT
        assert await write_file(machine, f"{FS}/scan", "99 0 0") == 0  # nothing to scan, nowhere
        assert await write_file(machine, f"{FS}/count", "1") == -EACCES
        assert await read_file(machine, f"{FS}/scan") == -EINVAL
        for path, error in ((f"{FOLDER}/x", ENOENT), (f"{FS}/x", ENOENT), (f"{FS}/count/x", ENOTDIR)):
            assert await read_file(machine, path) == -error
            assert await write_file(machine, path, "1 0 1") == -error
        assert await write_file(machine, FS, "1") == await write_file(machine, FOLDER, "1") == -EISDIR

    told(TEXT, body, release="v6.12")


def test_it_is_there_from_6_0() -> None:
    async def body(machine: Machine, _: Shrinkers) -> None:
        assert await read_file(machine, FOLDER) == -ENOENT
        assert await write_file(machine, f"{FS}/scan", "1 0 1") == -ENOENT

    told(TEXT, body, release="v5.19")


@pytest.mark.parametrize("release", ["v6.1", "v6.7"])
def test_umount_waits_for_a_reader_inside(release: str) -> None:
    order: list[str] = []

    async def body(machine: Machine, shrinkers: Shrinkers) -> None:
        count = shrinkers.supers["fs"].shrinker.count_objects

        async def slow(one: Shrinker, sc: ShrinkControl) -> int:
            order.append("inside")
            for _ in range(400):  # an RCU reader, who may not sleep; umount comes to where it waits meanwhile
                await Op(OpKind.LOCAL, "slow")
            order.append("outside")
            return await count(one, sc)

        shrinkers.supers["fs"].shrinker.count_objects = slow

        async def read() -> None:
            assert isinstance(await read_file(machine, f"{FS}/count"), str)

        async def umount() -> None:
            while not order:
                await Op(OpKind.LOCAL, "look")
            order.append("umounting")
            assert await shrinkers.umount("fs") == 0
            order.append("umounted")
            assert await read_file(machine, f"{FS}/count") == -ENOENT
            assert await read_file(machine, FOLDER) == ""

        await together(machine, read, umount)

    assert told(ONE_NODE + shrinker("fs"), body, release=release).violations == []
    assert order == ["inside", "umounting", "outside", "umounted"]


@pytest.mark.parametrize(("release", "apply"), RACES)
def test_reading_races_with_umount_and_nothing_is_found(release: str, apply: tuple[str, ...]) -> None:
    scenario = loads(RACE, release=release, apply=apply)
    for seed in range(60):
        result = run_scenario(scenario, RunOptions(strategy="random", seed=seed))
        assert [violation.title for violation in result.violations] == []
        assert result.outcome is Outcome.FINISHED


@pytest.mark.parametrize(("release", "apply"), RACES)
def test_its_steps_declare_what_they_touch(release: str, apply: tuple[str, ...]) -> None:
    for seed in range(4):
        interleaver = BareInterleaver(RandomWalk(seed), limits=RunLimits(100_000))
        with audited(interleaver) as footprints:
            ScenarioSubject(loads(RACE, release=release, apply=apply)).begin(interleaver)
            assert interleaver.run_bare() is Outcome.FINISHED
        assert list(footprints.errors) == []
