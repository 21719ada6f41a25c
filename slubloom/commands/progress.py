"""The live line on the terminal while schedules are searched."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from ..explore.campaign import CampaignOptions, Tally
    from ..explore.minimise import Trial

DRAWN_EVERY_S = 0.2
WIDTH = 100


class ProgressLine:
    """The live line on the terminal: schedules, rate, behaviours, chance of a new one, time left."""

    def __init__(self, options: CampaignOptions, *, shown: bool) -> None:
        self._options = options
        self._shown = shown
        self._next = time.monotonic() + DRAWN_EVERY_S
        self._drawn = False

    def __call__(self, tally: Tally) -> None:
        """Draw the line again, now and then."""
        if self._shown and time.monotonic() >= self._next:
            self._draw(progress_text(tally, self._options))

    def minimising(self, trial: Trial) -> None:
        """Say how small the schedule has become."""
        if self._shown and time.monotonic() >= self._next:
            self._draw(f"making it smaller: {trial.preemptions} preemptions, {len(trial.deviations)} deviations")

    def _draw(self, text: str) -> None:
        self._next = time.monotonic() + DRAWN_EVERY_S
        self._drawn = True
        click.echo(f"\r{text:<{WIDTH}}", err=True, nl=False)

    def clear(self) -> None:
        """Leave an empty line behind."""
        if self._drawn:
            self._drawn = False
            click.echo("\r" + " " * WIDTH + "\r", err=True, nl=False)


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
