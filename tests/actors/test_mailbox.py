"""Mailboxes: order of arrival, whose message is whose, and receivers that wait."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
from slubloom.actors import Interleaver, Mailbox, Message, Outcome, mailbox
from slubloom.actors.signal import Reply, Request, Signal, ask
from slubloom.actors.strategies import RandomWalk

from .helpers import STEP, Doing, act, listen, run


@dataclass(frozen=True, slots=True)
class Numbered(Message):
    sender: str
    number: int


@dataclass(frozen=True, slots=True)
class Double(Request):
    number: int


class Daemon(Doing):
    daemon = True


def exchange(seed: int, *, senders: int = 3, each: int = 4) -> tuple[list[Message], list[tuple[Any, ...]]]:
    """Several senders, one receiver that takes everything; what it got, and the trace."""
    interleaver = Interleaver(RandomWalk(seed))
    trace = listen(interleaver, "actor:message_*")
    got: list[Message] = []

    async def receive(_: Doing) -> None:
        for _ in range(senders * each):
            got.append(await box.receive())

    async def send(actor: Doing) -> None:
        for number in range(each):
            await box.send(Numbered(actor.name, number))

    box = Mailbox(act(interleaver, "receiver", receive))
    for number in range(senders):
        act(interleaver, f"sender{number}", send)
    assert run(interleaver) is Outcome.FINISHED
    assert not box
    return got, trace


def test_messages_are_received_in_the_order_in_which_they_were_posted() -> None:
    for seed in range(30):
        got, trace = exchange(seed)
        posted = [sender for name, sender, *_ in trace if name == "message_send"]
        assert [message.sender for message in got] == posted  # type: ignore[attr-defined]
        for sender in ("sender0", "sender1", "sender2"):
            numbers = [message.number for message in got if message.sender == sender]  # type: ignore[attr-defined]
            assert numbers == [0, 1, 2, 3]


def test_each_sending_is_paired_with_one_receipt_by_its_sequence_number() -> None:
    _, trace = exchange(7)
    sent = {sequence: (sender, receiver) for name, sender, receiver, _, sequence in trace if name == "message_send"}
    received = {
        sequence: (sender, receiver) for name, receiver, sender, _, sequence in trace if name == "message_receive"
    }
    assert sent == received
    assert sorted(sent) == list(range(1, 13))
    assert {kind for _, _, _, kind, _ in trace} == {"Numbered"}
    for sequence in sent:
        order = [name for name, *_, number in trace if number == sequence]
        assert order == ["message_send", "message_receive"]


def test_sequence_numbers_are_shared_by_all_mailboxes_of_a_run() -> None:
    interleaver = Interleaver(RandomWalk(0))
    trace = listen(interleaver, "actor:message_send")

    async def idle(_: Doing) -> None:
        await STEP

    boxes = [Mailbox(act(interleaver, name, idle)) for name in ("a", "b")]
    for box in (boxes[0], boxes[1], boxes[0]):
        box.post(Message())
    assert [(receiver, sequence) for _, _, receiver, _, sequence in trace] == [("a", 1), ("b", 2), ("a", 3)]
    assert [len(box) for box in boxes] == [2, 1]


def test_a_receiver_without_messages_is_not_enabled_until_one_is_posted() -> None:
    interleaver = Interleaver(RandomWalk(0))
    seen: list[tuple[bool, int]] = []

    async def receive(_: Doing) -> None:
        await box.receive()

    async def send(_: Doing) -> None:
        for _ in range(20):
            await STEP
        seen.append((receiver.blocked, receiver.slot))
        box.post(Message())
        seen.append((receiver.blocked, receiver.slot >= 0))

    receiver = act(interleaver, "receiver", receive)
    box = Mailbox(receiver)
    act(interleaver, "sender", send)
    assert run(interleaver) is Outcome.FINISHED
    assert seen == [(True, -1), (False, True)]


def test_a_daemon_may_wait_for_messages_for_ever_and_another_actor_may_not() -> None:
    outcomes = []
    for kind in (Daemon, Doing):
        interleaver = Interleaver(RandomWalk(0))

        async def receive(actor: Any) -> None:
            await Mailbox(actor).receive()

        interleaver.spawn(kind(interleaver, "receiver", receive))
        outcomes.append(run(interleaver))
    assert outcomes == [Outcome.FINISHED, Outcome.DEADLOCK]


def test_a_receiver_that_has_fallen_too_far_behind_takes_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mailbox, "MAILBOX_MAX", 3)
    interleaver = Interleaver(RandomWalk(0))
    box = Mailbox(Doing(interleaver, "slow", lambda _: STEP))  # type: ignore[arg-type, return-value]
    for _ in range(3):
        box.post(Message())
    with pytest.raises(mailbox.MailboxFullError, match="slow has 3 messages waiting"):
        box.post(Message())
    assert len(box) == 3


def test_who_asks_goes_on_with_the_answer_to_its_own_question() -> None:
    for seed in range(20):
        interleaver = Interleaver(RandomWalk(seed))
        answers: dict[str, int] = {}

        async def serve(_: Doing) -> None:
            while True:
                request = await box.receive()  # noqa: B023
                await STEP
                request.reply.answer(request.number * 2)

        async def client(actor: Doing) -> None:
            number = int(actor.name)
            answers[actor.name] = await ask(box, Double(Reply(actor.interleaver, f"reply {number}"), number))  # noqa: B023

        server = Daemon(interleaver, "server", serve)
        interleaver.spawn(server)
        box = Mailbox(server)
        for number in range(4):
            act(interleaver, str(number), client)
        assert run(interleaver) is Outcome.FINISHED
        assert answers == {"0": 0, "1": 2, "2": 4, "3": 6}


def test_a_signal_lets_those_go_on_who_wait_and_those_who_come_later() -> None:
    for seed in range(20):
        interleaver = Interleaver(RandomWalk(seed))
        signal = Signal(interleaver, "ready")
        events: list[str] = []

        async def wait(_: Doing) -> None:
            await signal.wait  # noqa: B023
            events.append("passed")  # noqa: B023

        async def give(_: Doing) -> None:
            await STEP
            await STEP
            events.append("set")  # noqa: B023
            signal.set()  # noqa: B023

        for number in range(3):
            act(interleaver, f"waiter{number}", wait)
        act(interleaver, "giver", give)
        assert run(interleaver) is Outcome.FINISHED
        assert events == ["set", "passed", "passed", "passed"]
