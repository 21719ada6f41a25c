"""What the runs of each column come to, and the result object.

Several seeds give several runs a column: a figure is then their median (by nearest rank: one that was measured), with
the range from the smallest to the largest.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from ..actors import Outcome
from ..actors.strategies import BY_NAME
from ..expectation import expected_kinds
from .figures import Histogram
from .locks import LockFigures

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ..kernel import Violation
    from .columns import Column
    from .locks import Mode
    from .runs import Options, Run

SCHEMA = "slubloom-compare/1"
LOCKS_SHOWN = 3
"""Lock classes that are told of where none is asked for."""


class Figure(NamedTuple):
    """A figure of one column over its runs."""

    median: int
    min: int
    max: int


@dataclass(frozen=True, slots=True)
class ColumnResult:
    """A column and those of its runs that are over, by seed."""

    column: Column
    runs: tuple[Run, ...]

    @property
    def violations(self) -> list[tuple[Run, Violation]]:
        """What was found, and in which run."""
        return [(run, violation) for run in self.runs for violation in run.violations]

    @property
    def kinds(self) -> dict[str, int]:
        """The kinds found, and in how many runs each."""
        kinds: dict[str, int] = {}
        for run in self.runs:
            for kind in dict.fromkeys(violation.kind for violation in run.violations):
                kinds[kind] = kinds.get(kind, 0) + 1
        return kinds

    @property
    def cut_off(self) -> bool:
        """Whether a run came to the step limit."""
        return any(run.outcome is Outcome.STEP_LIMIT for run in self.runs)

    @property
    def verdict(self) -> str:
        """``clean`` or ``violated``; ``not run`` where no run is over."""
        if not self.runs:
            return "not run"
        return "violated" if self.kinds else "clean"

    @property
    def as_expected(self) -> bool:
        """Whether exactly those kinds were found that the file expects for the release."""
        scenario = self.column.scenario
        return sorted(self.kinds) == sorted(expected_kinds(scenario))

    @property
    def passes(self) -> bool:
        """Whether it is clean, or exactly what the file expects."""
        return not self.kinds or self.as_expected

    def metric(self, name: str) -> Figure | None:
        """A figure of events; None where no run has it."""
        return _figure(run.metrics[name] for run in self.runs)

    def counter(self, name: str) -> Figure | None:
        """A counter of the machine; what was never counted is 0."""
        return _figure(run.counters.get(name, 0) for run in self.runs)

    def lock(self, name: str, mode: Mode, field: str) -> Figure | None:
        """A figure of a lock class; 0 where it was never taken."""
        return _figure(getattr(run.locks.get((name, mode)), field, 0) for run in self.runs)


def _figure(values: Iterable[int | None]) -> Figure | None:
    histogram = Histogram(value for value in values if value is not None)
    return Figure(histogram.percentile(50), histogram.min, histogram.max) if histogram.count else None


class Comparison:
    """All columns.  `locks` are the classes to tell of; empty for those with the most time held or waited for."""

    def __init__(
        self,
        columns: Sequence[Column],
        options: Options,
        runs: Sequence[Run],
        *,
        locks: Sequence[str] = (),
        interrupted: bool = False,
    ) -> None:
        self.options = options
        self.interrupted = interrupted
        self.columns = [
            ColumnResult(column, tuple(sorted((run for run in runs if run.number == number), key=lambda run: run.seed)))
            for number, column in enumerate(columns)
        ]
        self.taken = _by_time(self.columns)
        self.locks = tuple(dict.fromkeys(locks)) or self.taken[:LOCKS_SHOWN]

    @property
    def costed(self) -> bool:
        """Whether virtual time is an estimate of real time, and not a count of steps."""
        return BY_NAME[self.options.strategy].costed

    @property
    def passes(self) -> bool:
        """Whether every column does."""
        return all(result.passes for result in self.columns)

    @property
    def metrics(self) -> list[str]:
        """The names of the figures of events."""
        return next((list(run.metrics) for result in self.columns for run in result.runs), [])

    @property
    def counters(self) -> list[str]:
        """The names of all counters."""
        names = dict.fromkeys(name for result in self.columns for run in result.runs for name in run.counters)
        return sorted(names)

    def modes(self, lock: str) -> tuple[Mode, ...]:
        """How a lock class is taken; ``write`` only where it has no readers."""
        keys = dict.fromkeys(key for result in self.columns for run in result.runs for key in run.locks)
        return tuple(mode for mode in ("write", "read") if (lock, mode) in keys) or ("write",)

    def as_json(self) -> dict[str, Any]:
        """The result object."""
        first = self.columns[0].column
        return {
            "schema": SCHEMA,
            "scenario": first.origin.path,
            "title": first.scenario.title,
            "strategy": self.options.strategy,
            "costed": self.costed,
            "seeds": list(self.options.seeds),
            "verdict": "clean" if all(not result.kinds for result in self.columns) else "violated",
            "as_expected": self.passes,
            "interrupted": self.interrupted,
            "locks": list(self.locks),
            "kernels": [self._column_as_json(result) for result in self.columns],
        }

    def _column_as_json(self, result: ColumnResult) -> dict[str, Any]:
        figures = self._figures(result)
        kernel = result.column.scenario.kernel
        return {
            "name": result.column.label,
            "release": kernel.release,
            "apply": list(kernel.apply),
            "revert": list(kernel.revert),
            "verdict": result.verdict,
            "as_expected": result.passes,
            "cut_off": result.cut_off,
            "violations": [
                violation.as_json() | {"seed": run.seed, "token": run.token} for run, violation in result.violations
            ],
            "seeds": [run.seed for run in result.runs],
            "tokens": [run.token for run in result.runs],
            "metrics": {name: None if figure is None else figure.median for name, figure in figures.items()},
            "ranges": {name: None if figure is None else [figure.min, figure.max] for name, figure in figures.items()},
            "counters": {name: counted.median for name in self.counters if (counted := result.counter(name))},
        }

    def _figures(self, result: ColumnResult) -> dict[str, Figure | None]:
        figures = {name: result.metric(name) for name in self.metrics}
        for lock in self.locks:
            for mode in self.modes(lock):
                for field in LockFigures._fields:
                    figures[f"lock.{lock}.{mode}.{field}"] = result.lock(lock, mode, field)
        return figures


def _by_time(columns: Sequence[ColumnResult]) -> tuple[str, ...]:
    """The lock classes that were taken, those first that were held or waited for longest in any column."""
    longest: dict[str, int] = {}
    for result in columns:
        for run in result.runs:
            held: dict[str, int] = {}
            waited: dict[str, int] = {}
            for (name, _), figures in run.locks.items():
                held[name] = held.get(name, 0) + figures.held_total_ns
                waited[name] = waited.get(name, 0) + figures.waited_total_ns
            for totals in (held, waited):
                for name, total in totals.items():
                    longest[name] = max(longest.get(name, 0), total)
    return tuple(sorted(longest, key=lambda name: (-longest[name], name)))
