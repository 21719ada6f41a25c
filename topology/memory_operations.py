"""Operations about pages: a process that uses memory, a driver that does."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from .parts import Model, Name

PAGES_MAX = 1_000_000
ORDER_MAX = 10


class AllocPages(Model):
    """Allocate ``count`` times 2^``order`` pages into a bag of their own; node -1 is any.

    ``movable`` pages are a process's: memory hotplug may move them.  Others are the kernel's, and stay.
    """

    op: Literal["alloc_pages"]
    count: Annotated[int, Field(ge=1, le=PAGES_MAX)] = 1
    order: Annotated[int, Field(ge=0, le=ORDER_MAX)] = 0
    node: Annotated[int, Field(ge=-1, le=1023)] = -1
    movable: bool = True
    bag: Name = "pages"


class FreePages(Model):
    """Free the first ``count`` of a bag that alloc_pages filled, or all."""

    op: Literal["free_pages"]
    count: Annotated[int, Field(ge=1, le=PAGES_MAX)] | None = None
    bag: Name = "pages"
