"""Topology files: what they mean, and what is said of bad ones."""

from __future__ import annotations

from pathlib import Path

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st
from slubloom.topology import (
    Machine,
    Scenario,
    TopologyError,
    gallery_names,
    gallery_path,
    json_schema,
    load,
    loads,
    to_toml,
)
from slubloom.topology.textfile import FILE_MAX
from slubloom.topology.units import parse_cpulist, parse_size, render_cpulist

GOOD = """
[machine]
distances = [[10, 31], [31, 10]]
[[machine.node]]
id = 0
cpus = "0-2"
memory = "512M"
[[machine.node]]
id = 1
cpus = [3, 4]
memory = "300M"
"""


def problems(text: str, **options: object) -> list[str]:
    with pytest.raises(TopologyError) as caught:
        loads(text, **options)  # type: ignore[arg-type]
    assert caught.value.exit_status == 2
    return [str(problem) for problem in caught.value.problems]


def test_a_machine_has_its_cpus_nodes_memory_and_distances() -> None:
    machine = loads(GOOD).machine
    assert [(cpu.id, cpu.node) for cpu in machine.cpus] == [(0, 0), (1, 0), (2, 0), (3, 1), (4, 1)]
    assert machine.distance(0, 1) == 31
    assert machine.memory_range(0) == (0, 131072)
    assert machine.memory_range(1) == (131072, 76800)  # 512M is a multiple of the 128M block
    assert machine.memory_block == 128 << 20


def test_without_a_matrix_a_node_is_10_from_itself_and_20_from_others() -> None:
    machine = loads(GOOD.replace("distances = [[10, 31], [31, 10]]", "")).machine
    assert (machine.distance(1, 1), machine.distance(1, 0)) == (10, 20)


