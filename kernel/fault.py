"""Fault injection: allocations of kernel structures that fail.

Mirrors should_failslab() of mm/failslab.c (6.1) with its ``times``: how many allocations may fail in a run.  Which ones
do is decided one by one, by the strategy.  Asked where a structure of shrinkers, of their maps or of LRU lists is
allocated, and where SLUB allocates a ``kmem_cache`` or a ``kmem_cache_node``; what tasks allocate fails when memory is
short.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..actors import Access

if TYPE_CHECKING:
    from .machine import Machine


class FailSlab:
    """The injector of one machine; with 0 ``times`` nothing fails, and nothing is decided."""

    def __init__(self, machine: Machine, times: int) -> None:
        self._machine = machine
        self._resource = machine.interleaver.resource("failslab")
        self.times = times

    def should_fail(self) -> bool:
        """Whether the allocation that is being made fails, as part of the step being made."""
        if not self.times or self._machine.booting:
            return False
        interleaver = self._machine.interleaver
        if interleaver.touch is not None:
            interleaver.touch(self._resource, Access.WRITE)
        if not interleaver.choose("allocation fails", 2):
            return False
        self.times -= 1
        self._machine.count("failslab")
        return True


def fails(machine: Machine) -> bool:
    """Whether the allocation that is being made is to fail: `FailSlab.should_fail`, where there is an injector."""
    return machine.failslab is not None and machine.failslab.should_fail()
