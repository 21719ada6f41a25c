"""Kernel structures as KASAN sees them: freeing one flips its class, and any later access is reported.

While a structure is alive it costs nothing: its class is the ordinary one.  `free_structure` gives it (and the locks
embedded in it) a class whose every attribute access reports ``use-after-free``, with the stacks of its allocation, of
its freeing and of the access.  The Python object stays behind as KASAN's quarantine would keep the memory: a stale
pointer always finds it poisoned, whatever now lives at its address.

Where the sanitizer ``existence`` is on, structures allocated with a `KeptBy` are watched: their class tells it of every
use.

`NULL` is the null pointer: false, and every attribute access is the ``null-deref`` violation.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar, cast

from ..actors import Access

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..actors import Resource
    from .existence import KeptBy
    from .machine import Machine

T = TypeVar("T")

UNTOLD = ("shadow", "embedded", "emulated")
"""What checkers read of a structure, and the kernel does not have."""


@dataclass(slots=True)
class Shadow:
    """What KASAN knows of one structure."""

    machine: Machine
    type_name: str  # as in C: "struct kmem_cache_node"
    cache_name: str
    address: int
    size: int
    allocated_by: str
    allocated_at: tuple[str, ...]
    freed_by: str = ""
    freed_at: tuple[str, ...] = ()
    kept_by: KeptBy | None = None


class Structure:
    """Base of kernel structures; ``embedded`` names the slots that hold parts of the same memory, such as locks."""

    __slots__ = ("shadow",)

    embedded: tuple[str, ...] = ()
    emulated: tuple[str, ...] = ()  # slots that the kernel does not have: using them is no use of the memory
    shadow: Shadow | None

    def resources(self) -> tuple[Resource, ...]:
        """What steps that use this structure declare: giving its memory back concerns all of them."""
        return ()


def shadow_of(structure: Structure) -> Shadow | None:
    """What KASAN knows of a structure; asking is no use of it."""
    shadow: Shadow | None = object.__getattribute__(structure, "shadow")
    return shadow


def allocated(
    machine: Machine,
    structure: Structure,
    type_name: str,
    cache_name: str,
    address: int,
    size: int,
    *,
    kept_by: KeptBy | None = None,
) -> None:
    """Tell KASAN that `structure` now lives at `address`, `size` bytes long, and what keeps it there."""
    structure.shadow = shadow = Shadow(
        machine, type_name, cache_name, address, size, machine.who(), machine.stack() if machine.kasan else ()
    )
    for name in structure.embedded:
        getattr(structure, name).shadow = shadow
    if kept_by is not None:
        shadow.kept_by = kept_by
        if machine.existence is not None and kept_by.tracked:
            machine.existence.watch(shadow)
            _become(structure, _watched)


def free_structure(structure: Structure) -> None:
    """Poison a structure whose memory is given back; a second time reports ``double-free``."""
    shadow = shadow_of(structure)
    if shadow is None:
        return
    if (fire := shadow.machine.tracepoints.structure_free.fire) is not None:
        fire(shadow.address, shadow.type_name, shadow.size)
    existence = shadow.machine.existence
    if existence is not None and shadow.kept_by is not None and shadow.kept_by.tracked and not shadow.freed_by:
        _become(structure, lambda cls: cls.__mro__[1])
        existence.freed(shadow)
    if not shadow.machine.kasan:
        return
    touch = shadow.machine.interleaver.touch
    if touch is not None:
        for resource in structure.resources():
            touch(resource, Access.WRITE)
    shadow.freed_by = shadow.machine.who()
    shadow.freed_at = shadow.machine.stack()
    for part in (*(getattr(structure, name) for name in structure.embedded), structure):
        part.__class__ = _poisoned(part.__class__)  # in the open: to the footprint audit this changes all of it


def _become(part: Any, change: Callable[[Any], Any]) -> None:
    """Change the class of a structure to one of the same layout."""
    object.__setattr__(part, "__class__", change(part.__class__))


@cache
def _watched(cls: type[Structure]) -> type:
    """The class of a watched `cls`: same layout, every use of a field is told of."""
    functions = {name for base in cls.__mro__ for name, value in vars(base).items() if callable(value)}
    functions.update(UNTOLD, cls.emulated)

    def read(self: Any, name: str) -> Any:
        if name not in functions and not name.startswith("__"):
            shadow = object.__getattribute__(self, "shadow")
            shadow.machine.existence.used(shadow, name, write=False)
        return object.__getattribute__(self, name)

    def write(self: Any, name: str, value: Any) -> None:
        if name not in functions and not name.startswith("__"):
            shadow = object.__getattribute__(self, "shadow")
            shadow.machine.existence.used(shadow, name, write=True)
        object.__setattr__(self, name, value)

    members = {"__slots__": (), "__getattribute__": read, "__setattr__": write, "__module__": cls.__module__}
    return type(f"Watched{cls.__name__}", (cls,), members)


@cache
def _poisoned(cls: type) -> type:
    """The class of a freed `cls`: same layout, every access reports."""

    def read(self: Any, name: str) -> Any:
        if name.startswith("__"):
            return object.__getattribute__(self, name)
        object.__getattribute__(self, "shadow").machine.kasan.use_after_free(
            object.__getattribute__(self, "shadow"), name, write=False
        )
        return object.__getattribute__(self, name)

    def write(self: Any, name: str, value: Any) -> None:
        object.__getattribute__(self, "shadow").machine.kasan.use_after_free(
            object.__getattribute__(self, "shadow"), name, write=True
        )
        object.__setattr__(self, name, value)

    return type(
        f"Freed{cls.__name__}",
        (cls,),
        {"__slots__": (), "__getattribute__": read, "__setattr__": write, "__module__": cls.__module__},
    )


class NullPointer:
    """Address 0 of one machine."""

    __slots__ = ("_machine",)

    def __init__(self, machine: Machine) -> None:
        object.__setattr__(self, "_machine", machine)

    def __bool__(self) -> bool:
        return False

    def __getattribute__(self, name: str) -> Any:
        if name.startswith("__"):
            return object.__getattribute__(self, name)
        _oops(object.__getattribute__(self, "_machine"), name, write=False)

    def __setattr__(self, name: str, value: Any) -> None:
        _oops(object.__getattribute__(self, "_machine"), name, write=True)


def _oops(machine: Machine, name: str, *, write: bool) -> NoReturn:
    machine.null_dereference(name, write=write)


def null_of(machine: Machine, of: type[T]) -> T:
    """The null pointer of `machine`, as a pointer to `of`."""
    return cast("T", machine.null)
