"""What processes that make runs for another one have in common: how they are started, and whom signals are for."""

from __future__ import annotations

import multiprocessing
import os
import signal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from multiprocessing.context import BaseContext


def worker_context() -> BaseContext:
    """How worker processes are made.

    Forking starts one at once, with everything imported; where that is not to be had it is started anew.
    """
    method = "fork" if os.name == "posix" and "fork" in multiprocessing.get_all_start_methods() else "spawn"
    return multiprocessing.get_context(method)


def be_a_worker() -> None:
    """First thing in a worker: Ctrl-C is the business of who has started it, who ends it with SIGTERM."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
