"""What came of a recording: how much of it agrees, and the first place where it does not."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

MISSING = "nothing"


@dataclass(frozen=True, slots=True)
class Mismatch:
    """One record that does not agree: `record` is its line, `expected` what was recorded, `got` what was emulated."""

    record: int
    operation: str
    expected: dict[str, Any]
    got: dict[str, Any]

    def lines(self) -> Iterator[str]:
        """For a person: the operation, each field that differs, and how many do not."""
        yield f"record {self.record}: {self.operation}"
        fields = list(dict.fromkeys([*self.expected, *self.got]))
        different = [name for name in fields if not self._agrees(name)]
        width = max(map(len, different), default=0)
        for name in different:
            expected, got = self.expected.get(name, MISSING), self.got.get(name, MISSING)
            yield f"  {name:{width}}  expected {_text(expected)}, got {_text(got)}"
        same = [name for name in fields if self._agrees(name)]
        if same:
            yield f"  {len(same)} other fields agree: {', '.join(same)}"

    def _agrees(self, name: str) -> bool:
        return name in self.expected and name in self.got and self.expected[name] == self.got[name]


@dataclass(slots=True)
class FileReport:
    """What came of one file, counted in records.

    `relaxations` say what was left out of the comparison and why, `reason` why records were not run at all.
    """

    file: str
    kind: str
    total: int = 0
    matched: int = 0
    not_run: int = 0
    reason: str = ""
    relaxations: list[str] = field(default_factory=list)
    first_mismatch: Mismatch | None = None

    def compare(self, record: int, operation: str, expected: dict[str, Any], got: dict[str, Any]) -> None:
        """Count a record, and keep it if it is the first that does not agree."""
        self.total += 1
        if expected == got:
            self.matched += 1
        elif self.first_mismatch is None:
            self.first_mismatch = Mismatch(record, operation, expected, got)

    def as_json(self) -> dict[str, Any]:
        """Plain values, for ``--json``."""
        return asdict(self)

    def lines(self) -> Iterator[str]:
        """For a person."""
        text = f"{self.file}: {self.kind}, {self.matched:,} of {self.total:,} records match"
        if self.not_run:
            text += f", {self.not_run:,} not run: {self.reason}"
        yield text
        for relaxation in self.relaxations:
            yield f"  relaxed: {relaxation}"
        if self.first_mismatch is not None:
            first, *rest = self.first_mismatch.lines()
            yield f"  first mismatch, {first}"
            yield from (f"  {line}" for line in rest)


def _text(value: Any) -> str:
    if isinstance(value, list):
        return " ".join(map(str, value)) or "none"
    return str(value)
