"""Who goes next: the strategies, one file each, behind one interface."""

from .base import Strategy as Strategy
from .base import TapeError as TapeError
from .random import RandomWalk as RandomWalk
from .replay import Replay as Replay
from .timed import Timed as Timed

BY_NAME: dict[str, type[Timed | RandomWalk]] = {"timed": Timed, "random": RandomWalk}
"""Strategies a user can name and that need nothing but a seed."""


def make_strategy(name: str, seed: int) -> Strategy:
    """The strategy called `name`, drawing from `seed`.

    Raises:
        KeyError: there is no such strategy; `BY_NAME` has those there are.
    """
    return BY_NAME[name](seed)
