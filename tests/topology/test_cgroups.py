"""Cgroups in topology files: where they must stand, and what is said where they do not."""

from __future__ import annotations

import pytest
from slubloom.topology import TopologyError, loads

NODE = """
[[machine.node]]
id = 0
cpus = "0"
memory = "64M"
"""


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[[memcg]]\npath = "a/b"', "memcg[0].path: there is no cgroup 'a' to put it in; expected a [[memcg]] before"),
        ('[[memcg]]\npath = "a"\n[[memcg]]\npath = "/a"', "memcg[1].path: 'a' is there already, as memcg[0]"),
        ('[[memcg]]\npath = "a{i}"', "memcg[0].path: 'a{i}': nothing is counted here"),
        ('[[memcg]]\npath = "a//b"', "memcg[0].path"),
        ('[[memcg]]\npath = "a"\nlimit = "much"', "memcg[0].limit: 'much' is not a size"),
        (
            '[[memcg]]\npath = "a0"\n[[task]]\nname = "t"\ninstances = 2\nmemcg = "a{task}"\nprogram = []',
            "task[0].memcg: there is no [[memcg]] 'a1'; there are: a0",
        ),
        ('[[task]]\nname = "t"\nprogram = [{op = "cgroup_mkdir", path = "/"}]', "task[0].program[0]"),
    ],
)
def test_what_is_wrong_is_said(text: str, said: str) -> None:
    with pytest.raises(TopologyError) as caught:
        loads(NODE + text)
    assert said in str(caught.value)


def test_a_scenario_says_whether_it_has_cgroups() -> None:
    attach = (
        '[[task]]\nname = "t"\nprogram = [{op = "repeat", count = 1, program = [{op = "cgroup_mkdir", path = "x"}]}]'
    )
    assert not loads(NODE).uses_cgroups
    assert loads(NODE + '[[memcg]]\npath = "a"\nlimit = "1M"').uses_cgroups
    assert loads(NODE + attach).uses_cgroups


def test_a_scenario_without_cgroups_has_the_digest_it_always_had() -> None:
    assert "memcg" not in loads(NODE).document
    assert "memcg" not in loads(NODE + '[[task]]\nname = "t"\nprogram = []').document["task"][0]
