"""Real machines, from hwloc's own test exports."""

from __future__ import annotations

from pathlib import Path

import pytest
from slubloom.topology import Machine, TopologyError, gallery_path, import_hwloc, load, loads, to_toml
from slubloom.topology.hwloc import parse_bitmap

from slubloom.run import RunOptions, run_scenario

SHARED = Path(__file__).parents[2].parent / "shared" / "data" / "topology"
recorded = pytest.mark.skipif(not SHARED.is_dir(), reason="the recorded machines are not beside this checkout")
BIG = SHARED / "hwloc-xml" / "192em64t-12gr2n8c2t.xml"


def test_an_empty_word_of_a_bitmap_is_zero() -> None:
    assert parse_bitmap("0x0000ffff,,0x1") == 0xFFFF << 64 | 1


@recorded
def test_every_recorded_machine_with_memory_nodes_imports_and_boots(capsys: pytest.CaptureFixture[str]) -> None:
    booted, refused = [], []
    for path in sorted((SHARED / "hwloc-xml").glob("*.xml")):
        try:
            machine = Machine.model_validate(import_hwloc(path))
        except TopologyError as error:
            refused.append(path.name)
            assert "describes no NUMA node with memory" in str(error)
            continue
        assert loads(to_toml(machine)).machine == machine
        task = "[[task]]\nname = 't'\nprogram = [{op = 'kmem_cache_create', cache = 'x', size = 100}]\n"
        scenario = loads(to_toml(machine) + task, overrides=[])
        result = run_scenario(scenario, RunOptions())
        assert result.violations == ()
        assert result.counters["caches_created"] == 1
        booted.append(path.name)
    with capsys.disabled():
        print(f"\n{len(booted)} recorded machines imported and booted, {len(refused)} have no memory nodes")
    assert len(booted) == 12
    assert refused == ["16em64t-4s2c2t.xml", "fakecpukinds.xml"]


@recorded
def test_the_24_node_machine_is_what_its_name_says() -> None:
    machine = Machine.model_validate(import_hwloc(BIG))
    assert len(machine.nodes) == 24
    assert len(machine.cpus) == 384  # 192 cores with two threads each
    assert machine.nodes[0].cpus == (*range(8), *range(192, 200))
    assert machine.nodes[0].memory_bytes == 33255329792
    assert [machine.distance(0, node) for node in (0, 1, 2, 10)] == [10, 50, 65, 79]


@recorded
def test_the_main_job_runs_on_the_24_node_machine() -> None:
    offline = ["machine.offline_nodes=[1]"]
    broken = load(gallery_path("missed-node"), machine=BIG, overrides=offline, release="v3.15")
    kinds = {run_scenario(broken, RunOptions(strategy="random", seed=seed)).kinds() for seed in range(12)}
    assert ("null-deref",) in kinds
    fixed = load(gallery_path("missed-node"), machine=BIG, overrides=offline, release="v5.12")
    for seed in range(12):
        result = run_scenario(fixed, RunOptions(strategy="random", seed=seed))
        assert result.violations == ()
        assert result.counters["nodes_onlined"] == 1


@recorded
def test_version_1_exports_are_refused_by_name() -> None:
    with pytest.raises(TopologyError, match="is an hwloc export of version 1; expected version 2 or 3"):
        import_hwloc(SHARED / "hwloc-xml-v1" / "16amd64-4distances.v1.xml")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("<html/>", "its root is <html>"),
        ("no xml", "is not XML"),
        ("<topology version='2.0'><object type='PU' os_index='x'/></topology>", "has a value that is no number"),
        ("<topology version='2.0'/>", "describes no processing unit"),
        ('<!DOCTYPE t [<!ENTITY a "aaaa">]><topology>&a;</topology>', "declares XML entities"),
    ],
)
def test_other_xml_is_refused(text: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "machine.xml"
    path.write_text(text)
    with pytest.raises(TopologyError, match=said):
        import_hwloc(path)
