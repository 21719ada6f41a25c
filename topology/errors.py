"""What is wrong with an input file: every problem, each with its place and what was expected."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence


class Problem(NamedTuple):
    """One thing that is wrong: ``place`` like ``machine.node[1].cpus`` (empty: the file itself)."""

    place: str
    message: str

    def __str__(self) -> str:
        return f"{self.place}: {self.message}" if self.place else self.message


class TopologyError(Exception):
    """An input file cannot be used; all its problems together."""

    exit_status = 2

    def __init__(self, source: str, problems: Sequence[Problem]) -> None:
        self.source = source
        self.problems = tuple(problems)
        if len(self.problems) == 1:
            text = f"{source}: {self.problems[0]}"
        else:
            text = "\n".join(
                [f"{source}: {len(self.problems)} problems", *(f"  {problem}" for problem in self.problems)]
            )
        super().__init__(text)
