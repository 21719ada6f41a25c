"""From a file to a checked scenario; everything that is wrong with it comes out together."""

from __future__ import annotations

import difflib
import re
import tomllib
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from pydantic import ValidationError

from .checks import check_machine, check_workload
from .errors import Problem, TopologyError
from .hwloc import import_hwloc
from .machine import Machine
from .operations import operation_names
from .overrides import apply_override
from .parts import Model
from .scenario import Scenario
from .slabinfo import read_slabinfo
from .textfile import read_text

if TYPE_CHECKING:
    from collections.abc import Sequence


def load(
    path: str | Path,
    *,
    overrides: Sequence[str] = (),
    machine: Path | None = None,
    release: str | None = None,
    apply: Sequence[str] = (),
    revert: Sequence[str] = (),
) -> Scenario:
    """Read a topology file.

    `overrides` are ``path=value`` texts; `machine` is another topology file, or an hwloc XML export, whose machine
    replaces the file's (overrides are made after that); `release`, `apply` and `revert` change the kernel.

    Raises:
        TopologyError: all that is wrong.
    """
    text = read_text(Path(path))
    return loads(
        text, source=str(path), overrides=overrides, machine=machine, release=release, apply=apply, revert=revert
    )


def loads(
    text: str,
    *,
    source: str | None = None,
    overrides: Sequence[str] = (),
    machine: Path | None = None,
    release: str | None = None,
    apply: Sequence[str] = (),
    revert: Sequence[str] = (),
) -> Scenario:
    """`load` for text that is there already; `source` names it in messages, and relative imports start beside it.

    Raises:
        TopologyError: all that is wrong.
    """
    name = source or "topology"
    tree = _parse(text, name)
    problems: list[Problem] = []
    folder = Path(source).parent if source else Path()
    if machine is not None:
        tree["machine"] = _machine_of(machine)
    for override in overrides:
        problem = apply_override(tree, override)
        if problem is not None:
            problems.append(problem)
    kernel = tree.setdefault("kernel", {})
    if isinstance(kernel, dict):
        if release:
            kernel["release"] = release
        if apply:
            kernel["apply"] = [*kernel.get("apply", []), *apply]
        if revert:
            kernel["revert"] = [*kernel.get("revert", []), *revert]
    problems += _resolve_import(tree, folder)
    _resolve_slabinfo(tree, folder)
    return _checked(tree, problems, name, source)


def from_document(document: dict[str, Any], name: str = "topology") -> Scenario:
    """A scenario from what a topology file would say, as plain values; `name` is how messages call it.

    Raises:
        TopologyError: all that is wrong.
    """
    return _checked(document, [], name, None)


def _checked(tree: dict[str, Any], problems: list[Problem], name: str, source: str | None) -> Scenario:
    scenario = _validate(tree, problems)
    if scenario is None:
        problems += _check_machine_alone(tree, problems)
        raise TopologyError(name, problems)
    problems += check_machine(scenario.machine)
    problems += check_workload(scenario)
    if problems:
        raise TopologyError(name, problems)
    return scenario.model_copy(update={"source": source})


