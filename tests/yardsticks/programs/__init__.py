"""The yardstick programs, by the names they are known under."""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import concurrent_software, convul, inspect, safestack, work_stealing

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from typing import TypeAlias

    from ..world import World

    Program: TypeAlias = Callable[[World], Awaitable[None]]

PROGRAMS: dict[str, Program] = {
    **concurrent_software.PROGRAMS,
    "CB/stringbuffer-jdk1.4": inspect.PROGRAMS["CB/stringbuffer-jdk1.4"],
    **work_stealing.PROGRAMS,
    **convul.PROGRAMS,
    **inspect.PROGRAMS,
    **safestack.PROGRAMS,
}
