"""Who goes next: the strategies, one file each, behind one interface."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .base import SeededStrategy
from .base import Strategy as Strategy
from .base import TapeError as TapeError
from .dfs import DepthFirst as DepthFirst
from .dfs import ExhaustiveSearch as ExhaustiveSearch
from .kin import Kin as Kin
from .pct import Pct as Pct
from .pct import Pct10 as Pct10
from .pos import Pos as Pos
from .random import RandomWalk as RandomWalk
from .replay import Replay as Replay
from .replay import TolerantReplay as TolerantReplay
from .steady import Steady as Steady
from .surw import Surw as Surw
from .timed import Timed as Timed
from .urw import Urw as Urw

if TYPE_CHECKING:
    from ..profile import Profile

BY_NAME: dict[str, type[Timed | SeededStrategy]] = {
    strategy.name: strategy for strategy in (Timed, RandomWalk, Pct, Pct10, Pos, Urw, Surw, Kin)
}
"""Strategies a user can name and that need nothing but a seed, and some of them the profile of a pilot run."""


def make_strategy(name: str, seed: int, profile: Profile | None = None) -> Strategy:
    """The strategy called `name`, drawing from `seed`; `profile` is needed where the class says ``needs_profile``.

    Raises:
        KeyError: there is no such strategy; `BY_NAME` has those there are.
    """
    cls = BY_NAME[name]
    if not cls.needs_profile:
        return cls(seed)
    if profile is None:
        raise ValueError(f"strategy {name} needs the profile of a pilot run")
    return cls(seed, profile)  # type: ignore[call-arg]  # those that need a profile take it
