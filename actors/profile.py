"""What a pilot run tells a strategy about the runs to come: how much each actor does, and to what.

Keyed by identities that are the same in every schedule (`Maker`): actors by signature, resources likewise.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .resource import Access, Resource

if TYPE_CHECKING:
    from .actor import Actor
    from .interleaver import Interleaver
    from .operation import Op


class Profile:
    """Observes one run.

    ``decisions`` is how often there was somebody to choose between, ``events`` the steps of each actor, ``parents`` who
    spawned whom, and ``accesses`` for each resource how often each actor's operations were about it.
    """

    __slots__ = ("_interleaver", "accesses", "decisions", "events", "names", "parents", "written")

    def __init__(self, interleaver: Interleaver) -> None:
        self._interleaver = interleaver
        self.decisions = 0
        self.events: dict[int, int] = {}
        self.parents: dict[int, int] = {}
        self.accesses: dict[int, dict[int, int]] = {}
        self.written: dict[int, None] = {}
        self.names: dict[int, str] = {}

    def before_step(self, actor: Actor, op: Op) -> None:
        """Count a step."""
        if len(self._interleaver.enabled) > 1:
            self.decisions += 1
        signature = actor.maker.signature
        self.events[signature] = self.events.get(signature, 0) + 1
        if op.races:
            identity = op.resource.identity
            by_actor = self.accesses.setdefault(identity, {})
            by_actor[signature] = by_actor.get(signature, 0) + 1
            if op.access is not Access.READ:
                self.written[identity] = None
                self.names[identity] = op.resource.name

    def touch(self, resource: Resource, access: Access) -> None:
        """What a step touches beyond its operation cannot be scheduled by itself: not counted."""

    def on_spawn(self, parent: int, child: Actor) -> None:
        """Note who made whom."""
        self.parents[child.maker.signature] = parent

    def shared(self) -> dict[int, dict[int, int]]:
        """The resources that several actors' operations are about, at least one of them changing it."""
        return {
            identity: by_actor
            for identity, by_actor in self.accesses.items()
            if identity and len(by_actor) > 1 and identity in self.written
        }

    def with_descendants(self, own: dict[int, int]) -> dict[int, int]:
        """Add to each actor's count those of all it has spawned, directly or not."""
        total: dict[int, int] = {}
        for signature, count in own.items():
            member: int | None = signature
            while member is not None:
                total[member] = total.get(member, 0) + count
                member = self.parents.get(member)
        return total
