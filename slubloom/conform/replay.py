"""A machine that does a recorded sequence of operations, and what came out of each beside what was recorded."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ..actors import Outcome
from ..kernel.machine import FunctionThread
from ..kernel.pages import GFP_KERNEL, page_frame
from ..kernel.slab.allocate import kmem_cache_alloc_bulk, kmem_cache_alloc_node
from ..kernel.slab.destroy import kmem_cache_destroy
from ..kernel.slab.free import kmem_cache_free, kmem_cache_free_bulk
from ..kernel.slab.placement import placement_of
from ..kernel.slab.shrink import kmem_cache_shrink
from ..kernel.slab.sysfs import read_attribute, write_attribute
from ..traces.event import FIRST_FIELD
from .emulated import create, fields_of, geom_of
from .hotplug_cpu import expected_cpu_events, is_cpu_write
from .hotplug_memory import expected_events
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
    Shrink,
    State,
    Write,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..actors import BareInterleaver
    from ..kernel import Machine
    from ..kernel.slab.cache import KmemCache, Slab
    from .choices import RecordedChoices
    from .hotplug_cpu import CpuWrites
    from .hotplug_memory import MemoryWrites


@dataclass(slots=True)
class Compared:
    """One operation: what was recorded and what came out, by the names of the recording."""

    expected: dict[str, Any]
    got: dict[str, Any]

    @property
    def matches(self) -> bool:
        """Whether all of it is the same."""
        return self.expected == self.got


@dataclass(slots=True)
class _Slot:
    """A cache of the rig, and the recorder's numbers for what is in it."""

    cache: KmemCache
    slabs: dict[Slab, int] = field(default_factory=dict)
    objects: dict[int, int] = field(default_factory=dict)  # number → address


