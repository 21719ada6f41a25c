"""Footprints: every step of the kernel declares what it touches, and the audit says so where one does not."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest
from slubloom.actors import BareInterleaver, Mailbox, Op, OpKind, Outcome, RunLimits
from slubloom.actors.cpu import InterruptMailbox
from slubloom.actors.grace_period import GracePeriod
from slubloom.actors.strategies import Pos, RandomWalk, Strategy
from slubloom.kernel.node_states import NodeStates
from slubloom.kernel.sanitizers.footprint import AUDITED, audited
from slubloom.kernel.slab.cache import KmemCache, KmemCacheNode
from slubloom.kernel.slab.slub import Slub
from slubloom.topology import gallery_names, gallery_path, load, loads

from slubloom.explore.subject import ScenarioSubject

from .helpers import TWO_NODES
from .test_silence import mixed_load

if TYPE_CHECKING:
    from collections.abc import Callable

    from slubloom.topology import Scenario


def audit(scenario: Scenario, strategy: Strategy) -> list[str]:
    """What the audit of one run has to say."""
    interleaver = BareInterleaver(strategy, limits=RunLimits(100_000))
    with audited(interleaver) as footprints:
        ScenarioSubject(scenario).begin(interleaver)
        outcome = interleaver.run_bare()
    assert outcome in {Outcome.FINISHED, Outcome.STOPPED}
    return list(footprints.errors)


def mixed(release: str, preempt: str = "full") -> Scenario:
    """The mixed load with fewer rounds: what goes wrong in an audit goes wrong in the first."""
    text = re.sub('"repeat",count=[345]', '"repeat",count=2', mixed_load(release))
    return loads(text.replace("PREEMPT", preempt), release=release)


# --- a kernel that declares everything


@pytest.mark.parametrize("name", gallery_names())
def test_every_step_of_the_gallery_declares_what_it_touches(name: str) -> None:
    path = gallery_path(name)
    for release, strategy in ((None, RandomWalk(1)), ("v3.15", RandomWalk(0)), ("v5.11", Pos(1)), ("v6.1", Pos(2))):
        assert audit(load(path, release=release), strategy) == []


@pytest.mark.parametrize(
    ("release", "preempt", "strategy"),
    [
        ("v4.13", "full", RandomWalk(1)),
        ("v5.11", "voluntary", Pos(1)),
        ("v5.12", "none", RandomWalk(2)),
        ("v5.15", "full", Pos(2)),
        ("v6.1", "full", RandomWalk(3)),
    ],
)
def test_every_step_of_a_mixed_load_declares_what_it_touches(release: str, preempt: str, strategy: Strategy) -> None:
    assert audit(mixed(release, preempt), strategy) == []


# --- one that does not


def nothing(*_: Any) -> None:
    """In the place of a declaration."""


def arrived_silently(self: Any) -> None:
    Mailbox.arrived(self)


def no_resources(_: Any) -> tuple[()]:
    return ()


def of_nobody(name: str) -> Callable[[Any, Any], None]:
    """How to make `NodeStates` whose operation called `name` is about nothing that others see."""
    make = NodeStates.__init__

    def init(self: NodeStates, machine: Any) -> None:
        make(self, machine)
        setattr(self, name, Op(OpKind.LOCAL, "nobody's"))

    return init


@pytest.mark.parametrize(
    ("owner", "declaration", "instead", "release", "field"),
    [
        (KmemCacheNode, "nr_partial_changes", nothing, "v5.11", "KmemCacheNode.nr_partial"),
        (KmemCache, "freelist_touched", nothing, "v5.11", "Slab.inuse"),
        (Slub, "list_changes", nothing, "v5.11", "Slub.names"),
        (GracePeriod, "changes", nothing, "v6.1", "GracePeriod.interested"),
        (InterruptMailbox, "arrived", arrived_silently, "v6.1", "Cpu.irqs_off"),
    ],
)
def test_a_declaration_that_is_missing_shows(
    monkeypatch: pytest.MonkeyPatch, owner: type, declaration: str, instead: Any, release: str, field: str
) -> None:
    monkeypatch.setattr(owner, declaration, instead)
    runs = (audit(mixed(release), RandomWalk(seed)) for seed in range(30))
    assert any(error.startswith(f"{field}: ") for errors in runs for error in errors)


@pytest.mark.parametrize("name", ["read", "write"])
def test_an_operation_that_is_about_nobodys_resource_shows(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(NodeStates, "__init__", of_nobody(name))
    errors = audit(load(gallery_path("missed-node"), release="v3.15"), RandomWalk(0))
    assert errors
    assert all(error.startswith("NodeMask._bits: ") for error in errors)


def test_memory_given_back_without_declaring_it_shows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(KmemCacheNode, "resources", no_resources)
    scenario = load(gallery_path("node-offline-uaf"), release="v5.11")
    errors = (error for seed in range(100) for error in audit(scenario, RandomWalk(seed)))
    assert any(error.startswith("FreedKmemCacheNode.lifetime: ") for error in errors)


def test_an_error_names_the_field_and_both_places(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Slub, "list_changes", nothing)
    errors = audit(mixed("v6.1"), RandomWalk(0))
    error = next(error for error in errors if error.startswith("Slub.names: "))
    field, first, last = error.split(": ")
    assert field == "Slub.names"
    assert last == "nothing that the two declare orders them"
    places = first.split(" and ")
    assert len(places) == 2
    assert all(" in " in place for place in places)


# --- afterwards


def test_nothing_is_left_of_an_audit_when_it_is_over_even_if_the_run_failed() -> None:
    def instrumented() -> list[str]:
        return [cls.__name__ for cls in AUDITED if {"__getattribute__", "__setattr__"} & vars(cls).keys()]

    assert instrumented() == []
    interleaver = BareInterleaver(RandomWalk(0))
    with audited(interleaver):
        assert len(instrumented()) == len(AUDITED)
    assert instrumented() == []
    with pytest.raises(RuntimeError, match="no more"), audited(BareInterleaver(RandomWalk(0))):
        raise RuntimeError("no more")
    assert instrumented() == []


def test_an_audit_changes_nothing_about_the_run() -> None:
    tapes = []
    for watched in (False, True):
        interleaver = BareInterleaver(RandomWalk(4))
        subject = ScenarioSubject(loads(TWO_NODES + TASKS))
        if watched:
            with audited(interleaver):
                subject.begin(interleaver)
                interleaver.run_bare()
        else:
            subject.begin(interleaver)
            interleaver.run_bare()
        tapes.append((interleaver.tape, interleaver.steps, interleaver.now_ns))
    assert tapes[0] == tapes[1]
    assert tapes[0][1] > 20


TASKS = """
[[cache]]
name = "shared"
size = 200
[[task]]
name = "user"
instances = 2
cpu = [0, 1]
program = [{op = "kmem_cache_alloc", cache = "shared", count = 30}, {op = "kmem_cache_free", cache = "shared"}]
"""
