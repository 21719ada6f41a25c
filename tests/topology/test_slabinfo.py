"""Recorded /proc/slabinfo dumps: what is read from them, and what is refused, where and why."""

from __future__ import annotations

import lzma
import tarfile
from pathlib import Path

import pytest
from slubloom.topology import TopologyError, from_document, json_schema, load, loads
from slubloom.topology.slabinfo import SlabinfoRow, parse_slabinfo, read_slabinfo

SHARED = Path(__file__).parents[2].parent / "shared"
DUMPS = SHARED / "data" / "slab"
recorded = pytest.mark.skipif(not DUMPS.is_dir(), reason="the recorded dumps are not beside this checkout")

VERSION = "slabinfo - version: 2.1\n"
COLUMNS = (
    "# name            <active_objs> <num_objs> <objsize> <objperslab> <pagesperslab>"
    " : tunables <limit> <batchcount> <sharedfactor> : slabdata <active_slabs> <num_slabs> <sharedavail>\n"
)
XFS_ILI = "xfs_ili             2264   2736    168   24    1 : tunables    0    0    0 : slabdata    114    114      0\n"
MACHINE = """
[machine]
slabinfo = "dump.txt"
[[machine.node]]
id = 0
cpus = "0-1"
memory = "MEMORY"
"""


def one(line: str) -> SlabinfoRow:
    (row,) = parse_slabinfo(line)
    return row


def refused(text: str) -> str:
    with pytest.raises(TopologyError) as caught:
        parse_slabinfo(text, "dump")
    assert caught.value.exit_status == 2
    return str(caught.value)


def row(name: str = "x", objs: str = "1 16 256 16 1", slabs: str = "1 1 0") -> str:
    return f"{name} {objs} : tunables 0 0 0 : slabdata {slabs}\n"


# --- what a row says


def test_a_row_of_slub() -> None:
    assert parse_slabinfo(VERSION + COLUMNS + XFS_ILI) == (
        SlabinfoRow(3, "xfs_ili", 2264, 2736, 168, 24, 1, active_slabs=114, num_slabs=114),
    )


def test_a_row_of_slab_with_its_tunables_and_statistics() -> None:
    line = (
        "size-4096(DMA)        3     5   4096    1    1 : tunables   24   12    8 : slabdata      3      5      0"
        " : globalstat      16     16     16   12    0    1    0    0    0 : cpustat     44     16     57      0\n"
    )
    header = VERSION.replace("2.1", "2.1 (statistics)") + COLUMNS.replace("\n", " : globalstat <x> : cpustat <y>\n")
    assert parse_slabinfo(header + line)[0][1:] == ("size-4096(DMA)", 3, 5, 4096, 1, 1, 3, 5)


def test_version_2_0() -> None:
    assert one(VERSION.replace("2.1", "2.0") + XFS_ILI).name == "xfs_ili"


@pytest.mark.parametrize(
    "name",
    ["gfs2_glock(aspace)", "iwl_cmd_pool:0000:04:00.0", "nf_conntrack_ffffffff81a25e00", "a/b", "two words", "7", "ä"],
)
def test_a_name_may_have_odd_characters(name: str) -> None:
    assert one(row(name)).name == name


@pytest.mark.parametrize("header", ["", VERSION, COLUMNS, VERSION + COLUMNS, "\n" + VERSION + "\n" + COLUMNS + "\r\n"])
def test_the_two_header_lines_may_be_missing_since_a_row_names_its_groups(header: str) -> None:
    assert [found.name for found in parse_slabinfo(header + XFS_ILI + row("y"))] == ["xfs_ili", "y"]


def test_slabs_of_the_smallest_order_make_up_the_number_of_objects() -> None:
    # 512 bytes: 16 in a slab of two pages, 8 in one of one page.  10 slabs with 136 objects: 7 of 16 and 3 of 8.
    found = one(row(objs="100 136 512 16 2", slabs="10 10 0"))
    assert (found.order, found.smallest_order, found.smallest_objperslab, found.smallest_slabs) == (1, 0, 8, 3)
    assert found.pages == 7 * 2 + 3


