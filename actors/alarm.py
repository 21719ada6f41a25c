"""An alarm: a timer that belongs to no sleeper."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from .timers import TimerDevice


class Alarm:
    """Calls `ring` in the step in which it expires; can be cancelled.

    Setting one is no visible change: when it rings, and what that does, does not depend on who set another one before.
    """

    __slots__ = ("_device", "_ring", "is_set")

    def __init__(self, device: TimerDevice, ring: Callable[[], object]) -> None:
        self._device = device
        self._ring = ring
        self.is_set = False

    def set(self, delay_ns: int) -> None:
        """Ring in `delay_ns`, and not at the time set before."""
        self.cancel()
        self.is_set = True
        self._device.add(self._device.interleaver.timer_ns() + delay_ns, self)

    def cancel(self) -> None:
        """Do not ring."""
        if self.is_set:
            self.is_set = False
            self._device.remove(self)

    def unblock(self) -> None:
        """Its time has come."""
        self.is_set = False
        self._ring()
