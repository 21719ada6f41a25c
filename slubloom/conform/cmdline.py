"""The kernel command line of a recording: what SLUB makes of it.

Mirrors the __setup() functions of mm/slub.c and mm/slab_common.c (6.1), and get_option() of lib/cmdline.c.  Words that
SLUB does not know are somebody else's.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

MAX_ORDER = 11
OBJECTS_MAX = 32767


@dataclass(frozen=True, slots=True)
class SlubOptions:
    """The parameters of SLUB; None where the command line has none."""

    slab_nomerge: bool = False
    slub_debug: str | None = None
    slub_min_order: int | None = None
    slub_max_order: int | None = None
    slub_min_objects: int | None = None
    kmem_accounting: bool = True


def parse_cmdline(text: str) -> SlubOptions:
    """What of `text` is about SLUB; the last word about a thing counts, and nothing after ``--`` does."""
    nomerge, accounting = False, True
    debug: str | None = None
    numbers: dict[str, int] = {}
    for word in text.split():
        if word == "--":
            break
        key, _, value = word.partition("=")
        match key.replace("-", "_"):
            case "slab_nomerge" | "slub_nomerge":
                nomerge = True
            case "slab_merge" | "slub_merge":
                nomerge = False
            case "slub_debug":
                debug = value
            case "slub_min_order" | "slub_max_order" | "slub_min_objects" as name:
                numbers[name] = get_option(value)
            case "cgroup.memory":
                accounting = accounting and "nokmem" not in value.split(",")
            case "cgroup_disable":
                accounting = accounting and "memory" not in value.split(",")
    max_order = numbers.get("slub_max_order")
    min_objects = numbers.get("slub_min_objects")
    return SlubOptions(
        slab_nomerge=nomerge,
        slub_debug=debug,
        slub_min_order=numbers.get("slub_min_order"),
        slub_max_order=None if max_order is None else min(max_order, MAX_ORDER - 1),
        slub_min_objects=None if min_objects is None else min(min_objects, OBJECTS_MAX),
        kmem_accounting=accounting,
    )


def get_option(text: str) -> int:
    """The number that `text` starts with, as an ``unsigned int``: decimal, octal after 0, hexadecimal after 0x."""
    sign, text = ("-", text[1:]) if text.startswith("-") else ("", text)
    if re.match("0[xX][0-9a-fA-F]", text):
        base, digits = 16, re.match("[0-9a-fA-F]+", text[2:])
    elif text.startswith("0"):
        base, digits = 8, re.match("[0-7]+", text)
    else:
        base, digits = 10, re.match("[0-9]+", text)
    number = int(digits[0], base) if digits else 0
    return (-number if sign else number) & 0xFFFF_FFFF
