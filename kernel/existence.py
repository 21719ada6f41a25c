"""What a structure's protocol promises about its end: the declarations that the sanitizer ``existence`` goes by.

They say for one structure what the kernel's comments and ``lockdep_is_held()`` conditions say: under which
circumstances a pointer to it may be used.  They are facts of the variant that allocates the structure; whether they
are kept is what the sanitizer looks at.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from .machine import Machine
    from .memory import Structure


def reader(flavour: str) -> str:
    """How readers of `flavour` (``rcu``, or the name of an SRCU domain) are named as a guarantee."""
    return "an RCU reader" if flavour == "rcu" else f"an SRCU reader of {flavour}"


def no_owners() -> Iterable[Structure]:
    """It belongs to no other structure."""
    return ()


@dataclass(frozen=True, slots=True)
class KeptBy:
    """What may keep one structure alive.

    ``readers``: flavours of RCU after whose grace period it goes; ``locks``: classes without which it is not let go;
    ``owners``: structures as long as which it lives; ``static``: it never goes.  References to it always count.
    ``inside``: structures that take it with them, whoever is a reader or has a lock, so these must be kept too.  Where
    ``tracked`` is false its own uses are not looked at, only those of what belongs to it.
    """

    readers: tuple[str, ...] = ()
    locks: tuple[str, ...] = ()
    owners: Callable[[], Iterable[Structure]] = no_owners
    inside: Callable[[], Iterable[Structure]] = no_owners
    static: bool = False
    tracked: bool = True

    def sections(self) -> tuple[str, ...]:
        """The guarantees that have a beginning and an end."""
        return (*(reader(flavour) for flavour in self.readers), *self.locks)

    def described(self) -> list[str]:
        """For a report."""
        owners = [owner.shadow.type_name for owner in self.owners() if owner.shadow is not None]
        return [*self.sections(), "a reference to it", *(f"whatever keeps its {name}" for name in owners)]


def claim(machine: Machine, *structures: Structure) -> None:
    """The running context is, by contract, the one that lets `structures` go: it may use them until it has."""
    if machine.existence is not None:
        for structure in structures:
            machine.existence.claim(structure)


def publish(machine: Machine, *structures: Structure) -> None:
    """Others can find `structures` from here on: that the running context has made them keeps them no more."""
    if machine.existence is not None:
        for structure in structures:
            machine.existence.published(structure)
