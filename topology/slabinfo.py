"""Recorded ``/proc/slabinfo`` dumps: the caches of a real machine, for ``[machine] slabinfo``.

Versions 2.0 and 2.1, as SLUB and SLAB print them (print_slabinfo_header() and cache_show() of mm/slab_common.c in 6.1,
s_show() of mm/slab.c before that).  A row names its groups, so it can be read without the two header lines:

    name  active_objs num_objs objsize objperslab pagesperslab
        : tunables limit batchcount sharedfactor : slabdata active_slabs num_slabs sharedavail

SLAB with statistics has two groups more, ``globalstat`` and ``cpustat``.  Tunables, statistics and sharedavail belong
to SLAB alone and are not kept.  A row must be possible: one whose numbers contradict each other is refused, with its
line.  SLUB falls back to slabs of the smallest order that holds an object, so a cache may have fewer objects than
num_slabs slabs of objperslab have; then it must come out even with slabs of those two sizes.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from .errors import Problem, TopologyError
from .textfile import read_text

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PAGE_SIZE = 4096
ORDER_MAX = 10
OBJECTS_MAX = 32767
"""Objects a slab can count."""
NUMBER_MAX = (1 << 40) - 1
NAME_MAX = 255
LINE_MAX = 4096
PROBLEMS_MAX = 10
"""Rows of one file that are complained about one by one."""

VERSIONS = ("2.0", "2.1")
COLUMNS = "<active_objs> <num_objs> <objsize> <objperslab> <pagesperslab>"
WHAT = "a recorded /proc/slabinfo"
FORM = (
    "NAME ACTIVE_OBJS NUM_OBJS OBJSIZE OBJPERSLAB PAGESPERSLAB"
    " : tunables N N N : slabdata ACTIVE_SLABS NUM_SLABS SHAREDAVAIL"
)

_VERSION = re.compile(r"slabinfo - version: (\S+)(?: \(statistics\))?")
_ROW = re.compile(
    r"(?P<left>.*?)\s*: tunables\b(?P<tunables>.*?)\s*: slabdata\b(?P<slabdata>.*?)"
    r"(?:\s*: globalstat\b(?P<globalstat>.*?)(?:\s*: cpustat\b(?P<cpustat>.*))?)?"
)
_LEFT = re.compile(r"(?P<name>\S(?:.*?\S)?)" + r"\s+([0-9]+)" * 5)
_ENDS_IN_NUMBER = re.compile(r"\s[0-9]+$")
_NUMBER = re.compile(r"[0-9]+")


class SlabinfoRow(NamedTuple):
    """One cache: numbers as the file has them, in its own words; ``line`` is where they stood."""

    line: int
    name: str
    active_objs: int
    num_objs: int
    objsize: int
    objperslab: int
    pagesperslab: int
    active_slabs: int
    num_slabs: int

    @property
    def order(self) -> int:
        """Of most slabs: each is 2^order pages."""
        return self.pagesperslab.bit_length() - 1

    @property
    def smallest_order(self) -> int:
        """Of slabs for which there was no larger piece of memory."""
        return ((self.objsize - 1) // PAGE_SIZE).bit_length()

    @property
    def smallest_objperslab(self) -> int:
        """Objects in one of those."""
        return (PAGE_SIZE << self.smallest_order) // self.objsize

    @property
    def smallest_slabs(self) -> int:
        """How many of those there are."""
        missing = self.num_slabs * self.objperslab - self.num_objs
        return missing // (self.objperslab - self.smallest_objperslab) if missing else 0

    @property
    def pages(self) -> int:
        """Pages of all slabs."""
        small = self.smallest_slabs
        return ((self.num_slabs - small) << self.order) + (small << self.smallest_order)


def read_slabinfo(path: Path) -> tuple[SlabinfoRow, ...]:
    """The rows of a recorded file, in its order: the newest cache first.

    Raises:
        TopologyError: the file is not there or no text, or `parse_slabinfo` refuses it.
    """
    return parse_slabinfo(read_text(path, WHAT), str(path))


def parse_slabinfo(text: str, source: str = "slabinfo") -> tuple[SlabinfoRow, ...]:
    """`read_slabinfo` for text that is there already; `source` names it in messages.

    Raises:
        TopologyError: lines that are no rows, rows that cannot be, or no row at all; each with its line.
    """
    rows: dict[str, SlabinfoRow] = {}
    problems: list[Problem] = []
    headers: dict[str, int] = {}
    for number, line in enumerate(text.split("\n"), 1):
        stripped = line.strip()
        if not stripped:
            continue
        if stripped.startswith(("slabinfo - version", "# name")):
            message = _header_problem(stripped, number, headers, started=bool(rows))
        else:
            try:
                row = _row(stripped, number)
                first = rows.setdefault(row.name, row)
                message = "" if first is row else f"cache {row.name} is there already, in line {first.line}"
            except ValueError as error:
                message = str(error)
        if message:
            problems.append(Problem(f"line {number}", message))
    if not rows and not headers:
        del problems[1:]  # it is something else altogether
    if len(problems) > PROBLEMS_MAX:
        rest = len(problems) - PROBLEMS_MAX
        problems[PROBLEMS_MAX:] = [Problem("", f"and {rest} more; is this {WHAT}?")]
    if not problems and not rows:
        problems.append(Problem("", f"has no row of a cache; expected {WHAT}"))
    if problems:
        raise TopologyError(source, problems)
    return tuple(rows.values())


def _header_problem(line: str, number: int, headers: dict[str, int], *, started: bool) -> str:
    """What is wrong with one of the two lines that may stand before the rows."""
    kind = line[:1]
    if kind in headers:
        return f"is a second header, after that of line {headers[kind]}; expected one dump in a file"
    headers[kind] = number
    if started:
        return "is a header behind rows; expected it before all of them, or none"
    if kind == "#":
        return "" if COLUMNS in line else f"names other columns than {COLUMNS}"
    match = _VERSION.fullmatch(line)
    if match is None or match[1] not in VERSIONS:
        return f"says {line!r:.60}; expected version {' or '.join(VERSIONS)}"
    return ""


def _row(line: str, number: int) -> SlabinfoRow:
    """One row.

    Raises:
        ValueError: it is none, or cannot be.
    """
    if len(line) > LINE_MAX:
        raise ValueError(f"has {len(line)} characters; expected {FORM}")
    match = _ROW.fullmatch(line)
    if match is None:
        missing = next((group for group in (": tunables", ": slabdata") if group not in line), None)
        raise ValueError(f"{f'has no {missing!r}' if missing else 'is no row of a cache'}; expected {FORM}")
    left = _LEFT.fullmatch(match["left"])
    if left is None or _ENDS_IN_NUMBER.search(left["name"]):
        found = len([word for word in match["left"].split()[1:] if _NUMBER.fullmatch(word)])
        raise ValueError(f"has {found} numbers between the name and ': tunables'; expected 5: {COLUMNS}")
    name = left["name"]
    if len(name) > NAME_MAX or not name.isprintable():
        raise ValueError(f"has a name that is none: {name!r:.60}")
    _numbers(match["tunables"], "tunables", 3, "three numbers")
    active_slabs, num_slabs, _ = _numbers(match["slabdata"], "slabdata", 3, "active_slabs num_slabs sharedavail")
    if match["globalstat"] is not None:
        _numbers(match["globalstat"], "globalstat", None, "numbers")
        if match["cpustat"] is not None:
            _numbers(match["cpustat"], "cpustat", 4, "allochit allocmiss freehit freemiss")
    active_objs, num_objs, objsize, objperslab, pagesperslab = (int(digits) for digits in left.groups()[1:])
    row = SlabinfoRow(number, name, active_objs, num_objs, objsize, objperslab, pagesperslab, active_slabs, num_slabs)
    impossible = list(impossibilities(row))
    if impossible:
        raise ValueError(f"cache {name}: {'; '.join(impossible)}")
    return row


def _numbers(text: str, group: str, count: int | None, expected: str) -> list[int]:
    words = text.split()
    wrong = next((word for word in words if not _NUMBER.fullmatch(word)), None)
    if wrong is not None:
        raise ValueError(f"has {wrong!r:.30} in group {group}; expected {expected}")
    if not words or (count is not None and len(words) != count):
        raise ValueError(f"has {len(words)} numbers in group {group}; expected {count or 'some'}: {expected}")
    return [int(word) for word in words]


def impossibilities(row: SlabinfoRow) -> Iterator[str]:
    """How the numbers of a row contradict each other, or what the machine's pages of 4096 bytes can hold."""
    wrong = next((number for number in row[2:] if not 0 <= number <= NUMBER_MAX), None)
    if wrong is not None:
        yield f"{wrong} is no number of anything here; expected 0 to {NUMBER_MAX}"
        return
    size, per_slab, pages = row.objsize, row.objperslab, row.pagesperslab
    sound = True
    if not size:
        sound = False
        yield "objects of 0 bytes"
    if not 0 < per_slab <= OBJECTS_MAX:
        sound = False
        yield f"objperslab is {per_slab}; expected 1 to {OBJECTS_MAX}"
    if pages not in [1 << order for order in range(ORDER_MAX + 1)]:
        sound = False
        yield f"pagesperslab is {pages}; expected a power of two up to {1 << ORDER_MAX}"
    if sound and size * per_slab > pages * PAGE_SIZE:
        sound = False
        yield (
            f"{_count(per_slab, 'object')} of {_count(size, 'byte')} do not fit into {_count(pages, 'page')} of"
            f" {PAGE_SIZE} bytes; dumps of machines with larger pages cannot be used"
        )
    if row.active_objs > row.num_objs:
        yield f"active_objs {row.active_objs} is more than num_objs {row.num_objs}"
    if row.active_slabs > row.num_slabs:
        yield f"active_slabs {row.active_slabs} is more than num_slabs {row.num_slabs}"
    if sound:
        yield from _sum_problem(row)


def _sum_problem(row: SlabinfoRow) -> Iterator[str]:
    """Whether slabs of the two possible sizes can have that many objects."""
    most = row.num_slabs * row.objperslab
    difference = row.objperslab - row.smallest_objperslab
    missing = most - row.num_objs
    possible = not missing or (
        difference > 0 and 0 < missing <= row.num_slabs * difference and not missing % difference
    )
    if not possible:
        yield f"num_objs is {row.num_objs}, but {_count(row.num_slabs, 'slab')} of {row.objperslab} have {most}" + (
            f" (slabs of the smallest order have {row.smallest_objperslab})" if difference > 0 else ""
        )


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
