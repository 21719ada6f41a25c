"""Kernels to compare: how they are written, and the scenario under each.

A column is a release with patches behind it: ``v5.11+666716fd267d`` applies one, ``v5.12-keep-cache-nodes`` leaves one
out, and there may be several.  Names of patches have hyphens of their own: the longest text that names a patch is one.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from ..kernel.releases import OLDEST, ReleaseError, checkout
from ..topology import TopologyError, load

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ..token import Origin
    from ..topology import Scenario

_COMMIT = re.compile(r"[0-9a-f]{7,40}(?=[+-]|$)")
_FILE = re.compile(r"[^+]*?\.py(?=[+-]|$)")


class ColumnError(Exception):
    """A kernel that there is not; the message names its column."""

    exit_status = 2


@dataclass(frozen=True, slots=True)
class Column:
    """One kernel of the comparison: its text as given, and the scenario under it with where that comes from."""

    label: str
    scenario: Scenario
    origin: Origin


def make_columns(texts: Sequence[str], origin: Origin) -> list[Column]:
    """A column for each text; patches of `origin` are applied to and left out of all of them.

    Raises:
        ColumnError: there is no such release or patch, or a kernel stands there twice.
        TopologyError: the file is unusable as such.
    """
    columns: list[Column] = []
    for number, text in enumerate(texts):
        if text in texts[:number]:
            raise ColumnError(f"column {text}: stands there twice")
        columns.append(_make_column(text, origin))
    return columns


def _make_column(text: str, origin: Origin) -> Column:
    release, apply, revert = parse_column(text)
    origin = replace(origin, release=release, apply=(*origin.apply, *apply), revert=(*origin.revert, *revert))
    try:
        scenario = load(
            origin.path,
            overrides=origin.overrides,
            machine=Path(origin.machine) if origin.machine else None,
            release=origin.release,
            apply=origin.apply,
            revert=origin.revert,
        )
        kernel = scenario.kernel
        checkout(kernel.release, kernel.apply, kernel.revert, folder=Path(origin.path).parent)
    except TopologyError as error:
        raise ColumnError(f"column {text}: {'; '.join(map(str, error.problems))}") from None
    except ReleaseError as error:
        raise ColumnError(f"column {text}: {error}") from None
    return Column(text, scenario, origin)


def parse_column(text: str) -> tuple[str, tuple[str, ...], tuple[str, ...]]:
    """The release, the patches to apply and those to leave out.

    Raises:
        ColumnError: it begins with no release, or a sign has nothing behind it.
    """
    release = re.split(r"[+-]", text, maxsplit=1)[0]
    if not release:
        raise ColumnError(f"column {text!r}: expected a release first, such as v5.12 or v5.11+666716fd267d")
    apply: list[str] = []
    revert: list[str] = []
    for sign, name in _patches(text, len(release)):
        (apply if sign == "+" else revert).append(name)
    return release, tuple(apply), tuple(revert)


def _patches(text: str, at: int) -> Iterator[tuple[str, str]]:
    while at < len(text):
        sign, rest = text[at], text[at + 1 :]
        name = _first_name(rest)
        if not name:
            raise ColumnError(
                f"column {text!r}: expected a patch behind {sign!r}, such as 666716fd267d or ./my_patch.py"
            )
        yield sign, name
        at += 1 + len(name)


def _first_name(text: str) -> str:
    """The patch that `text` begins with; where there is none, what will be said to be none."""
    if match := _COMMIT.match(text) or _FILE.match(text):
        return match[0]
    ends = [match.start() for match in re.finditer(r"[+-]|$", text)]
    for end in reversed(ends):
        if _is_patch(text[:end]):
            return text[:end]
    return text.partition("+")[0]


def _is_patch(name: str) -> bool:
    try:
        checkout(f"v{OLDEST[0]}.{OLDEST[1]}", revert=[name])
    except ReleaseError:
        return False
    return True
