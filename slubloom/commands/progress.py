"""The live line on the terminal while a run is long, or schedules are searched."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from ..actors import Interleaver
    from ..explore.campaign import CampaignOptions, Tally
    from ..explore.minimise import Trial


class TerminalLine:
    """A line that is drawn over again, at most every `every_s` seconds, where it is ``shown`` at all."""

    def __init__(self, *, shown: bool, every_s: float, width: int) -> None:
        self._shown = shown
        self._every_s = every_s
        self._width = width
        self._next = time.monotonic() + every_s
        self._drawn = False

    @property
    def due(self) -> bool:
        """Whether it is time to draw."""
        return self._shown and time.monotonic() >= self._next

    def draw(self, text: str) -> None:
        """Draw `text` in the place of what is there."""
        self._next = time.monotonic() + self._every_s
        self._drawn = True
        click.echo(f"\r{text:<{self._width}}", err=True, nl=False)

    def clear(self) -> None:
        """Leave an empty line behind."""
        if self._drawn:
            self._drawn = False
            click.echo("\r" + " " * self._width + "\r", err=True, nl=False)


class RunProgress(TerminalLine):
    """A line while one run is long."""

    def __init__(self, *, shown: bool) -> None:
        super().__init__(shown=shown, every_s=0.5, width=78)

    def __call__(self, interleaver: Interleaver) -> None:
        """Draw the line again, now and then."""
        if self.due:
            self.draw(f"{interleaver.steps:,} steps, virtual time {interleaver.now_ns / 1e9:.6f} s")


class ProgressLine(TerminalLine):
    """The live line of a search: schedules, rate, behaviours, chance of a new one, time left."""

    def __init__(self, options: CampaignOptions, *, shown: bool) -> None:
        super().__init__(shown=shown, every_s=0.2, width=100)
        self._options = options

    def __call__(self, tally: Tally) -> None:
        """Draw the line again, now and then."""
        if self.due:
            self.draw(progress_text(tally, self._options))

    def minimising(self, trial: Trial) -> None:
        """Say how small the schedule has become."""
        if self.due:
            self.draw(f"making it smaller: {trial.preemptions} preemptions, {len(trial.deviations)} deviations")


def progress_text(tally: Tally, options: CampaignOptions) -> str:
    """One line about how far a campaign has come."""
    left: list[float] = []
    if options.schedules is not None and tally.rate:
        left.append((options.schedules - tally.schedules) / tally.rate)
    if options.budget_s is not None:
        left.append(options.budget_s - tally.seconds)
    parts = [
        f"{tally.schedules:,} schedules",
        f"{tally.rate:,.0f}/s",
        f"{tally.behaviours:,} behaviours",
        f"next is new: {tally.chance_of_new:.0%}",
        f"{len(tally.findings)} found",
    ]
    if left:
        parts.append(f"{max(min(left), 0):.0f} s left")
    return ", ".join(parts)
