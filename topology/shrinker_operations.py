"""Shrinkers of a topology, and operations on what has one: mounting, using, reclaiming."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from .errors import Problem
from .parts import Model, Name, Nanoseconds

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from .scenario import Scenario

COUNT_MAX = 1_000_000
DEF_PRIORITY = 12

ShrinkerFlag = Literal["SHRINKER_NUMA_AWARE", "SHRINKER_MEMCG_AWARE", "SHRINKER_NONSLAB"]
"""What a shrinker may be; in the kernel room each has its value."""
Count = Annotated[int, Field(ge=1, le=COUNT_MAX)]


class ShrinkerSection(Model):
    """``[[shrinker]]``: a cache of objects of ``size`` bytes with an LRU list and a shrinker, as a file system has.

    One that is ``mounted`` is there, under its own name, when the tasks start; several ``copies`` have numbers behind
    it.  ``charge`` says whose list an object
    goes to: that of the cgroup it is charged to, or that of the task that adds it, and then it is charged to nobody.
    ``scan_ns`` is how long each scan waits for somebody else.  ``register_after_ns`` is how long after users are let in
    the shrinker is registered; absent, it is before.  ``batch`` 0 is the default of the kernel.
    """

    name: Name
    size: Annotated[int, Field(ge=1, le=65536)] = 192
    flags: tuple[ShrinkerFlag, ...] = ("SHRINKER_NUMA_AWARE", "SHRINKER_MEMCG_AWARE")
    seeks: Annotated[int, Field(ge=0, le=1 << 16)] = 2
    batch: Annotated[int, Field(ge=0, le=COUNT_MAX)] = 0
    charge: Literal["object", "task"] = "object"
    scan_ns: Nanoseconds = 0
    register_after_ns: Nanoseconds | None = None
    mounted: bool = True
    copies: Annotated[int, Field(ge=1, le=256)] = 1

    @property
    def places(self) -> tuple[str, ...]:
        """Where it is mounted from the start."""
        if not self.mounted:
            return ()
        return (self.name,) if self.copies == 1 else tuple(f"{self.name}{number}" for number in range(self.copies))


class Mount(Model):
    """Mount what a ``[[shrinker]]`` describes, ``at`` some name."""

    op: Literal["mount"]
    shrinker: Name
    at: Name


class Umount(Model):
    """Unmount what is mounted ``at`` a name, unless somebody uses it."""

    op: Literal["umount"]
    at: Name


class LruAdd(Model):
    """Add ``count`` new objects to what is mounted; node -1 is any node.

    They are unused and may be reclaimed, or with ``hold`` in use, and keep it mounted, until somebody's lru_put.
    """

    op: Literal["lru_add"]
    at: Name
    node: Annotated[int, Field(ge=-1, le=1023)] = -1
    count: Count = 1
    hold: bool = False


class LruPut(Model):
    """Use ``count`` objects no more that were added with ``hold``, or all of them; the first added first."""

    op: Literal["lru_put"]
    at: Name
    count: Count | None = None


class LruUse(Model):
    """Use the ``count`` oldest objects of what is mounted for a moment, so that a scan gives them another round."""

    op: Literal["lru_use"]
    at: Name
    count: Count = 1


class ShrinkSlab(Model):
    """Ask the shrinkers once about a node, for one cgroup and no other."""

    op: Literal["shrink_slab"]
    node: Annotated[int, Field(ge=0, le=1023)] = 0
    memcg: Name = "/"
    priority: Annotated[int, Field(ge=0, le=DEF_PRIORITY)] = 0


class ReclaimMemcg(Model):
    """Reclaim ``pages`` from a cgroup and all below it, harder and harder, as it does at its limit."""

    op: Literal["reclaim_memcg"]
    memcg: Name
    pages: Count = 1


ShrinkerOperation = Mount | Umount | LruAdd | LruPut | LruUse | ShrinkSlab | ReclaimMemcg


def check_shrinker_operation(scenario: Scenario, here: str, operation: Any) -> Iterator[Problem]:
    """Whether what is mounted, used or asked about can be there."""
    kinds = [section.name for section in scenario.shrinkers]
    match operation.op:
        case "mount":
            if operation.shrinker not in kinds:
                yield Problem(
                    f"{here}.shrinker", f"there is no [[shrinker]] {operation.shrinker!r}; there are: {_list(kinds)}"
                )
        case "umount" | "lru_add" | "lru_put" | "lru_use":
            known = [*(place for section in scenario.shrinkers for place in section.places), *scenario.mounts]
            counted = "{" in operation.at or any("{" in name for name in known)
            if operation.at not in known and not counted:
                yield Problem(f"{here}.at", f"nothing is mounted at {operation.at!r}; there is: {_list(known)}")
            yield from _check_node(scenario, here, getattr(operation, "node", -1))
        case "shrink_slab" | "reclaim_memcg":
            if not kinds:
                yield Problem(here, f"there is nothing to shrink; expected a [[shrinker]] beside {operation.op}")
            if operation.memcg.strip("/") and not scenario.uses_cgroups:
                yield Problem(f"{here}.memcg", f"there is no cgroup {operation.memcg!r}; expected a [[memcg]]")
            elif operation.op == "reclaim_memcg" and not scenario.uses_cgroups:
                yield Problem(f"{here}.memcg", "there are no cgroups; expected a [[memcg]]")
            yield from _check_node(scenario, here, getattr(operation, "node", -1))


def _check_node(scenario: Scenario, here: str, node: int) -> Iterator[Problem]:
    nodes = [node.id for node in scenario.machine.nodes]
    if node >= 0 and node not in nodes:
        yield Problem(f"{here}.node", f"there is no node {node}; the nodes are {_list(map(str, nodes))}")


def check_shrinkers(scenario: Scenario) -> Iterator[Problem]:
    """Whether the sections make sense among themselves and beside the caches."""
    caches = {cache.name: index for index, cache in enumerate(scenario.caches)}
    seen: dict[str, int] = {}
    for index, section in enumerate(scenario.shrinkers):
        here = f"shrinker[{index}]"
        if section.name in seen:
            yield Problem(f"{here}.name", f"{section.name!r} is there already, as shrinker[{seen[section.name]}]")
        seen.setdefault(section.name, index)
        if section.name in caches:
            yield Problem(
                f"{here}.name",
                f"{section.name!r} is also cache[{caches[section.name]}]; expected another name: it brings its own",
            )
        if section.mounted and "{" in section.name:
            yield Problem(f"{here}.name", f"{section.name!r}: nothing is counted here; expected a name without braces")
        if "SHRINKER_NONSLAB" in section.flags and "SHRINKER_MEMCG_AWARE" not in section.flags:
            yield Problem(f"{here}.flags", "SHRINKER_NONSLAB means something for SHRINKER_MEMCG_AWARE only")


def _list(names: Iterable[str]) -> str:
    return ", ".join(names) or "none"
