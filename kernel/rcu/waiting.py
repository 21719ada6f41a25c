"""Waiting for grace periods, visibly: a deadlock report shows which threads a grace period waits for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..locks import Completion

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from ...actors import Actor
    from ..machine import Machine


class GracePeriodCompletion(Completion):
    """A completion that a grace period will make; ``holders`` are the readers it waits for meanwhile."""

    __slots__ = ("_holders",)

    def __init__(self, machine: Machine, name: str, holders: Callable[[], Iterable[Actor]]) -> None:
        super().__init__(machine, name)
        self._holders = holders

    def holders(self) -> list[Actor]:
        """Who it waits for."""
        return list(self._holders())
