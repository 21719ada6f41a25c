"""What boot makes of the shrinkers of a topology."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...actors import KernelThread
from ..fault import FailSlab
from .reclaim import Reclaim
from .shrinkers import Shrinkers

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from typing import Any

    from ..machine import Machine


def init_thread(machine: Machine) -> KernelThread:
    """Who boots."""
    return KernelThread(machine.online_cpus()[0], "swapper/0", pid=0)


def make_shrinkers(machine: Machine) -> None:
    """Before there is a cgroup beside the root: it has maps, and so will all others."""
    cgroups = machine.cgroups
    failslab = machine.failslab or FailSlab(machine, 0)
    shrinkers = Shrinkers(machine, machine.slab.variants, cgroups, failslab)
    machine.shrinkers = shrinkers
    machine.reclaim = Reclaim(machine, shrinkers, machine.slab.variants.cgroup_walk)
    if cgroups is not None:
        cgroups.shrinkers = shrinkers
        shrinkers.css_alloc(cgroups.root.memcg)
        machine.run_alone(init_thread(machine), shrinkers.css_online(cgroups.root.memcg))


def mount_at_boot(machine: Machine, mount_all: Coroutine[Any, Any, str | None]) -> str | None:
    """Mount what is there from the start; the name of one that could not be."""
    failed: str | None = machine.run_alone(init_thread(machine), mount_all)
    return failed