class Replay:
    """One machine that does a sequence.  ``compared`` has the outcome of each operation done so far."""

    def __init__(
        self,
        machine: Machine,
        choices: RecordedChoices,
        stay_home: frozenset[int],
        *,
        memory: MemoryWrites,
        cpus: CpuWrites,
    ) -> None:
        self.machine = machine
        self.choices = choices
        self.compared: list[Compared] = []
        self.tossed: list[int] = []  # operations in which the coin was looked at
        self.stopped_by = ""
        self._stay_home = stay_home
        self._memory = memory
        self._cpus = cpus
        self._slots: dict[int, _Slot] = {}
        self._new: list[Slab] = []
        self._dead: list[Slab] = []
        self._flushed: list[tuple[str, int]] = []  # cache, processor
        points = machine.tracepoints
        points.slab_new.attach(lambda record: self._new.append(self._slab(record)))
        points.slab_discard.attach(lambda record: self._dead.append(self._slab(record)))
        points.cpu_slab_flush.attach(lambda record: self._flushed.append(record[FIRST_FIELD : FIRST_FIELD + 2]))

    def _slab(self, record: tuple[Any, ...]) -> Slab:
        return self.machine.slab.slabs[record[FIRST_FIELD + 1]]

    def run(self, operations: Sequence[Operation], interleaver: BareInterleaver) -> None:
        """Do `operations`, one after the other, on the interleaver of the machine."""

        async def rig() -> None:
            for operation in operations:
                await self._step(operation)

        machine = self.machine
        machine.spawn(FunctionThread(machine, machine.online_cpus()[0], "rig", rig))
        outcome = interleaver.run_bare()
        if machine.violations:
            self.stopped_by = machine.violations[0].title
        elif outcome is not Outcome.FINISHED:
            raise RuntimeError(f"the emulated machine ended early: {outcome.name.lower()}")

    def first_mismatch(self) -> int | None:
        """The position of the first operation that does not agree."""
        return next((at for at, compared in enumerate(self.compared) if not compared.matches), None)

    async def _step(self, operation: Operation) -> None:
        self._new, self._dead, self._flushed = [], [], []
        self.choices.operation(operation.flushed, self._starts(operation), stay_home=operation.i in self._stay_home)
        result: dict[str, Any] = {}

        async def do(_: Any) -> None:
            result.update(await self._do(operation))

        if isinstance(operation, CreateCache | Attribute | Ratio | Write):
            await do(None)  # by the shell that drives the recorder, wherever it runs
        else:
            workqueues = self.machine.workqueues
            work = workqueues.make_work("work_for_cpu_fn", do)
            await workqueues.queue_work_on(operation.cpu, work)
            await workqueues.flush_work(work)
        if self.choices.tossed:
            self.tossed.append(operation.i)
        got = result | await self._state_after(operation)
        self.compared.append(Compared(expected_of(operation), got))

    def _starts(self, operation: Operation) -> list[int]:
        """Where in the permutation the free list of each slab begins that the recorded operation made."""
        taken = [operation.got] if isinstance(operation, Alloc) else getattr(operation, "got", [])
        slot = self._slots.get(operation.k)
        if slot is None or slot.cache.random_seq is None:
            return []
        first: dict[int, int] = {}
        for _, slab, _, index in taken:
            first.setdefault(slab, index)
        sequence = slot.cache.random_seq
        return [sequence.index(first[slab]) if first.get(slab) in sequence else 0 for slab, *_ in operation.new]

    # --- the operations

    async def _do(self, operation: Operation) -> dict[str, Any]:
        slub = self.machine.slab
        if isinstance(operation, CreateCache):
            return await self._create(operation)
        slot = self._slots[operation.k]
        cache = slot.cache
        match operation:
            case DestroyCache():
                destroyed = await kmem_cache_destroy(slub, cache)
                del self._slots[operation.k]
                return {} if destroyed else {"destroyed": False}
            case Alloc():
                address = await kmem_cache_alloc_node(slub, cache, GFP_KERNEL, operation.node)
                self._number_new_slabs(slot)
                return {"got": self._got(slot, operation.got[0], address)}
            case AllocBulk():
                addresses = await kmem_cache_alloc_bulk(slub, cache, GFP_KERNEL, operation.n)
                self._number_new_slabs(slot)
                numbers = [recorded[0] for recorded in operation.got]
                got = [self._got(slot, number, at) for number, at in zip(numbers, addresses, strict=False)]
                return {"rc": len(addresses), "got": got}
            case Free():
                address = slot.objects.pop(operation.obj)
                slab = slot.slabs.get(slub.slabs[page_frame(address)])
                await kmem_cache_free(slub, cache, address)
                return {} if operation.s is None else {"s": slab}
            case FreeBulk():
                addresses = [slot.objects.pop(number) for number in operation.objs]
                await kmem_cache_free_bulk(slub, cache, addresses)
                return {}
            case Shrink():
                return {"rc": int(await kmem_cache_shrink(slub, cache))}
            case Attribute():
                rc = await write_attribute(slub, cache, operation.attr, str(operation.value))
                return {"rc": rc} if operation.geom is None else {"rc": rc, "geom": fields_of(geom_of(cache))}
            case Ratio():
                cache.remote_node_defrag_ratio = operation.value
                return {}
            case Write() if is_cpu_write(operation):
                result = await self._cpus.write(operation, cache)
                self._flushed.clear()  # of a dead processor: no item does that, and items are what the recorder saw
                return result
            case Write():
                return await self._memory.write(operation, lambda node: bool(slub.get_node(cache, node)))

    async def _create(self, operation: CreateCache) -> dict[str, Any]:
        cache = await create(self.machine, operation.name, operation.req)
        if cache is None:
            return {"geom": None}
        cache.random_seq = tuple(operation.random_seq) or None
        self._slots[operation.k] = _Slot(cache)
        return {"geom": fields_of(geom_of(cache))}

    def _got(self, slot: _Slot, number: int, address: int | None) -> tuple[int, ...] | None:
        if address is None:
            return None
        slot.objects[number] = address
        slab = self.machine.slab.slabs[page_frame(address)]
        return (number, slot.slabs[slab], slab.node, (address - slab.base) // slot.cache.size)

    def _number_new_slabs(self, slot: _Slot) -> None:
        for slab in self._new:
            if slab.cache is slot.cache:
                slot.slabs.setdefault(slab, len(slot.slabs))

    # --- what there is afterwards

    async def _state_after(self, operation: Operation) -> dict[str, Any]:
        slot = self._slots.get(operation.k)
        flushed = [cpu for name, cpu in self._flushed if slot is None or name == slot.cache.name]
        state: dict[str, Any] = {"flushed": sorted(flushed)}
        if slot is None:
            return state
        new = [slab for slab in self._new if slab.cache is slot.cache]
        state["new"] = [(slot.slabs[slab], slab.node, slab.objects, slab.order) for slab in new]
        state["dead"] = sorted(slot.slabs[slab] for slab in self._dead if slab in slot.slabs)
        if operation.st is not None:
            state["st"] = self._counters(slot, operation.st)
        if operation.sys:
            texts = {name: await read_attribute(self.machine.slab, slot.cache, name) for name in operation.sys}
            state["sys"] = {name: text if text is None else text.rstrip("\n") for name, text in texts.items()}
        return state

    def _counters(self, slot: _Slot, shape: State) -> dict[str, Any]:
        number = slot.slabs
        where = placement_of(slot.cache)
        nodes = [where.nodes.get(node) for node in range(len(shape.n))]
        cpus = [where.cpus.get(cpu) for cpu in range(len(shape.c))]
        return {
            "n": [None if n is None else (n.nr_slabs, n.total_objects, n.nr_partial) for n in nodes],
            "np": [[] if n is None else [(number[slab], slab.inuse) for slab in n.partial] for n in nodes],
            "c": [
                None if c is None or c.slab is None else (number[c.slab], c.slab.inuse, len(c.freelist)) for c in cpus
            ],
            "cp": [[] if c is None else [(number[slab], slab.inuse) for slab in c.partial] for c in cpus],
        }


def expected_of(operation: Operation) -> dict[str, Any]:
    """What was recorded, under the names and in the form of what is compared."""
    expected: dict[str, Any] = {"flushed": sorted(operation.flushed)}
    if isinstance(operation, CreateCache) or (isinstance(operation, Attribute) and operation.geom is not None):
        expected["geom"] = fields_of(operation.geom)
    for name in ("got", "rc", "s"):
        value = getattr(operation, name, None)
        if value is not None:
            expected[name] = value
    if isinstance(operation, DestroyCache):
        return expected
    if isinstance(operation, Write) and is_cpu_write(operation):
        expected["cpus"] = expected_cpu_events(operation.ev)
    elif isinstance(operation, Write):
        expected["mem"] = expected_events(operation.ev)
    expected["new"] = operation.new
    expected["dead"] = sorted(operation.dead)
    if operation.st is not None:
        expected["st"] = {"n": operation.st.n, "np": operation.st.np, "c": operation.st.c, "cp": operation.st.cp}
    if operation.sys:
        expected["sys"] = operation.sys
    return expected
