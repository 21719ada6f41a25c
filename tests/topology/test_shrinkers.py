"""Shrinkers in topology files: what they mean, and what is said where they make no sense."""

from __future__ import annotations

import jsonschema
import pytest
from slubloom.topology import TopologyError, loads
from slubloom.topology.schema import json_schema

NODE = """
[[machine.node]]
id = 0
cpus = "0-1"
memory = "64M"
"""
FS = '[[shrinker]]\nname = "fs"\n'


def task(program: str) -> str:
    return f'[[task]]\nname = "t"\nprogram = [{program}]\n'


def problems(text: str) -> list[str]:
    with pytest.raises(TopologyError) as caught:
        loads(NODE + text)
    return str(caught.value).splitlines()[1:] or [str(caught.value)]


def test_what_is_not_said_has_the_values_of_a_file_system() -> None:
    (section,) = loads(NODE + FS).shrinkers
    assert (section.size, section.seeks, section.batch, section.charge) == (192, 2, 0, "object")
    assert section.flags == ("SHRINKER_NUMA_AWARE", "SHRINKER_MEMCG_AWARE")
    assert section.register_after_ns is None
    assert section.places == ("fs",)


def test_copies_have_numbers_and_what_is_not_mounted_has_no_place() -> None:
    many, none = loads(NODE + FS + "copies = 3\n" + '[[shrinker]]\nname = "later"\nmounted = false\n').shrinkers
    assert many.places == ("fs0", "fs1", "fs2")
    assert none.places == ()


def test_a_file_without_shrinkers_means_what_it_always_meant() -> None:
    document = loads(NODE).document
    assert "shrinker" not in document
    assert "failslab" not in document["kernel"]
    assert loads(NODE + FS).digest != loads(NODE).digest


@pytest.mark.parametrize(
    ("text", "place", "message"),
    [
        (FS + FS, "shrinker[1].name", "'fs' is there already, as shrinker[0]"),
        (FS + '[[cache]]\nname = "fs"\nsize = 8\n', "shrinker[0].name", "'fs' is also cache[0]"),
        ('[[shrinker]]\nname = "fs{i}"\n', "shrinker[0].name", "nothing is counted here"),
        (FS + 'flags = ["SHRINKER_NONSLAB"]\n', "shrinker[0].flags", "for SHRINKER_MEMCG_AWARE only"),
        (FS + 'flags = ["SHRINKER_REGISTERED"]\n', "shrinker[0].flags[0]", "is not one of"),
        (FS + "batch = -1\n", "shrinker[0].batch", "greater than or equal to 0"),
        (FS + "seek = 2\n", "shrinker[0].seek", "did you mean 'seeks'"),
        (FS + task('{op = "mount", shrinker = "nfs", at = "m"}'), "task[0].program[0].shrinker", "there are: fs"),
        (FS + task('{op = "umount", at = "m"}'), "task[0].program[0].at", "nothing is mounted at 'm'; there is: fs"),
        (FS + task('{op = "lru_add", at = "fs", node = 3}'), "task[0].program[0].node", "there is no node 3"),
        (FS + task('{op = "shrink_slab", node = 3}'), "task[0].program[0].node", "there is no node 3"),
        (task('{op = "shrink_slab"}'), "task[0].program[0]", "expected a [[shrinker]]"),
        (FS + task('{op = "shrink_slab", memcg = "g"}'), "task[0].program[0].memcg", "expected a [[memcg]]"),
        (FS + task('{op = "reclaim_memcg", memcg = "/"}'), "task[0].program[0].memcg", "there are no cgroups"),
        (FS + task('{op = "shrink_slab", priority = 13}'), "task[0].program[0].priority", "less than or equal to 12"),
        (
            FS + task('{op = "repeat", count = 2, program = [{op = "lru_use", at = "m"}]}'),
            "task[0].program[0].program[0].at",
            "nothing is mounted",
        ),
    ],
)
def test_what_makes_no_sense_is_said_with_its_place(text: str, place: str, message: str) -> None:
    found = problems(text)
    assert any(place in line and message in line for line in found), found


def test_what_is_counted_may_be_mounted_anywhere() -> None:
    loads(NODE + FS + task('{op = "mount", shrinker = "fs", at = "m{i}"}, {op = "umount", at = "m0"}'))
    loads(NODE + FS + task('{op = "lru_add", at = "m{task}"}'))


def test_the_schema_knows_shrinkers_and_their_operations() -> None:
    schema = json_schema()
    document = {
        "machine": {"node": [{"id": 0, "cpus": "0", "memory": "64M"}]},
        "kernel": {"failslab": 2},
        "shrinker": [{"name": "fs", "charge": "task", "scan_ns": 5}],
        "task": [
            {"name": "t", "program": [{"op": "mount", "shrinker": "fs", "at": "m"}, {"op": "lru_put", "at": "m"}]}
        ],
    }
    jsonschema.validate(document, schema)
    document["shrinker"] = [{"name": "fs", "charge": "nobody"}]
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(document, schema)
