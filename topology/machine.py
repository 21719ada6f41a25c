"""The machine of a topology: processors, NUMA nodes, memory, distances.

Nodes get page frames one after the other, in order of their numbers, each starting at a multiple of the memory block;
page frames are 4 KiB.  Memory beyond the last whole page is left out.
"""

from __future__ import annotations

from functools import cached_property
from typing import Annotated, Any, NamedTuple

from pydantic import BeforeValidator, Field, WithJsonSchema, field_validator

from .operations import Size
from .parts import Model
from .slabinfo import SlabinfoRow
from .units import NODE_MAX, parse_cpulist

PAGE_SIZE = 4096
BLOCK_MIN = 4 << 20
LOCAL_DISTANCE, REMOTE_DISTANCE, DISTANCE_MAX = 10, 20, 255

_CPULIST_SCHEMA = {
    "anyOf": [
        {"type": "integer", "minimum": 0},
        {"type": "array", "items": {"type": "integer", "minimum": 0}},
        {"type": "string", "pattern": "^[0-9, -]*$"},
    ],
    "description": "a CPU number, an array of them, or a kernel cpulist such as 0-3,8",
}
_SLABINFO_SCHEMA = {"type": "string", "description": "a recorded /proc/slabinfo: the caches that are there at boot"}


def _rows_only(value: Any) -> Any:
    if not isinstance(value, list | tuple):
        where = ", which is looked for beside a topology file only" if isinstance(value, str) else ""
        raise ValueError(f"{value!r:.60} is not the path of a recorded /proc/slabinfo{where}")  # noqa: TRY004  # pydantic's
    return value


def _without_default(schema: dict[str, Any]) -> None:
    schema.pop("default", None)  # the rows of no file: not what a file could say


CpuList = Annotated[tuple[int, ...], BeforeValidator(parse_cpulist), WithJsonSchema(_CPULIST_SCHEMA)]
Slabinfo = Annotated[tuple[SlabinfoRow, ...], BeforeValidator(_rows_only), WithJsonSchema(_SLABINFO_SCHEMA)]


class Cpu(NamedTuple):
    """A possible processor."""

    id: int
    node: int
    online: bool


class Node(NamedTuple):
    """A possible NUMA node; ``online`` says whether its memory is there at boot."""

    id: int
    cpus: tuple[int, ...]
    memory_bytes: int
    online: bool


class NodeSection(Model):
    """``[[machine.node]]``: memory is in bytes, or a number with K, M, G or T."""

    id: Annotated[int, Field(ge=0, le=NODE_MAX)]
    cpus: CpuList = ()
    memory: Size = 0


class Machine(Model):
    """``[machine]``.  A file gives ``slabinfo`` as the path of a recorded one; here are its rows."""

    import_path: str | None = Field(default=None, alias="import")
    memory_block: Size = 128 << 20
    offline_cpus: CpuList = ()
    offline_nodes: tuple[Annotated[int, Field(ge=0, le=NODE_MAX)], ...] = ()
    distances: tuple[tuple[Annotated[int, Field(ge=LOCAL_DISTANCE, le=DISTANCE_MAX)], ...], ...] = ()
    node: tuple[NodeSection, ...] = ()
    slabinfo: Slabinfo = Field(default=(), json_schema_extra=_without_default)

    @field_validator("memory_block")
    @classmethod
    def _power_of_two(cls, value: int) -> int:
        if value < BLOCK_MIN or value & (value - 1):
            raise ValueError(f"{value} bytes is not a power of two of at least 4M")
        return value

    @cached_property
    def nodes(self) -> tuple[Node, ...]:
        """Nodes by number."""
        return tuple(
            Node(section.id, section.cpus, section.memory, section.id not in self.offline_nodes)
            for section in sorted(self.node, key=lambda section: section.id)
        )

    @cached_property
    def cpus(self) -> tuple[Cpu, ...]:
        """Processors by number."""
        cpus = [Cpu(cpu, node.id, cpu not in self.offline_cpus) for node in self.nodes for cpu in node.cpus]
        return tuple(sorted(cpus))

    @cached_property
    def _index(self) -> dict[int, int]:
        return {node.id: index for index, node in enumerate(self.nodes)}

    def distance(self, source: int, target: int) -> int:
        """How far `target` is from `source`; 10 is local."""
        if self.distances:
            return self.distances[self._index[source]][self._index[target]]
        return LOCAL_DISTANCE if source == target else REMOTE_DISTANCE

    @cached_property
    def _ranges(self) -> dict[int, tuple[int, int]]:
        block = self.memory_block // PAGE_SIZE
        ranges: dict[int, tuple[int, int]] = {}
        start = 0
        for node in self.nodes:
            pages = node.memory_bytes // PAGE_SIZE
            ranges[node.id] = (start, pages)
            start += (pages + block - 1) // block * block
        return ranges

    def memory_range(self, node: int) -> tuple[int, int]:
        """(first page frame number, number of pages) of a node."""
        return self._ranges[node]
