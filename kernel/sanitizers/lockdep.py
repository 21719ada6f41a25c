"""lockdep: every order in which lock classes are taken, and whether two orders contradict each other.

Mirrors __lock_acquire(), check_prevs_add(), check_noncircular(), check_deadlock() of kernel/locking/lockdep.c (6.1)
as a fold over ``lock:lock_acquire`` and ``lock:lock_release`` records: it is not told anything else, so it also runs
over a recorded trace. What a record does not have (stacks, whether interrupts are off) comes from the caller, if
there is one to ask.

A context (a thread, or the interrupt level of a processor) has a stack of held locks.  Taking B with A held makes the
edge A → B; an edge that closes a cycle is reported, before anybody has to wait.  A trylock makes no edge *to* its
lock.  The first report ends the checking, as in the kernel.

Chains of held classes are kept as a tree: where a chain was seen before, taking a lock is one dictionary access.
Left out until the lock-order issue: irq inversion, recursive readers, wait types, nesting subclasses.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

TRYLOCK, READ = 1, 2
MAX_LOCK_DEPTH = 48
HARDIRQ, SOFTIRQ = 2, 1

Stack = tuple[str, ...]
Record = tuple[Any, ...]


@dataclass(slots=True)
class LockClass:
    """A lock class: the four usage characters are hardirq and softirq, each for writing and reading."""

    name: str
    wait_type: str
    used_in: set[str] = field(default_factory=set)
    after: dict[str, Edge] = field(
        default_factory=dict
    )  # classes taken while this one was held, in order of first sight

    def usage(self) -> str:
        """The ``{+.+.}`` of the reports."""
        characters = []
        for context in ("hard", "soft"):
            for mode in ("write", "read"):
                inside = f"in-{context}-{mode}" in self.used_in
                enabled = f"{context}-on-{mode}" in self.used_in
                characters.append("?" if inside and enabled else "-" if inside else "+" if enabled else ".")
        return "".join(characters)

    def describe(self) -> str:
        """``(name){usage}-{outer:inner}``."""
        return f"({self.name}){{{self.usage()}}}-{{{self.wait_type}}}"


@dataclass(slots=True)
class Edge:
    """``to`` was taken while ``source`` was held, here."""

    source: LockClass
    to: LockClass
    stack: Stack


@dataclass(slots=True)
class Held:
    """One lock a context holds."""

    lock_class: LockClass
    address: int
    flags: int
    site: str


class Chain:
    """A sequence of held classes that has been checked."""

    __slots__ = ("flags", "longer", "name", "site")

    def __init__(self, name: str, flags: int, site: str) -> None:
        self.name = name  # of the class that ends the chain, taken with these flags, here
        self.flags = flags
        self.site = site
        self.longer: dict[Any, Chain] = {}


class Context:
    """What one thread, or one interrupt level of a processor, holds; innermost last."""

    __slots__ = ("chain", "comm", "held", "pid")

    def __init__(self, pid: int, comm: str, chain: Chain) -> None:
        self.pid = pid
        self.comm = comm
        self.held: list[tuple[int, Chain]] = []  # address of the lock, chain that ends with its class
        self.chain = chain


@dataclass(slots=True)
class Finding:
    """A contradiction: ``path`` leads from the wanted class to the held one; empty where they are the same."""

    context: Context
    wanted: Held
    holding: Held
    path: list[Edge]
    held: list[Held]
    stack: Stack


class Lockdep:
    """The checker.  `on_finding` is called once, with the first contradiction.

    `stack` returns the running context's stack, innermost first; `irqs_off` whether it has interrupts disabled;
    `wait_types` maps class names to ``outer:inner``.
    """

    def __init__(
        self,
        on_finding: Callable[[Finding], object],
        *,
        stack: Callable[[], Stack] = tuple,
        irqs_off: Callable[[], bool] = bool,
        wait_types: dict[str, str] | None = None,
    ) -> None:
        self._on_finding = on_finding
        self._stack = stack
        self._irqs_off = irqs_off
        self._wait_types = wait_types if wait_types is not None else {}
        self._root = Chain("", 0, "")
        self._level: dict[int, int] = {}  # processor → interrupt level, while it is in one
        self.classes: dict[str, LockClass] = {}
        self.contexts: dict[Any, Context] = {}
        self.active = True
        self.acquire, self.release = self._make_probes()

    # --- the probes

    def _make_probes(self) -> tuple[Callable[[Record], None], Callable[[Record], None]]:
        """The probes for ``lock:lock_acquire`` and ``lock:lock_release`` records.

        Functions over local names instead of methods: they run for every lock taken and left, and are a twentieth of a
        contended pair quicker so.
        """
        contexts, levels, root = self.contexts, self._level, self._root

        def acquire(record: Record) -> None:
            _, _, cpu, pid, comm, flags, name, address = record
            key = pid if pid and not levels else self._key(cpu, pid)
            context = contexts.get(key)
            if context is None:
                context = contexts[key] = Context(pid, comm, root)
            longer = context.chain.longer.get((name, flags) if flags else name)
            if longer is None:
                if not self.active:
                    return
                longer = self._new_chain(context, cpu, flags, name, address)
            context.held.append((address, longer))
            context.chain = longer

        def release(record: Record) -> None:
            _, _, cpu, pid, _, name, address = record
            context = contexts.get(pid if pid and not levels else self._key(cpu, pid))
            if context is None:
                return
            held = context.held
            if held and held[-1][0] == address:
                held.pop()
                context.chain = held[-1][1] if held else root
            else:
                self._release_inner(context, name, address)

        return acquire, release

    def irq_entry(self, record: Record) -> None:
        """An ``irq:irq_handler_entry`` record: the processor is in a hard interrupt."""
        self._level[record[2]] = self._level.get(record[2], 0) | HARDIRQ

    def irq_exit(self, record: Record) -> None:
        """An ``irq:irq_handler_exit`` record."""
        self._leave(record[2], HARDIRQ)

    def softirq_entry(self, record: Record) -> None:
        """An ``irq:softirq_entry`` record."""
        self._level[record[2]] = self._level.get(record[2], 0) | SOFTIRQ

    def softirq_exit(self, record: Record) -> None:
        """An ``irq:softirq_exit`` record."""
        self._leave(record[2], SOFTIRQ)

    def _leave(self, cpu: int, level: int) -> None:
        left = self._level.get(cpu, 0) & ~level
        if left:
            self._level[cpu] = left
        else:
            self._level.pop(cpu, None)

    def _key(self, cpu: int, pid: int) -> Any:
        level = self._level.get(cpu, 0)
        return ("irq", cpu, level) if level or not pid else pid

    # --- the slow path: a chain that was not seen before

    def _new_chain(self, context: Context, cpu: int, flags: int, name: str, address: int) -> Chain:
        lock_class = self._class(name)
        self._mark_usage(lock_class, cpu, flags)
        stack = self._stack()
        site = stack[0] if stack else "unknown"
        wanted = Held(lock_class, address, flags, site)
        if not flags & TRYLOCK and len(context.held) < MAX_LOCK_DEPTH:
            self._check(context, wanted, stack)
        chain = Chain(name, flags, site)
        context.chain.longer[(name, flags) if flags else name] = chain
        return chain

    def _class(self, name: str) -> LockClass:
        lock_class = self.classes.get(name)
        if lock_class is None:
            lock_class = self.classes[name] = LockClass(name, self._wait_types.get(name, "3:3"))
        return lock_class

    def _mark_usage(self, lock_class: LockClass, cpu: int, flags: int) -> None:
        mode = "read" if flags & READ else "write"
        level = self._level.get(cpu, 0)
        marks = lock_class.used_in
        if level & HARDIRQ:
            marks.add(f"in-hard-{mode}")
        elif level & SOFTIRQ:
            marks.add(f"in-soft-{mode}")
        if not self._irqs_off() and not level & HARDIRQ:
            marks.add(f"hard-on-{mode}")
            if not level:
                marks.add(f"soft-on-{mode}")

    def held_by(self, context: Context) -> list[Held]:
        """What a context holds, outermost first."""
        return [Held(self._class(chain.name), address, chain.flags, chain.site) for address, chain in context.held]

    def _check(self, context: Context, wanted: Held, stack: Stack) -> None:
        held = self.held_by(context)
        for holding in reversed(held):
            if holding.lock_class is wanted.lock_class:
                self._report(Finding(context, wanted, holding, [], held, stack))
                return
        for holding in reversed(held):
            path = self._path(wanted.lock_class, holding.lock_class)
            if path:
                self._report(Finding(context, wanted, holding, path, held, stack))
                return
            if wanted.lock_class.name not in holding.lock_class.after:
                holding.lock_class.after[wanted.lock_class.name] = Edge(holding.lock_class, wanted.lock_class, stack)
            if not holding.flags & TRYLOCK:
                return  # what is held further out has its edge to this one already

    def _path(self, source: LockClass, target: LockClass) -> list[Edge]:
        """The shortest chain of edges from `source` to `target`; empty where there is none."""
        came_by: dict[str, Edge] = {}
        queue = deque([source])
        while queue:
            for edge in queue.popleft().after.values():
                if edge.to.name in came_by:
                    continue
                came_by[edge.to.name] = edge
                if edge.to is target:
                    path = [edge]
                    while path[0].source is not source:
                        path.insert(0, came_by[path[0].source.name])
                    return path
                queue.append(edge.to)
        return []

    def _report(self, finding: Finding) -> None:
        self.active = False  # debug_locks = 0: what follows a splat cannot be trusted
        self._on_finding(finding)

    def _release_inner(self, context: Context, name: str, address: int) -> None:
        """Release a lock that is not the innermost: the chain is another one now."""
        held = context.held
        for index in range(len(held) - 1, -1, -1):
            if held[index][0] == address and held[index][1].name == name:
                break
        else:
            return
        later = held[index + 1 :]
        del held[index:]
        chain = held[-1][1] if held else self._root
        for later_address, old in later:
            key = (old.name, old.flags) if old.flags else old.name
            shorter = chain.longer.get(key)
            if shorter is None:
                shorter = chain.longer[key] = Chain(old.name, old.flags, old.site)
            held.append((later_address, shorter))
            chain = shorter
        context.chain = chain
