"""``--set path=value``: one value of a file, changed from the command line."""

from __future__ import annotations

import re
import tomllib
from typing import Any

from .errors import Problem

_STEP = re.compile(r"([A-Za-z0-9_-]+)((?:\[\d+\])*)")


def apply_override(tree: dict[str, Any], text: str) -> Problem | None:
    """Change `tree` as ``path=value`` says; the value is TOML, or else text as it stands.

    Returns what is wrong with the override, if anything.
    """
    path, equals, value = text.partition("=")
    place = f"--set {text}"
    if not equals or not path.strip():
        return Problem(place, "expected PATH=VALUE, such as kernel.preempt=none or task[0].instances=3")
    steps: list[str | int] = []
    for part in path.strip().split("."):
        match = _STEP.fullmatch(part)
        if match is None:
            return Problem(place, f"{part!r} is not a step of a path, such as kernel or task[0]")
        steps.append(match[1])
        steps.extend(int(index) for index in re.findall(r"\d+", match[2]))
    target: Any = tree
    for step, following in zip(steps, [*steps[1:], None], strict=True):
        last = following is None
        if isinstance(step, int):
            if not isinstance(target, list) or step >= len(target):
                size = len(target) if isinstance(target, list) else 0
                return Problem(place, f"there is no entry [{step}]; there are {size}")
            if last:
                target[step] = parse_value(value)
            else:
                target = target[step]
        else:
            if not isinstance(target, dict):
                return Problem(place, f"{step!r} is looked for in something that has no names")
            if last:
                target[step] = parse_value(value)
            elif step not in target:
                target[step] = {}
                target = target[step]
            else:
                target = target[step]
    return None


def parse_value(text: str) -> Any:
    """A TOML value; text that is none is itself."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text
