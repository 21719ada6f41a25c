"""What a schedule leaves behind."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING

import pytest
from slubloom.actors.garbage import MIDDLE_MAX, OLD_MAX
from slubloom.topology import gallery_path, load

from slubloom.explore.subject import ScenarioSubject, Schedule, execute, many_schedules

if TYPE_CHECKING:
    from collections.abc import Sequence

    from slubloom.actors import Interleaver
    from slubloom.kernel import Violation


class Watched(ScenarioSubject):
    """Knows which machines are still there; may hold on to the last one, as a test function may."""

    def __init__(self, *, holds_on: bool) -> None:
        super().__init__(load(gallery_path("unmount")))
        self.machines: list[weakref.ref[Interleaver]] = []
        self.last: Interleaver | None = None
        self._holds_on = holds_on

    def begin(self, interleaver: Interleaver) -> Sequence[Violation]:
        self.machines.append(weakref.ref(interleaver))
        if self._holds_on:
            self.last = interleaver
        return super().begin(interleaver)

    @property
    def alive(self) -> int:
        return sum(machine() is not None for machine in self.machines)


@pytest.mark.parametrize(("holds_on", "alive_max"), [(False, 1), (True, MIDDLE_MAX + OLD_MAX)])
def test_the_machines_of_earlier_schedules_are_freed_while_a_search_goes_on(holds_on: bool, alive_max: int) -> None:
    subject = Watched(holds_on=holds_on)
    with many_schedules():
        for number in range(120):
            execute(subject, Schedule(number, "random", number), None)
            assert subject.alive <= alive_max
