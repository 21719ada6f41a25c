"""The story of a run in columns, one for each actor, as kernel people draw interleavings on paper.

Time goes down.  A line is what one actor did in one function that others could notice; what concerns nobody else is
left out, and so are machine parts that only serve.
"""

from __future__ import annotations

import textwrap
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ..actors import OpKind
from .history import Event, shared_identities

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from .explain import Explanation

WIDTH, COLUMN_MIN, COLUMNS_MAX = 110, 26, 5
HEADING = 2
"""Lines with the names of the actors."""
LINES_FULL = 36
"""Up to so many lines every step on the resources of the explanation is told."""
BLOCK_LINES, HEAD, TAIL = 8, 2, 3
"""Lines of one actor in a row; of more, the first and the last ones are told."""


@dataclass(slots=True)
class _Line:
    """What one actor did in one function, a phrase for each step.  ``matters`` where it is part of the explanation."""

    where: str
    phrases: list[str]
    mark: str = ""
    matters: bool = False

    @property
    def text(self) -> str:
        """The line, a verb said once for all that it is about."""
        said: list[str] = []
        verb = ""
        for phrase in dict.fromkeys(self.phrases):
            first, _, rest = phrase.partition(" ")
            said.append(rest if rest and first == verb else phrase)
            verb = first
        return f"{self.where}: {', '.join(said)}" if self.where else ", ".join(said)


@dataclass(slots=True)
class _Block:
    """What one actor did before another one went on."""

    serial: int
    lines: list[_Line] = field(default_factory=list)


def tell(events: Sequence[Event], marked: Sequence[Event] = (), *, end: str = "", lines_max: int = 0) -> list[str]:
    """The story of `events`, the `marked` ones with the letters A, B, C … in front, and `end` below as its outcome.

    With `lines_max` only the last lines are told, those before are counted.
    """
    letters = {(event.serial, event.step): chr(ord("A") + number % 26) for number, event in enumerate(marked)}
    about = {event.identity for event in marked}
    body = _body(events, letters, about, end)
    if marked and len(body) > LINES_FULL:  # only what the explanation names, and where everybody comes and goes
        body = _body(events, letters, {0}, end)
    if lines_max and len(body) > lines_max + HEADING:
        rest = body[HEADING:]
        body = [*body[:HEADING], f"    … {len(rest) - lines_max + 1} lines before", *rest[1 - lines_max :]]
    return body


def _body(events: Sequence[Event], letters: dict[tuple[int, int], str], about: set[int], end: str) -> list[str]:
    """The columns with their heading; lines about the resources in `about` are all told, of others the ends."""
    blocks = _blocks(events, letters, about)
    names = {event.serial: event for event in events}
    columns = list(dict.fromkeys(block.serial for block in blocks))
    if len(columns) > COLUMNS_MAX:  # those that have most to tell
        weight = {serial: sum(len(block.lines) for block in blocks if block.serial == serial) for serial in columns}
        kept = sorted(columns, key=lambda serial: -weight[serial])[:COLUMNS_MAX]
        columns = [serial for serial in columns if serial in kept]
    width = max(COLUMN_MIN, (WIDTH - 4) // max(len(columns), 1) - 2)
    body = [line for block in blocks if block.serial in columns for line in _rows(block, columns, width)]
    if end:
        last = events[-1].serial if events else -1
        indent = 4 + (columns.index(last) * (width + 2) if last in columns else 0)
        text = f"*** {end} ***"
        body.append(" " * min(indent, max(WIDTH - len(text), 4)) + text)
    head = "    " + "".join(f"{_title(names[serial]):<{width + 2}}" for serial in columns).rstrip()
    rule = "    " + "  ".join("-" * width for _ in columns)
    return [head, rule, *body]


def _title(event: Event) -> str:
    return event.actor if event.cpu < 0 else f"{event.actor} (CPU {event.cpu})"


def _blocks(events: Sequence[Event], letters: dict[tuple[int, int], str], about: set[int]) -> list[_Block]:
    """Group the steps worth telling by actor, in order; steps of one function share a line."""
    shared = shared_identities(list(events))
    blocks: list[_Block] = []
    for event in events:
        mark = letters.get((event.serial, event.step), "")
        if not mark and not _worth_telling(event, shared):
            continue
        if not blocks or blocks[-1].serial != event.serial:
            blocks.append(_Block(event.serial))
        lines = blocks[-1].lines
        matters = bool(mark) or not about or event.identity in about or event.kind is OpKind.SEND
        last = lines[-1] if lines else None
        if last is not None and last.where == event.where and not mark and not last.mark and last.matters == matters:
            last.phrases.append(event.phrase)
        else:
            lines.append(_Line(event.where, [event.phrase], mark, matters))
    return blocks


def _worth_telling(event: Event, shared: dict[int, None]) -> bool:
    if not event.is_thread or event.kind in (OpKind.RECEIVE, OpKind.FINISH):
        return False
    if event.kind is OpKind.SEND:
        return not event.resource.startswith("mailbox of node/")
    return any(identity in shared for identity in event.footprint) and event.kind is not OpKind.WAIT


def _rows(block: _Block, columns: Sequence[int], width: int) -> Iterator[str]:
    """The lines of one block, in its column: those that matter, and the first and the last."""
    position = columns.index(block.serial)
    indent = " " * position * (width + 2)
    lines = block.lines
    told = {0, len(lines) - 1} | {index for index, line in enumerate(lines) if line.matters}
    if len(told) > BLOCK_LINES:
        inner = sorted(index for index in told if lines[index].mark or index < HEAD or index >= len(lines) - TAIL)
        told = set(inner)
    before = -1
    for index in sorted(told):
        if index - before > 1:
            yield f"    {indent}…"
        before = index
        line = lines[index]
        for number, piece in enumerate(textwrap.wrap(line.text, width - 2, subsequent_indent="  ")):
            margin = f"{line.mark:<3} " if not number else "    "
            yield (margin + indent + piece).rstrip()


def summary(explanation: Explanation, *, lines_max: int = 0) -> list[str]:
    """The explanation as text: size, story, needed order, nearest passing schedule."""
    trial = explanation.trial
    preemptions = "no preemption" if not trial.preemptions else f"{trial.preemptions} preemption"
    plural = "s" if trial.preemptions > 1 else ""
    lines = [f"smallest schedule: {preemptions}{plural}, {trial.steps} steps ({explanation.replays} replays)", ""]
    title = trial.violation.title if trial.violation is not None else ""
    lines += tell(explanation.events, explanation.order, end=title, lines_max=lines_max)
    if explanation.order:
        lines += ["", "needed order:"]
        for number, event in enumerate(explanation.order):
            letter = chr(ord("A") + number % 26)
            before = "" if number == len(explanation.order) - 1 else "  before"
            lines.append(f"  {letter}  {event.actor}, {event.text}{before}")
    elif not trial.deviations:
        lines += ["", "needed order: none; it fails when every actor simply runs until it must wait"]
    if explanation.flips:
        flip = explanation.flips[0]
        lines += [
            "",
            "nearest passing schedule: the same, but with",
            f"  {flip.step.actor}, {flip.step.text}",
            "before",
            f"  {flip.than.actor}, {flip.than.text}",
        ]
    return lines
