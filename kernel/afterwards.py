"""Reading the files of a machine whose run is over.

Nobody runs any more, and who ran may have stopped anywhere: inside a critical section after a violation, in front of a
lock in a deadlock.  So nothing is performed here: an operation that only looks, or takes a lock that is free, is passed
over, and one that would have to wait says who is waited for.  Nothing is recorded either: no event, no log line, no
violation, no decision.  What is read is what a task would read that came at this moment.
"""

from __future__ import annotations

import difflib
from contextlib import contextmanager
from errno import ENOENT
from typing import TYPE_CHECKING, Any

from ..actors import Actor, Cpu, Death, KernelThread, OpKind
from .files import error_name, read_file
from .slab.sysfs import STATISTICS, attributes, directories, sysfs_name
from .slab.sysfs_directory import SLAB_FOLDER

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterator

    from ..actors import Op
    from .machine import Machine

NAMED_MAX = 20
"""Caches that are listed where the one wanted does not exist."""

LOOKS = (OpKind.LOCAL, OpKind.READ, OpKind.COMMUTE, OpKind.RELEASE)


class UnreadableError(Exception):
    """A file cannot be read any more; the message says why."""


class NotThereError(UnreadableError):
    """There is no such file."""


def read_afterwards(machine: Machine, path: str) -> str:
    """The text of a file of `machine`, whose run is over.

    Raises:
        NotThereError: there is no such file.
        UnreadableError: a lock is held that reading takes, or the kernel's state makes reading a violation.
    """
    with _unseen(machine):
        text = _pass_over(machine, read_file(machine, path))
    if isinstance(text, str):
        return text
    if text == -ENOENT:
        raise NotThereError(_what_is_missing(machine, path))
    raise UnreadableError(error_name(text))


def slab_paths(machine: Machine) -> Iterator[str]:
    """Every attribute file of every cache."""
    for directory in directories(machine.slab):
        for attribute in attributes(machine.slab):
            yield f"{SLAB_FOLDER}/{directory}/{attribute}"


def _what_is_missing(machine: Machine, path: str) -> str:
    name, _, attribute = path.removeprefix(f"{SLAB_FOLDER}/").partition("/")
    slub = machine.slab
    if not path.startswith(f"{SLAB_FOLDER}/"):
        return "there is no such file"
    known = list(dict.fromkeys([*map(sysfs_name, slub.names), *directories(slub)]))
    if name in known:
        off = " unless kernel.slub_stats is on" if attribute in STATISTICS else ""
        return f"a cache has no such file{off}; it has: {', '.join(attributes(slub))}"
    close = difflib.get_close_matches(name, known, 3)
    if close:
        return f"there is no cache {name} at the end of the run; did you mean {' or '.join(close)}?"
    more = f" and {len(known) - NAMED_MAX} more" if len(known) > NAMED_MAX else ""
    return f"there is no cache {name} at the end of the run; there are: {', '.join(known[:NAMED_MAX])}{more}"


@contextmanager
def _unseen(machine: Machine) -> Iterator[None]:
    """Leave no trace of what is done meanwhile."""
    interleaver = machine.interleaver
    listening = [(point, point.fire) for point in machine.tracepoints]
    found, said = len(machine.violations), len(machine.console)
    before = machine.log, dict(machine.counters)
    interleaver.touch, touch = None, interleaver.touch
    machine.log = None
    for point, _ in listening:
        point.fire = None
    try:
        yield
    finally:
        for point, fire in listening:
            point.fire = fire
        interleaver.touch = touch
        machine.log, machine.counters = before
        del machine.violations[found:], machine.console[said:]


def _pass_over(machine: Machine, work: Coroutine[Any, Any, str | int]) -> str | int:
    interleaver = machine.interleaver
    # A processor of its own: that interrupts come and go there concerns nobody.
    reader = KernelThread(Cpu(interleaver, 0, 0, preempt_model="none", tick_ns=1), "end of the run", pid=0)
    reader.coroutine = work
    found = len(machine.violations)
    before, interleaver.running = interleaver.running, reader
    try:
        while True:
            _check(work.send(None))
    except StopIteration as end:
        text: str | int = end.value
    except Death:
        raise UnreadableError(_violation(machine)) from None
    finally:
        work.close()
        interleaver.running = before
    if len(machine.violations) > found:
        raise UnreadableError(_violation(machine))
    return text


def _violation(machine: Machine) -> str:
    return f"reading it is a violation: {machine.violations[-1].title}"


def _check(op: Op) -> None:
    """Pass over an operation that another one could not be in the way of."""
    if op.kind is OpKind.ACQUIRE:
        holder = getattr(op.aux, "holder", None)
        if holder is None:
            return
        who = f"{holder.comm}/{holder.pid}" if isinstance(holder, Actor) else "somebody"
        raise UnreadableError(f"{op.target} is held by {who}")
    if op.kind not in LOOKS:
        raise UnreadableError(f"it would have to wait: {op!r}")