# --- what is refused


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "dump: has no row of a cache; expected a recorded /proc/slabinfo"),
        (VERSION + COLUMNS, "dump: has no row of a cache"),
        ("[machine]\nnode = 1\n", "dump: line 1: has no ': tunables'; expected NAME ACTIVE_OBJS"),
        (row().replace("slabdata", "slabs"), "line 1: has no ': slabdata'; expected NAME"),
        (row(objs="1 16 256 16"), "line 1: has 4 numbers between the name and ': tunables'; expected 5: <active_objs>"),
        (row(objs="1 16 256 16 1 1"), "line 1: has 6 numbers between the name"),
        (row(objs="1 16 -256 16 1"), "line 1: has 4 numbers between the name"),
        (row().replace("tunables 0", "tunables 0x1"), "has '0x1' in group tunables; expected three numbers"),
        (row(slabs="1 1"), "has 2 numbers in group slabdata; expected 3: active_slabs num_slabs sharedavail"),
        (row(slabs="1 1 0 100"), "has 4 numbers in group slabdata; expected 3"),
        (row(slabs="1 1 0 : globalstat a"), "has 'a' in group globalstat; expected numbers"),
        (row(slabs="1 1 0 : globalstat 1 : cpustat 1 2 3"), "has 3 numbers in group cpustat; expected 4"),
        (row(objs="17 16 256 16 1"), "line 1: cache x: active_objs 17 is more than num_objs 16"),
        (row(slabs="2 1 0"), "cache x: active_slabs 2 is more than num_slabs 1"),
        (row(objs="0 0 0 16 1", slabs="0 0 0"), "cache x: objects of 0 bytes"),
        (row(objs="0 0 256 0 1", slabs="0 0 0"), "objperslab is 0; expected 1 to 32767"),
        (row(objs="0 0 256 16 3", slabs="0 0 0"), "pagesperslab is 3; expected a power of two up to 1024"),
        (
            row(objs="0 256 256 256 1"),
            "256 objects of 256 bytes do not fit into 1 page of 4096 bytes; dumps of machines with larger pages",
        ),
        (row(objs="1 15 256 16 1"), "cache x: num_objs is 15, but 1 slab of 16 have 16"),
        (
            row(objs="1 130 512 16 2", slabs="10 10 0"),
            "num_objs is 130, but 10 slabs of 16 have 160 (slabs of the smallest order have 8)",
        ),
        (row(objs="1 1000 512 16 2", slabs="10 10 0"), "num_objs is 1000, but 10 slabs of 16 have 160"),
        (row(objs=f"0 {1 << 50} 8 512 1"), f"{1 << 50} is no number of anything here"),
        (row("x") + "\n" + row("x"), "line 3: cache x is there already, in line 1"),
        (VERSION + row() + VERSION + row("y"), "line 3: is a second header, after that of line 1; expected one dump"),
        (row() + VERSION, "line 2: is a header behind rows"),
        (VERSION.replace("2.1", "1.1") + row(), "line 1: says 'slabinfo - version: 1.1'; expected version 2.0 or 2.1"),
        ("# name <active> <total>\n" + row(), "line 1: names other columns than <active_objs>"),
        (row("a\x07b"), "line 1: has a name that is none: 'a\\x07b'"),
        (row("x" * 5000), "line 1: has 50"),
    ],
)
def test_what_is_wrong_is_said_with_its_line_and_what_was_expected(text: str, message: str) -> None:
    assert message in refused(text)


def test_all_damaged_rows_are_named_up_to_ten() -> None:
    said = refused(VERSION + row("a") + row("b", slabs="1 1") + row("c", slabs="1"))
    assert said.startswith("dump: 2 problems\n")
    assert "line 3:" in said
    assert "line 4:" in said
    said = refused(row("a") + "".join(row(f"b{i}", slabs="1") for i in range(30)))
    assert "line 11:" in said
    assert "line 12:" not in said
    assert "and 20 more; is this a recorded /proc/slabinfo?" in said


# --- the recorded ones


@recorded
def test_of_the_examples_the_damaged_ones_are_refused() -> None:
    refusals: dict[str, list[str]] = {}
    usable = []
    for path in sorted(DUMPS.glob("*slabinfo*.txt")):
        try:
            usable.append((path.name, len(read_slabinfo(path))))
        except TopologyError as error:
            refusals[path.name] = [f"{problem}".partition(";")[0] for problem in error.problems]
    # A documentation example that was edited by hand, another one with columns too many, one that is empty, and one
    # that is no dump but a listing of another program's archive, without the number of objects in a slab.
    bsg_cmd = "cache bsg_cmd: num_objs is 0, but 50 slabs of 13 have 650"
    assert refusals == {
        "insights-proc_slabinfo.txt": [
            "line 4: cache nf_conntrack_ffffffffaf313a40: num_objs is 12, but 50 slabs of 12 have 600",
            "line 105: cache kmem_cache: active_objs 112 is more than num_objs 111",
        ],
        "insights-slabinfo_details.txt": ["has no row of a cache"],
        "insights-slabinfo_details_2.txt": [f"line 3: {bsg_cmd}"],
        "insights-slabinfo_details_3.txt": [f"line 3: {bsg_cmd}"],
        "insights-slabinfo_details_len_miss_match.txt": [
            "line 3: has 5 numbers in group slabdata",
            "line 4: has 4 numbers in group slabdata",
        ],
        "insights-slabinfo_doc.txt": [f"line 23: {bsg_cmd}"],
        "pcp-archive-pyapi-slabinfo.pminfo.txt": ["line 2: has no ': tunables'"],
    }
    assert usable == [("prometheus-procfs-slabinfo.txt", 300)]


@recorded
@pytest.mark.parametrize(("number", "rows"), [("001", 136), ("002", 129), ("004", 120), ("006", 36)])
def test_the_dumps_of_four_servers_are_usable(number: str, rows: int) -> None:
    with tarfile.open(DUMPS / f"pcp-meminfo-root-{number}.tgz") as archive:
        file = archive.extractfile("proc/slabinfo")
        assert file is not None
        assert len(parse_slabinfo(file.read().decode())) == rows


