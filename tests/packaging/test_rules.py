"""Rules of the house that a program can check: a rule worth writing is worth a test."""

from __future__ import annotations

import ast
import re
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
ROOMS = ("traces", "topology", "actors", "kernel", "slubloom")
DETERMINISTIC = [*sorted((ROOT / "actors").rglob("*.py")), *sorted((ROOT / "kernel").rglob("*.py"))]
EVERY = [path for room in ROOMS for path in sorted((ROOT / room).rglob("*.py"))]


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def calls(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func)


@pytest.mark.parametrize("path", DETERMINISTIC, ids=name_of)
def test_nothing_in_actors_and_kernel_can_differ_between_two_runs(path: Path) -> None:
    forbidden = {"id", "hash", "time.time", "time.monotonic", "time.perf_counter", "random.random", "random.randint"}
    assert not forbidden & set(calls(path))
    for node in ast.walk(ast.parse(path.read_text())):
        loops = [node.iter] if isinstance(node, ast.For | ast.comprehension) else []
        for iterated in loops:
            assert not isinstance(iterated, ast.Set | ast.SetComp), f"iterates over a set at {path}:{iterated.lineno}"
            if isinstance(iterated, ast.Call):
                assert ast.unparse(iterated.func) not in {"set", "frozenset"}


@pytest.mark.parametrize("path", [p for p in DETERMINISTIC if p.name != "releases.py"], ids=name_of)
def test_only_releases_py_asks_which_release_it_is(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Compare):
            assert not re.search(r"\brelease\b", ast.unparse(node)), f"{path}:{node.lineno}"


@pytest.mark.parametrize("path", EVERY, ids=name_of)
def test_one_idea_a_file(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 450


def test_no_scenario_is_named_in_protocol_code() -> None:
    for scenario in (ROOT / "topology" / "gallery").glob("*.toml"):
        for path in DETERMINISTIC:
            assert scenario.stem not in path.read_text()


def test_every_folder_with_code_is_packaged() -> None:
    with (ROOT / "pyproject.toml").open("rb") as file:
        listed = tomllib.load(file)["tool"]["setuptools"]["packages"]
    found = []
    for room in ROOMS:
        for folder in [ROOT / room, *sorted(path for path in (ROOT / room).rglob("*") if path.is_dir())]:
            if any(folder.glob("*.py")):
                parts = folder.relative_to(ROOT).parts
                found.append(".".join(parts if room == "slubloom" else ("slubloom", *parts)))
    assert sorted(listed) == sorted(found)
