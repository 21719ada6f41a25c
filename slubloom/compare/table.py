"""The comparison for a person: a row for each figure, a column for each kernel."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from ..words import plural
from .result import Figure

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from .result import ColumnResult, Comparison

UNITS = (("ns", 1), ("us", 1_000), ("ms", 1_000_000), ("s", 1_000_000_000))
DIGITS = 4
"""Significant digits of a time that is not in nanoseconds."""

THOUSAND = 1000
MISSING = "-"

CACHE_ROWS = (
    ("caches created", "caches_created"),
    ("caches destroyed", "caches_destroyed"),
    ("last cache gone at", "last_cache_gone_ns"),
    ("largest destroy batch", "largest_destroy_batch"),
)
HELD_ROWS = (
    ("times held", "times"),
    ("held, total", "held_total_ns"),
    ("held, p50", "held_p50_ns"),
    ("held, p99", "held_p99_ns"),
    ("held, max", "held_max_ns"),
)
WAIT_ROWS = (
    ("times waited for", "waits"),
    ("waited, total", "waited_total_ns"),
)
TOLD_ALREADY = {"work_items": "work_items_run"}
"""Counters that are not worth a row where they say the same as a figure of events."""


WORK_WAITED = re.compile(r"work\.(.+)\.waited_max_ns")
"""The figure of a workqueue that the file names."""


class Row(NamedTuple):
    """A line of the table; a heading has no cells."""

    label: str
    cells: tuple[str, ...] = ()


def table(comparison: Comparison) -> list[str]:
    """The lines of the table."""
    return aligned(list(_rows(comparison)))


def headline(comparison: Comparison) -> list[str]:
    """What is compared, in two lines."""
    first = comparison.columns[0].column
    machine, options = first.scenario.machine, comparison.options
    seeds = options.seeds
    seed = f"seed {seeds[0]}" if len(seeds) == 1 else f"seeds {seeds[0]} to {seeds[-1]}: median [least..most]"
    parts = [plural(len(machine.cpus), "CPU"), plural(len(machine.nodes), "node")]
    parts += [f"strategy {options.strategy}", seed]
    times = "virtual time" if comparison.costed else f"times are steps: {options.strategy} has no clock"
    return [first.scenario.title or first.origin.path, f"  {', '.join(parts)}; {times}"]


def notes(comparison: Comparison) -> Iterator[str]:
    """What has to be known to read the table rightly."""
    for result in comparison.columns:
        label = result.column.label
        done, wanted = len(result.runs), len(comparison.options.seeds)
        if done < wanted:
            yield f"{label}: {done} of {wanted} runs"
        if result.cut_off:
            yield f"{label}: cut off after {comparison.options.steps_max:,} steps; the figures end there"
        if result.kinds:
            yield f"{label}: the figures end at the violation"
            run = next(run for run in result.runs if run.violations)
            yield f"  slubloom replay '{run.token}'"
    for lock in comparison.locks if comparison.metrics else ():
        if lock not in comparison.taken:
            taken = ", ".join(comparison.taken) or "none"
            yield f"{lock} was never taken; taken were, longest first: {taken}"


def _rows(comparison: Comparison) -> Iterator[Row]:
    columns = comparison.columns
    time = time_text if comparison.costed else count_text

    def row(label: str, figures: Sequence[Figure | None], form: Callable[[Figure], str]) -> Row:
        return Row(label, tuple(MISSING if figure is None else form(figure) for figure in figures))

    def metric(label: str, name: str) -> Row:
        form = time if name.endswith("_ns") else count_text
        return row(label, [result.metric(name) if result.runs else None for result in columns], form)

    yield Row("", tuple(result.column.label for result in columns))
    yield Row("verdict", tuple(_verdict(result) for result in columns))
    yield metric("rcu_barrier() calls", "rcu_barriers")
    yield metric("grace periods", "grace_periods")
    if any(_any(result.metric(name)) for result in columns for _, name in CACHE_ROWS):
        for label, name in CACHE_ROWS:
            yield metric(label, name)
    yield metric("work items run", "work_items_run")
    for name in comparison.metrics:
        if queue := WORK_WAITED.fullmatch(name):
            yield metric(f"longest wait on {queue[1]}", name)
    for lock in comparison.locks:
        modes = comparison.modes(lock)
        for mode in modes:
            yield Row(lock if modes == ("write",) else f"{lock}-{mode[0].upper()}")  # as lock_stat names them
            waited = any(_any(result.lock(lock, mode, "waits")) for result in columns)
            for label, field in (*HELD_ROWS, *(WAIT_ROWS if waited else ())):
                form = time if field.endswith("_ns") else count_text
                yield row(f"  {label}", [result.lock(lock, mode, field) for result in columns], form)
    yield Row("the run")
    yield metric("  steps", "steps")
    yield metric("  time", "time_ns")
    differing = list(_differing(comparison))
    if differing:
        yield Row("counters that differ")
        for name in differing:
            yield row(f"  {name.replace('_', ' ')}", [result.counter(name) for result in columns], count_text)


def _differing(comparison: Comparison) -> Iterator[str]:
    """The counters that are not the same in all columns, and are told nowhere else."""
    finished = [result for result in comparison.columns if result.runs]
    for name in comparison.counters:
        counted = [result.counter(name) for result in finished]
        same = TOLD_ALREADY.get(name)
        if name in comparison.metrics or (same and counted == [result.metric(same) for result in finished]):
            continue
        if any(figure != counted[0] for figure in counted):
            yield name


def _any(figure: Figure | None) -> bool:
    return figure is not None and figure.max > 0


def _verdict(result: ColumnResult) -> str:
    if not result.kinds:
        return result.verdict
    runs = len(result.runs)
    kinds = ", ".join(kind if times == runs else f"{kind} {times}/{runs}" for kind, times in result.kinds.items())
    return f"{kinds} (expected)" if result.as_expected else kinds


def aligned(rows: Sequence[Row]) -> list[str]:
    """Rows as lines, each column as wide as its widest cell."""
    labels = max(len(row.label) for row in rows)
    count = max(len(row.cells) for row in rows)
    widths = [max((len(row.cells[at]) for row in rows if row.cells), default=0) for at in range(count)]
    lines = []
    for row in rows:
        cells = [f"{cell:>{width}}" for cell, width in zip(row.cells, widths, strict=False)]
        lines.append("  ".join([f"{row.label:<{labels}}", *cells]).rstrip())
    return lines


def count_text(figure: Figure) -> str:
    """A number, with its range where it has one."""
    return _ranged(figure, lambda number: f"{number:,}", "")


def time_text(figure: Figure) -> str:
    """A time in the unit that suits it, with its range in the same unit."""
    unit, factor = _unit(figure.median)
    return _ranged(figure, lambda ns: _scaled(ns, factor), f" {unit}")


def _ranged(figure: Figure, form: Callable[[int], str], unit: str) -> str:
    text = f"{form(figure.median)}{unit}"
    if figure.min == figure.max:
        return text
    return f"{text} [{form(figure.min)}..{form(figure.max)}]"


def _unit(ns: int) -> tuple[str, int]:
    """The smallest unit of which it is less than a thousand, as it will be rounded."""
    for unit, factor in UNITS:
        if float(_scaled(ns, factor)) < THOUSAND:
            return unit, factor
    return UNITS[-1]


def _scaled(ns: int, factor: int) -> str:
    if factor == 1:
        return str(ns)
    value = ns / factor
    return f"{value:.{max(DIGITS - len(str(int(value))), 0)}f}"
