"""What is said to and by the grace-period machine, and the words for where it is."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum, IntFlag
from typing import TYPE_CHECKING

from .mailbox import Message

if TYPE_CHECKING:
    from .grace_period import GracePeriod


class GpState(IntEnum):
    """``gp_state``."""

    IDLE = 0
    WAIT_GPS = 1
    DONE_GPS = 2
    ONOFF = 3
    INIT = 4
    WAIT_FQS = 5
    DOING_FQS = 6
    CLEANUP = 7
    CLEANED = 8


class GpFlag(IntFlag):
    """``gp_flags``."""

    INIT = 1
    FQS = 2


@dataclass(frozen=True, slots=True)
class StartGracePeriod(Message):
    """A grace period that ends with ``sequence`` or later is needed."""

    sequence: int


@dataclass(frozen=True, slots=True)
class QuorumComplete(Message):
    """Nobody is waited for any more by the grace period ``sequence``."""

    sequence: int


@dataclass(frozen=True, slots=True)
class ForceQuiescentStates(Message):
    """Look at the processors again: a timer has expired, or callbacks pile up."""

    sequence: int


@dataclass(frozen=True, slots=True)
class GracePeriodEnded(Message):
    """To a processor with callbacks: ``sequence`` of ``domain`` has been reached."""

    domain: GracePeriod
    sequence: int


@dataclass(frozen=True, slots=True)
class GpTimes:
    """How long things take, in virtual nanoseconds: ``jiffies_till_{first,next}_fqs`` and the stall timeout."""

    first_fqs_ns: int
    next_fqs_ns: int
    stall_ns: int
