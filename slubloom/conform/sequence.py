"""Recorded sequences of operations, done again by the emulated allocator and compared step by step.

The recorder did one operation at a time, each on its processor through work_on_cpu(); so does this.  After each, what
it returned, every counter and list of the cache, and the texts of its files in /sys are compared.

What a real machine leaves open is taken from the recording: in which order the processors were flushed, where a new
slab's free list begins in the cache's permutation, and, where the default ratio leaves it to a clock, whether a search
for partial slabs went on to other nodes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..actors import BareInterleaver
from .choices import RecordedChoices
from .emulated import describe
from .hotplug_cpu import CpuWrites, is_cpu_write
from .hotplug_memory import BLOCK_BYTES, MemoryWrites, is_memory_write, plugged_blocks
from .machine import machine_of
from .replay import Replay, expected_of
from .report import FileReport
from .sequence_records import (
    Alloc,
    AllocBulk,
    Attribute,
    CreateCache,
    DestroyCache,
    Free,
    FreeBulk,
    Operation,
    Ratio,
    Write,
)
from .vectors import VectorError

if TYPE_CHECKING:
    from .vectors import Header, Records

FLUSH_ORDER = "the order in which processors were flushed is taken from the recording: they are flushed in parallel"
FREELIST_START = "where a new slab's free list begins is taken from the recording: it is drawn at random"
DEAD_ORDER = "slabs that one operation gives back are compared without their order, which the recorder does not know"
WRITER = "the processor that writers to files of processors run on is taken from the recording: a scheduler decides"
COIN = "operation {}: the search of other nodes is left out, as recorded: a clock decides (remote_node_defrag_ratio)"


def run_sequence(header: Header, records: Records) -> FileReport:
    """Do a recorded sequence again and compare.

    Raises:
        VectorError: the recording cannot be used.
    """
    report = FileReport(records.source, header.kind)
    lines, operations = _read(records)
    replay, turned = _replay(records.source, header, operations)
    for line, operation, compared in zip(lines, operations, replay.compared, strict=False):
        report.compare(line, _describe(operation), compared.expected, compared.got)
    for line, operation in list(zip(lines, operations, strict=True))[len(replay.compared) :]:
        report.compare(line, _describe(operation), expected_of(operation), {"stopped": replay.stopped_by})
    if any(operation.flushed for operation in operations):
        report.relaxations.append(FLUSH_ORDER)
    if any(isinstance(operation, CreateCache) and operation.random_seq for operation in operations):
        report.relaxations.append(FREELIST_START)
    if any(len(operation.dead) > 1 for operation in operations):
        report.relaxations.append(DEAD_ORDER)
    if any(isinstance(operation, Write) and is_cpu_write(operation) for operation in operations):
        report.relaxations.append(WRITER)
    report.relaxations.extend(COIN.format(number) for number in sorted(turned))
    return report


def _read(records: Records) -> tuple[list[int], list[Operation]]:
    lines: list[int] = []
    operations: list[Operation] = []
    there: dict[int, dict[int, None]] = {}  # objects by slot
    for line, operation in records.decode(Operation):
        _check(records, line, operation, there)
        lines.append(line)
        operations.append(operation)
    return lines, operations


def _check(records: Records, line: int, operation: Operation, there: dict[int, dict[int, None]]) -> None:
    """Refuse operations on what is not there."""
    if isinstance(operation, CreateCache):
        records.check_request(line, operation.req)
        records.check_geom(line, operation.geom)
        there[operation.k] = {}
        return
    if operation.k not in there:
        raise records.error(line, "k", f"there is no cache in slot {operation.k}")
    objects = there[operation.k]
    match operation:
        case Write() if not (is_cpu_write(operation) or is_memory_write(operation)):
            raise records.error(line, "path", f"{operation.path!r} is the file of no processor and no memory block")
        case DestroyCache():
            del there[operation.k]
        case Alloc():
            objects[operation.got[0]] = None
        case AllocBulk():
            objects.update(dict.fromkeys(got[0] for got in operation.got))
        case Free() | FreeBulk():
            freed = [operation.obj] if isinstance(operation, Free) else operation.objs
            for number in freed:
                if number not in objects:
                    field = "obj" if isinstance(operation, Free) else "objs"
                    raise records.error(line, field, f"object {number} was not allocated, or freed before")
                del objects[number]
        case _:
            pass


def _replay(source: str, header: Header, operations: list[Operation]) -> tuple[Replay, frozenset[int]]:
    """The run that agrees longest; and the operations in which the coin was taken to have fallen the rare way.

    Where the first disagreement is in an operation that looked at the coin, the other side is tried.
    """
    turned: frozenset[int] = frozenset()
    replay = _run(source, header, operations, turned)
    while (first := replay.first_mismatch()) is not None and operations[first].i in replay.tossed:
        other = turned | {operations[first].i}
        if other == turned:
            break
        again = _run(source, header, operations, other)
        reached = again.first_mismatch()
        if reached is not None and reached <= first:
            break
        turned, replay = other, again
    return replay, turned


def _run(source: str, header: Header, operations: list[Operation], stay_home: frozenset[int]) -> Replay:
    choices = RecordedChoices()
    interleaver = BareInterleaver(choices)
    blocks = plugged_blocks(operations)
    plugged = {node: len(numbers) * BLOCK_BYTES for node, numbers in blocks.items()}
    machine = machine_of(source, header, interleaver, plugged=plugged)
    for operation in operations:
        cpu = machine.cpus.get(operation.cpu)
        if cpu is None or not cpu.online:
            raise VectorError(source, f"there is no processor {operation.cpu}", field=f"operation {operation.i}: cpu")
    memory, cpus = MemoryWrites(machine, blocks), CpuWrites(machine)
    replay = Replay(machine, choices, stay_home, memory=memory, cpus=cpus)
    replay.run(operations, interleaver)
    return replay


def _describe(operation: Operation) -> str:
    """An operation for a person."""
    name = operation.__struct_config__.tag
    text = f"operation {operation.i}: {name} on cache {operation.k}, processor {operation.cpu}"
    match operation:
        case CreateCache():
            return f"operation {operation.i}: " + describe(operation.name, operation.req)
        case Alloc():
            return f"{text}, node {operation.node}"
        case Free():
            return f"{text}, object {operation.obj}"
        case AllocBulk():
            return f"{text}, {operation.n} objects"
        case FreeBulk():
            return f"{text}, {len(operation.objs)} objects"
        case Attribute():
            return f"operation {operation.i}: write {operation.value} to {operation.attr} of cache {operation.k}"
        case Write():
            return f"operation {operation.i}: write {operation.value} to {operation.path}"
        case Ratio():
            return f"operation {operation.i}: remote_node_defrag_ratio of cache {operation.k} is {operation.value}"
        case _:
            return text
