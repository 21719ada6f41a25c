"""``slubloom explore --audit``: does every step declare what it touches?"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from .report import CLEAN, INTERNAL, headline

if TYPE_CHECKING:
    from ..explore.campaign import CampaignOptions
    from ..token import Origin
    from ..topology import Scenario

SHOWN_MAX = 20


def run_audit(scenario: Scenario, origin: Origin, options: CampaignOptions, *, as_json: bool) -> int:
    """Run schedules under audit until one shows an undeclared touch or the budget is used up.

    An undeclared touch is a mistake of the emulation or of a patch file, never of the emulated kernel.
    """
    from ..explore.audit import audit
    from ..explore.subject import innermost

    try:
        result = audit(scenario, options)
    except ExceptionGroup as failed:  # an actor failed: in us or in a patch file
        click.echo(f"slubloom: the audited run failed: {innermost(failed)}", err=True)
        return INTERNAL
    if as_json:
        document = {"schema": "slubloom-audit/1", "schedules": result.schedules, "errors": result.errors}
        click.echo(json.dumps(document, indent=2))
    else:
        for line in headline(scenario, origin, "footprint audit"):
            click.echo(line)
        for error in result.errors[:SHOWN_MAX]:
            click.echo(f"  {error}")
        if len(result.errors) > SHOWN_MAX:
            click.echo(f"  and {len(result.errors) - SHOWN_MAX} more")
        verdict = f"{len(result.errors)} undeclared touches" if result.errors else "every step declares what it touches"
        click.echo(f"{verdict}, in {result.schedules:,} schedules")
    return INTERNAL if result.errors else CLEAN
