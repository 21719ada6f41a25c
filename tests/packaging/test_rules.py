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
OUTSIDE = {"time", "datetime", "uuid", "secrets"}  # modules of wall clocks and of chance without a seed
EVERY = [path for room in ROOMS for path in sorted((ROOT / room).rglob("*.py"))]


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def is_set(node: ast.expr) -> bool:
    return isinstance(node, ast.Set | ast.SetComp) or (
        isinstance(node, ast.Call) and ast.unparse(node.func) in {"set", "frozenset"}
    )


def indeterminate(code: str) -> Iterator[str]:
    """What could make two runs of `code` differ."""
    for node in ast.walk(ast.parse(code)):
        match node:
            case ast.Import(names=names):
                yield from (f"import {n.name}" for n in names if n.name in OUTSIDE or (n.name == "random" and n.asname))
            case ast.ImportFrom(module=module, level=0) if module == "random" or module in OUTSIDE:
                yield f"from {module} import"
            case ast.Attribute(value=ast.Name(id="random"), attr=name) if name != "Random":
                yield f"random.{name}"
            case ast.Call(func=ast.Attribute(value=ast.Name(id="random")), args=[]):
                yield "random.Random() without a seed"
            case ast.Call(func=ast.Name(id="id" | "hash" as name)):
                yield f"{name}()"
            case ast.For(iter=iterated) | ast.comprehension(iter=iterated) if is_set(iterated):
                yield "iteration over a set"
            case ast.Call(func=ast.Name(id="list" | "tuple" | "iter" | "enumerate" as name), args=[first, *_]):
                if is_set(first):
                    yield f"{name}() of a set"


@pytest.mark.parametrize("path", DETERMINISTIC, ids=name_of)
def test_nothing_in_actors_and_kernel_can_differ_between_two_runs(path: Path) -> None:
    assert not list(indeterminate(path.read_text()))


@pytest.mark.parametrize(
    "code",
    [
        "import time",
        "from time import monotonic_ns",
        "import random as r",
        "from random import choice",
        "random.shuffle(waiters)",
        "random.Random()",
        "key = id(lock)",
        "hash(name)",
        "for cpu in {0, 1}: pass",
        "[cpu for cpu in set(cpus)]",
        "list(frozenset(cpus))",
    ],
)
def test_the_rule_of_determinism_notices(code: str) -> None:
    assert len(list(indeterminate(code))) == 1


def test_the_rule_of_determinism_lets_pass_what_a_seed_decides() -> None:
    assert not list(indeterminate("import random\nrandom.Random(seed)\nfor cpu in sorted({1, 0}): lock.id()"))


@pytest.mark.parametrize("path", [p for p in DETERMINISTIC if p.name != "releases.py"], ids=name_of)
def test_only_releases_py_asks_which_release_it_is(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Compare):
            assert not re.search(r"\brelease\b", ast.unparse(node)), f"{path}:{node.lineno}"


@pytest.mark.parametrize("path", EVERY, ids=name_of)
def test_one_idea_a_file(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 450


def test_no_scenario_is_named_in_protocol_code() -> None:
    texts = {path: path.read_text() for path in DETERMINISTIC}
    for scenario in (ROOT / "topology" / "gallery").glob("*.toml"):
        named = re.compile(rf"(?<![\w-]){re.escape(scenario.stem)}(?![\w-])")
        assert [str(path) for path, text in texts.items() if named.search(text)] == []


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
