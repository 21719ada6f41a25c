"""Recordings of real kernels, in a folder beside the checkout; they are no part of it."""

from __future__ import annotations

import json
import lzma
from pathlib import Path
from typing import Any

import pytest
from slubloom.kernel.slab.geometry import Geometry
from slubloom.kernel.slab.sizing import SIZING_6_1, Tunables
from slubloom.kernel.slab.slub_debug import NO_DEBUG, parse_slub_debug

FOLDER = Path(__file__).parents[2].parent / "shared" / "real-kernel"
GEOMETRY = {
    "size": "size",
    "object_size": "object_size",
    "inuse": "inuse",
    "align": "align",
    "offset": "offset",
    "red_left_pad": "red_left_pad",
    "oo_order": "order",
    "oo_objects": "objects",
    "min_order": "min_order",
    "min_objects": "min_objects",
    "min_partial": "min_partial",
    "cpu_partial": "cpu_partial",
    "cpu_partial_slabs": "cpu_partial_slabs",
}
"""What a field of a recording is called in `Geometry`."""


def files(pattern: str, *, without: str = "\0") -> list[Any]:
    """The recordings that match, as parameters of a test; one that is skipped where there are none."""
    found = [path for path in sorted(FOLDER.glob(pattern)) if without not in path.name]
    if found:
        return [pytest.param(path, id=str(path.relative_to(FOLDER))) for path in found]
    reason = f"there are no recordings {FOLDER.name}/{pattern} beside the checkout"
    return [pytest.param(None, id="none", marks=pytest.mark.skip(reason=reason))]


def read(path: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Header and records."""
    with lzma.open(path, "rt") as file:
        header, *records = map(json.loads, file)
    return header, records


def tunables_of(header: dict[str, Any]) -> Tunables:
    """The parameters a recorded kernel was started with."""
    words = {key: value for key, _, value in (word.partition("=") for word in header["cmdline"].split())}
    return Tunables(
        nr_cpus=SIZING_6_1.nr_cpus(
            possible=header["nr_cpu_ids"], present=header["cpus_present"], online=header["cpus_online"]
        ),
        min_order=int(words.get("slub_min_order", 0)),
        max_order=int(words.get("slub_max_order", 3)),
        min_objects=int(words.get("slub_min_objects", 0)),
        slab_nomerge="slab_nomerge" in words,
        debug=parse_slub_debug(words["slub_debug"]) if "slub_debug" in words else NO_DEBUG,
    )


def recorded(geom: dict[str, Any]) -> dict[str, int]:
    """What of a recorded cache a `Geometry` has, under its names."""
    flags = {"flags": int(geom["flags_hex"], 16), "allocflags": int(geom["allocflags_hex"], 16)}
    return {ours: geom[theirs] for theirs, ours in GEOMETRY.items()} | flags


def as_dict(geometry: Geometry) -> dict[str, int]:
    """A `Geometry` field by field."""
    return {name: getattr(geometry, name) for name in Geometry.__dataclass_fields__}
