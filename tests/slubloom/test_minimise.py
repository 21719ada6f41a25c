"""The smallest schedule that shows a bug, and what is told about it."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from slubloom.actors import BareInterleaver, RunLimits
from slubloom.actors.strategies import Steady, make_strategy
from slubloom.actors.strategies.steady import BEGINNING, Answer, Switch
from slubloom.topology import gallery_path, load, loads

from slubloom.commands.report import smallest_token
from slubloom.explore import Pilot, ScenarioSubject, Schedule, signature
from slubloom.explore.campaign import Campaign, CampaignOptions, Finding
from slubloom.explore.findings import Smallest, record, work_out
from slubloom.explore.history import Event, History
from slubloom.explore.minimise import Laboratory, minimise
from slubloom.explore.story import summary
from slubloom.explore.subject import run_subject
from slubloom.token import TOKEN_MAX, Origin, parse_deviations, parse_token, render_deviations

if TYPE_CHECKING:
    from slubloom.actors.strategies.steady import Deviation

GALLERY = ("missed-node", "node-offline-uaf")
NESTED = """
[[machine.node]]
id = 0
cpus = "0-1"
memory = "64M"
[[lock]]
name = "a"
[[lock]]
name = "b"
[[task]]
name = "one"
program = [
    {op = "lock", lock = "a"}, {op = "lock", lock = "b"}, {op = "unlock", lock = "b"}, {op = "unlock", lock = "a"},
    {op = "lock", lock = "b"}, {op = "lock", lock = "a"}, {op = "unlock", lock = "a"}, {op = "unlock", lock = "b"},
]
[[task]]
name = "two"
cpu = 1
program = [{op = "lock", lock = "a"}, {op = "unlock", lock = "a"}]
"""


@cache
def subject(name: str) -> ScenarioSubject:
    return ScenarioSubject(load(gallery_path(name)))


@cache
def found(name: str, seed: int) -> tuple[Finding, Smallest]:
    """What a campaign with this seed finds first, worked out."""
    tally = Campaign(subject(name), CampaignOptions(schedules=300, seed=seed)).run()
    (finding,) = tally.findings.values()
    smallest = work_out(subject(name), finding.signature, record(subject(name), finding.schedule))
    assert smallest is not None
    return finding, smallest


def three_steps() -> int:
    """A seed whose campaign finds the plainest form of node-offline-uaf: the structure goes between two of its uses."""
    return next(seed for seed in range(20) if len(found("node-offline-uaf", seed)[1].explanation.order) == 3)


everywhere = pytest.mark.parametrize(("name", "seed"), [(name, seed) for name in GALLERY for seed in (0, 2, 3, 4)])


# --- smallest


@everywhere
def test_the_smallest_schedule_shows_the_bug_with_three_preemptions_at_most(name: str, seed: int) -> None:
    finding, smallest = found(name, seed)
    trial = smallest.trial
    assert trial.violation is not None
    assert signature(trial.violation) == finding.signature
    assert trial.preemptions <= 3
    assert Laboratory(subject(name), finding.signature).run(trial.deviations) == trial


@everywhere
def test_no_deviation_of_the_smallest_schedule_can_be_left_out(name: str, seed: int) -> None:
    finding, smallest = found(name, seed)
    laboratory = Laboratory(subject(name), finding.signature)
    deviations = smallest.trial.deviations
    assert deviations
    for left_out in deviations:
        without = laboratory.run([deviation for deviation in deviations if deviation is not left_out])
        assert without.violation is None or without.size > smallest.trial.size


@everywhere
def test_the_smallest_schedule_gives_the_same_report_each_time(name: str, seed: int) -> None:
    trial = found(name, seed)[1].trial
    runs = [run_subject(subject(name), Steady(trial.deviations)) for _ in range(2)]
    (first, again) = [[violation.report.encode() for violation in violations] for _, violations in runs]
    assert first == again
    assert trial.violation is not None
    assert trial.violation.report.encode() in first
    assert runs[0][0].tape == runs[1][0].tape


@everywhere
def test_it_is_much_smaller_than_what_was_found(name: str, seed: int) -> None:
    finding, smallest = found(name, seed)
    laboratory = Laboratory(subject(name), finding.signature)
    as_found = laboratory.run(laboratory.transcribe(record(subject(name), finding.schedule)))
    assert as_found.violation is not None
    assert smallest.trial.preemptions < as_found.preemptions
    assert 4 * len(smallest.trial.deviations) < len(as_found.deviations)


@everywhere
def test_the_token_of_the_smallest_schedule_fits_in_a_line_and_says_it_all(name: str, seed: int) -> None:
    smallest = found(name, seed)[1]
    origin = Origin(f"topology/gallery/{name}.toml")
    token = smallest_token(subject(name).scenario, origin, smallest)
    assert len(token) <= TOKEN_MAX == 120
    assert parse_token(token).deviations == smallest.trial.deviations
    assert parse_token(token).origin == origin


def test_a_bug_that_is_not_there_has_no_smallest_schedule() -> None:
    tape = record(subject("missed-node"), Schedule(0, "random", 0))
    assert work_out(subject("missed-node"), "use-after-free somewhere else", tape) is None


def test_minimising_keeps_to_its_number_of_replays() -> None:
    finding, _ = found("node-offline-uaf", 2)
    laboratory = Laboratory(subject("node-offline-uaf"), finding.signature)
    deviations = laboratory.transcribe(record(subject("node-offline-uaf"), finding.schedule))
    sizes: list[tuple[int, int, int]] = []
    trial = minimise(laboratory, deviations, replays_max=8, on_progress=lambda trial: sizes.append(trial.size))
    assert trial is not None
    assert trial.violation is not None
    assert laboratory.replays <= 1 + 8 + 1  # as found, the candidates, one to look at the history
    assert sizes == sorted(sizes, reverse=True)
    assert trial.size == sizes[-1]


# --- a run as deviations


@pytest.mark.parametrize("strategy", ["random", "pct", "pos", "urw", "surw", "kin"])
@pytest.mark.parametrize("name", GALLERY)
def test_every_run_is_the_canonical_one_with_its_deviations(name: str, strategy: str) -> None:
    scenario = subject(name)
    pilot = Pilot(scenario, 0)
    for seed in range(4):
        interleaver = BareInterleaver(make_strategy(strategy, seed, pilot.profile), limits=RunLimits(100_000))
        violations = scenario.begin(interleaver)
        interleaver.run_bare()
        deviations = Laboratory(scenario, "").transcribe(interleaver.tape)
        again, same = run_subject(scenario, Steady(deviations))
        assert again.tape == interleaver.tape
        assert list(same) == list(violations)


def test_a_deviation_that_has_become_impossible_is_passed_over() -> None:
    trial = found("missed-node", 0)[1].trial
    nobody = Switch(trial.deviations[-1].after, 100_000, 2)
    unborn = Switch(BEGINNING, 0, 999)
    answer = Answer(BEGINNING, 0, 0, 5)
    laboratory = Laboratory(subject("missed-node"), found("missed-node", 0)[0].signature)
    assert laboratory.run([nobody, *trial.deviations, answer]) == trial
    assert laboratory.run([unborn]) == laboratory.run([])


numbers = st.integers(0, 10**6)
serials = st.one_of(st.just(BEGINNING), numbers)
deviations = st.lists(
    st.one_of(st.builds(Switch, serials, numbers, numbers), st.builds(Answer, serials, numbers, numbers, numbers))
)


@given(deviations)
def test_deviations_come_out_of_a_token_as_they_went_in(given: list[Deviation]) -> None:
    assert parse_deviations(render_deviations(given)) == tuple(given)


# --- the explanation


def history_of(name: str, deviations: tuple[Deviation, ...]) -> History:
    history = History()
    run_subject(subject(name), Steady(deviations), observers=[history])
    return history


def test_the_needed_order_of_missed_node_is_that_of_the_bug() -> None:
    _, smallest = found("missed-node", 2)
    steps = [(event.actor, event.where, event.phrase) for event in smallest.explanation.order]
    assert steps == [
        ("online-node1", "slab_mem_going_online_callback", "slab_mutex↓"),
        ("online-node1", "slab_mem_going_online_callback", "slab_mutex↑"),
        ("creator", "kmem_cache_create", "slab_mutex↓"),
        ("creator", "nodes_of_new_cache", "reads node_states[]"),
        ("online-node1", "online_pages", "writes node_states[]"),
    ]


@pytest.mark.parametrize("seed", [2, 3, 7, 8, 9])
def test_every_seed_tells_the_same_about_missed_node(seed: int) -> None:
    order = [event.text for event in found("missed-node", seed)[1].explanation.order]
    notified = order.index("slab_mem_going_online_callback: slab_mutex↑")
    read = order.index("nodes_of_new_cache: reads node_states[]")
    written = order.index("online_pages: writes node_states[]")
    assert notified < read < written


def test_the_needed_order_of_node_offline_uaf_is_lookup_then_free_then_use() -> None:
    order = found("node-offline-uaf", three_steps())[1].explanation.order
    (found_it, freed, used) = order
    assert (found_it.actor, found_it.where) == ("cat", "show_slab_objects")
    assert found_it.phrase.startswith("reads")
    assert (freed.actor, freed.where) == ("admin", "slab_mem_offline_callback")
    assert freed.phrase.startswith("writes")
    assert used.actor == "cat"
    assert used.phrase.startswith(found_it.phrase)  # a field of it


@pytest.mark.parametrize("seed", [2, 3, 4, 5])
def test_every_seed_tells_that_the_structure_is_freed_between_two_steps_of_the_reader(seed: int) -> None:
    order = found("node-offline-uaf", seed)[1].explanation.order
    freed = next(
        number
        for number, event in enumerate(order)
        if event.where == "slab_mem_offline_callback" and event.phrase.startswith("writes")
    )
    assert "cat" in [event.actor for event in order[:freed]]
    assert order[-1].actor == "cat"
    assert freed < len(order) - 1


@everywhere
def test_the_needed_order_is_that_of_the_smallest_run(name: str, seed: int) -> None:
    explanation = found(name, seed)[1].explanation
    made = [event for event in explanation.order if event.index >= 0]
    assert made == sorted(made, key=lambda event: event.index)
    assert all(explanation.events[event.index] is event for event in made)
    assert len({event.actor for event in explanation.order}) > 1


@everywhere
def test_the_nearest_passing_schedule_passes(name: str, seed: int) -> None:
    finding, smallest = found(name, seed)
    laboratory = Laboratory(subject(name), finding.signature)
    assert smallest.explanation.flips
    for flip in smallest.explanation.flips:
        assert laboratory.run(flip.deviations).violation is None
        assert len(flip.deviations) == len(smallest.trial.deviations)


@pytest.mark.parametrize(("name", "seed"), [("missed-node", 0), ("missed-node", 3), ("node-offline-uaf", 0)])
def test_the_nearest_passing_schedule_has_its_two_steps_the_other_way_round(name: str, seed: int) -> None:
    _, smallest = found(name, seed)
    flip = smallest.explanation.flips[0]
    passing, failing = history_of(name, flip.deviations), history_of(name, smallest.trial.deviations)

    def place(history: History, event: Event) -> int:
        step = history.step_of(event.serial, event.step)
        return step.index if step is not None else len(history.events)

    assert place(passing, flip.step) < place(passing, flip.than)
    assert place(failing, flip.step) > place(failing, flip.than)


# --- the story


@everywhere
def test_the_story_has_a_column_for_each_thread_and_ends_with_what_was_found(name: str, seed: int) -> None:
    _, smallest = found(name, seed)
    assert smallest.trial.violation is not None
    lines = summary(smallest.explanation)
    preemptions = smallest.trial.preemptions
    assert lines[0].startswith(f"smallest schedule: {preemptions or 'no'} preemption")
    threads = {
        "missed-node": ("creator (CPU 0)", "online-node1 (CPU 1)"),
        "node-offline-uaf": ("cat (CPU 0)", "admin (CPU 1)"),
    }
    assert all(thread in lines[2] for thread in threads[name])
    story = lines[: lines.index("needed order:")]
    assert "".join("".join(story).split()).endswith(f"***{''.join(smallest.trial.violation.title.split())}***")
    assert max(map(len, lines)) <= 120


def test_the_letters_of_the_needed_order_stand_in_the_story_from_top_to_bottom() -> None:
    lines = summary(found("node-offline-uaf", three_steps())[1].explanation)
    begin = lines.index("needed order:")
    letters = [line[0] for line in lines[:begin] if line[:1].isupper() and line[1:3] == "  "]
    assert letters == ["A", "B", "C"]
    assert [line.split()[0] for line in lines[begin + 1 : begin + 4]] == letters
    assert lines[begin + 4] == ""


def test_each_line_of_the_story_is_in_its_threads_column() -> None:
    _, smallest = found("missed-node", 0)
    lines = summary(smallest.explanation)
    head = next(line for line in lines if "(CPU 0)" in line)
    creator, online = head.index("creator"), head.index("online-node1")
    for line in lines[: lines.index("needed order:")]:
        if "nodes_of_new_cache" in line or "kmem_cache_create" in line:
            assert line[creator:].startswith(("nodes_of_new_cache", "kmem_cache_create"))
        if "slab_mem_going_online_callback" in line:
            assert line[online:].startswith("slab_mem_going_online_callback")


def test_a_story_can_be_cut_to_its_last_lines() -> None:
    explanation = found("node-offline-uaf", 0)[1].explanation
    whole, short = summary(explanation), summary(explanation, lines_max=8)
    begin = short.index(f"    … {len(whole) - len(short) + 1} lines before")
    end = short.index("needed order:")
    assert short[begin + 1 :] == whole[len(whole) - len(short) + begin + 1 :]
    assert end - 1 - begin == 8  # an empty line stands before what follows


def test_what_fails_in_the_canonical_schedule_needs_no_order() -> None:
    scenario = ScenarioSubject(loads(NESTED))
    tally = Campaign(scenario, CampaignOptions(schedules=50)).run()
    (finding,) = tally.findings.values()
    assert finding.violation.kind == "lockdep-circular"
    smallest = work_out(scenario, finding.signature, record(scenario, finding.schedule))
    assert smallest is not None
    assert smallest.trial.deviations == ()
    assert smallest.explanation.order == []
    assert smallest.explanation.flips == []
    lines = summary(smallest.explanation)
    assert lines[-1] == "needed order: none; it fails when every actor simply runs until it must wait"
    assert lines[0].startswith("smallest schedule: no preemption, ")
    assert parse_token(smallest_token(scenario.scenario, Origin("nested.toml"), smallest)).deviations == ()
