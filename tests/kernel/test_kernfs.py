"""kernfs: a file that is removed is waited for, refuses who comes later, and lockdep knows."""

from __future__ import annotations

from errno import ENODEV
from typing import TYPE_CHECKING, Any

import pytest
from slubloom.actors import Interleaver, Outcome
from slubloom.actors.strategies import Pos
from slubloom.kernel import boot
from slubloom.kernel.kernfs import kernfs_read, kernfs_remove, kernfs_write
from slubloom.kernel.sanitizers.footprint import audited
from slubloom.topology import loads

from .helpers import TWO_NODES, booted, run, start

if TYPE_CHECKING:
    from slubloom.kernel import Machine
    from slubloom.kernel.kernfs import KernfsDirectory, KernfsNode

SEEDS = range(30)


def directory_of(machine: Machine) -> KernfsDirectory:
    return machine.kernfs.directory("/sys/thing", machine.interleaver.resource("thing"))


def file_of(directory: KernfsDirectory, attribute: str = "a") -> KernfsNode:
    node = directory.file(attribute)
    assert node is not None
    return node


def read_while_removed(machine: Machine) -> list[str]:
    """One thread reads a file slowly, another one removes its directory; what happened, in order."""
    directory = directory_of(machine)
    node = file_of(directory)
    told: list[str] = []

    async def show() -> str:
        told.append("begins")
        await machine.current.sleep(1_000_000)
        told.append("ends")
        return "text\n"

    async def read() -> None:
        text = await kernfs_read(node, show)
        told.append("read" if text == "text\n" else "refused")
        assert text in ("text\n", -ENODEV)

    async def remove() -> None:
        await kernfs_remove(directory, lambda: None)
        told.append("removed")

    start(machine, 0, "cat", read)
    start(machine, 1, "rmmod", remove)
    assert run(machine) is Outcome.FINISHED
    assert machine.violations == []
    return told


def test_removal_waits_for_a_reader_that_has_begun_and_refuses_one_that_has_not() -> None:
    stories = {tuple(word for word in read_while_removed(booted(seed)) if word != "read") for seed in SEEDS}
    assert stories == {("begins", "ends", "removed"), ("refused", "removed"), ("removed", "refused")}


def test_a_removed_directory_has_no_files() -> None:
    machine = booted()
    directory = directory_of(machine)
    file_of(directory)

    async def remove() -> None:
        await kernfs_remove(directory, lambda: None)
        assert directory.file("a") is None
        assert directory.file("b") is None

    start(machine, 0, "rmmod", remove)
    assert run(machine) is Outcome.FINISHED


def writers(machine: Machine, store: Any, count: int = 2) -> list[int]:
    """So many threads write to one file by `store`, which gets the file; what they were told."""
    node = file_of(directory_of(machine))
    answers: list[int] = []

    async def write() -> None:
        answers.append(await kernfs_write(node, lambda: store(node)))

    for cpu in range(count):
        start(machine, cpu, "echo", write)
    run(machine)
    return answers


def test_one_of_those_who_remove_a_file_through_itself_does_so_and_the_others_wait_for_all_of_it() -> None:
    met = set()
    for seed in SEEDS:
        machine = booted(seed)
        told: list[str] = []

        async def store(node: KernfsNode, machine: Machine = machine, told: list[str] = told) -> int:
            if await node.remove_self():
                await machine.current.sleep(1_000)
                told.append("won")
            else:
                told.append("lost")
            return 0

        answers = writers(machine, store, count=3)
        assert machine.violations == []
        assert len(answers) == 3
        assert told.count("won") == 1
        assert told[0] == "won"  # nobody is told that he lost before the winner is done
        assert told.count("lost") == answers.count(0) - 1
        met.add(answers.count(0))
    assert met == {1, 2, 3}


def test_a_file_that_removes_itself_without_leaving_it_waits_for_itself() -> None:
    machine = booted()

    async def store(node: KernfsNode) -> int:
        node.deactivate()
        await node.drain()
        return 0

    assert writers(machine, store, count=1) == []
    # Lockdep says so first: a reference is held that is waited for.
    assert machine.violations[0].kind == "lockdep-recursive"
    machine = booted(stop=False)
    writers(machine, store, count=1)
    assert [violation.kind for violation in machine.violations][-1] == "deadlock"


def classes_seen(release: str) -> list[str]:
    machine = booted(release=release)
    seen: list[str] = []
    machine.tracepoints.lock_acquire.attach(lambda record: seen.append(record[6]))
    directory = directory_of(machine)

    async def show() -> str:
        return ""

    async def read() -> None:
        for attribute in ("a", "b", "a"):
            await kernfs_read(file_of(directory, attribute), show)

    async def write() -> None:
        async def store() -> int:
            return 0

        await read()
        await kernfs_write(machine.kernfs.file("/sys/other/c", "c"), store)

    start(machine, 0, "cat", write)
    assert run(machine) is Outcome.FINISHED
    return [name for name in seen if name.startswith(("kn->", "&of", "sb_"))]


@pytest.mark.parametrize(("release", "name"), [("v5.6", "kn->count"), ("v5.7", "kn->active")])
def test_attributes_are_numbered_in_the_order_of_their_first_use(release: str, name: str) -> None:
    mutex = "&of->mutex"
    assert classes_seen(release) == [
        *(mutex, name),
        *(mutex, f"{name}#2"),
        *(mutex, name),
        *("sb_writers", mutex, f"{name}#3"),
    ]


@pytest.mark.parametrize(("release", "told"), [("v6.0", True), ("v6.1", False)])
def test_lockdep_is_told_of_files_nobody_uses_up_to_6_0(release: str, told: bool) -> None:
    destroys = '[[task]]\nname = "t"\nprogram = [{op = "kmem_cache_destroy", cache = "x"}]\n'
    text = f'{TWO_NODES}[[cache]]\nname = "x"\nsize = 64\n{destroys}'
    machine = booted(text=text, release=release)
    seen: list[str] = []
    machine.tracepoints.lock_acquire.attach(lambda record: seen.append(record[6]))
    assert run(machine) is Outcome.FINISHED
    assert any(name.startswith("kn->active") for name in seen) is told


def test_every_step_of_removal_declares_what_it_touches() -> None:
    for seed in range(3):
        interleaver = Interleaver(Pos(seed))
        with audited(interleaver) as footprints:
            read_while_removed(boot(loads(TWO_NODES), interleaver).machine)
        assert list(footprints.errors) == []
