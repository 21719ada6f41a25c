"""The plain state machines in the actors room: quorum, notifier chain, tapes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from slubloom.actors.hotplug import MemoryEvent, MemoryNotify, NotifierBlock, NotifierChain
from slubloom.actors.interleaver import Interleaver
from slubloom.actors.rcu_node import Quorum
from slubloom.actors.rcu_sequence import INITIAL_SEQUENCE, sequence_end, sequence_snap
from slubloom.actors.strategies import RandomWalk

from slubloom.run import pack_tape, unpack_tape


def test_sequence_numbers_are_those_of_rcu_seq() -> None:
    assert INITIAL_SEQUENCE == -1200
    assert sequence_snap(0) == 4  # idle: the next grace period is enough
    assert sequence_snap(1) == 8  # one runs already, which may have begun too early
    assert sequence_end(1) == 4
    assert sequence_end(5) == 8


def test_a_grace_period_outlasts_every_cpu_that_has_not_reported() -> None:
    quorum = Quorum(5, online=[0, 1], blocked=[])
    quorum.report(1, 5)
    quorum.report(1, 5)
    quorum.report(0, 1)  # of another grace period: late
    assert not quorum.complete
    quorum.report(0, 5)
    assert quorum.complete


def test_a_reader_preempted_before_its_cpu_reported_holds_the_grace_period_up() -> None:
    early, late = object(), object()
    quorum = Quorum(5, online=[0, 1], blocked=[])
    quorum.reader_preempted(early, 0)  # type: ignore[arg-type]
    quorum.report(0, 5)
    quorum.reader_preempted(late, 0)  # type: ignore[arg-type]  # began after its CPU was quiescent
    quorum.report(1, 5)
    assert not quorum.complete
    assert not quorum.reader_left(late)  # type: ignore[arg-type]
    assert quorum.reader_left(early)  # type: ignore[arg-type]
    assert quorum.complete


async def test_subscribers_are_called_by_priority_until_one_refuses() -> None:
    chain = NotifierChain(Interleaver(RandomWalk(0)), "chain")
    called: list[str] = []

    def block(name: str, priority: int, answer: int) -> NotifierBlock:
        async def call(_: MemoryEvent, __: MemoryNotify) -> int:
            called.append(name)
            return answer

        return NotifierBlock(name, priority, call)

    for name, priority, answer in (("slab", 1, -12), ("kasan", 0, 0), ("ksm", 100, 0), ("second", 100, 0)):
        chain.register(block(name, priority, answer))
    data = MemoryNotify(0, 1, 0, 0)
    assert await chain.call(MemoryEvent.GOING_ONLINE, data) == -12
    assert called == ["ksm", "second", "slab"]


@given(st.lists(st.integers(0, 100_000)))
def test_a_tape_survives_packing(tape: list[int]) -> None:
    assert unpack_tape(pack_tape(tape)) == tape
