"""Cgroups: the hierarchy, tasks in it, and how a cgroup ends."""

from __future__ import annotations

from errno import EBUSY, EEXIST, EINVAL, ENOENT
from typing import TYPE_CHECKING

import pytest

from ..helpers import start
from .story import EVERY_ERA, memcg_of, told, until

if TYPE_CHECKING:
    from slubloom.kernel import Machine


@pytest.mark.parametrize("release", ["v4.9", "v6.1"])
def test_what_cannot_be_made_or_removed_is_refused(release: str) -> None:
    answers = []

    async def body(machine: Machine) -> None:
        cgroups = machine.cgroups
        assert cgroups is not None
        answers.append(await cgroups.mkdir("g"))
        answers.append(await cgroups.mkdir("nowhere/x"))
        answers.append(await cgroups.mkdir("/"))
        answers.append(await cgroups.rmdir("x"))
        answers.append(await cgroups.rmdir("/"))
        answers.append(await cgroups.attach("x"))
        answers.append(await cgroups.mkdir("g/below"))
        answers.append(await cgroups.rmdir("g"))
        await cgroups.attach("g/below")
        answers.append(await cgroups.rmdir("/g/below"))

    told(body, release=release)
    assert answers == [-EEXIST, -ENOENT, -EINVAL, -ENOENT, -EBUSY, -ENOENT, 0, -EBUSY, -EBUSY]


@pytest.mark.parametrize("release", EVERY_ERA)
def test_a_removed_cgroup_goes_offline_and_is_freed_and_its_name_is_free_at_once(release: str) -> None:
    async def body(machine: Machine) -> None:
        cgroups = machine.cgroups
        assert cgroups is not None
        old = memcg_of(machine, "g")
        assert await cgroups.rmdir("g") == 0
        assert "g" not in cgroups.paths
        assert old.css.dead
        assert not await old.css.tryget_live()
        assert await cgroups.mkdir("g") == 0
        assert memcg_of(machine, "g").serial == old.serial + 1
        await until(machine, "memcgs_freed", 1)
        assert list(cgroups.root.memcg.children) == [memcg_of(machine, "g")]

    machine = told(body, release=release)
    assert machine.violations == []
    assert machine.counters["memcgs_created"] == 2
    assert machine.counters["memcgs_offlined"] == 1


@pytest.mark.parametrize("release", ["v4.11", "v5.4", "v6.1"])
def test_a_parent_is_freed_after_its_children(release: str) -> None:
    async def body(machine: Machine) -> None:
        cgroups = machine.cgroups
        assert cgroups is not None
        await cgroups.mkdir("g/a")
        await cgroups.mkdir("g/a/b")
        parent, child = memcg_of(machine, "g/a"), memcg_of(machine, "g/a/b")
        child.css.get()  # somebody still holds the lowest one
        for path in ("g/a/b", "g/a", "g"):
            assert await cgroups.rmdir(path) == 0
        await until(machine, "memcgs_offlined", 3)
        await machine.rcu.synchronize_rcu()
        assert "memcgs_freed" not in machine.counters
        assert parent in memcg_children(machine)
        await child.css.put()
        await until(machine, "memcgs_freed", 3)
        assert not cgroups.root.memcg.children

    assert told(body, release=release).violations == []


def memcg_children(machine: Machine) -> list[object]:
    assert machine.cgroups is not None
    return list(machine.cgroups.root.memcg.descendants())


def test_a_task_holds_its_cgroup_until_it_moves_or_ends() -> None:
    async def body(machine: Machine) -> None:
        cgroups = machine.cgroups
        assert cgroups is not None
        g = cgroups.paths["g"]
        assert g.memcg.css.references == 1
        await cgroups.attach("g")
        await cgroups.attach("/g")
        assert (g.nr_tasks, g.memcg.css.references) == (1, 2)
        assert await cgroups.rmdir("g") == -EBUSY
        await cgroups.attach("/")
        assert (g.nr_tasks, g.memcg.css.references) == (0, 1)
        await cgroups.attach("g")
        await cgroups.leave(machine.current)
        assert (g.nr_tasks, g.memcg.css.references) == (0, 1)

    told(body, release="v6.1")


def test_using_a_cgroup_after_it_was_freed_is_reported() -> None:
    async def body(machine: Machine) -> None:
        cgroups = machine.cgroups
        assert cgroups is not None
        stale = memcg_of(machine, "g")
        await cgroups.rmdir("g")
        await until(machine, "memcgs_freed", 1)
        stale.css.get()

    machine = told(body, release="v6.1")
    assert [violation.kind for violation in machine.violations] == ["use-after-free"]
    assert "struct mem_cgroup" in machine.violations[0].report


def test_cgroup_mutex_keeps_others_out_while_a_cgroup_goes_offline() -> None:
    order: list[str] = []

    async def body(machine: Machine) -> None:
        cgroups = machine.cgroups
        assert cgroups is not None
        offline = cgroups.kmem.offline  # type: ignore[union-attr]

        async def slow(memcg: object) -> None:
            order.append("offline begins")
            await machine.current.sleep(10_000)
            await offline(memcg)  # type: ignore[arg-type]
            order.append("offline ends")

        cgroups.kmem.offline = slow  # type: ignore[union-attr, method-assign]
        await cgroups.rmdir("g")
        while not order:
            await machine.current.sleep(1_000)

        async def make() -> None:
            await cgroups.mkdir("h")  # type: ignore[union-attr]
            order.append("made")

        start(machine, 1, "other", make)

    told(body, release="v4.11")
    assert order == ["offline begins", "offline ends", "made"]
