"""How many objects a shrinker is asked to scan: the arithmetic of do_shrink_slab().

Mirrors do_shrink_slab() of mm/vmscan.c (6.1; the same in mm/shrinker.c of 6.8), without its callbacks and counters:
pure functions of numbers.  All numbers count objects.

Pressure is the priority: 12 (`DEF_PRIORITY`) is none to speak of, 0 is "everything".  Of what is freeable the
2^priority-th part is to be scanned, four times as much divided by ``seeks``, which says how dear an object is to
recreate.  What is too little for a batch is not scanned but deferred, to be added next time.
"""

from __future__ import annotations

from typing import NamedTuple

SHRINK_STOP = (1 << 64) - 1
"""Answer of a scan: no progress is possible here and now."""
SHRINK_EMPTY = SHRINK_STOP - 1
"""Answer of a count: there is nothing at all.  0 means that there is nothing to do this time."""

DEF_PRIORITY = 12
DEFAULT_SEEKS = 2
SHRINK_BATCH = 128


class Plan(NamedTuple):
    """What is to be done: ``deferred`` objects were left from before, ``delta`` are new, ``total_scan`` is for now."""

    freeable: int
    deferred: int
    delta: int
    total_scan: int
    batch: int


def plan(freeable: int, deferred: int, priority: int, seeks: int = DEFAULT_SEEKS, batch: int = 0) -> Plan:
    """What a shrinker with `freeable` objects is asked, at `priority`; `batch` 0 is the default of 128."""
    # Who needs no seek to recreate an object is asked for half of all, whatever the priority.
    delta = (freeable >> priority) * 4 // seeks if seeks else freeable // 2
    total_scan = min((deferred >> priority) + delta, 2 * freeable)
    return Plan(freeable, deferred, delta, total_scan, batch or SHRINK_BATCH)


def next_scan(wanted: Plan, total_scan: int) -> int | None:
    """How many objects the next call is to scan when `total_scan` are left to do; None when it is enough.

    Less than a batch is scanned only if that is all there is: then memory is short indeed.
    """
    if total_scan < wanted.batch and total_scan < wanted.freeable:
        return None
    return min(wanted.batch, total_scan)


def next_deferred(done: Plan, scanned: int) -> int:
    """How many objects are left for next time, after `scanned` of them: never more than twice of what there was."""
    return min(max(done.deferred + done.delta - scanned, 0), 2 * done.freeable)
