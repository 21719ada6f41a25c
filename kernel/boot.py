"""Booting: a topology in, a running machine out.

Mirrors the order of start_kernel() (6.1): processors and nodes, lock checking, memory, RCU, workqueues, slab caches,
hotplug, then the first tasks.  Nothing is scheduled meanwhile: booting is done when the first decision of the run is
taken.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..actors import Cpu, KernelThread, NumaNode
from ..actors.cpu import CpuMasks
from .cpu_hotplug import CpuHotplug, CpuhpState
from .cpu_hotplug.boot import smp_init
from .fault import FailSlab
from .files import error_name
from .kernfs import Kernfs
from .locks import Mutex, PercpuRwsem, RwSemaphore, Spinlock
from .lru import LruLists
from .machine import PAGE_SHIFT, Machine
from .memcg import Cgroups
from .memory_hotplug import MemoryHotplug
from .operations import constructor
from .pages import PageAllocator
from .rcu import STALL_TIMEOUT_S, Rcu
from .releases import checkout
from .sanitizers.deadlock import Deadlocks
from .sanitizers.deferred_counts import DeferredCounts
from .sanitizers.existence import Existence
from .sanitizers.hung_task import TIMEOUT_S as HUNG_TASK_TIMEOUT_S
from .sanitizers.hung_task import HungTasks
from .sanitizers.kasan import Kasan
from .sanitizers.leaks import report_leaks
from .sanitizers.lockdep import Lockdep
from .sanitizers.lockdep_crossrelease import CrossRelease
from .sanitizers.lockdep_probes import lockdep_probes
from .sanitizers.lockdep_report import report_finding
from .sanitizers.pinned_cgroups import report_pinned_cgroups
from .sanitizers.shrinker_state import report_shrinkers
from .sanitizers.slab_invariants import SlabInvariants
from .sanitizers.workqueue_watchdog import LeakedByWork, WorkqueueWatchdog
from .shrinker.boot import make_shrinkers, mount_at_boot
from .shrinker_operations import mount_all
from .slab import Slub
from .slab.create import create_kmalloc_caches, kmem_cache_create, kmem_cache_init
from .slab.flags import FLAGS
from .slab.generic import kfree
from .slab.hotplug import slab_notifier, slub_cpu_dead
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

DEFAULT_SANITIZERS = ("kasan", "lockdep", "leak", "workqueue", "hung-task")
SANITIZERS = (*DEFAULT_SANITIZERS, "lockdep-crossrelease", "slab-invariants", "existence")
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
    deadlocks = Deadlocks(machine)
    interleaver.on_deadlock = deadlocks.nothing_can_go_on
    interleaver.on_time.append(deadlocks.time_has_passed)
    enable_sanitizers(machine, wanted.sanitizers)
    if machine.hung_tasks is not None:
        timeout_s = wanted.boot.hung_task_timeout_secs
        machine.hung_tasks.timeout_ns = (HUNG_TASK_TIMEOUT_S if timeout_s is None else timeout_s) * 1_000_000_000
    if wanted.failslab:
        machine.failslab = FailSlab(machine, wanted.failslab)
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
    machine.kernfs = Kernfs(machine, kernel.kernfs)
    machine.cpu_hotplug = CpuHotplug(machine)
    machine.lru = LruLists(machine)
    machine.memory_hotplug = _make_memory_hotplug(machine, scenario, kernel, ranges)
    machine.slab = slub = _make_slub(machine, scenario, kernel)
    machine.rcu.kvfree.queue = kernel.kvfree_queue
    machine.rcu.kvfree.kfree = lambda address: kfree(slub, address)
    machine.memory_hotplug.chain.notifiers.register(slab_notifier(slub))
    _run_init(machine, scenario)
    if scenario.uses_cgroups:
        _make_cgroups(machine, scenario)
    if scenario.uses_shrinkers:
        _mount(machine, scenario)
    _start_processors(machine, kernel)
    machine.booting = False
    for node in machine.nodes.values():
        interleaver.spawn(node)
    for cpu in machine.cpus.values():
        if cpu.online:
            interleaver.spawn(cpu)
    machine.rcu.start()
    if machine.reclaim is not None:
        machine.reclaim.start()
    machine.printk(
        "info",
        "booted",
        release=wanted.release,
        cpus=sum(cpu.online for cpu in machine.cpus.values()),
        nodes=len(list(machine.pages.states.memory)),
    )
    workload = Workload(machine, scenario, _make_locks(machine, scenario))
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
        machine.interleaver.on_finished.append(lambda: report_shrinkers(machine))
        DeferredCounts(machine)
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
            wait_types=machine.lock_classes,
        )
        for event, probe in lockdep_probes(lockdep).items():
            machine.tracepoints[event].attach(probe)
    if "lockdep-crossrelease" in names:
        if lockdep is None:
            raise BootError("kernel.sanitizers: lockdep-crossrelease needs lockdep beside it")
        for event, probe in CrossRelease(lockdep, stack=machine.stack).probes().items():
            machine.tracepoints[event].attach(probe)  # behind lockdep's
    if "hung-task" in names:
        machine.hung_tasks = HungTasks(machine, lockdep)
        machine.interleaver.on_time.append(machine.hung_tasks.time_has_passed)
    if "workqueue" in names:
        machine.workqueue_watchdog = WorkqueueWatchdog(machine)
        machine.interleaver.on_time.append(machine.workqueue_watchdog.time_has_passed)
        machine.tracepoints.workqueue_execute_end.attach(LeakedByWork(machine, lockdep).item_ended)


def _make_processors(machine: Machine, scenario: Scenario, jiffy_ns: int) -> None:
    masks = CpuMasks(machine.interleaver)
    preempt = scenario.kernel.preempt
    for spec in scenario.machine.cpus:
        cpu = Cpu(machine.interleaver, spec.id, spec.node, preempt_model=preempt, tick_ns=jiffy_ns, masks=masks)
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
    machine.pages.build_all_zonelists()


def _make_memory_hotplug(
    machine: Machine, scenario: Scenario, kernel: Kernel, ranges: dict[int, tuple[int, int]]
) -> MemoryHotplug:
    return MemoryHotplug(
        machine,
        locks=kernel.hotplug_locks,
        extent=kernel.hotplug_extent,
        drains=kernel.offline_drains,
        ranges=ranges,
        pages_per_block=scenario.machine.memory_block >> PAGE_SHIFT,
        error_injection=scenario.kernel.boot.memory_notifier_error_inject,
    )


def _make_slub(machine: Machine, scenario: Scenario, kernel: Kernel) -> Slub:
    slub = Slub(machine, kernel, _tunables(scenario, kernel.sizing))
    slub.statistics = scenario.kernel.slub_stats
    slub.freelist_random = scenario.kernel.freelist_random
    slub.kmem_accounting = scenario.kernel.kmem_accounting
    if scenario.kernel.kasan_quarantine:
        if machine.kasan is None:
            raise BootError("kernel.kasan_quarantine: it is kasan's, which is not among kernel.sanitizers")
        if kernel.quarantine is not None:
            slub.quarantine = kernel.quarantine(slub)
            slub.find_detour()
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


def _start_processors(machine: Machine, kernel: Kernel) -> None:
    """What comes and goes with processors is registered, then the others than the first one come."""
    cpu = machine.online_cpus()[0]
    init = KernelThread(cpu, "swapper/0", pid=0)
    slub = machine.slab

    async def kernel_init() -> None:
        await kernel.pcp_hotplug.page_alloc_init(machine)
        await machine.cpu_hotplug.setup_state_nocalls(
            CpuhpState.SLUB_DEAD, "slub:dead", None, lambda number: slub_cpu_dead(slub, number)
        )
        if slub.memcg is not None:
            await slub.memcg.mem_cgroup_init()
        if slub.quarantine is not None:
            await slub.quarantine.cpu_quarantine_init()
        await smp_init(machine, cpu)

    machine.run_alone(init, kernel_init())


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
        slub.find_detour()
    init = KernelThread(next(cpu for cpu in machine.cpus.values() if cpu.online), "swapper/0", pid=0)
    if scenario.uses_shrinkers:
        make_shrinkers(machine)
    for spec in scenario.memcgs:
        error = machine.run_alone(init, cgroups.mkdir(spec.path))
        if error:
            raise BootError(f"memcg {spec.path}: {error_name(error)}")
        if spec.limit is not None:
            machine.run_alone(init, cgroups.set_limit(spec.path, spec.limit))


def _mount(machine: Machine, scenario: Scenario) -> None:
    """What has a shrinker and is there from the start."""
    if machine.shrinkers is None:
        make_shrinkers(machine)
    failed = mount_at_boot(machine, mount_all(machine, scenario))
    if failed is not None:
        raise BootError(f"shrinker {failed}: it cannot be mounted: {' '.join(machine.console[-1:])}")


def _make_locks(machine: Machine, scenario: Scenario) -> dict[str, Mutex | Spinlock | RwSemaphore | PercpuRwsem]:
    makers: dict[str, type[Mutex | Spinlock | RwSemaphore | PercpuRwsem]] = {
        "mutex": Mutex,
        "spinlock": Spinlock,
        "rwsem": RwSemaphore,
        "percpu_rwsem": PercpuRwsem,
    }
    return {spec.name: makers[spec.kind](machine, spec.name) for spec in scenario.locks}
