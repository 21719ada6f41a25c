"""Replay tokens: one line from which the same run is made again.

``sl1:STRATEGY:SEED:DIGEST:PATH?changes``

* SEED is a number, or two with a dot between where the strategy worked from a pilot run with a seed of its own.  For
  the strategy ``steady`` it is the list of deviations from the canonical schedule: ``7.12-8`` lets actor 8 go on after
  step 12 of actor 7, ``7.12.0=3`` answers the first choice made since that step with 3, ``b`` stands for the beginning.
* DIGEST has four digits each for the machine, the kernel and the rest of the scenario, so a replay of something else
  is noticed, and told.
* The changes are the options that altered the file (``set``, ``release``, ``apply``, ``revert``, ``machine``), as in a
  URL; ``v`` is the version of slubloom, ``f`` a check number of what was found.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import parse_qsl, quote, unquote, urlencode
from zlib import crc32

from . import __version__
from .actors.strategies.steady import BEGINNING, Answer, Deviation, Switch

if TYPE_CHECKING:
    from collections.abc import Sequence

PREFIX = "sl1:"
SECTION_DIGITS = 4
PARTS = 4
TOKEN_MAX = 120
"""Characters up to which a token is something to pass around; what takes more goes into a file."""

STEADY = "steady"

_SWITCH = re.compile(r"(b|\d+)\.(\d+)-(\d+)")
_ANSWER = re.compile(r"(b|\d+)\.(\d+)\.(\d+)=(\d+)")


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a scenario came from: what it takes to load it again."""

    path: str = ""
    overrides: tuple[str, ...] = ()
    machine: str = ""
    release: str = ""
    apply: tuple[str, ...] = ()
    revert: tuple[str, ...] = ()


class TokenError(Exception):
    """Not a token, or one that cannot be used here."""

    exit_status = 2


class Token(NamedTuple):
    """A token, taken apart.  ``deviations`` are there where the strategy is ``steady``, and only there."""

    strategy: str
    seed: int
    pilot: int
    deviations: tuple[Deviation, ...] | None
    digests: dict[str, str]
    path: str
    changes: tuple[tuple[str, str], ...]

    def all(self, name: str) -> tuple[str, ...]:
        """The values of one kind of change."""
        return tuple(value for key, value in self.changes if key == name)

    def one(self, name: str) -> str:
        """The value of a change that can be made once only, or an empty text."""
        return next(iter(self.all(name)), "")

    @property
    def origin(self) -> Origin:
        """Where its scenario came from."""
        return Origin(
            self.path, self.all("set"), self.one("machine"), self.one("release"), self.all("apply"), self.all("revert")
        )


def check_number(found: str) -> str:
    """Eight digits that stand for what was found; none for nothing."""
    return f"{crc32(found.encode()):08x}" if found else ""


def make_token(
    strategy: str,
    seed: int,
    digests: dict[str, str],
    origin: Origin,
    *,
    pilot: int = 0,
    deviations: Sequence[Deviation] | None = None,
    found: str = "",
) -> str:
    """The token of a run; empty where the scenario has no file to be loaded from."""
    if not origin.path:
        return ""
    changes = [("release", origin.release)] if origin.release else []
    changes += [("machine", origin.machine)] if origin.machine else []
    changes += [("set", text) for text in origin.overrides]
    changes += [("apply", text) for text in origin.apply]
    changes += [("revert", text) for text in origin.revert]
    changes += [("v", __version__)]
    changes += [("f", check_number(found))] if found else []
    query = urlencode(changes, safe="/=.[],-_", quote_via=quote)
    digest = "".join(value[:SECTION_DIGITS] for value in digests.values())
    how = f"{seed}.{pilot}" if pilot else str(seed)
    if deviations is not None:
        strategy, how = STEADY, render_deviations(deviations)
    return f"{PREFIX}{strategy}:{how}:{digest}:{quote(origin.path, safe='/.-_:[]')}?{query}"


def parse_token(text: str, sections: Sequence[str] = ("machine", "kernel", "workload")) -> Token:
    """Take a token apart.

    Raises:
        TokenError: it is none.
    """
    parts = text.removeprefix(PREFIX).split(":", PARTS - 1)
    if not text.startswith(PREFIX) or len(parts) != PARTS:
        raise TokenError(
            f"{text[:80]!r} is no replay token; expected {PREFIX}STRATEGY:SEED:DIGEST:PATH, as a violation prints it"
        )
    strategy, how, digest, rest = parts
    deviations = parse_deviations(how) if strategy == STEADY else None
    numbers = re.fullmatch(r"(\d{1,18})(?:\.(\d{1,18}))?", how)
    if deviations is None and numbers is None:
        raise TokenError(f"{how[:40]!r} in the token is no seed; expected a number, or two with a dot between")
    seed, pilot = (int(numbers[1]), int(numbers[2] or 0)) if numbers is not None else (0, 0)
    path, _, query = rest.partition("?")
    digests = {
        name: digest[number * SECTION_DIGITS : (number + 1) * SECTION_DIGITS] for number, name in enumerate(sections)
    }
    changes = tuple(parse_qsl(query, keep_blank_values=True))
    return Token(strategy, seed, pilot, deviations, digests, unquote(path), changes)


def render_deviations(deviations: Sequence[Deviation]) -> str:
    """Deviations as a token has them; the empty list is ``-``."""
    return ",".join(map(_render, deviations)) or "-"


def _render(deviation: Deviation) -> str:
    after = "b" if deviation.after == BEGINNING else str(deviation.after)
    if isinstance(deviation, Switch):
        return f"{after}.{deviation.step}-{deviation.to}"
    return f"{after}.{deviation.step}.{deviation.ordinal}={deviation.answer}"


def parse_deviations(text: str) -> tuple[Deviation, ...]:
    """The inverse of `render_deviations`.

    Raises:
        TokenError: something in the list is no deviation.
    """
    return tuple(_parse(part) for part in text.split(",")) if text != "-" else ()


def _parse(part: str) -> Deviation:
    if match := _SWITCH.fullmatch(part):
        return Switch(_actor(match[1]), int(match[2]), int(match[3]))
    if match := _ANSWER.fullmatch(part):
        return Answer(_actor(match[1]), int(match[2]), int(match[3]), int(match[4]))
    raise TokenError(f"{part[:40]!r} in the token is no deviation; expected something like 7.12-8 or 7.12.0=3")


def _actor(text: str) -> int:
    return BEGINNING if text == "b" else int(text)
