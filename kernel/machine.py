"""One emulated machine: what `current`, `smp_processor_id()` and the printk log are to kernel code.

There is one `Machine` per run and no state outside it.  It knows the interleaver, the processors and nodes, who is
running, and what to do with a violation; the subsystems hang on it (``rcu``, ``pages``, ``slab``, …) and are put
there by `boot`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn

from ..actors import Actor, Cpu, Interleaver, KernelThread, NumaNode, Outcome
from ..actors.softirq import SoftIrq
from .locks.classes import LockClasses
from .memory import NullPointer
from .stack import bottom_of_stack, stack_of
from .violation import KernelOops, Violation

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence

    from .cpu_hotplug import CpuHotplug
    from .fault import FailSlab
    from .kernfs import Kernfs
    from .lru import LruLists
    from .memcg import Cgroup, Cgroups
    from .memory_hotplug import MemoryHotplug
    from .pages import PageAllocator
    from .rcu import Rcu
    from .sanitizers.existence import Existence
    from .sanitizers.hung_task import HungTasks
    from .sanitizers.kasan import Kasan
    from .sanitizers.workqueue_watchdog import WorkqueueWatchdog
    from .shrinker import Shrinkers
    from .shrinker.reclaim import Reclaim
    from .slab import Slub
    from .workqueue import Workqueues

STATIC_BASE = 0xFFFFFFFF82000000
STACKS_BASE = 0xFFFFC90000000000
DIRECT_MAP_BASE = 0xFFFF888000000000
PAGE_SHIFT = 12
FIRST_PID = 2
SITE_FRAMES = 4
"""Functions of a stack that tell one violation from another."""


class Machine:
    """A machine while it runs.  ``log`` is a structlog logger, or None."""

    def __init__(self, interleaver: Interleaver, *, release: str, stop_at_violation: bool = True) -> None:
        self.interleaver = interleaver
        self.tracepoints = interleaver.tracepoints
        self.release = release
        self.stop_at_violation = stop_at_violation
        self.null = NullPointer(self)
        self.kasan: Kasan | None = None
        self.existence: Existence | None = None
        self.workqueue_watchdog: WorkqueueWatchdog | None = None
        self.hung_tasks: HungTasks | None = None
        self.failslab: FailSlab | None = None  # None where no allocation is to fail
        self.log: Any = None
        self.cpus: dict[int, Cpu] = {}
        self.nodes: dict[int, NumaNode] = {}
        self.lock_classes = LockClasses(self.tracepoints)  # name → wait type "outer:inner"
        self.lock_versions: dict[str, dict[Any, int]] = {}  # name → key → version of that name, see locks.classes
        self.violations: list[Violation] = []
        self.counters: dict[str, int] = {}
        self.console: list[str] = []  # the kernel's own messages, without time stamps
        self.taints: dict[str, None] = {}  # letters, once something made the kernel doubtful
        self.jiffy_ns = 4_000_000
        self.booting = True
        self.voluntary = False  # preemption only where the kernel says so, which every might_sleep() does
        self._next_static = STATIC_BASE
        self._next_stack = STACKS_BASE
        self._next_pid = FIRST_PID
        # Subsystems, set by boot.
        self.rcu: Rcu
        self.pages: PageAllocator
        self.lru: LruLists
        self.workqueues: Workqueues
        self.slab: Slub
        self.kernfs: Kernfs
        self.cpu_hotplug: CpuHotplug
        self.memory_hotplug: MemoryHotplug
        self.cgroups: Cgroups | None = None  # None where nothing uses them
        self.shrinkers: Shrinkers | None = None  # the same
        self.reclaim: Reclaim | None = None  # there if they are

    # --- who and where

    @property
    def running(self) -> Actor:
        """The actor whose step this is."""
        return self.interleaver.running

    @property
    def current(self) -> KernelThread:
        """The thread on this processor; in an interrupt the interrupted one."""
        running = self.interleaver.running
        if isinstance(running, KernelThread):
            return running
        thread = self.this_cpu.current
        if thread is None:
            raise AssertionError(f"{running.name} asked for current on an idle processor")
        return thread

    @property
    def this_cpu(self) -> Cpu:
        """The processor this step runs on."""
        running = self.interleaver.running
        if isinstance(running, KernelThread | SoftIrq):
            return running.cpu
        if isinstance(running, Cpu):
            return running
        raise AssertionError(f"{running.name} runs on no processor")

    def smp_processor_id(self) -> int:
        """The number of the processor this step runs on."""
        return self.interleaver.running.cpu_id

    def online_cpus(self) -> list[Cpu]:
        """Online processors by number."""
        return [cpu for cpu in self.cpus.values() if cpu.online]

    def online_cpu_for(self, cpu: Cpu) -> Cpu:
        """`cpu`, or the first processor that is online where that one is not."""
        return cpu if cpu.online else next(other for other in self.cpus.values() if other.online)

    def local_irq_disable(self) -> None:
        """Keep interrupts from this processor; nests."""
        self.this_cpu.local_irq_disable()

    def local_irq_enable(self) -> None:
        """Undo one `local_irq_disable`."""
        self.this_cpu.local_irq_enable()

    @property
    def jiffies(self) -> int:
        """Timer ticks since the start of the run."""
        return self.interleaver.now_ns // self.jiffy_ns

    def who(self) -> str:
        """``comm/pid`` of the running context, as reports name it."""
        running = self.interleaver.running
        return f"{running.comm}/{running.pid}"

    def stack(self) -> tuple[str, ...]:
        """The kernel functions the running context is in, innermost first."""
        return stack_of(self.interleaver.running)

    def next_pid(self) -> int:
        """A fresh process id."""
        pid = self._next_pid
        self._next_pid += 1
        return pid

    def static_address(self, size: int) -> int:
        """An address in the kernel's data, for a structure of `size` bytes that is never freed."""
        address = self._next_static
        self._next_static += (size + 7) & ~7
        return address

    def stack_address(self, size: int) -> int:
        """The same among the kernel's stacks, for what is waited for; no two have one address."""
        address = self._next_stack
        self._next_stack += size
        return address

    # --- messages, counters, violations

    def printk(self, level: str, message: str, **fields: Any) -> None:
        """Say something in the kernel log; `level` is info, warning or error."""
        self.console.append(message)
        if self.log is not None:
            getattr(self.log, level)(message, **fields)

    def count(self, name: str, increment: int = 1) -> None:
        """Add to a counter of the result object."""
        self.counters[name] = self.counters.get(name, 0) + increment

    def violate(self, kind: str, title: str, report: str, *, bug: str = "") -> Violation:
        """Record a finding; by default the run stops after this step."""
        interleaver = self.interleaver
        site = self.stack()[:SITE_FRAMES] if isinstance(interleaver.running, KernelThread) else ()
        violation = Violation(kind, title, report, interleaver.steps, interleaver.now_ns, site, bug)
        self.violations.append(violation)
        if (fire := self.tracepoints.violation_report.fire) is not None:
            fire(kind, title)
        if self.log is not None:
            self.log.error(title, kind=kind)
        if self.stop_at_violation:
            interleaver.stop(Outcome.STOPPED)
        return violation

    def oops(self, kind: str, title: str, report: str) -> NoReturn:
        """Record a finding after which the running thread cannot go on."""
        violation = self.violate(kind, title, report)
        if not isinstance(self.running, KernelThread):
            self.printk("error", "Kernel panic - not syncing: Fatal exception in interrupt")
            self.interleaver.stop(Outcome.STOPPED)
        raise KernelOops(violation)

    def null_dereference(self, name: str, *, write: bool) -> NoReturn:
        """The running context used a null pointer: an oops."""
        from .sanitizers.oops import null_dereference  # reports are needed only when there is one

        null_dereference(self, name, write=write)

    def kernel_bug(self, message: str) -> NoReturn:
        """``BUG()``: the kernel found its own state impossible."""
        from .sanitizers.oops import kernel_bug

        kernel_bug(self, message)

    def bug_on(self, condition: bool, message: str) -> None:
        """``BUG_ON()``."""
        if condition:
            self.kernel_bug(message)

    def remaining_objects(self, cache: str, listed: Sequence[str] = ()) -> None:
        """A cache was destroyed with objects in it: what ``kmem_cache_destroy`` warns of, below those `listed`."""
        from .sanitizers.oops import objects_remaining

        objects_remaining(self, cache, listed)

    # --- threads

    def spawn(self, thread: KernelThread) -> KernelThread:
        """Start a thread."""
        self.interleaver.spawn(thread)
        return thread

    @bottom_of_stack
    def run_alone(self, thread: KernelThread, work: Coroutine[Any, Any, Any]) -> Any:
        """Run kernel code to its end as `thread` before anything else runs: for booting only.

        Nothing may have to wait: there is nobody to wait for.
        """
        interleaver = self.interleaver
        before, interleaver.running = interleaver.running, thread
        thread.coroutine = work
        thread.cpu.current = thread
        thread.off_cpu = False
        try:
            while True:
                op = work.send(None)
                thread.pending = op
                if op.admit is not None:
                    op.admit(thread)
                if thread.blocked:
                    raise AssertionError(f"booting cannot wait: {op!r}")
                if op.perform is not None:
                    op.perform(thread)
        except StopIteration as end:
            return end.value
        finally:
            thread.coroutine = None
            thread.cpu.current = None
            interleaver.running = before


class FunctionThread(KernelThread):
    """A thread that runs one given function and ends."""

    __slots__ = ("_function", "cgroup", "machine")

    def __init__(
        self,
        machine: Machine,
        cpu: Cpu,
        name: str,
        function: Callable[[], Coroutine[Any, Any, None]],
        *,
        comm: str | None = None,
    ) -> None:
        super().__init__(cpu, name, pid=machine.next_pid(), comm=comm)
        self.machine = machine
        self.cgroup: Cgroup | None = None  # None is the root
        self._function = function

    def body(self) -> Coroutine[Any, Any, None]:
        """Run the function; an oops in it ends the thread, holding what it holds."""
        return self._function()  # not awaited here: a frame less to resume in every step
