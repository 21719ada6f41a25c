"""What can be told of every step of a run: fingerprints, profiles, histories, the footprint audit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from .actor import Actor
    from .operation import Op
    from .resource import Access, Resource


class Observer(Protocol):
    """Told of every step: what it is before it is made, and what it touches beyond that while it is made."""

    def before_step(self, actor: Actor, op: Op) -> object:
        """`actor` is about to perform `op`."""

    def touch(self, resource: Resource, access: Access) -> object:
        """The step being made touches `resource`."""
