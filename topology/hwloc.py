"""Importing real machines: hwloc's XML exports, versions 2 and 3.

An export is a tree of objects.  Processing units (PU) and memory nodes (NUMANode) matter here, with ``os_index`` as
number; memory nodes hang beside the tree, possibly below memory-side caches, and say in ``cpuset`` which processors
they are local to.  Linux gives each processor one node: where several cover it (high-bandwidth or CXL memory beside
DRAM) it is the one with the smallest cpuset, then the lowest number; the others have memory but no processors.
Distances are taken from a complete ``NUMALatency`` matrix; where there is none the defaults hold.
"""

from __future__ import annotations

import xml.parsers.expat
from typing import TYPE_CHECKING, Any

from .errors import Problem, TopologyError
from .machine import DISTANCE_MAX, LOCAL_DISTANCE
from .textfile import read_text
from .units import CPU_MAX, NODE_MAX, render_cpulist

if TYPE_CHECKING:
    from pathlib import Path

WORD_BITS = 32


class _Found:
    """What was read from the file."""

    def __init__(self) -> None:
        self.version = ""
        self.root = ""
        self.pus: dict[int, None] = {}
        self.nodes: dict[int, tuple[int, int, int]] = {}  # number → (memory bytes, cpuset, gp_index)
        # Attributes, numbers of the objects, values row by row.
        self.matrices: list[tuple[dict[str, str], list[int], list[int]]] = []
        self.wanted: list[int] | None = None


def parse_bitmap(text: str) -> int:
    """Hwloc's bitmaps: words of 32 bits, the highest first, separated by commas; an empty word is zero.

    Raises:
        ValueError: a word is no hexadecimal number.
    """
    value = 0
    for word in text.split(","):
        value = value << WORD_BITS | (int(word, 16) if word else 0)
    return value


def import_hwloc(path: Path) -> dict[str, Any]:
    """The ``[machine]`` table (keys ``node`` and ``distances``) of an hwloc XML export.

    Raises:
        TopologyError: the file is not there, no XML, of another kind or version, or describes no machine with memory
            nodes.
    """
    found = _read(read_text(path, "an hwloc XML export"), str(path))

    def refuse(message: str) -> TopologyError:
        return TopologyError(str(path), [Problem("", message)])

    if found.root != "topology":
        raise refuse(f"is XML, but its root is <{found.root}>; expected <topology> of an hwloc export")
    if not found.version or found.version.startswith("1"):
        raise refuse(
            "is an hwloc export of version 1; expected version 2 or 3 (lstopo --of xml of hwloc 2 or later writes them)"
        )
    if not found.pus:
        raise refuse("describes no processing unit")
    if not any(memory for memory, _, _ in found.nodes.values()):
        raise refuse("describes no NUMA node with memory (no NUMANode object has local_memory)")
    for number, limit, what in ((max(found.pus), CPU_MAX, "PU"), (max(found.nodes), NODE_MAX, "NUMANode")):
        if number > limit:
            raise refuse(f"{what} number {number} is above {limit}")
    return _machine(found)


def _read(text: str, name: str) -> _Found:
    found = _Found()
    parser = xml.parsers.expat.ParserCreate()

    def refuse_entity(*_: Any) -> None:
        raise TopologyError(name, [Problem("", "declares XML entities, which an hwloc export has no use for; refused")])

    def start(tag: str, attributes: dict[str, str]) -> None:
        if not found.root:
            found.root = tag
            found.version = attributes.get("version", "")
        if tag == "object" and "os_index" in attributes:
            _object(found, attributes)
        elif tag == "distances2":
            found.matrices.append((attributes, [], []))
        elif tag in ("indexes", "u64values") and found.matrices:
            _, indexes, values = found.matrices[-1]
            found.wanted = indexes if tag == "indexes" else values
            characters.clear()

    characters: list[str] = []

    def end(tag: str) -> None:
        if tag in ("indexes", "u64values") and found.wanted is not None:
            # With heterogeneous objects the indexes are "NUMANode:3": then it is no matrix of nodes only.
            words = "".join(characters).split()
            found.wanted.extend(int(word) if word.isdigit() else -1 for word in words)
            found.wanted = None

    parser.EntityDeclHandler = refuse_entity
    parser.StartElementHandler = start
    parser.EndElementHandler = end
    parser.CharacterDataHandler = characters.append
    try:
        parser.Parse(text, True)
    except xml.parsers.expat.ExpatError as error:
        raise TopologyError(name, [Problem("", f"is not XML: {error}; expected an hwloc XML export")]) from None
    except ValueError as error:
        raise TopologyError(name, [Problem("", f"has a value that is no number: {error}")]) from None
    return found


def _object(found: _Found, attributes: dict[str, str]) -> None:
    number = int(attributes["os_index"])
    if attributes.get("type") == "PU":
        found.pus[number] = None
    elif attributes.get("type") == "NUMANode":
        found.nodes[number] = (
            int(attributes.get("local_memory", "0")),
            parse_bitmap(attributes.get("cpuset", "")),
            int(attributes.get("gp_index", "0")),
        )


def _machine(found: _Found) -> dict[str, Any]:
    numbers = sorted(found.nodes)
    cpus_of: dict[int, list[int]] = {number: [] for number in numbers}
    for cpu in sorted(found.pus):
        covering = [number for number in numbers if found.nodes[number][1] >> cpu & 1]
        # A processor that no node covers still has to belong somewhere: Linux takes the first node.
        home = (
            min(covering, key=lambda number: (found.nodes[number][1].bit_count(), number)) if covering else numbers[0]
        )
        cpus_of[home].append(cpu)
    table: dict[str, Any] = {
        "node": [
            {"id": number, "cpus": render_cpulist(tuple(cpus_of[number])), "memory": found.nodes[number][0]}
            for number in numbers
        ]
    }
    distances = _distances(found, numbers)
    if distances is not None:
        table["distances"] = distances
    return table


def _distances(found: _Found, numbers: list[int]) -> list[list[int]] | None:
    by_gp_index = {gp_index: number for number, (_, _, gp_index) in found.nodes.items()}
    for attributes, indexes, values in found.matrices:
        if attributes.get("type") != "NUMANode" or attributes.get("name", "NUMALatency") != "NUMALatency":
            continue
        rows = indexes if attributes.get("indexing") == "os" else [by_gp_index.get(index, -1) for index in indexes]
        size = len(rows)
        if sorted(rows) != numbers or len(values) != size * size:
            continue
        position = {number: index for index, number in enumerate(rows)}
        matrix = [[values[position[a] * size + position[b]] for b in numbers] for a in numbers]
        plausible = all(
            LOCAL_DISTANCE <= value <= DISTANCE_MAX and (a != b or value == LOCAL_DISTANCE)
            for a, row in enumerate(matrix)
            for b, value in enumerate(row)
        )
        if plausible:
            return matrix
    return None
