"""slubloom conform: real recordings, recordings that were tampered with, and files that are none."""

from __future__ import annotations

import json
import lzma
from pathlib import Path
from typing import Any

import pytest

from slubloom.cli import main

RECORDINGS = Path(__file__).parents[2].parent / "shared" / "real-kernel"
RECORDED = pytest.mark.skipif(not RECORDINGS.is_dir(), reason="there are no recordings beside the checkout")

HEADER: dict[str, Any] = {
    "kind": "geom",
    "release": "6.1.0-56-amd64",
    "nr_cpu_ids": 4,
    "cpus_possible": 4,
    "cpus_present": 4,
    "cpus_online": 4,
    "nr_node_ids": 2,
    "nodes_online": 2,
    "page_size": 4096,
    "cpu_node": [0, 0, 1, 1],
    "fallback": [[0, 1], [1, 0]],
    "cmdline": "console=ttyS0 quiet slab_nomerge",
}
GEOM: dict[str, Any] = {
    "size": 192,
    "object_size": 192,
    "inuse": 192,
    "align": 64,
    "offset": 96,
    "red_left_pad": 0,
    "oo_order": 0,
    "oo_objects": 21,
    "min_order": 0,
    "min_objects": 21,
    "min_partial": 5,
    "cpu_partial": 120,
    "cpu_partial_slabs": 12,
    "useroffset": 0,
    "usersize": 0,
    "refcount": 1,
    "ctor": 0,
    "flags_hex": "0x40002000",
    "allocflags_hex": "0x0",
    "defrag_ratio": 1000,
    "flags": ["HWCACHE_ALIGN"],
}
REQUEST: dict[str, Any] = {
    "size": 192,
    "align": 0,
    "ctor": 0,
    "useroffset": 0,
    "usersize": 0,
    "flags": ["HWCACHE_ALIGN"],
}
CREATED: dict[str, Any] = {"op": "create", "name": "g0", "req": REQUEST, "ok": 1, "geom": GEOM}
FAILED: dict[str, Any] = {"op": "create", "name": "g1", "req": REQUEST | {"size": (4 << 20) + 1}, "ok": 0}


def write(path: Path, *records: dict[str, Any], header: dict[str, Any] = HEADER) -> str:
    text = "".join(json.dumps(record) + "\n" for record in (header, *records)).encode()
    path.write_bytes(lzma.compress(text) if path.suffix == ".xz" else text)
    return str(path)


def result(capsys: pytest.CaptureFixture[str], *files: str) -> tuple[int, dict[str, Any]]:
    status = main(["conform", "--json", *files])
    document: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert document["schema"] == "slubloom-conform/1"
    return status, document


def real(pattern: str) -> list[str]:
    return [str(path) for path in sorted(RECORDINGS.glob(pattern))]


@RECORDED
@pytest.mark.parametrize("pattern", ["geometry/*.jsonl.xz", "boot/*/merge.jsonl.xz", "boot/*/slab_caches.jsonl.xz"])
def test_every_recording_of_caches_matches(pattern: str, capsys: pytest.CaptureFixture[str]) -> None:
    files = real(pattern)
    status, document = result(capsys, *files)
    assert [file["first_mismatch"] for file in document["files"]] == [None] * len(files)
    assert (status, document["verdict"]) == (0, "match")
    assert all(file["matched"] == file["total"] > 100 for file in document["files"])


@RECORDED
def test_what_is_not_compared_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    main(["conform", *real("boot/4c2n/slab_caches.jsonl.xz")])
    shown = capsys.readouterr().out
    assert "relaxed: refcount of the 91 caches" in shown
    assert "relaxed: offset of the 26 merged caches" in shown


