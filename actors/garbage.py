"""Looking for reference cycles less often while a run is on, and at once between short ones."""

from __future__ import annotations

import gc
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

MIDDLE_MAX = 20
OLD_MAX = 50
"""Collections of a generation, after which `forget_last_run` collects the next older one too."""


@contextmanager
def rare_garbage_collection(new: int, middle: int, old: int) -> Iterator[None]:
    """Collect with these thresholds (`gc.set_threshold`).  They are the process's, and are put back."""
    before = gc.get_threshold()
    gc.set_threshold(new, middle, old)
    try:
        yield
    finally:
        gc.set_threshold(*before)


def forget_last_run() -> None:
    """Free what the run before has left behind: a machine is many hundreds of cycles, and dead all at once.

    At once, while it is in the processor's cache and before any of it counts as old: a quarter less time a schedule
    than in bulk.  Only what was made since the last call is looked at, and what was still in use then now and again.
    """
    _, middle, old = gc.get_count()
    gc.collect(2 if old > OLD_MAX else 1 if middle > MIDDLE_MAX else 0)
