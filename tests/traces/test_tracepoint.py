import typing

import pytest
from slubloom.traces import CATALOGUE, EventSpec, Record, TraceError, Tracepoint, Tracepoints, parse_events

from .helpers import Somebody, Stage


def test_a_tracepoint_without_probes_has_nothing_to_fire() -> None:
    assert all(tracepoint.fire is None for tracepoint in Tracepoints(Stage()))


def test_a_firing_records_who_when_and_the_fields() -> None:
    tp = Tracepoints(Stage(now_ns=5, running=Somebody(cpu_id=-1, pid=0, comm="node/0")))
    records: list[Record] = []
    tp.kfree.attach(records.append)
    assert tp.kfree.fire is not None
    tp.kfree.fire(4096, 0xFFFF_8880_0000_0040)
    assert records == [(tp.kfree.id, 5, -1, 0, "node/0", 4096, 0xFFFF_8880_0000_0040)]


def test_a_firing_asks_the_scene_anew_each_time() -> None:
    stage = Stage()
    tp = Tracepoints(stage)
    records: list[Record] = []
    tp.actor_start.attach(records.append)
    fire = tp.actor_start.fire
    assert fire is not None
    fire("a")
    stage.now_ns, stage.running = 999, Somebody(7, 8, "other")
    fire("b")
    assert [record[1:] for record in records] == [(123_456, 2, 104, "creator", "a"), (999, 7, 8, "other", "b")]


@pytest.mark.parametrize("probe_count", [1, 2, 3, 5])
def test_every_probe_gets_the_same_tuple_in_the_order_of_attaching(probe_count: int) -> None:
    tp = Tracepoints(Stage())
    heard: list[tuple[int, Record]] = []

    def make_probe(number: int) -> typing.Callable[[Record], None]:
        return lambda record: heard.append((number, record))

    for number in range(probe_count):
        tp.kfree.attach(make_probe(number))
    assert tp.kfree.fire is not None
    tp.kfree.fire(1, 2)
    assert [number for number, _ in heard] == list(range(probe_count))
    assert all(record is heard[0][1] for _, record in heard)


def test_a_firing_with_too_few_fields_is_refused() -> None:
    tp = Tracepoints(Stage())
    tp.kfree.attach(print)
    assert tp.kfree.fire is not None
    with pytest.raises(TypeError):
        tp.kfree.fire(1)


def test_detaching_the_last_probe_turns_the_tracepoint_off() -> None:
    tp = Tracepoints(Stage())
    first: list[Record] = []
    second: list[Record] = []
    tp.kfree.attach(first.append)
    tp.kfree.attach(second.append)
    tp.kfree.detach(first.append)
    assert tp.kfree.fire is not None
    tp.kfree.fire(1, 2)
    tp.kfree.detach(second.append)
    assert (len(first), len(second)) == (0, 1)
    assert not tp.kfree.probes
    assert tp["kmem:kfree"].fire is None


def test_detaching_a_stranger_is_an_error() -> None:
    with pytest.raises(ValueError, match="not attached to kmem:kfree"):
        Tracepoints(Stage()).kfree.detach(print)


def test_a_probe_is_attached_and_detached_by_pattern() -> None:
    tp = Tracepoints(Stage())
    tp.attach("lock:*", print)
    assert [one.spec.name for one in tp if one.fire] == [spec.name for spec in CATALOGUE if spec.system == "lock"]
    tp.attach("*", print)
    assert all(one.fire for one in tp)
    tp.detach(print)
    assert not any(one.fire for one in tp)


def test_a_pattern_that_matches_nothing_is_said() -> None:
    with pytest.raises(TraceError, match=r"no event matches 'lok:\*'; expected system:name with systems kmem, rcu"):
        Tracepoints(Stage()).attach("lok:*", print)


def test_tracepoints_are_found_by_name_by_full_name_and_in_id_order() -> None:
    tp = Tracepoints(Stage())
    assert tp["kmem:kmem_cache_alloc"] is tp.kmem_cache_alloc
    assert [one.id for one in tp] == list(range(1, len(CATALOGUE) + 1))
    assert [one.spec for one in tp] == list(CATALOGUE)


def test_two_machines_share_no_probe() -> None:
    one, other = Tracepoints(Stage()), Tracepoints(Stage())
    one.attach("*", print)
    assert all(tracepoint.fire is None for tracepoint in other)


def test_declared_attributes_are_the_catalogue() -> None:
    declared = [name for name, kind in typing.get_type_hints(Tracepoints).items() if kind is Tracepoint]
    assert declared == [spec.name for spec in CATALOGUE]


def test_names_in_the_catalogue_are_unique() -> None:
    assert len({spec.name for spec in CATALOGUE}) == len(CATALOGUE)
    for spec in CATALOGUE:
        names = [name for name, _ in spec.fields]
        assert len(set(names)) == len(names)


def test_the_catalogue_keeps_the_kernels_fields() -> None:
    specs = {spec.full_name: spec.fields for spec in CATALOGUE}
    assert specs["kmem:kmem_cache_alloc"] == (
        ("call_site", "unsigned long"),
        ("ptr", "const void *"),
        ("bytes_req", "size_t"),
        ("bytes_alloc", "size_t"),
        ("gfp_flags", "unsigned long"),
        ("node", "int"),
        ("accounted", "bool"),
    )
    assert specs["workqueue:workqueue_queue_work"][2] == ("workqueue", "string")
    assert specs["rcu:rcu_segcb_stats"] == (("ctx", "const char *"),)


def test_an_added_event_is_reached_by_its_full_name() -> None:
    tp = Tracepoints(Stage(), (*CATALOGUE, EventSpec("mine", "mine_seen", (("what", "string"),))))
    records: list[Record] = []
    tp.attach("mine:*", records.append)
    fire = tp["mine:mine_seen"].fire
    assert fire is not None
    fire("x")
    assert records[0][0] == len(CATALOGUE) + 1


@pytest.mark.parametrize("declaration", ["no colon", "name: lonely", "two words: int x"])
def test_a_malformed_declaration_is_refused(declaration: str) -> None:
    with pytest.raises(ValueError, match="expected `"):
        parse_events("mine", declaration)


def test_text_positions_of_a_record() -> None:
    switch = next(spec for spec in CATALOGUE if spec.name == "sched_switch")
    assert switch.text_positions == (5, 9)
