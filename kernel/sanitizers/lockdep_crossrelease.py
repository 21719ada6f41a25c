"""Cross-release: what a completion depends on, as if it were a lock that another context gives back.

Mirrors crossrelease of kernel/locking/lockdep.c as it was in 4.14 (b09be676e0ff; from memory, as is all that is said
of it here).  Waiting takes the pseudo lock ``(completion)NAME``, so what is held there comes before it.  Each context
keeps a history of the locks it has taken (``xhlocks``, 64 of them; no trylocks, no recursive readers), which starts
anew with each work item, interrupt and system call, and here each time a kernel thread is woken that was idle.  Who
completes commits its history: the completion depends on each class in it.  So a waiter that holds L, and a completer
that has to take L first, are found though they never met.

Which part of the history counts?  In 4.14 what was taken after somebody began to wait.  Here a completion has
*episodes*: one begins when it is initialised, or when a waiter goes on, and all that was taken in the present one
counts, for that the waiter came late was a matter of luck.  So does what is still held, unless it was held before the
completion was there.  That tells more, some of it wrong:

* a completer that can be counted on to have passed L before anybody waits under it is not known to be that careful;
* a thread that goes round in a loop without ever being idle has its earlier rounds in its history;
* completions of one class are taken for one;
* who completes something and then waits for it itself, as shrinker_free() may, is taken for two.

For the like, and what it cost, 4.15 took it out; here too it is on only where it is asked for.  As in 4.14 the maps of
a work item that runs are no part of its history, or waiting in one instance for what the next one completes would be
told of; and completing after having waited for something else makes no order of the two: ping-pong is no deadlock.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, NamedTuple

from ..locks.base import ON_BEHALF, RECURSIVE, TRYLOCK
from .lockdep_findings import Held
from .lockdep_graph import LockClass

if TYPE_CHECKING:
    from collections.abc import Callable

    from .lockdep import Chain, Context, Lockdep, Record
    from .lockdep_graph import Stack

HISTORY_LENGTH = 64
"""Locks a context remembers (``MAX_XHLOCKS_NR``)."""
NOT_CHECKED = "0:0"


class Taken(NamedTuple):
    """A lock in a context's history; `number` counts all that were taken on the machine."""

    number: int
    address: int
    chain: Chain


class Episodes:
    """What is known of one completion: when it was initialised, when its present episode began, where it is waited for.

    Times are numbers of acquisitions; of a completion from before the records nothing is known but 0.
    """

    __slots__ = ("began", "initialised", "site")

    def __init__(self, now: int) -> None:
        self.initialised = self.began = now
        self.site = "unknown"


class CrossRelease:
    """Tells `lockdep` what completions depend on; its probes come after lockdep's own.  `stack` as there."""

    def __init__(self, lockdep: Lockdep, *, stack: Callable[[], Stack] = tuple) -> None:
        self._lockdep = lockdep
        self._stack = stack
        self._now = 0
        self._histories: dict[Context, deque[Taken]] = {}
        self._stacks: dict[Chain, Stack] = {}  # where the end of a chain was first taken
        self._completions: dict[int, Episodes] = {}

    def probes(self) -> dict[str, Callable[[Record], None]]:
        """The probe for each event, by the event's full name."""
        return {
            "lock:lock_acquire": self.acquire,
            "irq:irq_handler_entry": self.begin,
            "irq:softirq_entry": self.begin,
            "workqueue:workqueue_execute_start": self.begin,
            "workqueue:workqueue_execute_end": self.begin,
            "raw_syscalls:sys_exit": self.begin,
            "sched:kthread_woken": self.begin,
            "completion:completion_init": self.init,
            "completion:completion_wait": self.wait,
            "completion:completion_complete": self.complete,
            "completion:completion_done": self.done,
        }

    # --- contexts

    def acquire(self, record: Record) -> None:
        """A ``lock:lock_acquire`` record that lockdep has seen: one more in the context's history."""
        self._now += 1
        if record[5] & (TRYLOCK | RECURSIVE | ON_BEHALF):
            return
        context = self._lockdep.context_of(record)
        if not context.held:
            return  # lockdep has given up
        chain = context.chain
        if chain not in self._stacks:
            self._stacks[chain] = self._stack()
        history = self._histories.get(context)
        if history is None:
            history = self._histories[context] = deque(maxlen=HISTORY_LENGTH)
        history.append(Taken(self._now, record[7], chain))

    def begin(self, record: Record) -> None:
        """A record with which the context begins something new (``crossrelease_hist_start``)."""
        self._histories.pop(self._lockdep.context_of(record), None)

    # --- completions

    def init(self, record: Record) -> None:
        """A ``completion:completion_init`` record."""
        self._completions[record[6]] = Episodes(self._now)

    def wait(self, record: Record) -> None:
        """A ``completion:completion_wait`` record: what is held comes before the completion."""
        lockdep = self._lockdep
        if not lockdep.active:
            return
        head, name, address = record[:5], self._class(record[5]).name, record[6]
        context = lockdep.context_of(record)
        lockdep.acquire((*head, 0, name, address))
        self._episodes(address).site = context.chain.site
        lockdep.release((*head, name, address))

    def done(self, record: Record) -> None:
        """A ``completion:completion_done`` record: the waiter goes on, what comes is another episode."""
        self._episodes(record[6]).began = self._now

    def complete(self, record: Record) -> None:
        """A ``completion:completion_complete`` record: the completion depends on what was taken for it."""
        lockdep = self._lockdep
        context = lockdep.context_of(record)
        history = self._histories.get(context)
        if history is None or not lockdep.active:
            return
        address = record[6]
        episodes = self._episodes(address)
        crosslock = Held(self._class(record[5]), address, 0, episodes.site)
        held = dict(context.held)
        seen: dict[tuple[Any, int], None] = {}
        for taken in reversed(history):
            chain = taken.chain
            since = episodes.initialised if held.get(taken.address) is chain else episodes.began
            kind = (chain.lock_class, chain.flags)
            if taken.number <= since or kind in seen:
                continue
            seen[kind] = None
            lock = Held(chain.lock_class, taken.address, chain.flags, chain.site, chain.state)
            lockdep.commit(record, crosslock, lock, self._stacks[chain])
            if not lockdep.active:
                return

    def _episodes(self, address: int) -> Episodes:
        found = self._completions.get(address)
        if found is None:
            found = self._completions[address] = Episodes(0)
        return found

    def _class(self, name: str) -> LockClass:
        shown = f"(completion){name}"
        return self._lockdep.classes.setdefault(shown, LockClass(shown, NOT_CHECKED))