def _parse(text: str, name: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise TopologyError(name, [Problem("", f"is not TOML: {error}")]) from None


def _machine_of(path: Path) -> dict[str, Any]:
    """The ``[machine]`` table of another file."""
    text = read_text(path, "a topology file or an hwloc XML export")
    if text.lstrip().startswith("<"):
        return import_hwloc(path)
    machine = _parse(text, str(path)).get("machine")
    if not isinstance(machine, dict):
        raise TopologyError(str(path), [Problem("machine", "there is no [machine] in this file")])
    for key in ("import", "slabinfo"):
        named = machine.get(key)
        if isinstance(named, str):
            machine[key] = str((path.parent / named).absolute())
    return machine


def _resolve_import(tree: dict[str, Any], folder: Path) -> list[Problem]:
    """Put an imported machine in the place of ``import``."""
    machine = tree.get("machine")
    if not isinstance(machine, dict) or not isinstance(machine.get("import"), str):
        return []
    both = [key for key in ("node", "distances") if key in machine]
    if both:
        return [
            Problem(f"machine.{key}", "stands beside import, which brings its own; expected one of the two")
            for key in both
        ]
    imported = machine.pop("import")
    machine.update(import_hwloc(folder / imported))
    return []


def _resolve_slabinfo(tree: dict[str, Any], folder: Path) -> None:
    """Put the rows of a recorded /proc/slabinfo in the place of its path."""
    machine = tree.get("machine")
    if isinstance(machine, dict) and isinstance(machine.get("slabinfo"), str):
        machine["slabinfo"] = [list(row) for row in read_slabinfo(folder / machine["slabinfo"])]


def _validate(tree: dict[str, Any], problems: list[Problem]) -> Scenario | None:
    try:
        return Scenario.model_validate(tree)
    except ValidationError as error:
        problems += [_problem(detail) for detail in error.errors()]
        return None


def _check_machine_alone(tree: dict[str, Any], known: list[Problem]) -> list[Problem]:
    """What is wrong with the machine as a whole, where other parts of the file could not even be read."""
    if any(problem.place.startswith("machine") for problem in known):
        return []
    try:
        return list(check_machine(Machine.model_validate(tree.get("machine", {}))))
    except ValidationError:
        return []


def _problem(detail: Any) -> Problem:
    """A pydantic error in our words."""
    place = _place(detail["loc"])
    kind, context = detail["type"], detail.get("ctx", {})
    given = detail.get("input")
    match kind:
        case "extra_forbidden":
            name = str(detail["loc"][-1])
            return Problem(place, f"there is no such key{_near(place, name)}")
        case "missing":
            return Problem(place, "is missing")
        case "value_error":
            return Problem(place, str(context.get("error", detail["msg"])))
        case "union_tag_invalid":
            known = str(context.get("expected_tags", "")).replace("'", "")
            close = difflib.get_close_matches(str(context.get("tag")), known.split(", "), 1)
            hint = f"did you mean {close[0]!r}? " if close else ""
            return Problem(f"{place}.op", f"there is no operation {context.get('tag')!r}; {hint}There are: {known}")
        case "union_tag_not_found":
            return Problem(place, 'has no op; expected a table such as {op = "kmem_cache_alloc", cache = "x"}')
        case "literal_error":
            return Problem(place, f"{given!r} is not one of {context.get('expected')}")
        case "string_pattern_mismatch":
            expected = {"release": "a release such as v5.12"}.get(
                str(detail["loc"][-1]), f"text like {context.get('pattern')}"
            )
            return Problem(place, f"{given!r} is not what is expected here: {expected}")
    return Problem(place, f"{detail['msg'][0].lower()}{detail['msg'][1:]}, found {given!r:.60}")


def _place(location: tuple[Any, ...]) -> str:
    text = ""
    for step in location:
        if isinstance(step, int):
            text += f"[{step}]"
        elif step not in _TAGS and not (step in ("lock", "read", "write") and text.endswith("]")):
            text += f".{step}" if text else str(step)
    return text


# pydantic puts the op of an operation into its location; it is no key of the file.  (lock, read and write are also
# keys.)
_TAGS = tuple(tag for tag in operation_names() if tag not in ("lock", "read", "write"))


def _near(place: str, name: str) -> str:
    """What an unknown key may have been meant to be: one nearly so called, or one of another section."""
    section = re.sub(r"\[\d+\]", "", place.rpartition(".")[0])
    keys = _keys()
    here = keys.get(section)
    close = difflib.get_close_matches(
        name, here if here is not None else [key for some in keys.values() for key in some], 1
    )
    if close and close[0] != name:
        return f"; did you mean {close[0]!r}?"
    homes = [home for home, names in keys.items() if name in names and home]
    return f"; it is one of {' and '.join(homes)}" if homes else ""


@cache
def _keys() -> dict[str, list[str]]:
    """The keys of each section, by its path without numbers; those of operations are left out."""
    found: dict[str, list[str]] = {}

    def walk(model: type[Model], path: str) -> None:
        found[path] = [field.alias or name for name, field in model.model_fields.items() if not field.exclude]
        for name, field in model.model_fields.items():
            for part in _models(field.annotation):
                walk(part, f"{path}.{field.alias or name}".lstrip("."))

    walk(Scenario, "")
    return found


def _models(annotation: Any) -> list[type[Model]]:
    """The sections a type is made of."""
    if isinstance(annotation, type) and issubclass(annotation, Model):
        return [annotation]
    parts = [part for inner in get_args(annotation) for part in _models(inner)]
    return parts if len(parts) == 1 else []  # a union is one of the kinds of operations
