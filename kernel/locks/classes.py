"""How a lock gets its lock class.

Mirrors register_lock_class() and lockdep_set_class() of kernel/locking/lockdep.c (6.1): a class is a key, most often
the place where locks are initialised, and has a name that need not be its own.

To lockdep a class is one string, the name in ``lock:lock_acquire``, so:

* a lock whose name says which locks are alike needs nothing: ``Mutex(machine, "slab_mutex")``;
* locks of one name that are initialised in different places, or must be told apart, take their name from
  `lock_class(machine, name, wait_type, key=...)`: the second key is called ``name#2``, as in the kernel's reports;
* a lock that is taken while another one of its class is held, in an order that is known to be safe, is taken with a
  subclass from 1 to 7: ``mutex.lock_nested(1)`` is announced as ``name/1``.  The subclass is of the acquisition, not of
  the lock; leaving is the same as ever;
* what is no lock, but waited for like one (a work item, ``kn->active``), is announced by `acquire_map` and
  `release_map` with a name that `lock_class` has made known and any address of its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Hashable

    from ...traces import Tracepoints
    from ..machine import Machine

NR_SUBCLASSES = 8
NOT_CHECKED = "0:0"
"""The wait type of what may be held and waited for anywhere."""


class LockClasses(dict[str, str]):
    """The wait type, ``outer:inner``, of each class by name; a new one is told to whoever listens."""

    def __init__(self, tracepoints: Tracepoints) -> None:
        super().__init__()
        self._point = tracepoints.lock_class

    def __setitem__(self, name: str, wait_type: str) -> None:
        """Make a class known."""
        if name not in self:
            dict.__setitem__(self, name, wait_type)
            if (fire := self._point.fire) is not None:
                fire(name, wait_type)


def lock_class(machine: Machine, name: str, wait_type: str, *, key: Hashable = None) -> str:
    """The name of the class of `key` (None: the first of that name), made known with its wait type."""
    versions = machine.lock_versions.setdefault(name, {})
    version = versions.setdefault(key, len(versions) + 1)
    shown = name if version == 1 else f"{name}#{version}"
    machine.lock_classes[shown] = wait_type
    return shown


def subclass(name: str, number: int) -> str:
    """How class `name` is announced with subclass `number`.

    Raises:
        ValueError: there is no such subclass.
    """
    if not 0 <= number < NR_SUBCLASSES:
        raise ValueError(f"{name}: there is no subclass {number}; there are 0 to {NR_SUBCLASSES - 1}")
    return f"{name}/{number}" if number else name


def acquire_map(machine: Machine, name: str, address: int, flags: int = 0) -> None:
    """Say that the running context depends from here on what `name` stands for (``lock_map_acquire``)."""
    if (fire := machine.tracepoints.lock_acquire.fire) is not None:
        fire(flags, name, address)


def release_map(machine: Machine, name: str, address: int) -> None:
    """Say that it does no more (``lock_map_release``)."""
    if (fire := machine.tracepoints.lock_release.fire) is not None:
        fire(name, address)
