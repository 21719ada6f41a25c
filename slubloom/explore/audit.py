"""The footprint audit over many schedules of a scenario."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..actors import BareInterleaver, RunLimits
from ..actors.strategies import make_strategy
from ..kernel.sanitizers.footprint import audited
from .campaign import PORTFOLIO, SEEDS_APART
from .portfolio import Portfolio
from .subject import Pilot, ScenarioSubject

if TYPE_CHECKING:
    from ..topology import Scenario
    from .campaign import CampaignOptions


@dataclass(frozen=True, slots=True)
class Audited:
    """What an audit has seen: the schedules run, and the distinct errors, first seen first."""

    schedules: int
    errors: list[str]


def audit(scenario: Scenario, options: CampaignOptions) -> Audited:
    """Audit the schedules a campaign with `options` would begin with, in this process; stop at the first that errs."""
    subject = ScenarioSubject(scenario)
    seed = options.seed * SEEDS_APART
    profile = Pilot(subject, seed).profile
    portfolio = Portfolio() if options.strategy == PORTFOLIO else Portfolio({options.strategy: 1.0})
    errors: dict[str, None] = {}
    begun, schedules = time.monotonic(), 0
    while not errors:
        schedules += 1
        strategy = make_strategy(portfolio.next_strategy(), seed + schedules, profile)
        interleaver = BareInterleaver(strategy, limits=RunLimits(options.steps_max))
        with audited(interleaver) as footprints:
            subject.begin(interleaver)
            interleaver.run_bare()
        errors.update(footprints.errors)
        if options.schedules is not None and schedules >= options.schedules:
            break
        if options.budget_s is not None and time.monotonic() - begun >= options.budget_s:
            break
    return Audited(schedules, list(errors))
