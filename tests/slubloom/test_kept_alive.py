"""What kept structures alive, at the end of ``run`` where the sanitizer ``existence`` is on."""

from __future__ import annotations

import json

from .command_line import slubloom

FILE = "topology/gallery/shrinker-unit-lifetime.toml"


def test_a_table_says_what_kept_each_type_of_structure_and_how_often() -> None:
    done = slubloom("run", FILE, "--log", "off")
    assert done.returncode == 0
    table = done.stdout.partition("what kept structures alive when they were used:\n")[2].splitlines()
    assert "a reference of struct mem_cgroup" in [line[2:].split("  ")[-1] for line in table if "_unit" in line]


def test_the_result_object_has_it_too_and_only_then() -> None:
    kept = json.loads(slubloom("run", FILE, "--log", "off", "--json").stdout)["kept_alive"]
    of_shrinkers = {entry["kept_by"]: entry["uses"] for entry in kept if entry["structure"] == "struct shrinker"}
    assert of_shrinkers["a reference"] > 0
    without = slubloom("run", FILE, "--log", "off", "--json", "--set", 'kernel.sanitizers=["kasan"]')
    assert "kept_alive" not in json.loads(without.stdout)
