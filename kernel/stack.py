"""Stacks in kernel function names.

Every frame of the running actor counts whose code is in the kernel room and whose function stands for a kernel
function: one that has a public name of its own, or is marked with `kernel_name`.  The frames that suspend or perform
operations, and the locks' own internals, do not exist in the kernel and are left out.
"""

from __future__ import annotations

import sys
from functools import cache
from types import FunctionType
from typing import TYPE_CHECKING, Any, TypeVar, cast

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import CodeType, FrameType

    from ..actors import Actor

F = TypeVar("F", bound="Callable[..., Any]")

_ROOM = __name__.rpartition(".")[0] + "."
_HIDDEN = tuple(
    _ROOM + module
    for module in (
        "memory",
        "machine",
        "stack",
        "files",
        "operations",
        "memory_operations",
        "shrinker_operations",
        "work_operations",
        "cpu_operations",
        "workload",
        "boot",
        "sanitizers",
        "locks",
    )
)
_BOTTOMS: dict[CodeType, None] = {}  # filled at import time only
_NAMES: dict[CodeType, str | None] = {}  # filled at import time only; None is shown nowhere
_SHOWN: dict[tuple[str, int, str], str | None] = {}  # what `shown_name` has found out
STACK_MAX = 24
"""Frames in a report; deeper ones are cut, the innermost are kept."""


def kernel_name(name: str) -> Callable[[F], F]:
    """Show a function as `name` in stacks, where Python does not allow or want the kernel's own name."""

    def mark(function: F) -> F:
        _NAMES[function.__code__] = name
        return function

    return mark


def part_of_caller(function: F) -> F:
    """Leave a function out of stacks: in the kernel its caller does that itself."""
    _NAMES[function.__code__] = None
    return function


def bottom_of_stack(function: F) -> F:
    """Stacks of what `function` runs end there: its caller is another context."""
    _BOTTOMS[function.__code__] = None
    return function


def show_as(function: Callable[..., Any], name: str) -> None:
    """Show a function of another room as `name`."""
    _SHOWN.clear()
    _NAMES[function.__code__] = name


def renamed(function: F, name: str) -> F:
    """A copy of `function` that stacks show as `name`: the same code may stand for several kernel functions."""
    copy = FunctionType(function.__code__.replace(co_name=name), function.__globals__, name, function.__defaults__)
    copy.__doc__ = function.__doc__
    _NAMES[copy.__code__] = name
    return cast("F", copy)


def shown_name(frame: FrameType) -> str | None:
    """How a frame is shown, or None where it stands for nothing in the kernel."""
    code = frame.f_code
    # Not the code itself: it is hashed in full each time, and the locks of every schedule ask for stacks.
    place = code.co_filename, code.co_firstlineno, code.co_name
    try:
        return _SHOWN[place]
    except KeyError:
        name = _SHOWN[place] = _name_of(code, frame.f_globals.get("__name__", ""))
        return name


def _name_of(code: CodeType, module: str) -> str | None:
    if code in _NAMES:
        return _NAMES[code]
    if not module.startswith(_ROOM) or code.co_name.startswith(("_", "<")) or _is_hidden(module):
        return None
    return code.co_name


@cache
def _is_hidden(module: str) -> bool:
    return any(module == hidden or module.startswith(hidden + ".") for hidden in _HIDDEN)


def stack_of(actor: Actor) -> tuple[str, ...]:
    """The kernel functions `actor` is in, innermost first; also while it is running."""
    coroutine: Any = actor.coroutine
    running = actor is actor.interleaver.running
    if running and getattr(coroutine, "cr_running", False):
        return tuple(_names_up_to(coroutine.cr_frame))
    seen: list[FrameType] = []
    while coroutine is not None:
        frame = getattr(coroutine, "cr_frame", None) or getattr(coroutine, "gi_frame", None)
        if frame is not None:
            seen.append(frame)
        coroutine = getattr(coroutine, "cr_await", None) or getattr(coroutine, "gi_yieldfrom", None)
    if running:  # its operation is being performed: what performs it comes on top of its suspended coroutine
        seen += _running_frames()
    names = [name for frame in reversed(seen) if (name := shown_name(frame)) is not None]
    return tuple(names[:STACK_MAX])


def _names_up_to(outermost: FrameType) -> list[str]:
    """The functions on the interpreter's stack, up to that of the coroutine that runs: its awaits are all there."""
    names: list[str] = []
    frame: FrameType | None = sys._getframe(2)
    while frame is not None and len(names) < STACK_MAX:
        name = shown_name(frame)
        if name is not None:
            names.append(name)
        if frame is outermost:
            break
        frame = frame.f_back
    return names


def _running_frames() -> list[FrameType]:
    frames: list[FrameType] = []
    frame: FrameType | None = sys._getframe(2)
    while frame is not None and frame.f_code not in _BOTTOMS:
        frames.append(frame)
        frame = frame.f_back
    return frames[::-1]
