"""Looking for reference cycles less often while a run is on."""

from __future__ import annotations

import gc
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def rare_garbage_collection(new: int, middle: int, old: int) -> Iterator[None]:
    """Collect with these thresholds (`gc.set_threshold`).  They are the process's, and are put back."""
    before = gc.get_threshold()
    gc.set_threshold(new, middle, old)
    try:
        yield
    finally:
        gc.set_threshold(*before)