CASES = {
    "cpu in two nodes": (
        GOOD.replace("[3, 4]", "[2, 4]"),
        ["machine.node[1].cpus: CPU 2 is in node 0 already; a CPU belongs to one node"],
    ),
    "node twice": (GOOD.replace("id = 1", "id = 0"), ["machine.node[1].id: node 0 is there already, as node[0]"]),
    "matrix of the wrong shape": (
        GOOD.replace("[31, 10]]", "[31, 10], [10, 10]]"),
        ["machine.distances: 3 rows of 2 numbers; expected 2 rows of 2, one for each node"],
    ),
    "far from itself": (
        GOOD.replace("[31, 10]]", "[31, 12]]"),
        ["machine.distances[1][1]: a node is 10 from itself, not 12"],
    ),
    "no cpu": (
        GOOD.replace('"0-2"', '""').replace("[3, 4]", "[]"),
        ['machine.node: no node has a CPU; expected at least one, such as cpus = "0-3"'],
    ),
    "huge cpu number": (
        GOOD.replace('"0-2"', '"0-99999999"'),
        ["machine.node[0].cpus: processor number 99999999 is not between 0 and 8191"],
    ),
    "every cpu offline": (
        GOOD.replace("[machine]", '[machine]\noffline_cpus = "0-4"'),
        ["machine.offline_cpus: every CPU is offline; at least one must be online at boot"],
    ),
    "no memory": (
        GOOD.replace("[machine]", "[machine]\noffline_nodes = [0, 1]"),
        ['machine.node: no node has memory online at boot; expected at least one, such as memory = "512M"'],
    ),
    "unknown offline node": (
        GOOD.replace("[machine]", "[machine]\noffline_nodes = [7]"),
        ["machine.offline_nodes[0]: there is no node 7; the nodes are 0, 1"],
    ),
    "bad size": (
        GOOD.replace('"512M"', '"512Q"'),
        ["machine.node[0].memory: '512Q' is not a size; expected bytes or a number with K, M, G or T, such as 512M"],
    ),
    "unknown key": (
        GOOD + "[kernel]\nrelese = 'v6.1'",
        ["kernel.relese: there is no such key; did you mean 'release'?"],
    ),
    "task on no cpu": (
        GOOD + "[[task]]\nname = 't'\ncpu = 9\nprogram = []",
        ["task[0].cpu: there is no CPU 9; the machine has 5"],
    ),
    "undeclared lock": (
        GOOD + "[[task]]\nname = 't'\nprogram = [{op = 'lock', lock = 'x'}]",
        ["task[0].program[0].lock: there is no [[lock]] 'x'; there are: none"],
    ),
    "nested problem": (
        GOOD + "[[task]]\nname = 't'\nprogram = [{op='repeat', count=2, program=[{op='wait_online', node=5}]}]",
        ["task[0].program[0].program[0].node: there is no node 5; the nodes are 0, 1"],
    ),
    "event nowhere": (
        GOOD + "[[event]]\nkind = 'memory_online'\nnode = 9",
        ["event[0].node: there is no node 9; the nodes are 0, 1"],
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_a_bad_file_is_told_the_place_and_what_was_expected(case: str) -> None:
    text, expected = CASES[case]
    assert problems(text) == expected


def test_an_unknown_operation_is_told_which_there_are() -> None:
    (problem,) = problems(GOOD + "[[task]]\nname = 't'\nprogram = [{op = 'kmem_cache_aloc'}]")
    assert problem.startswith("task[0].program[0].op: there is no operation 'kmem_cache_aloc'; did you mean")
    assert "synchronize_rcu" in problem


def test_all_problems_of_a_file_come_together() -> None:
    text = (
        GOOD.replace("[3, 4]", "[2, 4]")
        + "colour = 1\n[[task]]\nname = 't'\nprogram = [{op = 'sleep'}]\n[kernel]\nhz = 'x'"
    )
    places = [problem.partition(":")[0] for problem in problems(text)]
    assert places == ["machine.node[1].colour", "kernel.hz", "task[0].program[0].ns"]
    text = GOOD.replace("[3, 4]", "[2, 4]").replace("10]]", "10], [10]]") + "[[event]]\nkind='memory_online'\nnode=8"
    places = [problem.partition(":")[0] for problem in problems(text)]
    assert places == ["machine.node[1].cpus", "machine.distances", "event[0].node"]


def test_files_that_are_no_topology_are_named_for_what_they_are(tmp_path: Path) -> None:
    def said(path: Path) -> str:
        with pytest.raises(TopologyError) as caught:
            load(path)
        return str(caught.value)

    assert said(tmp_path / "none") == f"{tmp_path / 'none'}: there is no such file; expected a topology file"
    assert "is a folder" in said(tmp_path)
    file = tmp_path / "file"
    file.write_bytes(b"\x7fELF\x00\x01")
    assert "is a binary file (a zero byte at offset 4)" in said(file)
    file.write_bytes(b"title = '\xff'")
    assert "is not UTF-8 text (byte 0xff at offset 9)" in said(file)
    file.write_text("[machine\n")
    assert "is not TOML" in said(file)
    assert "line 1" in said(file)
    with file.open("wb") as large:
        large.truncate(FILE_MAX + 1)
    assert "is larger than 16 MiB" in said(file)


def test_set_changes_values_and_bad_ones_are_told() -> None:
    scenario = loads(GOOD, overrides=["kernel.preempt=none", "machine.node[1].memory=1G", "title=a b"])
    assert scenario.kernel.preempt == "none"
    assert scenario.machine.nodes[1].memory_bytes == 1 << 30
    assert scenario.title == "a b"
    assert "expected PATH=VALUE" in problems(GOOD, overrides=["nonsense"])[0]
    assert "there is no entry [5]; there are 2" in problems(GOOD, overrides=["machine.node[5].id=1"])[0]


def test_the_digest_is_of_the_meaning() -> None:
    assert loads(GOOD).digest == loads("# a comment\n" + GOOD.replace("512M", "524288K")).digest
    assert loads(GOOD).digest != loads(GOOD.replace("512M", "513M")).digest
    assert loads(GOOD, release="v5.12").digest != loads(GOOD).digest


def test_expectations_depend_on_the_release() -> None:
    scenario = load(gallery_path("node-offline-uaf"))
    assert scenario.expected("v5.11", "count-without-mems".__eq__) == ("use-after-free",)
    assert scenario.expected("v5.12", lambda name: name == "keep-cache-nodes") == ()


def test_expectations_may_need_a_release_and_patches_together() -> None:
    text = f'{GOOD}\n[[expect.where]]\nfrom = "v5.0"\nwith = ["a"]\nwithout = ["b"]\nviolations = ["leak"]\n'
    scenario = loads(text)
    assert scenario.expected("v5.1", "a".__eq__) == ("leak",)
    assert scenario.expected("v4.19", "a".__eq__) == ()
    assert scenario.expected("v5.1", lambda _: True) == ()
    assert scenario.expected("v5.1", lambda _: False) == ()


def test_a_scenario_can_be_built_in_code() -> None:
    machine = Machine.model_validate({"node": [{"id": 0, "cpus": "0-1", "memory": "64M"}]})
    scenario = Scenario.model_validate({"machine": machine, "task": [{"name": "t", "program": []}]})
    assert scenario.tasks[0].cpu_of(0) is None


@given(st.lists(st.integers(0, 8191), unique=True))
def test_a_cpulist_survives_being_written_and_read(numbers: list[int]) -> None:
    assert parse_cpulist(render_cpulist(tuple(sorted(numbers)))) == tuple(sorted(numbers))


def test_sizes_are_powers_of_1024() -> None:
    assert [parse_size(text) for text in ("0", "4K", "1M", "2GiB", 77)] == [0, 4096, 1 << 20, 2 << 30, 77]


def test_the_gallery_fits_the_published_schema_and_a_typing_error_does_not() -> None:
    import tomllib

    schema = json_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    for name in gallery_names():
        tree = tomllib.loads(gallery_path(name).read_text())
        validator.validate(tree)
    assert not validator.is_valid({**tree, "tsak": []})


def test_a_machine_survives_being_written_as_toml() -> None:
    machine = loads(GOOD.replace("[machine]", '[machine]\noffline_cpus = "3"\noffline_nodes = [1]')).machine
    assert loads(to_toml(machine)).machine == machine