@recorded
def test_the_dumps_of_the_recorded_kernel_are_usable() -> None:
    paths = sorted(SHARED.glob("real-kernel/**/*slabinfo*.xz"))
    assert len(paths) >= 6
    for path in paths:
        assert len(parse_slabinfo(lzma.decompress(path.read_bytes()).decode())) >= 145


# --- in a topology


def topology(folder: Path, memory: str = "64M", more: str = "") -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "dump.txt").write_text(VERSION + COLUMNS + XFS_ILI + row("dentry", "9 16384 256 32 2", "512 512 0"))
    path = folder / "machine.toml"
    path.write_text(MACHINE.replace("MEMORY", memory) + more)
    return path


def said_of(path: Path, **options: object) -> str:
    with pytest.raises(TopologyError) as caught:
        load(path, **options)  # type: ignore[arg-type]
    return str(caught.value)


def test_the_path_is_relative_to_the_topology_file(tmp_path: Path) -> None:
    scenario = load(topology(tmp_path / "here"))
    assert [found.name for found in scenario.machine.slabinfo] == ["xfs_ili", "dentry"]


def test_the_digest_follows_from_what_the_dump_says_and_not_from_where_it_is(tmp_path: Path) -> None:
    first, second = topology(tmp_path / "a"), topology(tmp_path / "b")
    digest = load(first).digest
    assert load(second).digest == digest
    dump = tmp_path / "b" / "dump.txt"
    dump.write_text(dump.read_text().replace("2264", "2265"))
    assert load(second).digest != digest
    assert load(second).section_digests["kernel"] == load(first).section_digests["kernel"]


def test_a_scenario_is_complete_without_the_file(tmp_path: Path) -> None:
    scenario = load(topology(tmp_path))
    (tmp_path / "dump.txt").unlink()
    again = from_document(scenario.document)
    assert again.machine.slabinfo == scenario.machine.slabinfo
    assert again.digest == scenario.digest


def test_a_scenario_without_a_dump_says_nothing_about_one() -> None:
    assert (
        "slabinfo"
        not in loads(MACHINE.replace('slabinfo = "dump.txt"', "").replace("MEMORY", "4M")).document["machine"]
    )


def test_another_machine_brings_its_dump(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    topology(tmp_path / "machine")
    other = tmp_path / "scenario.toml"
    other.write_text('[[machine.node]]\nid = 0\ncpus = "0"\nmemory = "4M"\n')
    monkeypatch.chdir(tmp_path)
    scenario = load("scenario.toml", machine=Path("machine/machine.toml"))
    assert len(scenario.machine.slabinfo) == 2


def test_a_dump_that_is_not_there_or_refused_names_its_own_file(tmp_path: Path) -> None:
    path = topology(tmp_path)
    assert "nix: there is no such file; expected a recorded /proc/slabinfo" in said_of(
        path, overrides=["machine.slabinfo=nix"]
    )
    (tmp_path / "dump.txt").write_text(row(slabs="1"))
    assert said_of(path).startswith(f"{tmp_path / 'dump.txt'}: line 1: has 1 numbers in group slabdata")


def test_too_little_memory_names_the_cache_and_its_line(tmp_path: Path) -> None:
    # 114 slabs of one page, and 512 of two: 1138 pages of 4 KiB, of which 1024 are there.
    assert said_of(topology(tmp_path, "4M")) == (
        f"{tmp_path / 'machine.toml'}: machine.slabinfo: line 4, cache dentry: there is no memory left for its slabs;"
        " expected nodes with more than 5M online for all caches of the file, not 4M"
    )


def test_memory_that_is_offline_at_boot_does_not_count(tmp_path: Path) -> None:
    more = '[[machine.node]]\nid = 1\nmemory = "64M"\n'
    assert "not 4M" in said_of(topology(tmp_path, "4M", more), overrides=["machine.offline_nodes=[1]"])
    load(topology(tmp_path, "4M", more))


def test_a_cache_of_the_topology_must_not_have_the_name_of_a_recorded_one(tmp_path: Path) -> None:
    said = said_of(topology(tmp_path, more='[[cache]]\nname = "dentry"\nsize = 192\n'))
    assert "cache[0].name: 'dentry' is in machine.slabinfo, line 4; expected another name" in said


def test_rows_given_without_a_file_are_checked_too() -> None:
    node = {"id": 0, "cpus": "0", "memory": "64M"}
    bad = {"machine": {"node": [node], "slabinfo": [[1, "x", 17, 16, 256, 16, 1, 1, 1]]}}
    with pytest.raises(TopologyError, match="line 1, cache x: active_objs 17 is more than num_objs 16"):
        from_document(bad)
    bad["machine"]["slabinfo"] = "dump.txt"
    with pytest.raises(TopologyError, match=r"'dump\.txt' is not the path of a recorded /proc/slabinfo, which"):
        from_document(bad)


def test_the_schema_has_the_path() -> None:
    described = json_schema()["$defs"]["Machine"]["properties"]["slabinfo"]
    assert described["type"] == "string"
    assert "default" not in described
