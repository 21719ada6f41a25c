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
        "work_operations",
        "workload",
        "boot",
        "sanitizers",
        "locks",
    )
)
_NAMES: dict[CodeType, str | None] = {}  # filled at import time only; None is shown nowhere
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


def show_as(function: Callable[..., Any], name: str) -> None:
    """Show a function of another room as `name`."""
    shown_name.cache_clear()
    _NAMES[function.__code__] = name


def renamed(function: F, name: str) -> F:
    """A copy of `function` that stacks show as `name`: the same code may stand for several kernel functions."""
    copy = FunctionType(function.__code__.replace(co_name=name), function.__globals__, name, function.__defaults__)
    copy.__doc__ = function.__doc__
    _NAMES[copy.__code__] = name
    return cast("F", copy)


@cache
def shown_name(code: CodeType, module: str) -> str | None:
    """How a frame is shown, or None where it stands for nothing in the kernel."""
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
    names: list[str] = []
    seen: list[FrameType] = []
    coroutine: Any = actor.coroutine
    while coroutine is not None:
        frame = getattr(coroutine, "cr_frame", None) or getattr(coroutine, "gi_frame", None)
        if frame is not None:
            seen.append(frame)
        coroutine = getattr(coroutine, "cr_await", None) or getattr(coroutine, "gi_yieldfrom", None)
    if actor is actor.interleaver.running:
        # While its coroutine runs, the chain of awaits ends at the frame that runs: the rest is on the interpreter's
        # stack. While its operation is performed the coroutine is suspended, and what performs it comes on top.
        running = _running_frames()
        seen = running if getattr(actor.coroutine, "cr_running", False) else seen + running
    for frame in seen:
        name = shown_name(frame.f_code, frame.f_globals.get("__name__", ""))
        if name is not None:
            names.append(name)
    return tuple(names[::-1][:STACK_MAX])


def _running_frames() -> list[FrameType]:
    frames: list[FrameType] = []
    frame: FrameType | None = sys._getframe(2)
    while frame is not None:
        frames.append(frame)
        frame = frame.f_back
    return frames[::-1]
