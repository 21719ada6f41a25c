"""What the yardstick programs are written with: threads, shared variables, locks, condition variables, a heap.

A program is ``async def program(world)``: the main thread.  Every access to something shared is one step, taken before
its effect, as the instrumented originals have it:

    async def account(world: World) -> None:
        balance = world.variable("balance", 0)
        lock = world.mutex("lock")

        async def deposit() -> None:
            async with lock:
                await balance.write(await balance.read() + 1)

        threads = [await world.create(deposit), await world.create(deposit)]
        for thread in threads:
            await thread.join()
        world.check(await balance.read() == 2, "a deposit was lost")

A program fails where `World.check` fails, where memory is misused, or where nothing can go on (a deadlock).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, TypeVar

from slubloom.actors import Access, Actor, Death, Interleaver, Op, OpKind, Outcome
from slubloom.actors.gate import Gate

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

T = TypeVar("T")


class Failed(Death):
    """Ends the thread whose program has failed."""


class World:
    """One run of a program.  ``failures`` has what went wrong, first things first."""

    def __init__(self, interleaver: Interleaver, on_failure: Callable[[str], object] | None = None) -> None:
        self.interleaver = interleaver
        self.failures: list[str] = []
        self._on_failure = on_failure
        interleaver.on_deadlock = lambda stuck: self._failed(f"deadlock of {len(stuck)}")

    def start(self, program: Callable[[World], Awaitable[None]]) -> None:
        """Have the main thread run `program`, once the interleaver runs."""
        self.interleaver.spawn(Thread(self, "main", lambda: program(self)))

    def fail(self, what: str) -> None:
        """The bug has shown: end the run."""
        self._failed(what)
        self.interleaver.stop(Outcome.STOPPED)
        raise Failed(what)

    def _failed(self, what: str) -> None:
        self.failures.append(what)
        if self._on_failure is not None:
            self._on_failure(what)

    def check(self, condition: bool, what: str) -> None:
        """An assertion of the program."""
        if not condition:
            self.fail(what)

    def variable(self, name: str, value: T) -> Variable[T]:
        """A shared variable."""
        return Variable(self, name, value)

    def array(self, name: str, values: list[T]) -> list[Variable[T]]:
        """Shared variables, one for each element."""
        return [Variable(self, f"{name}[{index}]", value) for index, value in enumerate(values)]

    def mutex(self, name: str) -> Mutex:
        """A mutex, free."""
        return Mutex(self.interleaver, name)

    def condition(self, name: str) -> Condition:
        """A condition variable."""
        return Condition(self, name)

    def block(self, name: str, **fields: Any) -> Block:
        """A heap block with the given fields (``malloc``)."""
        return Block(self, name, fields)

    async def create(self, function: Callable[..., Awaitable[None]], *arguments: Any, name: str = "") -> Thread:
        """Start a thread, as a step of its own (``pthread_create``)."""
        await CREATE
        thread = Thread(self, name or function.__name__, lambda: function(*arguments))
        self.interleaver.spawn(thread)
        return thread

    async def pause(self) -> None:
        """A step that touches nothing (``sched_yield``)."""
        await YIELD


CREATE = Op(OpKind.LOCAL, "create a thread")
YIELD = Op(OpKind.LOCAL, "yield")


class Thread(Actor):
    """A thread of a program."""

    def __init__(self, world: World, name: str, function: Callable[[], Awaitable[None]]) -> None:
        super().__init__(world.interleaver, name)
        self._function = function
        self.ended = False
        self._joining: list[Actor] = []
        self._end = world.interleaver.resource(f"end of {name}")
        self._last = Op(OpKind.SIGNAL, self._end, perform=self._set)
        self._join = Op(OpKind.WAIT, self._end, admit=self._admit)

    async def body(self) -> None:
        await self._function()
        await self._last

    def _set(self, _: Actor) -> None:
        self.ended = True
        for actor in self._joining:
            actor.unblock()

    def _admit(self, actor: Actor) -> None:
        if not self.ended:
            self._joining.append(actor)
            actor.block()

    def join(self) -> Awaitable[None]:
        """Wait until the thread has ended (``pthread_join``)."""
        return self._join


class Variable(Generic[T]):
    """A shared variable; each access is a step."""

    def __init__(self, world: World, name: str, value: T) -> None:
        self.value = value
        resource = world.interleaver.resource(name)
        self._read = Op(OpKind.READ, resource)
        self._write = Op(OpKind.WRITE, resource)
        self._update = Op(OpKind.UPDATE, resource)

    async def read(self) -> T:
        """Its value."""
        await self._read
        return self.value

    async def write(self, value: T) -> None:
        """Give it a value."""
        await self._write
        self.value = value

    async def update(self, change: Callable[[T], T]) -> T:
        """Change it in one step, as an atomic instruction does; the value before."""
        await self._update
        before = self.value
        self.value = change(before)
        return before

    async def compare_and_swap(self, expected: T, value: T) -> bool:
        """Give it a value if it has the expected one, in one step; whether it had."""
        await self._update
        if self.value != expected:
            return False
        self.value = value
        return True


class Mutex(Gate):
    """``pthread_mutex_t``: ``async with mutex:``, or `lock` and `unlock`."""

    def holders(self) -> list[Actor]:
        """Who has it."""
        return [] if self.holder is None else [self.holder]

    def lock(self) -> Awaitable[None]:
        """Take it."""
        return self.acquire

    def unlock(self) -> Awaitable[None]:
        """Give it back."""
        return self.release

    def __aenter__(self) -> Awaitable[None]:
        return self.acquire

    async def __aexit__(self, kind: type[BaseException] | None, *_: Any) -> None:
        if kind is None or issubclass(kind, Exception):
            await self.release


class Condition:
    """``pthread_cond_t``: a signal nobody waits for is lost; which waiter wakes is the strategy's decision."""

    def __init__(self, world: World, name: str) -> None:
        self._world = world
        self._resource = resource = world.interleaver.resource(name)
        self._waiting: list[Actor] = []
        self._wait = Op(OpKind.WAIT, resource, admit=self._admit)
        self._signal = Op(OpKind.SIGNAL, resource, perform=self._wake_one)
        self._broadcast = Op(OpKind.SIGNAL, resource, perform=self._wake_all)

    async def wait(self, mutex: Mutex) -> None:
        """Give `mutex` up and sleep until signalled, in one step; then take it again (``pthread_cond_wait``)."""
        interleaver = self._world.interleaver
        me = interleaver.running
        await mutex.release
        if interleaver.touch is not None:
            interleaver.touch(self._resource, Access.WRITE)
        self._waiting.append(me)
        await self._wait
        await mutex.acquire

    def _admit(self, actor: Actor) -> None:
        if actor in self._waiting:
            actor.block()

    def signal(self) -> Awaitable[None]:
        """Wake one waiter, if there is one."""
        return self._signal

    def broadcast(self) -> Awaitable[None]:
        """Wake all waiters."""
        return self._broadcast

    def _wake_one(self, _: Actor) -> None:
        if self._waiting:
            chosen = self._world.interleaver.choose_actor("which waiter wakes", len(self._waiting))
            self._waiting.pop(chosen).unblock()

    def _wake_all(self, _: Actor) -> None:
        waiting, self._waiting = self._waiting, []
        for actor in waiting:
            actor.unblock()


class Block:
    """A heap block: using it after `free`, and freeing it twice, fail the program."""

    def __init__(self, world: World, name: str, fields: dict[str, Any]) -> None:
        self._world = world
        self.name = name
        self._fields = dict(fields)
        self._freed = False
        resource = world.interleaver.resource(name)
        self._read = Op(OpKind.READ, resource)
        self._write = Op(OpKind.WRITE, resource)

    async def get(self, field: str) -> Any:
        """Read a field."""
        await self._read
        self._check("use after free")
        return self._fields[field]

    async def set(self, field: str, value: Any) -> None:
        """Write a field."""
        await self._write
        self._check("use after free")
        self._fields[field] = value

    async def free(self) -> None:
        """Give the block back."""
        await self._write
        self._check("double free")
        self._freed = True

    def _check(self, what: str) -> None:
        if self._freed:
            self._world.fail(f"{what} of {self.name}")


async def dereference(world: World, pointer: Variable[Block | None]) -> Block:
    """The block a shared pointer points to; a null pointer fails the program."""
    block = await pointer.read()
    if block is None:
        world.fail("null pointer dereference")
        raise AssertionError
    return block
