"""The yardstick programs, by the names they are known under."""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import concurrent_software, convul, work_stealing

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from typing import TypeAlias

    from ..world import World

    Program: TypeAlias = Callable[[World], Awaitable[None]]

PROGRAMS: dict[str, Program] = {
    **concurrent_software.PROGRAMS,
    **work_stealing.PROGRAMS,
    **convul.PROGRAMS,
}
