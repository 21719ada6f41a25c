"""Booting: a topology in, a running machine out.

Mirrors the order of start_kernel() (6.1): processors and nodes, lock checking, memory, RCU, workqueues, slab caches,
hotplug, then the first tasks.  Nothing is scheduled meanwhile: booting is done when the first decision of the run is
taken.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..actors import Cpu, HotplugNotifier, KernelThread, NumaNode
from ..actors.hotplug import OfflineMemory, OnlineMemory
from .cpu_hotplug import CpuHotplug
from .files import error_name
from .locks import Mutex, PercpuRwsem, RwSemaphore, Spinlock
from .machine import Machine
from .memcg import Cgroups
from .memory_hotplug import MemoryHotplug
from .operations import constructor
from .pages import PageAllocator
from .rcu import STALL_TIMEOUT_S, Rcu
from .releases import checkout
from .sanitizers.deadlock import report_deadlock
from .sanitizers.existence import Existence
from .sanitizers.kasan import Kasan
from .sanitizers.leaks import report_leaks
from .sanitizers.lockdep import Lockdep
from .sanitizers.lockdep_report import report_finding
from .sanitizers.pinned_cgroups import report_pinned_cgroups
from .sanitizers.slab_invariants import SlabInvariants
from .sanitizers.workqueue_watchdog import LeakedByWork, WorkqueueWatchdog
from .slab import Slub
from .slab.create import create_kmalloc_caches, kmem_cache_create, kmem_cache_init
from .slab.flags import FLAGS
from .slab.generic import kfree
from .slab.hotplug import slab_notifier
from .slab.populate import PopulationError, create_recorded_caches, populate
from .slab.sizing import Tunables
from .slab.slub_debug import NO_DEBUG, parse_slub_debug
from .work_operations import make_workqueues
from .workload import Workload, start_event
from .workqueue import Workqueues
from .workqueue.queue import FLAGS as FLAGS_OF_WORKQUEUES

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from pathlib import Path

    from ..actors import Interleaver
    from ..topology import Scenario
    from .releases import Kernel
    from .slab.sizing import Sizing

DEFAULT_SANITIZERS = ("kasan", "lockdep", "leak", "workqueue")
SANITIZERS = (*DEFAULT_SANITIZERS, "slab-invariants", "existence")
"""What ``kernel.sanitizers`` may name; an oops and a deadlock are always reported."""


class BootError(Exception):
    """The topology is valid, but no machine can be made of it; the message says why."""

    exit_status = 2


@dataclass(frozen=True, slots=True)
class Booted:
    """A machine that is ready to run, and its workload."""

    machine: Machine
    workload: Workload


def boot(
    scenario: Scenario,
    interleaver: Interleaver,
    *,
    stop_at_violation: bool = True,
    folder: Path | None = None,
    log: Any = None,
) -> Booted:
    """Make the machine of `scenario` on `interleaver`, with its tasks waiting for their first step.

    `folder` is where relative paths of patch files start; `log` a structlog logger for the kernel's messages, if any.

    Raises:
        ReleaseError: the release or a patch is unknown.
        BootError: something else the topology asks for does not exist.
    """
    wanted = scenario.kernel
    kernel = checkout(wanted.release, wanted.apply, wanted.revert, folder=folder)
    machine = Machine(interleaver, release=wanted.release, stop_at_violation=stop_at_violation)
    machine.log = log
    machine.voluntary = wanted.preempt == "voluntary"
    interleaver.on_deadlock = lambda stuck: report_deadlock(machine, stuck)
    enable_sanitizers(machine, wanted.sanitizers)
    machine.jiffy_ns = jiffy_ns = 1_000_000_000 // wanted.hz
    _make_processors(machine, scenario, jiffy_ns)
    ranges = _make_nodes(machine, scenario)
    machine.rcu = Rcu(
        machine,
        preemptible=wanted.preempt == "full",
        jiffy_ns=jiffy_ns,
        flavours=kernel.rcu_flavours,
        barrier=kernel.rcu_barrier,
        stall_timeout_s=wanted.boot.rcu_cpu_stall_timeout or STALL_TIMEOUT_S,
    )
    machine.pages = PageAllocator(machine)
    _populate_nodes(machine, scenario, ranges)
    machine.workqueues = Workqueues(machine)
    make_workqueues(machine, scenario, FLAGS_OF_WORKQUEUES)
    machine.cpu_hotplug = CpuHotplug(machine)
    machine.memory_hotplug = MemoryHotplug(machine, kernel.hotplug_section, ranges)
    machine.slab = slub = _make_slub(machine, scenario, kernel)
    machine.rcu.kvfree.kfree = lambda address: kfree(slub, address)
    machine.memory_hotplug.chain.register(slab_notifier(slub))
    _run_init(machine, scenario)
    if scenario.uses_cgroups:
        _make_cgroups(machine, scenario)
    machine.booting = False
    for node in machine.nodes.values():
        interleaver.spawn(node)
    for cpu in machine.cpus.values():
        if cpu.online:
            interleaver.spawn(cpu)
    machine.rcu.start()
    machine.printk(
        "info",
        "booted",
        release=wanted.release,
        cpus=sum(cpu.online for cpu in machine.cpus.values()),
        nodes=len(list(machine.pages.states.memory)),
    )
    workload = Workload(machine, scenario, _make_locks(machine, scenario))
    _start_hotplug(machine, scenario)
    workload.start()
    for event in scenario.events:
        start_event(workload, event)
    return Booted(machine, workload)


def enable_sanitizers(machine: Machine, wanted: tuple[str, ...] | None) -> None:
    """Switch sanitizers on: those that are cheap, or those named.

    Raises:
        BootError: there is no such sanitizer.
    """
    names = DEFAULT_SANITIZERS if wanted is None else wanted
    for name in names:
        if name not in SANITIZERS:
            raise BootError(f"kernel.sanitizers: there is no sanitizer {name!r}; there are: {', '.join(SANITIZERS)}")
    if "kasan" in names:
        machine.kasan = Kasan(machine)
    if "existence" in names:
        machine.existence = Existence(machine)
    if "leak" in names:
        machine.interleaver.on_finished.append(lambda: report_leaks(machine))
        machine.interleaver.on_finished.append(lambda: report_pinned_cgroups(machine))
    if "slab-invariants" in names:
        invariants = SlabInvariants(machine)
        machine.interleaver.on_step = invariants.after_step
        machine.tracepoints.kmem_cache_destroy.attach(invariants.released)
        machine.interleaver.on_finished.append(invariants.at_end)
    lockdep: Lockdep | None = None
    if "lockdep" in names:
        lockdep = Lockdep(
            lambda finding: report_finding(machine, finding),
            stack=machine.stack,
            irqs_off=lambda: bool(machine.this_cpu.irqs_off),
            wait_types=machine.lock_classes,
        )
        points = machine.tracepoints
        points.lock_acquire.attach(lockdep.acquire)
        points.lock_release.attach(lockdep.release)
        points.irq_handler_entry.attach(lockdep.irq_entry)
        points.irq_handler_exit.attach(lockdep.irq_exit)
        points.softirq_entry.attach(lockdep.softirq_entry)
        points.softirq_exit.attach(lockdep.softirq_exit)
    if "workqueue" in names:
        machine.workqueue_watchdog = WorkqueueWatchdog(machine)
        machine.interleaver.on_time.append(machine.workqueue_watchdog.time_has_passed)
        machine.tracepoints.workqueue_execute_end.attach(LeakedByWork(machine, lockdep).item_ended)


def _make_processors(machine: Machine, scenario: Scenario, jiffy_ns: int) -> None:
    for spec in scenario.machine.cpus:
        cpu = Cpu(machine.interleaver, spec.id, spec.node, preempt_model=scenario.kernel.preempt, tick_ns=jiffy_ns)
        cpu.online = spec.online
        machine.cpus[spec.id] = cpu


def _make_nodes(machine: Machine, scenario: Scenario) -> dict[int, tuple[int, int]]:
    ranges: dict[int, tuple[int, int]] = {}
    numbers = [node.id for node in scenario.machine.nodes]
    for number in numbers:
        distances = {other: scenario.machine.distance(number, other) for other in numbers}
        machine.nodes[number] = NumaNode(machine.interleaver, number, distances)
        ranges[number] = scenario.machine.memory_range(number)
    return ranges


def _populate_nodes(machine: Machine, scenario: Scenario, ranges: dict[int, tuple[int, int]]) -> None:
    states = machine.pages.states
    for node in scenario.machine.nodes:
        states.possible.set(node.id)
        start_pfn, nr_pages = ranges[node.id]
        if node.online and nr_pages:
            machine.nodes[node.id].boot_memory(start_pfn, nr_pages)
            states.set_memory(node.id)
        if node.online:
            states.online.set(node.id)
    machine.pages.build_all_zonelists(list(states.memory))


def _make_slub(machine: Machine, scenario: Scenario, kernel: Kernel) -> Slub:
    slub = Slub(machine, kernel, _tunables(scenario, kernel.sizing))
    slub.statistics = scenario.kernel.slub_stats
    slub.freelist_random = scenario.kernel.freelist_random
    slub.kmem_accounting = scenario.kernel.kmem_accounting
    return slub


def _tunables(scenario: Scenario, sizing: Sizing) -> Tunables:
    online = sum(cpu.online for cpu in scenario.machine.cpus)
    parameters = scenario.kernel.boot
    try:
        debug = NO_DEBUG if parameters.slub_debug is None else parse_slub_debug(parameters.slub_debug)
    except ValueError as error:
        raise BootError(f"kernel.boot.slub_debug: {error}") from None
    return Tunables(
        nr_cpus=sizing.nr_cpus(possible=len(scenario.machine.cpus), present=online, online=online),
        min_order=parameters.slub_min_order or 0,
        max_order=3 if parameters.slub_max_order is None else parameters.slub_max_order,
        min_objects=parameters.slub_min_objects or 0,
        slab_nomerge=parameters.slab_nomerge,
        debug=debug,
    )


def _run_init(machine: Machine, scenario: Scenario) -> None:
    """What the first thread does before there is a second one: the boot caches, and those of the topology."""
    slub = machine.slab
    cpu = next(cpu for cpu in machine.cpus.values() if cpu.online)
    init = KernelThread(cpu, "swapper/0", pid=0)
    slub.recorded = {row.name: row for row in scenario.machine.slabinfo}
    machine.run_alone(init, kmem_cache_init(slub))
    wanted = scenario.kernel.kmalloc
    if scenario.uses_kmalloc if wanted is None else wanted:
        machine.run_alone(init, create_kmalloc_caches(slub))
    if slub.recorded:
        _with_recorded_caches(machine, init, create_recorded_caches(slub))
    for spec in scenario.caches:
        flags = sum(FLAGS[flag] for flag in spec.flags)
        ctor = constructor(machine) if spec.ctor else None
        made = machine.run_alone(init, kmem_cache_create(slub, spec.name, spec.size, spec.align, flags, ctor=ctor))
        if made is None:
            raise BootError(f"cache {spec.name}: {machine.console[-2]}")
    if slub.recorded:
        _with_recorded_caches(machine, init, populate(slub))


def _with_recorded_caches(machine: Machine, init: KernelThread, work: Coroutine[Any, Any, None]) -> None:
    try:
        machine.run_alone(init, work)
    except PopulationError as error:
        raise BootError(f"machine.slabinfo: {error}") from None


def _make_cgroups(machine: Machine, scenario: Scenario) -> None:
    """The hierarchy, with accounting of kernel memory unless that is switched off, and the cgroups of the topology."""
    slub = machine.slab
    machine.cgroups = cgroups = Cgroups(machine)
    if slub.kmem_accounting:
        slub.memcg = cgroups.kmem = slub.variants.kmem_memcg(cgroups, slub)
    init = KernelThread(next(cpu for cpu in machine.cpus.values() if cpu.online), "swapper/0", pid=0)
    for spec in scenario.memcgs:
        error = machine.run_alone(init, cgroups.mkdir(spec.path))
        if error:
            raise BootError(f"memcg {spec.path}: {error_name(error)}")
        if spec.limit is not None:
            machine.run_alone(init, cgroups.set_limit(spec.path, spec.limit))


def _make_locks(machine: Machine, scenario: Scenario) -> dict[str, Mutex | Spinlock | RwSemaphore | PercpuRwsem]:
    makers: dict[str, type[Mutex | Spinlock | RwSemaphore | PercpuRwsem]] = {
        "mutex": Mutex,
        "spinlock": Spinlock,
        "rwsem": RwSemaphore,
        "percpu_rwsem": PercpuRwsem,
    }
    return {spec.name: makers[spec.kind](machine, spec.name) for spec in scenario.locks}


def _start_hotplug(machine: Machine, scenario: Scenario) -> None:
    """One thread that carries out memory-hotplug requests, on the processor the first event names, or the last one."""
    online = machine.online_cpus()
    named = [event.cpu for event in scenario.events if event.cpu is not None]
    cpu = machine.cpus[named[0]] if named else online[-1]
    notifier = HotplugNotifier(cpu, "memhp", pid=machine.next_pid())
    notifier.procedures[OnlineMemory] = machine.memory_hotplug.online_pages
    notifier.procedures[OfflineMemory] = machine.memory_hotplug.offline_pages
    machine.memory_hotplug.notifier = notifier
    machine.spawn(notifier)
