"""From the body of a chunk back to records, trusting nothing.

The checksum says only that the body is what somebody wrote.  Each row must be a list of integers of its event's length,
and each text position must exist; the first row that is otherwise is named.
"""

import re
from itertools import chain
from typing import Any

import msgpack  # type: ignore[import-untyped]  # it ships no types

from .errors import TraceError
from .event import FIRST_FIELD, EventSpec, Record

MAX_ROWS = 1 << 20
MAX_FIELDS = 255
_NAME = re.compile(r"[A-Za-z0-9_.-]{1,128}")
_CTYPE = re.compile(r"[\x20-\x7e]{1,128}")
_COMM = FIRST_FIELD - 1
_NUMBERS = frozenset((int, bool))


class Misfit(ValueError):
    """A body that does not fit the schema; says which record and why."""


def read_schema(name: str, header: dict[str, Any]) -> dict[int, EventSpec]:
    """Return the events in the header of trace `name` by id; TraceError saying what was expected otherwise."""
    encoding, schema = header.get("encoding"), header.get("schema")
    if encoding != "raw":
        raise TraceError(f"{name}: offset 0: encoding {str(encoding)[:40]!r}, expected 'raw'")
    if not isinstance(schema, dict):
        raise TraceError(f"{name}: offset 0: expected a schema {{id: [system, name, fields]}} in the header")
    specs = {}
    for key, entry in schema.items():
        try:
            system, event, fields = entry
            spec = EventSpec(system, event, tuple((field, ctype) for field, ctype in fields))
            sound = (
                all(_NAME.fullmatch(part) for part in (system, event, *(field for field, _ in spec.fields)))
                and all(_CTYPE.fullmatch(ctype) for _, ctype in spec.fields)
                and len(spec.fields) <= MAX_FIELDS
            )
            event_id = int(key)
        except (TypeError, ValueError):
            sound = False
        if not sound:
            raise TraceError(
                f"{name}: offset 0: event {str(key)[:40]!r} of the schema: expected [system, name, [[field, ctype], …]]"
            )
        specs[event_id] = spec
    return specs


class Decoder:
    """Turns chunk bodies into records of the given events."""

    def __init__(self, specs: dict[int, EventSpec]) -> None:
        """Prepare the length and the text positions of each event."""
        self._shapes = {
            event_id: (FIRST_FIELD + len(spec.fields), (_COMM, *spec.text_positions))
            for event_id, spec in specs.items()
        }

    def records(self, body: bytes, count: int) -> list[Record]:
        """Return the `count` records of a body.

        Raises:
            Misfit: the body is not what the schema and `count` promise.
        """
        strings, rows = self._unpack(body)
        if len(rows) != count:
            raise Misfit(f"{len(rows)} records, expected {count}")
        if not all(type(row) is list for row in rows) or not _NUMBERS.issuperset(map(type, chain.from_iterable(rows))):
            raise self._misfit(body)
        texts = dict(enumerate(strings))  # a list would take -1 for its last entry
        shapes = self._shapes
        records: list[Record] = []
        try:
            for row in rows:
                length, positions = shapes[row[0]]
                if len(row) != length:
                    raise IndexError  # noqa: TRY301 - told below like the other ways not to fit
                for position in positions:
                    row[position] = texts[row[position]]
                records.append(tuple(row))
        except (KeyError, IndexError):
            raise self._misfit(body) from None
        return records

    def _unpack(self, body: bytes) -> tuple[list[str], list[Any]]:
        try:
            strings, rows = msgpack.unpackb(body, max_array_len=MAX_ROWS, max_map_len=0, max_ext_len=0, max_bin_len=0)
        except (ValueError, TypeError, MemoryError, RecursionError, msgpack.exceptions.UnpackException) as error:
            raise Misfit(f"expected [strings, records]: {error}") from error
        if not isinstance(strings, list) or not isinstance(rows, list):
            raise Misfit("expected [strings, records]")
        if not all(type(text) is str for text in strings):
            raise Misfit("expected a table of strings")
        return strings, rows

    def _misfit(self, body: bytes) -> Misfit:
        """Find the first row that does not fit, and say why."""
        strings, rows = self._unpack(body)
        for number, row in enumerate(rows):
            if type(row) is not list or not row:
                return Misfit(f"record {number}: expected a list")
            if type(row[0]) is not int or row[0] not in self._shapes:
                return Misfit(f"record {number}: event id {str(row[0])[:40]} is not in the schema")
            length, positions = self._shapes[row[0]]
            if len(row) != length:
                return Misfit(f"record {number}: {len(row)} values, expected {length} for event {row[0]}")
            for position, value in enumerate(row):
                if type(value) not in _NUMBERS:
                    return Misfit(f"record {number}: value {position} of event {row[0]} is no integer")
                if position in positions and not 0 <= value < len(strings):
                    return Misfit(f"record {number}: text {value} is not among the chunk's {len(strings)}")
        raise AssertionError("every record fits")
