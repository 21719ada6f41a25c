"""The wait-for graph of a machine in which nothing can go on.

An edge says: this actor's pending operation cannot be performed before that actor acts.  Who holds the object of an
operation is known by the object's owner: ``op.aux`` may have ``holders()``.  A cycle among the edges is the deadlock
proper; the other blocked actors wait for it, or for something nobody will ever do.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .actor import Actor


@dataclass(frozen=True, slots=True)
class Waiting:
    """One blocked actor: what it wants, and who has it."""

    actor: Actor
    wants: str
    holders: tuple[Actor, ...]


def wait_for_graph(blocked: Iterable[Actor]) -> list[Waiting]:
    """What each of the `blocked` actors waits for, in the given order."""
    return [Waiting(actor, repr(actor.pending), _holders(actor)) for actor in blocked]


def _holders(actor: Actor) -> tuple[Actor, ...]:
    holders = getattr(actor.pending.aux, "holders", None)
    return tuple(holders()) if holders is not None else ()


def find_cycle(waiting: Iterable[Waiting]) -> list[Waiting]:
    """One cycle of the graph, starting with its oldest actor; empty where there is none."""
    import networkx as nx  # slow to import, and needed only where there is a deadlock

    by_actor = {entry.actor: entry for entry in waiting}
    graph: nx.DiGraph[Actor] = nx.DiGraph(
        (entry.actor, holder) for entry in by_actor.values() for holder in entry.holders
    )
    for start in by_actor:
        if start in graph:
            try:
                edges = nx.find_cycle(graph, start)
            except nx.NetworkXNoCycle:
                continue
            return [by_actor[source] for source, *_ in edges]
    return []
