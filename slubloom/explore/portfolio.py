"""Which strategy the next schedule gets.

No strategy is best everywhere (exploration.md 3.14), so the budget is divided: to begin with as experience suggests,
and then towards those that still show new behaviours, in rounds.  Everything follows from the results in order of their
numbers, so a campaign takes the same course with any number of workers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .subject import Executed

SHARES: dict[str, float] = {
    "kin": 0.44,
    "surw": 0.18,
    "pos": 0.14,
    "pct": 0.08,
    "urw": 0.06,
    "pct10": 0.05,
    "random": 0.05,
}
"""Where the budget goes before anything is known."""

EXPLORED_SHARE = 0.4
"""The part of the budget that stays divided as at the beginning, however little a strategy seems to bring."""

ROUND_FIRST, ROUND_MAX = 8, 64


class Portfolio:
    """Strategies and what each has brought: schedules run, and new behaviours among them."""

    def __init__(self, shares: Mapping[str, float] | None = None) -> None:
        self.shares = dict(shares or SHARES)
        self.runs = dict.fromkeys(self.shares, 0)
        self.fresh = dict.fromkeys(self.shares, 0)
        self._credit = dict.fromkeys(self.shares, 0.0)

    def next_strategy(self) -> str:
        """The strategy of the next schedule: the one that is most behind its share."""
        credit = self._credit
        total = sum(self.shares.values())
        for name, share in self.shares.items():
            credit[name] += share / total
        chosen = max(credit, key=lambda name: credit[name])
        credit[chosen] -= 1
        return chosen

    def learn(self, executed: Executed, *, new: bool) -> None:
        """Take a result in; the shares change only with `rebalance`."""
        name = executed.schedule.strategy
        if name in self.runs:
            self.runs[name] += 1
            self.fresh[name] += new

    def rebalance(self) -> None:
        """Shift the budget towards the strategies that still show new behaviours."""
        start = SHARES if self.shares.keys() == SHARES.keys() else dict.fromkeys(self.shares, 1 / len(self.shares))
        worth = {name: start[name] * (self.fresh[name] + 1) / (self.runs[name] + 2) for name in self.shares}
        total = sum(worth.values())
        for name in self.shares:
            self.shares[name] = EXPLORED_SHARE * start[name] + (1 - EXPLORED_SHARE) * worth[name] / total
