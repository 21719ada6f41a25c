"""lockdep: every order in which lock classes are taken, and whether two orders contradict each other.

Mirrors __lock_acquire(), __lock_release(), lockdep_hardirqs_on() and relatives of kernel/locking/lockdep.c (6.1) as a
fold over records: ``lock:lock_acquire``, ``lock_release`` and ``lock_nest``, interrupts entered and left (``irq:*``),
switched off and on (``preemptirq:*``).  It is not told anything else, so it also runs over a recorded trace; stacks,
which a record does not have, come from the caller, if there is one to ask.

A context (a thread, or an interrupt level of a processor) has a stack of held locks.  Taking B with A held makes the
edge A → B.  `lockdep_checks` says what is wrong with an acquisition, before anybody has to wait.  The first report
ends the checking, as in the kernel.

**What is a class?**  The name in the record: one string is one class.  A lock that is taken with a subclass
(``mutex.lock_nested(1)``) is announced as ``name/1``; locks of one name that are not of one class get names of their
own (``name#2``) from `..locks.classes.lock_class`; and a pseudo lock is any name and address announced with
``tracepoints.lock_acquire`` and ``lock_release``, after its wait type was put into ``machine.lock_classes``.

Chains of held classes are kept as a tree: where a chain was seen before, taking a lock is one dictionary access.  A
chain is keyed by classes, modes, and by the interrupt state where that is not the ordinary one, so usage is known for
old chains too.  The place a held lock was taken at is that of the first time its chain was seen.

Unlike the kernel: what an interrupt holds is a stack of its own; a context deeper than 48 locks is not checked there
(the kernel gives up), and switching interrupts is counted by processor, not by task.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..locks.base import NESTED, READ, TRYLOCK
from .lockdep_checks import Checks
from .lockdep_findings import (
    BH_OFF,
    HARDIRQ,
    IRQS_OFF,
    LEVELS,
    PREEMPT_OFF,
    SLEEPS,
    SOFTIRQ,
    Finding,
    Freed,
    Held,
    Imbalance,
    IrqTrace,
    Report,
    Situation,
    SleepInAtomic,
    StillHeld,
)
from .lockdep_usage import usage_bit

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from .lockdep_graph import LockClass, Stack

__all__ = ["READ", "TRYLOCK", "Chain", "Context", "Finding", "Held", "Lockdep"]

MAX_LOCK_DEPTH = 48
STATE_SHIFT = 8
HARDIRQ_ON = 1 << usage_bit(softirq=False, enabled=True, read=False)
SOFTIRQ_ON = 1 << usage_bit(softirq=True, enabled=True, read=False)
SLEEPING_LOCK = "3:3"
LOCKDEP_MAP_BYTES = 8
"""How much of a lock must be freed for it to be gone."""

Record = tuple[Any, ...]


class Chain:
    """A sequence of held classes that has been checked; this is its end."""

    __slots__ = ("flags", "lock_class", "longer", "site", "state")

    def __init__(self, lock_class: LockClass | None, flags: int, site: str, state: int) -> None:
        self.lock_class: LockClass = lock_class  # type: ignore[assignment]  # only the root has none, and is never held
        self.flags = flags
        self.site = site
        self.state = state
        self.longer: dict[Any, Chain] = {}


class Context:
    """What one thread, or one interrupt level of a processor, holds; innermost last."""

    __slots__ = ("chain", "comm", "held", "pid")

    def __init__(self, pid: int, comm: str, chain: Chain) -> None:
        self.pid = pid
        self.comm = comm
        self.held: list[tuple[int, Chain]] = []  # address of the lock, chain that ends with its class
        self.chain = chain


class Lockdep:
    """The checker.  `on_finding` is called once, with the first contradiction.

    `stack` returns the running context's stack, innermost first; `wait_types` maps class names, without subclass, to
    ``outer:inner``.
    """

    def __init__(
        self,
        on_finding: Callable[[Report], object],
        *,
        stack: Callable[[], Stack] = tuple,
        wait_types: Mapping[str, str] | None = None,
    ) -> None:
        self._on_finding = on_finding
        self._stack = stack
        types: Mapping[str, str] = wait_types if wait_types is not None else {}
        self._checks = Checks(lambda name: types.get(name) or types.get(name.partition("/")[0], SLEEPING_LOCK))
        self._root = Chain(None, 0, "", 0)
        # Processors and threads whose interrupt state is not the ordinary one: processor → level and IRQS_OFF,
        # ("bh", pid) → how often it has disabled soft interrupts, ("preempt", pid) → how often preemption.
        self._unusual: dict[Any, int] = {}
        self._nest: tuple[str, int] = ("", 0)
        self._irqs: dict[int, IrqTrace] = {}
        self._doomed: dict[int, None] = {}  # threads that may have died of an oops
        self.classes = self._checks.graph.classes
        self.contexts: dict[Any, Context] = {}
        self.active = True
        self.acquire, self.release = self._make_probes()

    # --- the probes of locks

    def _make_probes(self) -> tuple[Callable[[Record], None], Callable[[Record], None]]:
        """The probes for ``lock:lock_acquire`` and ``lock:lock_release`` records.

        Functions over local names instead of methods: they run for every lock taken and left, and are a twentieth of a
        contended pair quicker so.
        """
        contexts, unusual, root = self.contexts, self._unusual, self._root

        def acquire(record: Record) -> None:
            _, _, _, pid, comm, flags, name, address = record
            if unusual or not pid:
                self._acquire_anywhere(record)
                return
            context = contexts.get(pid)
            if context is None:
                context = contexts[pid] = Context(pid, comm, root)
            longer = context.chain.longer.get((name, flags) if flags else name)
            if longer is None:
                if not self.active:
                    return
                longer = self._new_chain(context, record, 0)
            context.held.append((address, longer))
            context.chain = longer

        def release(record: Record) -> None:
            _, _, cpu, pid, _, _, address = record
            context = contexts.get(pid if pid and not unusual else self._key(cpu, pid))
            if context is not None:
                held = context.held
                if held and held[-1][0] == address:
                    held.pop()
                    context.chain = held[-1][1] if held else root
                    return
            self._release_other(context, record)

        return acquire, release

    def nest(self, record: Record) -> None:
        """A ``lock:lock_nest`` record: the lock acquired next is protected by the one at this address."""
        self._nest = (record[5], record[6])

    def _acquire_anywhere(self, record: Record) -> None:
        """`acquire` where some processor is in an interrupt or has them off, or the record is of no thread."""
        _, _, cpu, pid, comm, flags, name, address = record
        state = self._unusual.get(cpu, 0)
        key: Any = pid
        if state & LEVELS or not pid:
            key = ("irq", cpu, state & LEVELS)
        else:
            state = self._state(cpu, pid)
        context = self.contexts.get(key)
        if context is None:
            context = self.contexts[key] = Context(pid, comm, self._root)
        all_flags = flags | state << STATE_SHIFT
        longer = context.chain.longer.get((name, all_flags) if all_flags else name)
        if longer is None:
            if not self.active:
                return
            longer = self._new_chain(context, record, state)
        context.held.append((address, longer))
        context.chain = longer

    def _state(self, cpu: int, pid: int) -> int:
        unusual = self._unusual
        state = unusual.get(cpu, 0)
        if not state & LEVELS:
            if ("bh", pid) in unusual:
                state |= BH_OFF
            if ("preempt", pid) in unusual:
                state |= PREEMPT_OFF
        return state

    def _key(self, cpu: int, pid: int) -> Any:
        level = self._unusual.get(cpu, 0) & LEVELS
        return ("irq", cpu, level) if level or not pid else pid

    # --- the probes of interrupts

    def irq_entry(self, record: Record) -> None:
        """An ``irq:irq_handler_entry`` record: the processor is in a hard interrupt."""
        self._set(record[2], HARDIRQ)

    def irq_exit(self, record: Record) -> None:
        """An ``irq:irq_handler_exit`` record."""
        self._clear(record[2], HARDIRQ)

    def softirq_entry(self, record: Record) -> None:
        """An ``irq:softirq_entry`` record."""
        self._set(record[2], SOFTIRQ)

    def softirq_exit(self, record: Record) -> None:
        """An ``irq:softirq_exit`` record."""
        self._clear(record[2], SOFTIRQ)

    def irq_disable(self, record: Record) -> None:
        """A ``preemptirq:irq_disable`` record."""
        _, now_ns, cpu, *_ = record
        self._set(cpu, IRQS_OFF)
        trace = self._irq_trace(cpu)
        trace.disabled = (trace.events, now_ns)

    def irq_enable(self, record: Record) -> None:
        """A ``preemptirq:irq_enable`` record: what is held from before is held with interrupts enabled now."""
        _, now_ns, cpu, pid, *_ = record
        self._clear(cpu, IRQS_OFF)
        trace = self._irq_trace(cpu)
        trace.enabled = (trace.events, now_ns)
        self._enabled(record, self._state(cpu, pid))

    def softirq_disable(self, record: Record) -> None:
        """An ``irq:softirq_disable`` record: the thread keeps soft interrupts from its processor."""
        _, now_ns, cpu, pid, *_ = record
        self._count(("bh", pid), 1)
        trace = self._irq_trace(cpu)
        trace.soft_disabled = (trace.events, now_ns)

    def softirq_enable(self, record: Record) -> None:
        """An ``irq:softirq_enable`` record."""
        _, now_ns, cpu, pid, *_ = record
        if self._count(("bh", pid), -1):
            return
        trace = self._irq_trace(cpu)
        trace.soft_enabled = (trace.events, now_ns)
        self._enabled(record, self._state(cpu, pid))

    def preempt_disable(self, record: Record) -> None:
        """A ``preemptirq:preempt_disable`` record: the thread keeps its processor, and must not sleep."""
        self._count(("preempt", record[3]), 1)

    def preempt_enable(self, record: Record) -> None:
        """A ``preemptirq:preempt_enable`` record."""
        self._count(("preempt", record[3]), -1)

    def _count(self, key: tuple[str, int], change: int) -> int:
        left = max(self._unusual.get(key, 0) + change, 0)
        if left:
            self._unusual[key] = left
        else:
            self._unusual.pop(key, None)
        return left

    def _set(self, cpu: int, bit: int) -> None:
        self._unusual[cpu] = self._unusual.get(cpu, 0) | bit

    def _clear(self, cpu: int, bit: int) -> None:
        left = self._unusual.get(cpu, 0) & ~bit
        if left:
            self._unusual[cpu] = left
        else:
            self._unusual.pop(cpu, None)

    def _irq_trace(self, cpu: int) -> IrqTrace:
        trace = self._irqs.get(cpu)
        if trace is None:
            trace = self._irqs[cpu] = IrqTrace()
        trace.events += 1
        return trace

    def _enabled(self, record: Record, state: int) -> None:
        """Mark what the context holds as held with those interrupts enabled that are in `state`."""
        context = self.contexts.get(self._key(record[2], record[3]))
        if context is None or not context.held or not self.active or state & (HARDIRQ | IRQS_OFF):
            return
        soft = not state & (SOFTIRQ | BH_OFF)
        written = HARDIRQ_ON | SOFTIRQ_ON if soft else HARDIRQ_ON
        for _, chain in context.held:
            missing = (written << 1 if chain.flags & READ else written) & ~chain.lock_class.usage_mask
            if missing:
                stack = self._stack()
                held = self.held_by(context)
                found = self._checks.enable(held, stack, softirq=False)
                if found is None and soft:
                    found = self._checks.enable(held, stack, softirq=True)
                self._report(found, context, record, stack)
                return

    def might_sleep(self, record: Record) -> None:
        """A ``sched:might_sleep`` record: a function is called that may wait for something."""
        context = self.contexts.get(self._key(record[2], record[3]))
        if self.active and self._is_atomic(context, self._state(record[2], record[3])):
            context = context or Context(record[3], record[4], self._root)
            self._report(SleepInAtomic(record[5]), context, record, self._stack())

    @staticmethod
    def _is_atomic(context: Context | None, state: int) -> bool:
        """Whether records tell that nothing may sleep here."""
        return bool(state) or any(0 < chain.lock_class.inner < SLEEPS for _, chain in (context.held if context else ()))

    # --- the probes of what may end a lock or its holder

    def freed(self, record: Record) -> None:
        """A ``pointer:structure_free`` record: there must be no lock in that memory that the context holds."""
        _, _, _, _, _, address, _, size = record
        context = self.contexts.get(self._key(record[2], record[3]))
        if context is None or not self.active:
            return
        for lock in self.held_by(context):
            if address < lock.address + LOCKDEP_MAP_BYTES and lock.address < address + size:
                self._report(Freed(lock, address, address + size - 1), context, record, self._stack())
                return

    def task_ends(self, record: Record) -> None:
        """A ``sched:sched_process_exit`` record: a thread must not end with locks held, unless it has been reported."""
        self._must_hold_nothing(record, exiting=True)
        self.contexts.pop(record[3], None)
        for why in ("bh", "preempt"):
            self._unusual.pop((why, record[3]), None)

    def to_user_space(self, record: Record) -> None:
        """A ``raw_syscalls:sys_exit`` record: a thread must not take locks along to user space."""
        self._must_hold_nothing(record, exiting=False)

    def reported(self, record: Record) -> None:
        """A ``violation:violation_report`` record: the thread may die of it where it is, with what it holds."""
        self._doomed[record[3]] = None

    def _must_hold_nothing(self, record: Record, *, exiting: bool) -> None:
        pid = record[3]
        context = self.contexts.get(pid)
        if context is None or not context.held or not pid or pid in self._doomed or not self.active:
            return
        self._report(StillHeld(exiting), context, record, self._stack())

    # --- the slow path

    def _new_chain(self, context: Context, record: Record, state: int) -> Chain:
        """Check a chain that was not seen before, and remember it."""
        _, _, _, _, _, flags, name, address = record
        stack = self._stack()
        wanted = Held(self._checks.graph.lock_class(name), address, flags, stack[0] if stack else "unknown", state)
        if wanted.lock_class.inner >= SLEEPS and not wanted.trylock and state & (IRQS_OFF | BH_OFF | PREEMPT_OFF):
            # Under a spinlock or in an interrupt the wait context tells more.
            site = f"{wanted.lock_class.name} ({wanted.site})"
            self._report(SleepInAtomic(site), context, record, stack)
        elif len(context.held) < MAX_LOCK_DEPTH:
            nest = self._nest if flags & NESTED else None
            found = self._checks.take(self.held_by(context), wanted, stack, nest=nest)
            self._report(found, context, record, stack)
        return self._remember(context.chain, wanted)

    @staticmethod
    def _remember(chain: Chain, end: Held) -> Chain:
        longer = Chain(end.lock_class, end.flags, end.site, end.state)
        all_flags = end.flags | end.state << STATE_SHIFT
        name = end.lock_class.name
        chain.longer[(name, all_flags) if all_flags else name] = longer
        return longer

    def context_of(self, record: Record) -> Context:
        """The context a record is of."""
        key = self._key(record[2], record[3])
        return self.contexts.get(key) or self.contexts.setdefault(key, Context(record[3], record[4], self._root))

    def commit(self, record: Record, crosslock: Held, taken: Held, stack: Stack) -> None:
        """Who completes `crosslock` had to take `taken` first, at `stack`: the former depends on the latter."""
        self._report(self._checks.commit(crosslock, taken, stack), self.context_of(record), record, self._stack())

    @staticmethod
    def held_by(context: Context) -> list[Held]:
        """What a context holds, outermost first."""
        return [
            Held(chain.lock_class, address, chain.flags, chain.site, chain.state) for address, chain in context.held
        ]

    def _held_on(self, context: Context, cpu: int, pid: int) -> list[Held]:
        """What a context holds, behind what the contexts hold that it has interrupted."""
        level = self._unusual.get(cpu, 0) & LEVELS
        interrupted = [self.contexts.get(pid)] if level and pid else []
        if level == LEVELS:
            interrupted.append(self.contexts.get(("irq", cpu, SOFTIRQ)))
        return [lock for other in (*interrupted, context) if other is not None for lock in self.held_by(other)]

    def _report(self, found: Report | None, context: Context, record: Record, stack: Stack) -> None:
        if found is None:
            return
        _, _, cpu, pid, comm, *_ = record
        self.active = False  # debug_locks = 0: what follows a splat cannot be trusted
        found.where = Situation(
            comm,
            pid,
            cpu,
            self._held_on(context, cpu, pid),
            stack,
            self._state(cpu, pid),
            self._irqs.get(cpu, IrqTrace()),
        )
        self._on_finding(found)

    def _release_other(self, context: Context | None, record: Record) -> None:
        """Release a lock that is not the innermost: the chain is another one now."""
        _, _, _, pid, comm, name, address = record
        if context is None:
            context = Context(pid, comm, self._root)
        held = context.held
        for index in range(len(held) - 1, -1, -1):
            if held[index][0] == address:
                break
        else:
            if self.active:
                self._report(Imbalance(name, address), context, record, self._stack())
            return
        later = held[index + 1 :]
        del held[index:]
        chain = held[-1][1] if held else self._root
        for later_address, old in later:
            all_flags = old.flags | old.state << STATE_SHIFT
            name = old.lock_class.name
            shorter = chain.longer.get((name, all_flags) if all_flags else name)
            if shorter is None:
                lock = Held(old.lock_class, later_address, old.flags & ~NESTED, old.site, old.state)
                if self.active and not old.flags & NESTED:
                    stack = self._stack()
                    found = self._checks.take(self.held_by(context), lock, stack)
                    self._report(found, context, record, stack)
                lock.flags = old.flags
                shorter = self._remember(chain, lock)
            held.append((later_address, shorter))
            chain = shorter
        context.chain = chain