@RECORDED
def test_merging_needs_the_caches_of_the_system(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    alone = tmp_path / "merge.jsonl.xz"
    alone.write_bytes(Path(real("boot/4c2n/merge.jsonl.xz")[0]).read_bytes())
    assert main(["conform", str(alone)]) == 2
    assert "needs the caches of that system beside it, in slab_caches.jsonl.xz" in capsys.readouterr().err


def test_two_records_that_are_right(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = write(tmp_path / "good.jsonl", CREATED, FAILED)
    assert main(["conform", file]) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"{file}: geom, 2 of 2 records match",
        "1 file: 2 of 2 records match",
    ]


def test_compressed_or_not_is_the_same(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, document = result(capsys, write(tmp_path / "good.jsonl.xz", CREATED, FAILED))
    assert (status, document["files"][0]["matched"]) == (0, 2)


def test_the_first_mismatch_is_shown_in_full(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tampered = CREATED | {"geom": GEOM | {"oo_objects": 20, "flags_hex": "0x40000000"}}
    file = write(tmp_path / "bad.jsonl", CREATED, tampered, tampered, FAILED)
    assert main(["conform", file]) == 1
    assert capsys.readouterr().out.splitlines() == [
        f"{file}: geom, 2 of 4 records match",
        "  first mismatch, record 3: create g0: size 192, align 0, flags HWCACHE_ALIGN",
        "    oo_objects  expected 20, got 21",
        "    flags_hex   expected 0x40000000, got 0x40002000",
        "    20 other fields agree: ok, size, object_size, inuse, align, offset, red_left_pad, oo_order, min_order, "
        "min_objects, min_partial, cpu_partial, cpu_partial_slabs, useroffset, usersize, refcount, ctor, "
        "allocflags_hex, defrag_ratio, flags",
        "1 file: 2 of 4 records match, 2 do not",
    ]


def test_the_result_object_has_the_first_mismatch(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, document = result(capsys, write(tmp_path / "bad.jsonl", CREATED, CREATED | {"geom": GEOM | {"offset": 88}}))
    assert (status, document["verdict"]) == (1, "mismatch")
    (file,) = document["files"]
    assert (file["kind"], file["total"], file["matched"], file["not_run"]) == ("geom", 2, 1, 0)
    mismatch = file["first_mismatch"]
    assert mismatch["record"] == 3
    assert mismatch["operation"].startswith("create g0: size 192")
    assert (mismatch["expected"]["offset"], mismatch["got"]["offset"]) == (88, 96)


def test_a_cache_that_should_not_have_been_made(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    refused = {"op": "create", "name": "g0", "req": REQUEST, "ok": 0}
    assert main(["conform", write(tmp_path / "bad.jsonl", refused)]) == 1
    shown = " ".join(capsys.readouterr().out.split())
    assert "ok expected 0, got 1 size expected nothing, got 192" in shown


def test_the_command_line_of_the_recorded_kernel_counts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    # 192 → a word of red zone 200, pointer 208, two tracks 272, a word 280, left pad 344 → 384.
    debugged = GEOM | {
        **{"size": 384, "inuse": 200, "offset": 200, "red_left_pad": 64, "oo_objects": 21, "min_objects": 10},
        **{
            "cpu_partial": 0,
            "cpu_partial_slabs": 0,
            "flags_hex": "0x80012d00",
            "oo_order": 1,
            "allocflags_hex": "0x40000",
        },
        "flags": ["CONSISTENCY_CHECKS", "POISON", "RED_ZONE", "STORE_USER", "HWCACHE_ALIGN"],
    }
    header = HEADER | {"cmdline": "slab_nomerge ro slub_debug=FZPU,g* slub_max_order=1 -- slub_max_order=0"}
    status, document = result(capsys, write(tmp_path / "debug.jsonl", CREATED | {"geom": debugged}, header=header))
    assert document["files"][0]["first_mismatch"] is None
    assert status == 0


def test_processors_that_are_plugged_in_but_do_not_run_count(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # 64 processors: 32 objects at least, so 42 in two pages; 4: 16, so 21 in one.
    many = {"nr_cpu_ids": 64, "cpus_possible": 64, "cpus_online": 1, "cpu_node": [0] * 64}
    two_pages = {"oo_order": 1, "oo_objects": 42, "cpu_partial_slabs": 6, "allocflags_hex": "0x40000"}
    for present, geom in ((64, GEOM | two_pages), (4, GEOM), (1, GEOM | two_pages)):
        header = HEADER | many | {"cpus_present": present}
        status, _ = result(capsys, write(tmp_path / "many.jsonl", CREATED | {"geom": geom}, header=header))
        assert status == 0


def merge_record(name: str, size: int, same_as: str, **geom: Any) -> dict[str, Any]:
    request = REQUEST | {"size": size, "flags": []}
    merged = int(name != same_as)
    return CREATED | {"name": name, "req": request, "same_as": same_as, "merged": merged, "geom": GEOM | geom}


def test_merging_starts_from_the_caches_of_the_system(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    taken = {"name": "taken", "geom": GEOM | {"refcount": -1}}
    shared = {"name": "shared", "geom": GEOM | {"object_size": 185, "refcount": 2}}
    write(tmp_path / "slab_caches.jsonl.xz", shared, taken, header=HEADER | {"kind": "dump"})
    records = [
        merge_record("m0", 187, "shared", object_size=187, refcount=3),
        merge_record("m1", 186, "shared", object_size=187, refcount=4),
        {"op": "destroy", "name": "m0", "refcount_before": 4},
        {"op": "destroy", "name": "m1", "refcount_before": 3},
    ]
    header = HEADER | {"kind": "merge", "cmdline": "quiet"}
    status, document = result(capsys, write(tmp_path / "merge.jsonl", *records, header=header))
    assert document["files"][0]["first_mismatch"] is None
    assert (status, document["files"][0]["matched"]) == (0, 4)
    wrong = [merge_record("m0", 187, "taken", object_size=187, refcount=3)]
    status, document = result(capsys, write(tmp_path / "merge.jsonl", *wrong, header=header))
    mismatch = document["files"][0]["first_mismatch"]
    assert (status, mismatch["expected"]["same_as"], mismatch["got"]["same_as"]) == (1, "taken", "shared")


def test_a_destroyed_cache_must_have_been_created(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path / "slab_caches.jsonl", header=HEADER | {"kind": "dump"})
    destroy = {"op": "destroy", "name": "m7", "refcount_before": 1}
    assert main(["conform", write(tmp_path / "merge.jsonl", destroy, header=HEADER | {"kind": "merge"})]) == 2
    assert "record 2: name: no cache 'm7' was created before" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"req": REQUEST | {"size": 0}}, "record 3: req.size: expected int >= 1"),
        ({"req": REQUEST | {"size": "192"}}, "record 3: req.size: expected int, got str"),
        ({"req": REQUEST | {"align": -8}}, "record 3: req.align: expected int >= 0"),
        ({"req": REQUEST | {"flags": ["HWCACHE_ALIGN", "FAST"]}}, "record 3: req.flags[1]: there is no flag 'FAST'"),
        ({"req": REQUEST | {"ctor": 2}}, "record 3: req.ctor: "),
        ({"req": None}, "record 3: req: expected object, got null"),
        ({"geom": GEOM | {"size": 184}}, "record 3: geom.size: 184 is less than object_size, 192"),
        (
            {"geom": GEOM | {"oo_objects": 22}},
            "record 3: geom.oo_objects: 22 objects of 192 bytes are more than the 4096",
        ),
        ({"geom": GEOM | {"oo_order": 11}}, "record 3: geom.oo_order: expected int <= 10"),
        ({"geom": GEOM | {"flags_hex": "many"}}, "record 3: geom.flags_hex: expected str matching regex"),
        ({"geom": {"size": 8}}, "record 3: geom: there is no object_size"),
        ({"geom": None}, "record 3: geom: expected a geom, as ok is 1"),
        ({"ok": 0}, "record 3: geom: expected none, as ok is 0"),
        ({"op": "weave"}, "record 3: op: "),
    ],
)
def test_a_bad_record_is_named(
    change: dict[str, Any], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write(tmp_path / "bad.jsonl", CREATED, CREATED | change)
    assert main(["conform", file]) == 2
    assert f"slubloom: {file}: {message}" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": "knit"}, "kind: there is no kind 'knit'; there are: geom, merge, dump, seq"),
        ({"page_size": 65536}, "page_size: pages of 65536 bytes are not emulated"),
        ({"cpus_present": 5}, "cpus_present: 5 of 4 possible ones cannot be"),
        ({"cpus_possible": 5}, "cpus_possible: 5 of 4 processors cannot be"),
        ({"cpu_node": [0, 0]}, "cpu_node: 2 numbers; expected one for each of 4 CPUs"),
        ({"cpu_node": [0, 0, 1, 2]}, "cpu_node[3]: there is no node 2"),
        ({"fallback": [[0, 1]]}, "fallback: 1 lists; expected one for each of 2 nodes"),
        ({"fallback": [[], []]}, "fallback: no node has memory"),
        ({"release": "mainline"}, "release: 'mainline' is no kernel release"),
        ({"release": "2.6.32"}, "no such machine can be emulated: kernel.release"),
        ({"cmdline": "slub_debug=FX"}, "no such machine can be emulated: kernel.boot.slub_debug"),
    ],
)
def test_a_bad_header_is_the_first_record(
    change: dict[str, Any], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write(tmp_path / "bad.jsonl", CREATED, header=HEADER | change)
    assert main(["conform", file]) == 2
    assert f"slubloom: {file}: record 1: {message}" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.jsonl", b"", "is empty; expected a header line and records"),
        ("a.jsonl", b"{", "record 1: is no JSON object: Input data was truncated"),
        ("a.jsonl", b"[]\n", "record 1: expected object, got array"),
        ("a.jsonl", b"\xff\xfe\n", "record 1: is no JSON object"),
        ("a.jsonl", json.dumps(HEADER).encode() + b"\n\n", "record 2: is empty; expected a JSON object"),
        ("a.jsonl", json.dumps(HEADER).encode() + b"\nnull\n", "record 2: expected object, got null"),
        ("a.jsonl.xz", b"", "record 1: the xz data ends too early"),
        ("a.jsonl.xz", b"{}\n", "record 1: cannot be read: Input format not supported"),
        ("a.jsonl.xz", lzma.compress(json.dumps(HEADER).encode())[:-20], "record 1: the xz data ends too early"),
    ],
)
def test_a_file_that_is_no_recording(
    name: str, content: bytes, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / name).write_bytes(content)
    assert main(["conform", str(tmp_path / name)]) == 2
    assert f"slubloom: {tmp_path / name}: {message}" in capsys.readouterr().err


def test_a_file_that_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["conform", str(tmp_path / "none.jsonl"), str(tmp_path)]) == 2
    complaints = capsys.readouterr().err.splitlines()
    assert [line.rpartition(": ")[2] for line in complaints] == ["No such file or directory", "Is a directory"]


def test_a_bad_file_does_not_keep_the_others_from_being_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bad = write(tmp_path / "bad.jsonl", CREATED | {"ok": 7})
    good = write(tmp_path / "good.jsonl", CREATED)
    status, document = result(capsys, bad, good)
    assert (status, document["verdict"]) == (2, "unusable")
    assert [file["matched"] for file in document["files"]] == [0, 1]
    assert "record 2: ok" in document["files"][0]["error"]
    assert document["files"][1]["error"] is None


def test_an_unknown_file_kind_is_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["conform"]) == 2
    assert "FILE" in capsys.readouterr().err
