"""An oracle in the manner of rcutorture, and random programs for it.

It is told when readers begin and end and when callbacks are queued and run, by the test itself and not by RCU, and
knows one law: no callback runs while a reader that began before it was queued is still inside; and none runs twice.
"""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING, Any

from slubloom.actors import COND_RESCHED, Op, OpKind
from slubloom.kernel.rcu import RcuHead

from ..helpers import booted, start

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from slubloom.kernel import Machine
    from slubloom.kernel.rcu import Rcu

STEP = Op(OpKind.LOCAL, "step")

SCENARIO = """
[machine]
[[machine.node]]
id = 0
cpus = "0-3"
memory = "64M"
[kernel]
preempt = "PREEMPT"
"""


class Oracle:
    """What is going on, and what was wrong."""

    def __init__(self) -> None:
        self.inside: dict[int, str] = {}
        self.errors: list[str] = []
        self.ran: list[int] = []
        self.queued: list[int] = []
        self._sections = 0
        self._callbacks = 0

    def enter(self, name: str) -> int:
        self._sections += 1
        self.inside[self._sections] = name
        return self._sections

    def leave(self, section: int) -> None:
        del self.inside[section]

    async def call_rcu(self, rcu: Rcu) -> None:
        """Queue a callback."""
        callback = self.callback()
        number = self._callbacks
        await rcu.call_rcu(RcuHead(callback, number))
        self.queued.append(number)

    async def barrier(self, rcu: Rcu) -> None:
        """No callback that has been queued may be left when a barrier is over."""
        before = list(self.queued)
        await rcu.rcu_barrier()
        self.errors += [f"barrier has not waited for callback {number}" for number in before if number not in self.ran]

    def callback(self) -> Callable[[], None]:
        """A callback to be queued in this step."""
        self._callbacks += 1
        number, before = self._callbacks, dict(self.inside)

        def callback() -> None:
            if number in self.ran:
                self.errors.append(f"callback {number} ran twice")
            self.ran.append(number)
            self.check(before)

        return callback

    def check(self, before: dict[int, str]) -> None:
        """A grace period since the readers were those of `before` is over."""
        self.errors += [f"too early for reader {name}" for section, name in before.items() if section in self.inside]

    @property
    def missing(self) -> list[int]:
        return [number for number in range(1, self._callbacks + 1) if number not in self.ran]


def reader(machine: Machine, oracle: Oracle, name: str, random: Random) -> Callable[[], Awaitable[None]]:
    """Enters and leaves readers, nested ones too, and now and then lets others have the processor between them."""

    async def body() -> None:
        for _ in range(random.randint(1, 4)):
            await machine.rcu.read_lock()
            section = oracle.enter(name)
            for _ in range(random.randint(0, 4)):
                await STEP
            if random.random() < 0.3:
                async with machine.rcu.reader():
                    await STEP
            oracle.leave(section)
            await machine.rcu.read_unlock()
            for _ in range(random.randint(0, 2)):
                await (COND_RESCHED if random.random() < 0.5 else STEP)

    return body


def updater(machine: Machine, oracle: Oracle, random: Random) -> Callable[[], Awaitable[None]]:
    """Waits for grace periods of every kind."""

    async def body() -> None:
        rcu = machine.rcu
        for _ in range(random.randint(1, 3)):
            before = dict(oracle.inside)
            match random.randrange(6):
                case 0:
                    await rcu.synchronize_rcu()
                    oracle.check(before)
                case 1:
                    await rcu.synchronize_rcu_expedited()
                    oracle.check(before)
                case 2:
                    cookie = rcu.get_state_synchronize_rcu()
                    await STEP
                    await rcu.cond_synchronize_rcu(cookie)
                    oracle.check(before)
                case 3:
                    await oracle.barrier(rcu)
                case _:
                    for _ in range(random.randint(1, 3)):
                        await oracle.call_rcu(rcu)

    return body


def torture(seed: int, *, preempt: str = "full", release: str = "v6.1", **options: Any) -> tuple[Machine, Oracle]:
    """A machine with readers and updaters on every processor, not running yet."""
    machine = booted(seed, SCENARIO.replace("PREEMPT", preempt), release=release, **options)
    oracle, random = Oracle(), Random(seed)
    for cpu in range(4):
        for number in range(random.randint(1, 2)):
            start(machine, cpu, f"reader{cpu}.{number}", reader(machine, oracle, f"r{cpu}.{number}", random))
    for number in range(2):
        start(machine, random.randrange(4), f"updater{number}", updater(machine, oracle, random))
    return machine, oracle
