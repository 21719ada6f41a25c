"""Small programs for exploring, and running them without trio."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from slubloom.actors import Access, Actor, BareInterleaver, Gate, Mailbox, Message, Op, OpKind, Profile, RunLimits
from slubloom.actors.signal import Signal
from slubloom.actors.strategies import RandomWalk, make_strategy

from .helpers import STEP, Doing, act

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from slubloom.actors import Interleaver, Outcome, Resource
    from slubloom.actors.strategies import Strategy

    Program = Callable[[Any], list[str]]
    """Puts its actors on an interleaver; what it returns is the log they will write."""


class Ready(Doing):
    """An actor whose first operation is pending from the beginning: it takes no step to start."""

    daemon: ClassVar[bool] = True


class Order:
    """Observes a run: who made which step."""

    def __init__(self) -> None:
        self.steps: list[str] = []

    def before_step(self, actor: Actor, op: Op) -> None:
        self.steps.append(f"{actor.name}: {op!r}")

    def touch(self, resource: Resource, access: Access) -> None:
        pass


def ready(interleaver: Interleaver, name: str, function: Callable[[Any], Awaitable[None]]) -> Ready:
    actor = Ready(interleaver, name, function)
    interleaver.spawn(actor)
    return actor


def run_bare(
    strategy: Strategy, program: Program, *, steps_max: int = 100_000, observers: Iterable[Any] = ()
) -> tuple[BareInterleaver, Outcome, list[str]]:
    """Run one schedule of `program`."""
    interleaver = BareInterleaver(strategy, limits=RunLimits(steps_max))
    for observer in observers:
        interleaver.observe(observer)
    log = program(interleaver)
    return interleaver, interleaver.run_bare(), log


def profile_of(program: Program, seed: int = 0) -> Profile:
    """The counts of a pilot run."""
    interleaver = BareInterleaver(RandomWalk(seed))
    profile = Profile(interleaver)
    interleaver.observe(profile)
    interleaver.on_spawn = profile.on_spawn
    program(interleaver)
    interleaver.run_bare()
    return profile


def logs(name: str, program: Program, seeds: Iterable[int]) -> list[tuple[str, ...]]:
    """What a program logs under a strategy, for each seed."""
    profile = profile_of(program)
    return [tuple(run_bare(make_strategy(name, seed, profile), program)[2]) for seed in seeds]


def walkers(lengths: dict[str, int], op: Op = STEP, born: Callable[..., Doing] = ready) -> Program:
    """Actors that make as many steps as their entry says and log each; nothing can block them."""

    def program(interleaver: Interleaver) -> list[str]:
        log: list[str] = []

        async def work(actor: Any) -> None:
            for _ in range(lengths[actor.name]):
                await op
                log.append(actor.name)

        for name in lengths:
            born(interleaver, name, work)
        return log

    return program


def accessing(**programs: str) -> Program:
    """Actors that write (a capital letter), read (a small one) or add to (an underlined one, as in ``_A``) resources.

    A dot is a private step.
    """

    def program(interleaver: Interleaver) -> list[str]:
        log: list[str] = []
        resources: dict[str, Resource] = {}

        def operation(letter: str, kind: OpKind) -> Op:
            name = letter.upper()
            if name not in resources:
                resources[name] = interleaver.resource(name)
            return Op(kind, resources[name])

        def operations(text: str) -> list[tuple[str, Op]]:
            found: list[tuple[str, Op]] = []
            letters = iter(text)
            for letter in letters:
                if letter == ".":
                    found.append((letter, STEP))
                elif letter == "_":
                    added = next(letters)
                    found.append((f"_{added}", operation(added, OpKind.COMMUTE)))
                else:
                    kind = OpKind.WRITE if letter.isupper() else OpKind.READ
                    found.append((letter, operation(letter, kind)))
            return found

        for name, text in programs.items():
            todo = operations(text)

            async def work(actor: Any, todo: list[tuple[str, Op]] = todo) -> None:
                for letter, op in todo:
                    await op
                    log.append(actor.name + letter)

            ready(interleaver, name, work)
        return log

    return program


def contest(names: str = "abc", rounds: int = 2) -> Program:
    """Actors that pass a gate one at a time."""

    def program(interleaver: Interleaver) -> list[str]:
        gate = Gate(interleaver, "gate")
        log: list[str] = []

        async def work(actor: Any) -> None:
            for _ in range(rounds):
                await gate.acquire
                log.append(actor.name)
                await gate.release

        for name in names:
            act(interleaver, name, work)
        return log

    return program


@dataclass(frozen=True, slots=True)
class Letter(Message):
    """What the post office delivers."""

    text: str


def post_office(senders: str = "ab", letters: int = 2) -> Program:
    """Senders post letters, a receiver takes them as they come."""

    def program(interleaver: Interleaver) -> list[str]:
        log: list[str] = []

        async def receive(_: Any) -> None:
            for _ in range(letters * len(senders)):
                letter = await mailbox.receive()
                log.append(letter.text)

        async def send(actor: Any) -> None:
            for number in range(letters):
                await mailbox.send(Letter(f"{actor.name}{number}"))

        mailbox = Mailbox(act(interleaver, "receiver", receive))
        for name in senders:
            act(interleaver, name, send)
        return log

    return program


def sleepers(names: str = "abc", rounds: int = 2) -> Program:
    """Actors that sleep, some of them until the same moment, and step in between."""

    def program(interleaver: Interleaver) -> list[str]:
        log: list[str] = []

        async def work(actor: Any) -> None:
            for number in range(rounds):
                await actor.sleep(100 * (1 + number % 2))
                log.append(f"{actor.name} woke")
                await STEP
                log.append(f"{actor.name} stepped")

        for name in names:
            act(interleaver, name, work)
        return log

    return program


def family(children: int = 3) -> Program:
    """A parent that spawns children, which write what they share, and waits for the last of them."""

    def program(interleaver: Interleaver) -> list[str]:
        log: list[str] = []
        write = Op(OpKind.WRITE, interleaver.resource("shared"))
        done = Signal(interleaver, "done")
        ended: list[str] = []

        async def child(actor: Any) -> None:
            for _ in range(2):
                await write
                log.append(actor.name)
            ended.append(actor.name)
            if len(ended) == children:
                done.set()

        async def parent(_: Any) -> None:
            for number in range(children):
                await STEP
                act(interleaver, f"child/{number}", child)
            await write
            log.append("parent")
            await done.wait
            log.append("parent again")

        act(interleaver, "parent", parent)
        return log

    return program


def town(interleaver: Interleaver) -> list[str]:
    """All of it at once."""
    log: list[str] = []
    for program in (contest(), post_office(), sleepers("xy"), family(2)):
        log.append("")
        program(interleaver)
    return log


PROGRAMS: dict[str, Program] = {
    "gate": contest(),
    "mailbox": post_office(),
    "timers": sleepers(),
    "family": family(),
    "town": town,
}
