"""``struct rcu_head``: a callback."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


class RcuHead:
    """A callback and the address of what it is about; ``queued`` from `call_rcu` until it is invoked.

    ``queued`` is what CONFIG_DEBUG_OBJECTS_RCU_HEAD knows of it; ``name`` what reports call its function.
    """

    __slots__ = ("address", "function", "name", "queued")

    def __init__(self, function: Callable[[], Awaitable[None] | None], address: int = 0, *, name: str = "") -> None:
        self.function: Callable[[], Awaitable[None] | None] = function
        self.address = address
        self.name = name or getattr(function, "__name__", "callback").replace("<lambda>", "callback")
        self.queued = False


def rcu_leak_callback() -> None:
    """In the place of a callback that was queued twice: better a leak than a list that ends in itself."""
