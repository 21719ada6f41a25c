"""What all locks share: a name, an address, tracepoints, and leaving them while a run is unwound."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ...actors import COND_RESCHED
from ..gfp import GFP_DIRECT_RECLAIM

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Generator

    from ..machine import Machine

ON_BEHALF = 16
NESTED = 8
RECURSIVE = 4
READ = 2
TRYLOCK = 1
WRITE = 0
"""Flags of ``lock:lock_acquire``.

The kernel's record has the lowest two.  RECURSIVE, with READ, is a reader that does not wait for a waiting writer;
NESTED says that the lock of the latest ``lock:lock_nest`` protects the nesting; ON_BEHALF that another thread holds the
lock for this one, which has not waited for it.
"""

CONTENDED_SPIN = 1
CONTENDED_READ = 2
CONTENDED_WRITE = 4
CONTENDED_PERCPU = 16
CONTENDED_MUTEX = 32
"""Flags of ``lock:contention_begin`` (``LCB_F_…``)."""


class _Nothing:
    """An awaitable that is done at once."""

    def __await__(self) -> Generator[Any, None, None]:
        return iter(())  # type: ignore[return-value]  # an iterator is all that await needs


NOTHING = _Nothing()


def might_sleep(machine: Machine, function: str) -> None:
    """Say that `function` may sleep, so that calling it where nothing may is found though it need not sleep now.

    For functions that wait for something else than a lock: locks are announced anyway.
    """
    if (fire := machine.tracepoints.might_sleep.fire) is not None:
        fire(function)


def might_alloc(machine: Machine, gfp: int, function: str) -> None:
    """`might_sleep` of an allocation, which may where `gfp` allows direct reclaim (``might_alloc``).

    As __might_sleep() does, it looks at the running context before it says anything, for allocations are many.  A
    reader of RCU counts for no more here than anywhere else: sanitizers/rcu_usage.py tells of those.
    """
    if not gfp & GFP_DIRECT_RECLAIM or (fire := machine.tracepoints.might_sleep.fire) is None:
        return
    if machine.interleaver.running.in_atomic():
        fire(function)


async def after_others(take: Callable[[], Awaitable[None]]) -> None:
    """``might_sleep()`` where preemption is voluntary: whoever waits for the processor may have it before `take`."""
    await COND_RESCHED
    await take()
