"""Classic faults of RCU implementations, put in one at a time: each is caught.

The switches are here and nowhere else.  What catches them: the oracle, KASAN, the stall warning.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from slubloom.actors import GracePeriod
from slubloom.actors.rcu_expedited import Expedited
from slubloom.actors.rcu_node import Quorum, RcuNode
from slubloom.actors.rcu_quiescent import QuiescentStates
from slubloom.actors.rcu_sequence import sequence_end
from slubloom.kernel.rcu import RcuHead, flavour
from slubloom.kernel.rcu.barrier import RcuBarrier
from slubloom.kernel.rcu.flavour import RcuFlavour
from slubloom.kernel.rcu.segcblist import SegmentedCallbacks
from slubloom.kernel.rcu.srcu import SrcuGracePeriod
from slubloom.kernel.slab.allocate import kmem_cache_alloc
from slubloom.kernel.slab.create import kmem_cache_create
from slubloom.kernel.slab.free import kmem_cache_free

from ..helpers import booted, run, start
from ..slab.story import slab_of
from .oracle import SCENARIO, STEP, Oracle, torture

if TYPE_CHECKING:
    from collections.abc import Callable


def caught(seeds: int = 60, until: str = "", **options: Any) -> dict[str, int]:
    """What the detectors say in some schedules, by the first words, with how often; `until` ends the search."""
    found: dict[str, int] = {}
    for seed in range(seeds):
        machine, oracle = torture(seed, **options)
        run(machine)
        said = [error.split(" callback")[0].split(" for reader")[0] for error in oracle.errors]
        said += [violation.kind for violation in machine.violations]
        if not said and oracle.missing:
            said.append("missing")
        for word in dict.fromkeys(word.rstrip("0123456789 ") for word in said):
            found[word] = found.get(word, 0) + 1
        if until in found:
            break
    return found


def ends_early(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(GracePeriod, "complete", property(lambda _: True))


def forgets_a_processor(patch: pytest.MonkeyPatch) -> None:
    begin = RcuNode.begin

    def forgetful(self: RcuNode, sequence: int) -> None:
        begin(self, sequence)
        assert self.quorum is not None
        self.quorum.waiting_cpus.pop(2, None)

    patch.setattr(RcuNode, "begin", forgetful)


def forgets_preempted_readers(patch: pytest.MonkeyPatch) -> None:
    init = Quorum.__init__
    patch.setattr(Quorum, "__init__", lambda self, sequence, online, _: init(self, sequence, online, ()))
    patch.setattr(Quorum, "reader_preempted", lambda *_: None)


def counts_quiescent_states_inside_readers(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(QuiescentStates, "is_quiescent", lambda *_, **__: True)


def joins_the_grace_period_that_runs(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(flavour, "sequence_snap", lambda sequence: sequence_end(sequence) if sequence & 3 else sequence + 4)


def advances_too_far(patch: pytest.MonkeyPatch) -> None:
    advance = SegmentedCallbacks.advance
    patch.setattr(SegmentedCallbacks, "advance", lambda self, sequence: advance(self, sequence + 4))


def expedites_past_busy_processors(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Expedited, "complete", property(lambda _: True))


@pytest.mark.parametrize(
    "switch",
    [
        ends_early,
        forgets_a_processor,
        forgets_preempted_readers,
        counts_quiescent_states_inside_readers,
        joins_the_grace_period_that_runs,
        advances_too_far,
        expedites_past_busy_processors,
    ],
)
def test_a_grace_period_that_is_too_short_is_noticed(monkeypatch: pytest.MonkeyPatch, switch: Any) -> None:
    switch(monkeypatch)
    assert "too early" in caught(1000, "too early")


def test_a_grace_period_of_a_kernel_without_preemption_that_is_too_short_is_noticed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    counts_quiescent_states_inside_readers(monkeypatch)
    assert "too early" in caught(preempt="none")


def test_a_callback_that_runs_twice_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    invoke_one = RcuFlavour.invoke_one

    async def twice(self: RcuFlavour, head: RcuHead) -> None:
        await invoke_one(self, head)
        await invoke_one(self, head)

    monkeypatch.setattr(RcuFlavour, "invoke_one", twice)
    assert any(word.startswith("callback") for word in caught())


def test_a_callback_that_is_lost_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a batch leaves is not put back."""
    monkeypatch.setattr(SegmentedCallbacks, "insert_done", lambda *_: None)
    monkeypatch.setattr("slubloom.kernel.rcu.data.BLIMIT", 1)
    invoke_one = RcuFlavour.invoke_one

    async def invoke(self: RcuFlavour, head: RcuHead) -> None:
        self.data[self.machine.smp_processor_id()].blimit = 1
        await invoke_one(self, head)

    monkeypatch.setattr(RcuFlavour, "invoke_one", invoke)
    assert {"missing", "deadlock", "barrier has not waited for"} & caught().keys()


def lose(self: QuiescentStates, cpu: Any, *_: Any, **__: Any) -> None:
    """In the place of a report."""
    self.demands[cpu.cpu_id].clear()
    cpu.qs_needed = None


