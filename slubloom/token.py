"""Replay tokens: one line from which the same run is made again.

``sl1:STRATEGY:SEED:DIGEST:PATH?changes``: the digest is the beginning of the scenario's, so that a replay of
something else is noticed; the changes are the options that altered the file (``set``, ``release``, ``apply``,
``revert``, ``machine``), as in a URL.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple
from urllib.parse import parse_qsl, quote, unquote, urlencode

PREFIX = "sl1:"
DIGEST_CHARACTERS = 12
PARTS = 4


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
    """A token, taken apart."""

    strategy: str
    seed: int
    digest: str
    path: str
    changes: tuple[tuple[str, str], ...]

    def all(self, name: str) -> tuple[str, ...]:
        """The values of one kind of change."""
        return tuple(value for key, value in self.changes if key == name)

    def one(self, name: str) -> str:
        """The value of a change that can be made once only, or an empty text."""
        return next(iter(self.all(name)), "")


def make_token(strategy: str, seed: int, digest: str, origin: Origin) -> str:
    """The token of a run; empty where the scenario has no file to be loaded from."""
    if not origin.path:
        return ""
    changes = [("release", origin.release)] if origin.release else []
    changes += [("machine", origin.machine)] if origin.machine else []
    changes += [("set", text) for text in origin.overrides]
    changes += [("apply", text) for text in origin.apply]
    changes += [("revert", text) for text in origin.revert]
    query = "?" + urlencode(changes, safe="/=.[],-_", quote_via=quote) if changes else ""
    return f"{PREFIX}{strategy}:{seed}:{digest[:DIGEST_CHARACTERS]}:{quote(origin.path, safe='/.-_')}{query}"


def parse_token(text: str) -> Token:
    """Take a token apart.

    Raises:
        TokenError: it is none.
    """
    parts = text.removeprefix(PREFIX).split(":", PARTS - 1)
    if not text.startswith(PREFIX) or len(parts) != PARTS or not parts[1].isdigit():
        raise TokenError(
            f"{text[:80]!r} is no replay token; expected {PREFIX}STRATEGY:SEED:DIGEST:PATH, as a violation prints it"
        )
    path, _, query = parts[3].partition("?")
    return Token(parts[0], int(parts[1]), parts[2], unquote(path), tuple(parse_qsl(query, keep_blank_values=True)))
