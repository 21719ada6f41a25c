"""``struct shrinker_info``: which shrinkers may have something for a cgroup on a node, and what was deferred for it.

Mirrors struct shrinker_info and struct shrinker_info_unit of include/linux/shrinker.h (6.8).  A unit has 64 bits and as
many counts.  Up to 6.6 the kernel has one array of bits and one of counts behind the info; here these are units too,
which belong to one info only and are freed with it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...actors import Op, OpKind
from ..existence import KeptBy
from ..memory import Structure, allocated
from ..stack import kernel_name, part_of_caller

if TYPE_CHECKING:
    from ...actors import Resource
    from ..machine import Machine

BITS_PER_LONG = 64
UNIT_SIZE = BITS_PER_LONG * 8 + 8
ALL_BITS = (1 << BITS_PER_LONG) - 1


class ShrinkerInfoUnit(Structure):
    """64 bits and deferred counts."""

    __slots__ = ("address", "map", "nr_deferred", "resource")
    emulated = ("address", "look", "resource")

    def __init__(self, machine: Machine) -> None:
        self.shadow = None
        self.resource = machine.interleaver.resource("shrinker_info_unit")
        self.address = machine.static_address(UNIT_SIZE)
        # Atomic:
        self.map = 0
        self.nr_deferred = [0] * BITS_PER_LONG

    def resources(self) -> tuple[Resource, ...]:
        """What those declare who use it."""
        return (self.resource,)

    @property
    def look(self) -> Op:
        """A look at all of it."""
        return Op(OpKind.READ, self.resource)

    @part_of_caller
    async def set_bit(self, offset: int) -> None:
        """``set_bit``."""
        await Op(OpKind.UPDATE, self.resource)
        self.map |= 1 << offset

    @part_of_caller
    async def clear_bit(self, offset: int) -> None:
        """``clear_bit``."""
        await Op(OpKind.UPDATE, self.resource)
        self.map &= ~(1 << offset)

    @part_of_caller
    async def next_bit(self, start: int) -> int | None:
        """The first bit that is set, from `start` on (``find_next_bit``)."""
        await Op(OpKind.READ, self.resource)
        rest = self.map >> start
        return start + (rest & -rest).bit_length() - 1 if rest else None

    @part_of_caller
    async def xchg_deferred(self, offset: int) -> int:
        """Take what was deferred."""
        await Op(OpKind.UPDATE, self.resource)
        nr, self.nr_deferred[offset] = self.nr_deferred[offset], 0
        return nr

    @part_of_caller
    async def add_deferred(self, nr: int, offset: int) -> int:
        """Add to what is deferred; what there is now."""
        await Op(OpKind.UPDATE, self.resource)
        self.nr_deferred[offset] += nr
        return self.nr_deferred[offset]


class ShrinkerInfo(Structure):
    """The units for ids below ``map_nr_max``; constant once others see it."""

    __slots__ = ("address", "found_by", "map_nr_max", "units")
    emulated = ("address", "found_by")

    def __init__(
        self, machine: Machine, map_nr_max: int, units: list[ShrinkerInfoUnit], found_by: Resource, kept_by: KeptBy
    ) -> None:
        self.shadow = None
        size = 24 + 8 * (map_nr_max // BITS_PER_LONG)
        self.address = machine.static_address(size)
        self.found_by = found_by
        self.map_nr_max = map_nr_max
        self.units = units
        allocated(machine, self, "struct shrinker_info", "kmalloc", self.address, size, kept_by=kept_by)

    def resources(self) -> tuple[Resource, ...]:
        """What those declare who use it."""
        return (self.found_by,)


class MemcgPerNode(Structure):
    """``struct mem_cgroup_per_node``, of a cgroup: where its info is; None before it is online and when it ends."""

    __slots__ = ("resource", "shrinker_info")

    def __init__(self, machine: Machine) -> None:
        self.shadow = None
        self.resource = machine.interleaver.resource("shrinker_info")
        # Written under the writers' lock.
        self.shrinker_info: ShrinkerInfo | None = None

    @property
    def read(self) -> Op:
        """``rcu_dereference``."""
        return Op(OpKind.READ, self.resource)

    @property
    def write(self) -> Op:
        """``rcu_assign_pointer``."""
        return Op(OpKind.WRITE, self.resource)


@kernel_name("shrinker_unit_alloc")
def make_unit(machine: Machine, owner: Structure) -> ShrinkerInfoUnit:
    """A unit in memory of its own, which lives as long as `owner`."""
    unit = ShrinkerInfoUnit(machine)
    kept_by = KeptBy(owners=lambda: (owner,))
    allocated(machine, unit, "struct shrinker_info_unit", "kmalloc-1k", unit.address, UNIT_SIZE, kept_by=kept_by)
    return unit