def test_quiescent_states_that_are_lost_stall(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(QuiescentStates, "quiet", lose)
    monkeypatch.setattr(GracePeriod, "is_extended_quiescent", lambda *_: False)
    assert "rcu-stall" in caught(20)


def test_one_that_is_lost_at_a_context_switch_is_made_up_for_by_the_next_scan(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(QuiescentStates, "report_all", lose)
    assert caught(20).keys() <= {"deadlock"}  # expedited grace periods have no scan


def test_a_wake_up_that_is_lost_is_made_up_for_by_the_next_scan(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(GracePeriod, "_wake", lambda _: None)
    assert caught(20) == {}


def test_a_barrier_that_does_not_entrain_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    def only_marks(self: RcuBarrier, data: Any) -> None:
        data.barrier_snap = self.sequence

    monkeypatch.setattr(RcuBarrier, "entrain", only_marks)
    assert "barrier has not waited for" in caught(120)


def test_a_barrier_that_does_not_see_callbacks_being_invoked_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """``len`` reduced before the callbacks have run."""
    found = []
    for seed in range(60):
        machine = booted(seed, SCENARIO.replace("PREEMPT", "full"))
        ran: list[int] = []

        async def slow(ran: list[int] = ran) -> None:
            for _ in range(6):
                await STEP
            ran.append(1)

        async def queue(machine: Any = machine, slow: Any = slow) -> None:
            await machine.rcu.call_rcu(RcuHead(slow))

        async def wait(
            machine: Any = machine, ran: list[int] = ran, found: list[int] = found, seed: int = seed
        ) -> None:
            while not machine.counters.get("rcu_grace_periods"):
                await STEP
            await machine.rcu.rcu_barrier()
            if not ran:
                found.append(seed)

        with monkeypatch.context() as patch:
            extract = SegmentedCallbacks.extract_done

            def forget(self: SegmentedCallbacks, extract: Any = extract) -> Any:
                done = extract(self)
                self.length -= len(done)
                return done

            patch.setattr(SegmentedCallbacks, "extract_done", forget)
            patch.setattr(SegmentedCallbacks, "invoked", lambda *_: None)
            start(machine, 1, "queue", queue)
            start(machine, 2, "wait", wait)
            run(machine)
    assert found


def test_kasan_sees_an_object_freed_under_a_readers_eyes(monkeypatch: pytest.MonkeyPatch) -> None:
    kinds: list[str] = []
    for faulty in (False, True):
        with monkeypatch.context() as patch:
            if faulty:
                ends_early(patch)
            for seed in range(40):
                kinds += freed_while_read(seed)
        assert bool(kinds) is faulty
    assert set(kinds) == {"use-after-free"}


def freed_while_read(seed: int) -> tuple[str, ...]:
    machine = booted(seed, SCENARIO.replace("PREEMPT", "full"))
    pointer: list[int] = []

    async def update() -> None:
        cache = await kmem_cache_create(machine.slab, "x", 200)
        address = await kmem_cache_alloc(machine.slab, cache)
        pointer.append(address)
        await STEP
        await STEP
        pointer.clear()  # unpublish
        await machine.rcu.synchronize_rcu()
        await kmem_cache_free(machine.slab, cache, address)

    async def read() -> None:
        for _ in range(30):
            async with machine.rcu.reader():
                if pointer:
                    (address,) = pointer
                    for _ in range(4):
                        await STEP
                    slab = slab_of(machine, address)
                    machine.kasan.check_access(slab.cache, slab, address, write=False)
            await STEP

    start(machine, 0, "update", update)
    for cpu in (1, 2):
        start(machine, cpu, f"read{cpu}", read)
    run(machine)
    return tuple(violation.kind for violation in machine.violations)


# --- SRCU


LONG_AND_SHORT = ((200,), (0,) * 30, (0,) * 30, (0,) * 30)
"""Steps that each reader of each task takes: one that must be waited for, and many that come and go meanwhile."""


def srcu_errors(seeds: int) -> list[str]:
    errors: list[str] = []
    for seed in range(seeds):
        machine = booted(seed, SCENARIO.replace("PREEMPT", "full"))
        oracle = Oracle()
        srcu = machine.rcu.srcu_struct("s")

        def read(name: str, lengths: tuple[int, ...], srcu: Any = srcu, oracle: Oracle = oracle) -> Callable[[], Any]:
            async def body() -> None:
                for length in lengths:
                    index = await srcu.read_lock()
                    section = oracle.enter(name)
                    for _ in range(length):
                        await STEP
                    oracle.leave(section)
                    await srcu.read_unlock(index)

            return body

        async def update(srcu: Any = srcu, oracle: Oracle = oracle) -> None:
            for _ in range(6):
                before = dict(oracle.inside)
                await srcu.synchronize()
                oracle.check(before)

        for cpu, lengths in enumerate(LONG_AND_SHORT):
            start(machine, cpu, f"reader{cpu}", read(f"r{cpu}", lengths))
        start(machine, 0, "update", update)
        run(machine)
        errors += oracle.errors
        if errors:
            break
        errors += [violation.kind for violation in machine.violations]
    return errors


def test_srcu_readers_are_waited_for() -> None:
    assert srcu_errors(100) == []


def test_entries_summed_before_exits_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    async def wrong(self: SrcuGracePeriod, index: int) -> bool:
        srcu = self._srcu
        entries = sum(counts[index] for counts in srcu.entries.values())
        await srcu.change
        return entries == sum(counts[index] for counts in srcu.exits.values())

    monkeypatch.setattr(SrcuGracePeriod, "no_readers", wrong)
    assert srcu_errors(2000)


def test_a_grace_period_without_a_flip_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SrcuGracePeriod, "_flip", lambda _: None)
    assert srcu_errors(60)
